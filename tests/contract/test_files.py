"""Contents, branches, refs, raw files. Rules: section 3.6 of the Forgejo reference."""

from __future__ import annotations

from base64 import b64decode, b64encode
from urllib.parse import quote

import pytest

NO_SHA = "e" * 40


def b64(text: str) -> str:
    return b64encode(text.encode()).decode()


@pytest.fixture
def repo(site):
    made = site.repo()
    site.commit(made, "main", {"there.txt": "old\n", "dir/in.txt": "x\n"})
    return made


def sha_of(site, repo, path: str = "there.txt") -> str:
    return site.call("GET", f"/repos/{repo}/contents/{path}").json()["sha"]


MATRIX = [
    # method, path, body (sha: "right"/"wrong"/absent), account, statuses accepted
    ("POST", "new.txt", {"content": b64("n\n")}, "dev", (201,)),
    ("POST", "a/b/c.txt", {"content": b64("n\n")}, "dev", (201,)),
    ("POST", "there.txt", {"content": b64("n\n")}, "dev", (422,)),
    ("PUT", "there.txt", {"content": b64("n\n"), "sha": "right"}, "dev", (200,)),
    ("PUT", "there.txt", {"content": b64("n\n"), "sha": "wrong"}, "dev", (409,)),
    ("PUT", "there.txt", {"content": b64("n\n")}, "dev", (422,)),
    ("PUT", "none.txt", {"content": b64("n\n"), "sha": "wrong"}, "dev", (404, 500)),
    ("DELETE", "there.txt", {"sha": "right"}, "dev", (200,)),
    ("DELETE", "there.txt", {"sha": "wrong"}, "dev", (400,)),
    ("DELETE", "there.txt", {}, "dev", (422,)),
    ("DELETE", "none.txt", {"sha": "wrong"}, "dev", (404,)),
    ("POST", "new.txt", {"content": "***"}, "dev", (422,)),
    ("POST", "new.txt", {"content": b64("n\n"), "branch": "none"}, "dev", (404,)),
    ("PUT", "there.txt", {"content": b64("n\n"), "sha": "right", "branch": "none"}, "dev", (404,)),
    ("DELETE", "there.txt", {"sha": "right", "branch": "none"}, "dev", (404,)),
    ("POST", "new.txt", {"content": b64("n\n"), "new_branch": "made"}, "dev", (201,)),
    ("POST", "new.txt", {"content": b64("n\n"), "new_branch": "main"}, "dev", (201, 422)),
    ("POST", "new.txt", {"content": b64("n\n")}, "reader", (403,)),
    ("PUT", "there.txt", {"content": b64("n\n"), "sha": "right"}, "reader", (403,)),
    ("DELETE", "there.txt", {"sha": "right"}, "reader", (403,)),
    ("POST", "new.txt", {"content": b64("n\n")}, "outsider", (404,)),
]


@pytest.mark.parametrize(("method", "path", "body", "who", "statuses"), MATRIX)
def test_writing_files(site, repo, method: str, path: str, body: dict, who: str, statuses: tuple[int, ...]) -> None:
    body = {"message": "m", **body}
    if "sha" in body:
        body["sha"] = sha_of(site, repo) if body["sha"] == "right" else NO_SHA
    answer = site.call(method, f"/repos/{repo}/contents/{path}", body, who=who)
    assert answer.status_code in statuses, answer.text


@pytest.mark.parametrize(
    "path", ["../x", ".git/config", "a/../../x", "/abs", "a//b", ".GIT/hooks/post-update", "a/.git/x"]
)
def test_paths_that_must_not_be(site, repo, path: str) -> None:
    before = site.client("dev").ls_refs(repo, ["refs/heads/"])
    body = {"content": b64("x\n"), "message": "m"}
    answer = site.call("POST", f"/repos/{repo}/contents/{quote(path, safe='')}", body, who="dev")
    if answer.status_code == 201:
        # Forgejo cleans `a//b` and `/abs` to plain paths.
        assert path in ("a//b", "/abs")
    else:
        assert answer.status_code in (400, 403, 404, 422, 500)
        assert site.client("dev").ls_refs(repo, ["refs/heads/"]) == before


def test_many_files_are_one_commit(site, repo) -> None:
    before = site.call("GET", f"/repos/{repo}/commits", limit=50).headers["x-total"]
    site.commit(repo, "main", {"there.txt": "new\n", "dir/in.txt": None, "third.txt": "3\n"})
    assert int(site.call("GET", f"/repos/{repo}/commits", limit=50).headers["x-total"]) == int(before) + 1
    assert site.call("GET", f"/repos/{repo}/contents/dir/in.txt").status_code == 404
    assert site.call("GET", f"/repos/{repo}/raw/there.txt").text == "new\n"


def test_the_author_of_a_commit_by_api(site, repo) -> None:
    body = {
        "content": b64("x\n"), "message": "By somebody", "author": {"name": "Some Body", "email": "some@body.invalid"},
    }  # fmt: skip
    made = site.call("POST", f"/repos/{repo}/contents/by.txt", body, who="dev").json()["commit"]
    assert made["author"]["name"] == "Some Body"
    assert made["message"].strip() == "By somebody"


def test_reading_files_and_folders(site, repo) -> None:
    file = site.call("GET", f"/repos/{repo}/contents/there.txt").json()
    assert (file["type"], file["encoding"], b64decode(file["content"])) == ("file", "base64", b"old\n")
    folder = site.call("GET", f"/repos/{repo}/contents/dir").json()
    assert [(row["name"], row["type"]) for row in folder] == [("in.txt", "file")]
    names = {row["name"]: row["type"] for row in site.call("GET", f"/repos/{repo}/contents").json()}
    assert names["dir"] == "dir"


@pytest.mark.parametrize(("ref", "status"), [("main", 200), ("none", 404)])
def test_reading_at_a_ref(site, repo, ref: str, status: int) -> None:
    assert site.call("GET", f"/repos/{repo}/contents/there.txt", ref=ref).status_code == status


def test_raw_files_have_an_etag(site, repo) -> None:
    answer = site.call("GET", f"/repos/{repo}/raw/there.txt")
    assert (answer.status_code, answer.content) == (200, b"old\n")
    again = site.call("GET", f"/repos/{repo}/raw/there.txt", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304


def test_the_first_file_of_an_empty_repo(site) -> None:
    repo = site.repo(empty=True)
    assert site.client("founder").repo(repo).empty
    assert site.call("GET", f"/repos/{repo}/contents").json() == []
    assert site.client("founder").ls_refs(repo, []) == {}
    made = site.call("POST", f"/repos/{repo}/contents/README.md", {"content": b64("x\n"), "message": "First"})
    assert made.status_code == 201
    seen = site.client("founder").repo(repo)
    assert (seen.empty, seen.default_branch) == (False, "main")


# branches

BRANCHES = [
    ({"new_branch_name": "new", "old_ref_name": "main"}, "dev", (201,)),
    ({"new_branch_name": "deep/er", "old_ref_name": "main"}, "dev", (201,)),
    ({"new_branch_name": "new"}, "dev", (201,)),
    ({"new_branch_name": "main", "old_ref_name": "main"}, "dev", (409,)),
    ({"new_branch_name": "main/below", "old_ref_name": "main"}, "dev", (409,)),
    ({"new_branch_name": "new", "old_ref_name": "none"}, "dev", (404, 500)),
    ({"new_branch_name": "", "old_ref_name": "main"}, "dev", (422,)),
    ({"new_branch_name": "x" * 101, "old_ref_name": "main"}, "dev", (422,)),
    ({"new_branch_name": "has space", "old_ref_name": "main"}, "dev", (409, 422, 500)),
    ({"new_branch_name": "..", "old_ref_name": "main"}, "dev", (409, 422, 500)),
    ({"new_branch_name": "new", "old_ref_name": "main"}, "reader", (403,)),
]


@pytest.mark.parametrize(("body", "who", "statuses"), BRANCHES)
def test_making_branches(site, repo, body: dict, who: str, statuses: tuple[int, ...]) -> None:
    assert site.call("POST", f"/repos/{repo}/branches", body, who=who).status_code in statuses


@pytest.mark.parametrize(
    ("branch", "who", "status"),
    [("new", "dev", 204), ("main", "founder", 403), ("new", "reader", 403)],
)
def test_deleting_branches(site, repo, branch: str, who: str, status: int) -> None:
    site.call("POST", f"/repos/{repo}/branches", {"new_branch_name": "new", "old_ref_name": "main"})
    assert site.call("DELETE", f"/repos/{repo}/branches/{branch}", who=who).status_code == status


def test_deleting_a_branch_that_is_not_there(site, repo) -> None:
    answer = site.call("DELETE", f"/repos/{repo}/branches/none", who="dev")
    # Clearer than Forgejo 15, to which it is a fault of its own.
    assert answer.status_code == (404 if site.name == "embedded" else 500)
    site.client("dev").delete_branch(repo, "none")


def test_a_branch_shows_its_commit_and_protection(site, repo) -> None:
    site.call("POST", f"/repos/{repo}/branch_protections", {"rule_name": "mai[n]"})
    branch = site.call("GET", f"/repos/{repo}/branches/main").json()
    assert branch["name"] == "main"
    assert branch["protected"] is True
    assert branch["commit"]["id"] == site.client("dev").ls_refs(repo, ["refs/heads/"])["refs/heads/main"]


def test_refs_by_prefix(site, repo) -> None:
    rows = site.call("GET", f"/repos/{repo}/git/refs/heads").json()
    assert [row["ref"] for row in rows] == ["refs/heads/main"]
    assert site.call("GET", f"/repos/{repo}/git/refs/none").status_code == 404


def test_compare(site, repo) -> None:
    site.commit(repo, "fix/1", {"a.txt": "1\n"})
    compared = site.call("GET", f"/repos/{repo}/compare/main...fix%2F1").json()
    assert compared["total_commits"] == 1
    assert [file["filename"] for file in compared["files"]] == ["a.txt"]


def test_trees_and_commits(site, repo) -> None:
    tree = site.call("GET", f"/repos/{repo}/git/trees/main", recursive="true").json()
    assert {"there.txt", "dir/in.txt"} <= {row["path"] for row in tree["tree"]}
    commits = site.call("GET", f"/repos/{repo}/commits", limit=1)
    assert len(commits.json()) == 1
    assert commits.json()[0]["commit"]["message"].strip()

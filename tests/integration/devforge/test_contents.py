"""Files through the API: the conflict matrix, many files in one commit, raw files and git objects."""

from __future__ import annotations

import base64
from typing import Any

import pytest

World = Any


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture(scope="module")
def repo(world: World) -> str:
    made: str = world.repo(reader="read", writer="write")
    world.ok("ann", "POST", f"/repos/{made}/contents/dir/a.txt", {"content": b64("one"), "message": "add a"})
    return made


def sha_of(world: World, repo: str, path: str) -> str:
    return str(world.ok("ann", "GET", f"/repos/{repo}/contents/{path}")["sha"])


WRONG = "1" * 40


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "dir/a.txt", {"content": b64("x"), "sha": WRONG}, 409),
        ("DELETE", "dir/a.txt", {"sha": WRONG}, 400),
        ("PUT", "dir/a.txt", {"content": b64("x")}, 422),
        ("DELETE", "dir/a.txt", {}, 422),
        ("POST", "dir/a.txt", {"content": b64("x")}, 422),
        ("PUT", "missing", {"content": b64("x"), "sha": WRONG}, 500),
        ("DELETE", "missing", {"sha": WRONG}, 404),
        ("POST", "new", {"content": b64("x"), "branch": "nowhere"}, 404),
        ("DELETE", "dir/a.txt", {"sha": WRONG, "branch": "nowhere"}, 404),
        ("POST", "new", {"content": "not base64!"}, 422),
        ("POST", "new", {"content": b64("x"), "new_branch": "main"}, 422),
        ("POST", "dir", {"content": b64("x")}, 422),
        ("POST", "dir/a.txt/below", {"content": b64("x")}, 422),
        ("POST", ".git/config", {"content": b64("x")}, 422),
    ],
)
def test_the_conflict_matrix(
    world: World, repo: str, method: str, path: str, body: dict[str, str], status: int
) -> None:
    before = world.ok("ann", "GET", f"/repos/{repo}/branches/main")["commit"]["id"]
    if body.get("new_branch") == "main":
        body = {**body, "branch": "other"}
        world.call("ann", "POST", f"/repos/{repo}/branches", {"new_branch_name": "other"})
    answer = world.call("ann", method, f"/repos/{repo}/contents/{path}", {"message": "m", **body})
    assert answer.status_code == status, answer.text
    assert world.ok("ann", "GET", f"/repos/{repo}/branches/main")["commit"]["id"] == before


@pytest.mark.parametrize("path", ["a/../b", "../b", "/etc/x/../y", "a//b", ".GIT/hooks/x", "", "nul\0"])
def test_paths_git_cannot_hold(world: World, repo: str, path: str) -> None:
    file = {"operation": "create", "path": path, "content": b64("x")}
    answer = world.call("ann", "POST", f"/repos/{repo}/contents", {"files": [file], "message": "m"})
    assert answer.status_code == 422, answer.text


@pytest.mark.parametrize(("who", "status"), [("reader", 403), ("writer", 201), (None, 401)])
def test_who_may_write(world: World, repo: str, who: str | None, status: int) -> None:
    path = f"/repos/{repo}/contents/by-{who}"
    assert world.call(who, "POST", path, {"content": b64("x"), "message": "m"}).status_code == status


def test_a_file_is_made_changed_moved_and_deleted(world: World) -> None:
    repo = world.repo()
    made = world.ok("ann", "POST", f"/repos/{repo}/contents/a", {
        "content": b64("1"), "message": "add", "author": {"name": "Zoe", "email": "zoe@example.test"},
        "dates": {"author": "2020-01-02T03:04:05Z"},
    })  # fmt: skip
    assert made["content"]["path"] == "a"
    assert made["commit"]["author"] == {"name": "Zoe", "email": "zoe@example.test", "date": "2020-01-02T03:04:05Z"}
    changed = world.ok("ann", "PUT", f"/repos/{repo}/contents/b", {
        "content": b64("2"), "sha": made["content"]["sha"], "from_path": "a", "message": "move",
    })  # fmt: skip
    assert world.call("ann", "GET", f"/repos/{repo}/contents/a").status_code == 404
    found = world.ok("ann", "GET", f"/repos/{repo}/contents/b")
    assert (base64.b64decode(found["content"]), found["encoding"], found["type"]) == (b"2", "base64", "file")
    assert found["last_commit_sha"] == changed["commit"]["sha"]
    gone = world.ok("ann", "DELETE", f"/repos/{repo}/contents/b", {"sha": found["sha"], "message": "bye"})
    assert gone["content"] is None
    assert [entry["name"] for entry in world.ok("ann", "GET", f"/repos/{repo}/contents")] == ["README.md"]


def test_many_files_are_one_commit_or_none(world: World) -> None:
    repo = world.repo()
    files = [{"operation": "create", "path": f"d/{n}", "content": b64(str(n))} for n in range(3)]
    made = world.ok("ann", "POST", f"/repos/{repo}/contents", {"files": files, "message": "three", "new_branch": "fix"})
    assert len(made["files"]) == 3
    log = world.ok("ann", "GET", f"/repos/{repo}/commits", sha="fix")
    assert [entry["commit"]["message"] for entry in log] == ["three\n", "Initial commit\n"]
    sha = world.ok("ann", "GET", f"/repos/{repo}/contents/d/0", ref="fix")["sha"]
    bad = [{"operation": "delete", "path": "d/0", "sha": sha}, {"operation": "delete", "path": "d/1", "sha": "1" * 40}]
    answer = world.call("ann", "POST", f"/repos/{repo}/contents", {"files": bad, "branch": "fix", "message": "m"})
    assert answer.status_code == 409
    assert len(world.ok("ann", "GET", f"/repos/{repo}/commits", sha="fix")) == 2


def test_an_empty_repo_gets_its_first_file_and_branch(world: World) -> None:
    repo = world.repo(init=False)
    assert world.ok("ann", "GET", f"/repos/{repo}/contents") == []
    assert world.call("ann", "GET", f"/repos/{repo}/branches").json() is None
    assert world.call("ann", "GET", f"/repos/{repo}/commits").status_code == 409
    assert world.call("ann", "GET", f"/repos/{repo}/pulls").status_code == 404
    answer = world.call("ann", "PUT", f"/repos/{repo}/contents/a", {"content": b64("x"), "sha": WRONG, "message": "m"})
    assert (answer.status_code, answer.json()["message"]) == (422, "repo is empty")
    world.ok("ann", "POST", f"/repos/{repo}/contents/a", {"content": b64("x"), "message": "m"})
    assert world.ok("ann", "GET", f"/repos/{repo}")["empty"] is False
    assert world.ok("ann", "GET", f"/repos/{repo}/branches/main")["name"] == "main"


def test_raw_files_are_cached_by_blob_and_never_rendered(world: World, repo: str) -> None:
    html = "<script>alert(1)</script>"
    world.ok("ann", "POST", f"/repos/{repo}/contents/x.html", {"content": b64(html), "message": "m"})
    first = world.call("ann", "GET", f"/repos/{repo}/raw/x.html")
    assert (first.text, first.headers["etag"]) == (html, f'"{sha_of(world, repo, "x.html")}"')
    assert first.headers["content-type"].startswith("text/plain")
    assert first.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in first.headers["content-security-policy"]
    again = world.call("ann", "GET", f"/repos/{repo}/raw/x.html", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert world.call("ann", "GET", f"/repos/{repo}/raw/dir").status_code == 404


def test_trees_blobs_refs_and_commits(world: World, repo: str) -> None:
    tree = world.ok("ann", "GET", f"/repos/{repo}/git/trees/main", recursive=True)
    paths = {entry["path"]: entry for entry in tree["tree"]}
    assert paths["dir/a.txt"]["mode"] == "100644"
    blob = world.ok("ann", "GET", f"/repos/{repo}/git/blobs/{paths['dir/a.txt']['sha']}")
    assert base64.b64decode(blob["content"]) == b"one"
    assert world.call("ann", "GET", f"/repos/{repo}/git/trees/nope").status_code == 400
    assert world.call("ann", "GET", f"/repos/{repo}/git/refs/heads/nope").status_code == 404
    refs = world.ok("ann", "GET", f"/repos/{repo}/git/refs/heads/main")
    assert [ref["ref"] for ref in refs] == ["refs/heads/main"]
    commit = world.ok("ann", "GET", f"/repos/{repo}/git/commits/main")
    assert commit["sha"] == refs[0]["object"]["sha"]
    found = world.ok("ann", "GET", f"/repos/{repo}/commits", path="dir/a.txt")
    assert [entry["commit"]["message"] for entry in found] == ["add a\n"]
    whole = world.ok("ann", "GET", f"/repos/{repo}/compare/{found[0]['sha']}...main")
    assert whole["total_commits"] == len(whole["commits"])
    short = world.call("writer", "POST", f"/repos/{repo}/statuses/{commit['sha'][:10]}", {"state": "success"})
    assert (short.status_code, short.json()["context"]) == (201, "")


def test_branches_and_tags(world: World, repo: str) -> None:
    branches = f"/repos/{repo}/branches"
    for body, status in (
        ({"new_branch_name": "topic/1", "old_ref_name": "main"}, 201),
        ({"new_branch_name": "topic/1"}, 409),
        ({"new_branch_name": "topic"}, 409),
        ({"new_branch_name": "x", "old_ref_name": "nope"}, 500),
        ({"new_branch_name": "bad name"}, 422),
        ({"new_branch_name": "-x"}, 422),
        ({"new_branch_name": "a..b"}, 422),
    ):
        assert world.call("ann", "POST", branches, body).status_code == status, body
    assert world.ok("ann", "GET", f"{branches}/topic/1")["name"] == "topic/1"
    assert world.ok("ann", "GET", f"{branches}/topic%2F1")["name"] == "topic/1"
    assert world.call("reader", "POST", branches, {"new_branch_name": "y"}).status_code == 403
    assert world.call("ann", "DELETE", f"{branches}/main").status_code == 403
    assert world.call("ann", "DELETE", f"{branches}/topic/1").status_code == 204
    assert world.call("ann", "DELETE", f"{branches}/topic/1").status_code == 404
    tags = f"/repos/{repo}/tags"
    assert world.call("ann", "POST", tags, {"tag_name": "v1", "message": "first"}).status_code == 201
    assert world.call("ann", "POST", tags, {"tag_name": "v1"}).status_code == 409
    assert world.call("ann", "POST", tags, {"tag_name": "v2", "target": "nope"}).status_code == 404
    assert world.call("ann", "POST", branches, {"new_branch_name": "v1"}).status_code == 409
    assert [tag["message"] for tag in world.ok("ann", "GET", tags)] == ["first\n"]
    assert world.call("ann", "DELETE", f"{tags}/v1").status_code == 204


def test_a_rename_takes_its_pull_requests_along(world: World) -> None:
    repo = world.repo()
    world.ok("ann", "POST", f"/repos/{repo}/contents/a", {"content": b64("x"), "new_branch": "fix", "message": "m"})
    world.ok("ann", "POST", f"/repos/{repo}/pulls", {"head": "fix", "base": "main", "title": "t"})
    assert world.call("ann", "PATCH", f"/repos/{repo}/branches/fix", {"name": "moved"}).status_code == 204
    pull = world.ok("ann", "GET", f"/repos/{repo}/pulls/1")
    assert (pull["state"], pull["head"]["ref"]) == ("open", "moved")
    assert world.call("ann", "PATCH", f"/repos/{repo}/branches/main", {"name": "trunk"}).status_code == 204
    assert world.ok("ann", "GET", f"/repos/{repo}")["default_branch"] == "trunk"
    assert world.ok("ann", "GET", f"/repos/{repo}/pulls/1")["base"]["ref"] == "trunk"
    world.ok("ann", "POST", f"/repos/{repo}/pulls/1/merge", {"Do": "merge"})


def test_forks_and_their_pull_requests(world: World, clone: Any) -> None:
    repo = world.repo(private=False)
    fork = world.call("dev", "POST", f"/repos/{repo}/forks", {})
    assert fork.status_code == 202
    assert fork.json()["parent"]["full_name"] == repo
    assert world.call("dev", "POST", f"/repos/{repo}/forks", {}).status_code == 409
    mine = fork.json()["full_name"]
    git = clone(mine, "dev")
    sha = git.commit(a="1")
    git("push", "-q", "origin", "HEAD:refs/heads/fix")
    pull = world.ok("dev", "POST", f"/repos/{repo}/pulls", {"head": "dev:fix", "base": "main", "title": "from afar"})
    assert (pull["head"]["repo"]["full_name"], pull["head"]["sha"], pull["mergeable"]) == (mine, sha, True)
    more = git.commit(b="2")
    git("push", "-q", "origin", "HEAD:refs/heads/fix")
    assert world.ok("ann", "GET", f"/repos/{repo}/pulls/1")["head"]["sha"] == more
    assert world.call("dev", "POST", f"/repos/{repo}/pulls/1/merge", {"Do": "merge"}).status_code == 405
    world.ok("ann", "POST", f"/repos/{repo}/pulls/1/merge", {"Do": "merge", "head_commit_id": more})
    git("-C", str(world.bare(repo)), "fsck", "--strict")
    assert world.ok("ann", "GET", f"/repos/{repo}/contents/b")["size"] == 1

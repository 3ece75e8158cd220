"""How the API answers: statuses, error shapes, names, pages, times. Rules: section 3.0 of the Forgejo reference."""

from __future__ import annotations

import json
import re
from datetime import datetime

import pytest

from factory.forge.values import CheckState, ReviewState
from tests.contract.conftest import fresh, soon

STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)$")


def test_version_needs_no_account(site) -> None:
    answer = site.call("GET", "/version", who=None)
    assert answer.status_code == 200
    assert re.match(r"\d+\.\d+\.\d+.*gitea-", answer.json()["version"])


def test_limits_are_told(site) -> None:
    limits = site.call("GET", "/settings/api", who=None).json()
    assert limits["max_response_items"] == 50
    assert limits["default_paging_num"] == 30
    assert {"default_git_trees_per_page", "default_max_blob_size"} <= limits.keys()


NEEDS_TOKEN = [
    ("GET", "/user"),
    ("GET", "/user/repos"),
    ("POST", "/user/repos"),
    ("POST", "/repos/{repo}/issues"),
    ("POST", "/repos/{repo}/issues/1/comments"),
    ("PATCH", "/repos/{repo}/issues/1"),
    ("PUT", "/repos/{repo}/issues/1/labels"),
    ("POST", "/repos/{repo}/pulls"),
    ("POST", "/repos/{repo}/pulls/1/merge"),
    ("POST", "/repos/{repo}/pulls/1/reviews"),
    ("POST", "/repos/{repo}/statuses/main"),
    ("PUT", "/repos/{repo}/collaborators/x"),
    ("POST", "/repos/{repo}/branch_protections"),
    ("POST", "/repos/{repo}/hooks"),
    ("POST", "/repos/{repo}/branches"),
    ("DELETE", "/repos/{repo}/branches/main"),
    ("POST", "/admin/users"),
]


@pytest.fixture(scope="module")
def public(site):
    return site.repo(private=False)


@pytest.fixture(scope="module")
def private(site):
    return site.repo()


@pytest.mark.parametrize(("method", "path"), NEEDS_TOKEN)
def test_without_credentials_a_token_is_required(site, public, method: str, path: str) -> None:
    answer = site.call(method, path.format(repo=public), {}, who=None)
    assert answer.status_code == 401
    assert answer.json()["message"] == "token is required"


@pytest.mark.parametrize("scheme", ["token {}", "Bearer {}", "bearer {}", "Token {}"])
def test_tokens_come_under_two_names(site, scheme: str) -> None:
    login = site.account("founder")
    answer = site.call("GET", "/user", who=None, headers={"Authorization": scheme.format(site.tokens[login])})
    assert answer.status_code == 200
    assert answer.json()["login"] == login


@pytest.mark.parametrize("place", ["password", "user"])
def test_a_token_works_as_basic_password_or_user(site, place: str) -> None:
    login = site.account("founder")
    token = site.tokens[login]
    basic = ("whoever", token) if place == "password" else (token, "x-oauth-basic")
    answer = site.call("GET", "/user", who=None, basic=basic)
    assert answer.status_code == 200
    assert answer.json()["login"] == login


def test_a_password_works_as_basic(site) -> None:
    login = site.account("founder")
    assert site.call("GET", "/user", who=None, basic=(login, site.passwords[login])).status_code == 200


@pytest.mark.parametrize("token", ["0" * 40, "x", "deadbeef" * 5])
def test_a_wrong_token_is_401_everywhere(site, public, token: str) -> None:
    for path in ("/user", f"/repos/{public}"):
        answer = site.call("GET", path, token=token)
        assert answer.status_code == 401
        if site.name == "embedded":
            # Stricter than Forgejo, which echoes the token.
            assert token not in answer.text or token == "x"


def test_a_wrong_password_is_401(site) -> None:
    assert site.call("GET", "/user", who=None, basic=(site.account("founder"), "wrong-password")).status_code == 401


def test_a_token_in_the_query_is_no_way_in(site) -> None:
    token = site.tokens[site.account("founder")]
    answer = site.call("GET", "/user", who=None, token=None, access_token=token)
    # Stricter than Forgejo 15, which still accepts it: what stands in an address ends up in logs.
    assert answer.status_code == (401 if site.name == "embedded" else 200)


UNKNOWN = [
    "/nope",
    "/repos",
    "/repos/{repo}/nope",
    "/repos/{repo}/issues/1/nope",
    "/repos/{repo}/pulls/1/nope/2",
    "/users",
]


@pytest.mark.parametrize("path", UNKNOWN)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_unknown_routes_are_never_200(site, private, path: str, method: str) -> None:
    assert site.call(method, path.format(repo=private), {} if method == "POST" else None).status_code in (404, 405)


ABSENT = [
    "/repos/{owner}/no-such-repo",
    "/repos/no-such-owner/no-such-repo",
    "/repos/{repo}/issues/999",
    "/repos/{repo}/pulls/999",
    "/repos/{repo}/branches/none",
    "/repos/{repo}/labels/999999",
    "/repos/{repo}/contents/none.txt",
    "/repos/{repo}/branch_protections/none",
    "/users/no-such-user",
    "/repos/{repo}/hooks/999999",
    "/repos/{repo}/issues/comments/99999999",
]


@pytest.mark.parametrize("path", ABSENT)
def test_what_is_not_there_is_404(site, private, path: str) -> None:
    answer = site.call("GET", path.format(repo=private, owner=private.owner))
    assert answer.status_code == 404


def test_asking_of_an_unknown_user_whether_it_collaborates_is_422(site, private) -> None:
    answer = site.call("GET", f"/repos/{private}/collaborators/no-such-user")
    assert (answer.status_code, answer.json()["message"][:19]) == (422, "user does not exist")
    assert site.call("GET", f"/repos/{private}/collaborators/{site.account('outsider')}").status_code == 404
    assert site.call("GET", f"/repos/{private}/collaborators/no-such-user/permission").status_code == 404


def test_a_404_has_message_url_and_errors(site, private) -> None:
    body = site.call("GET", f"/repos/{private}/issues/999").json()
    assert isinstance(body["message"], str)
    assert body["url"].endswith("/api/swagger")
    assert body.get("errors") is None or isinstance(body["errors"], list)


@pytest.mark.parametrize(
    "path", ["", "/issues", "/pulls", "/labels", "/branches", "/contents", "/collaborators", "/hooks"]
)
def test_an_invisible_repo_is_404(site, private, path: str) -> None:
    assert site.call("GET", f"/repos/{private}{path}", who="outsider").status_code == 404
    assert site.call("GET", f"/repos/{private}{path}", who=None).status_code in (401, 404)


@pytest.mark.parametrize(
    ("path", "body", "names"),
    [
        ("/repos/{repo}/issues", {}, "Title"),
        ("/repos/{repo}/issues/1/comments", {}, "Body"),
        ("/repos/{repo}/labels", {"color": "#fff"}, "Name"),
        ("/user/repos", {}, "Name"),
        ("/repos/{repo}/pulls/1/merge", {}, "Do"),
    ],
)
def test_a_missing_field_is_422_and_named(site, private, path: str, body: dict, names: str) -> None:
    repo = site.repo()
    site.pull(repo)
    answer = site.call("POST", path.format(repo=repo), body)
    assert answer.status_code == 422
    assert names in answer.json()["message"]


@pytest.mark.parametrize("content", [b"{", b"[1,", b"nonsense", b"\xff\xfe"])
def test_a_broken_body_is_a_client_error(site, private, content: bytes) -> None:
    answer = site.call(
        "POST", f"/repos/{private}/issues", content=content, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code in (400, 422)


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/repos/{repo}/collaborators/{user}"), ("POST", "/repos/{repo}/issues")]
)
def test_a_write_without_content_type_is_422(site, private, method: str, path: str) -> None:
    path = path.format(repo=private, user=site.account("outsider"))
    for content in (b"", b'{"title": "t"}'):
        answer = site.call(method, path, content=content)
        assert (answer.status_code, answer.json()["message"]) == (422, "[]: Empty Content-Type")


def test_with_a_content_type_a_body_may_be_empty(site) -> None:
    repo = site.repo()
    path = f"/repos/{repo}/collaborators/{site.account('outsider')}"
    assert site.call("PUT", path, content=b"", headers={"Content-Type": "application/json"}).status_code == 204
    assert site.client("founder").permission(repo, site.login("outsider")) == "write"


@pytest.mark.parametrize("permission", ["none", "owner", "nonsense"])
def test_an_unknown_permission_counts_as_none_given(site, permission: str) -> None:
    repo = site.repo()
    for who, then in (("outsider", "write"), ("reader", "read")):
        path = f"/repos/{repo}/collaborators/{site.account(who)}"
        assert site.call("PUT", path, {"permission": permission}).status_code == 204
        assert site.client("founder").permission(repo, site.login(who)) == then


def test_unknown_fields_are_ignored(site, private) -> None:
    answer = site.call("POST", f"/repos/{private}/issues", {"title": "t", "unknown": {"x": 1}})
    assert answer.status_code == 201


def test_names_ignore_case_and_answers_keep_it(site) -> None:
    repo = site.repo()
    answer = site.call("GET", f"/repos/{repo.owner.upper()}/{repo.name.upper()}")
    assert answer.status_code == 200
    assert answer.json()["full_name"] == str(repo)


def test_times_are_rfc3339_in_whole_seconds_and_null_when_unset(site, private) -> None:
    issue = site.call("POST", f"/repos/{private}/issues", {"title": "t"}).json()
    for key in ("created_at", "updated_at"):
        assert STAMP.match(issue[key])
        assert datetime.fromisoformat(issue[key])
    assert issue["closed_at"] is None


def test_json_is_not_cached(site, private) -> None:
    answer = site.call("GET", f"/repos/{private}/issues")
    assert "no-transform" in answer.headers["cache-control"]
    assert "etag" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "/repos/{repo}/issues", "write:issue"),
        ("GET", "/repos/{repo}/issues", "read:issue"),
        ("GET", "/user", "read:user"),
        ("GET", "/repos/{repo}/pulls", None),
        ("POST", "/repos/{repo}/statuses/main", "write:repository"),
        ("PUT", "/repos/{repo}/collaborators/x", "write:repository"),
    ],
)
def test_a_token_does_what_its_scopes_say(site, private, method: str, path: str, scope: str | None) -> None:
    reading = site.token("founder", "read:repository")
    answer = site.call(method, path.format(repo=private), {} if method != "GET" else None, token=reading)
    if scope is None:
        assert answer.status_code == 200
    else:
        assert answer.status_code == 403
        assert answer.json()["message"] == f"token does not have at least one of required scope(s): [{scope}]"


def test_write_includes_read(site, private) -> None:
    token = site.token("founder", "write:issue")
    assert site.call("GET", f"/repos/{private}/issues", token=token).status_code == 200


def test_a_renamed_repo_answers_301_with_its_new_path(site) -> None:
    repo = site.repo()
    new = f"{repo.name}-new"
    assert site.call("PATCH", f"/repos/{repo}", {"name": new}).status_code == 200
    for method, path in (("GET", ""), ("GET", "/issues"), ("POST", "/issues")):
        answer = site.call(method, f"/repos/{repo}{path}", {"title": "x"} if method == "POST" else None)
        assert answer.status_code == 301
        assert answer.headers["location"].endswith(f"/api/v1/repos/{repo.owner}/{new}{path}")
    made = site.client("founder").create_issue(repo, title="found it", body="")
    assert made.number == 1
    assert site.client("founder").repo(repo).name.name == new


# pages


@pytest.fixture(scope="module")
def full(site):
    """A repo with 60 issues, 55 labels more, and one issue with many events."""
    repo = site.repo()
    client = site.client("founder")
    for n in range(60):
        client.create_issue(repo, title=f"issue {n}", body="")
    for n in range(55):
        site.call("POST", f"/repos/{repo}/labels", {"name": f"l{n:02}", "color": "#cccccc"})
    for n in range(35):
        client.comment(repo, 1, f"comment {n}")
    for n in range(30):
        site.call("POST", f"/repos/{repo}/issues/1/labels", {"labels": [f"l{n:02}"]})
    return repo


@pytest.mark.parametrize(
    ("query", "rows"),
    [({}, 30), ({"limit": 5}, 5), ({"limit": 50}, 50), ({"limit": 1000}, 50), ({"limit": 0}, 30),
     ({"page": 2, "limit": 50}, 10),
     ({"page": 3, "limit": 50}, 0), ({"page": 99}, 0)],
)  # fmt: skip
def test_pages_are_clamped(site, full, query: dict, rows: int) -> None:
    answer = site.call("GET", f"/repos/{full}/issues", **query)
    assert answer.status_code == 200
    assert len(answer.json()) == rows
    assert answer.headers["x-total-count"] == "60"


@pytest.mark.parametrize(
    ("page", "relations"),
    [(1, {"next", "last"}), (2, {"next", "last", "first", "prev"}), (3, {"first", "prev"})],
)
def test_link_names_the_neighbours(site, full, page: int, relations: set[str]) -> None:
    link = site.call("GET", f"/repos/{full}/issues", page=page, limit=20).headers["link"]
    assert set(re.findall(r'rel="(\w+)"', link)) == relations
    assert f"/api/v1/repos/{full}/issues" in link


def test_a_list_of_one_page_has_no_next(site, full) -> None:
    answer = site.call("GET", f"/repos/{full}/branches")
    assert 'rel="next"' not in answer.headers.get("link", "")


def test_labels_page_by_total(site, full) -> None:
    answer = site.call("GET", f"/repos/{full}/labels", limit=50, page=1)
    assert (len(answer.json()), answer.headers["x-total-count"]) == (50, "58")
    assert len(site.client("founder").labels(full)) == 58


@pytest.fixture(scope="module")
def pairs(site):
    """At least two of everything that is listed: (repo, organisation, team, number of a pull request)."""
    repo, org = site.repo(), fresh("org")
    number, sha = site.pull(repo)
    assert site.call("POST", "/orgs", {"username": org}).status_code == 201
    hook = {"type": "forgejo", "config": {"url": "http://127.0.0.1:9/", "content_type": "json"}, "events": ["push"]}
    for n in range(2):
        site.call("POST", f"/orgs/{org}/labels", {"name": f"l{n}", "color": "#cccccc"})
        site.call("POST", f"/repos/{repo}/milestones", {"title": f"m{n}"})
        site.call("POST", f"/repos/{repo}/hooks", hook)
        site.call("POST", f"/repos/{repo}/branches", {"new_branch_name": f"b{n}", "old_ref_name": "main"})
        site.call("POST", f"/repos/{repo}/statuses/{sha}", {"state": "success", "context": f"c{n}"})
        site.call("POST", f"/repos/{repo}/issues/{number}/comments", {"body": f"c{n}"})
        site.call("POST", f"/repos/{repo}/issues/{number}/reactions", {"content": ("+1", "heart")[n]})
        site.client("rev").review(repo, number, state=ReviewState.COMMENT, body="c", commit=sha)
    units = {"name": "two", "permission": "write", "units_map": {"repo.code": "write"}}
    team = site.call("POST", f"/orgs/{org}/teams", units).json()["id"]
    for who in ("dev", "rev"):
        assert site.call("PUT", f"/teams/{team}/members/{site.account(who)}", {}).status_code == 204
    return repo, org, team, number, sha


WHOLE = [
    "/repos/{repo}/labels",
    "/orgs/{org}/labels",
    "/repos/{repo}/milestones",
    "/repos/{repo}/hooks",
    "/teams/{team}/members",
    "/repos/{repo}/statuses/{sha}",
    "/repos/{repo}/issues/comments",
    "/repos/{repo}/issues/{number}/timeline",
    "/repos/{repo}/pulls/{number}/reviews",
    "/repos/{repo}/issues/{number}/reactions",
]


@pytest.mark.parametrize("path", WHOLE)
def test_these_lists_come_whole_until_a_page_is_asked_for(site, pairs, path: str) -> None:
    path = path.format(**dict(zip(("repo", "org", "team", "number", "sha"), pairs, strict=True)))
    assert len(site.call("GET", path, limit=1).json()) >= 2
    assert len(site.call("GET", path, limit=1, page=1).json()) == 1
    assert not site.call("GET", path, limit=1, page=99).json()


@pytest.mark.parametrize(
    "path",
    [
        "/repos/{repo}/branches",
        "/repos/{repo}/issues",
        "/repos/{repo}/collaborators",
        "/orgs/{org}/teams",
        "/user/repos",
        "/repos/{repo}/commits/{sha}/status",
    ],
)
def test_these_lists_are_cut_by_limit_alone(site, pairs, path: str) -> None:
    path = path.format(**dict(zip(("repo", "org", "team", "number", "sha"), pairs, strict=True)))
    for page in ({}, {"page": 1}):
        answer = site.call("GET", path, limit=1, **page)
        rows = answer.json() if isinstance(answer.json(), list) else answer.json()["statuses"]
        assert (len(rows), int(answer.headers["x-total-count"]) >= 1) == (1, True)


def test_past_its_last_page_the_combined_status_is_as_if_there_were_none(site, pairs) -> None:
    repo, _, _, _, sha = pairs
    answer = site.call("GET", f"/repos/{repo}/commits/{sha}/status", limit=1, page=9)
    assert (answer.json()["statuses"], answer.json()["sha"]) == (None, "")


def test_comments_ignore_pages(site, full) -> None:
    assert len(site.call("GET", f"/repos/{full}/issues/1/comments", page=2, limit=5).json()) == 35


def test_the_timeline_is_whole_without_page_and_cut_with_it(site, full) -> None:
    whole = site.call("GET", f"/repos/{full}/issues/1/timeline")
    assert len(whole.json()) == 65
    part = site.call("GET", f"/repos/{full}/issues/1/timeline", page=1, limit=10)
    assert len(part.json()) == 10
    assert part.headers["x-total-count"] == "10"
    assert len(site.client("founder").timeline(full, 1)) == 65


def test_pages_of_a_timeline_are_null_where_only_line_comments_would_be(site) -> None:
    """Rows are cut into pages first and left out afterwards: an empty page is not the last."""
    repo = site.repo()
    number, sha = site.pull(repo, files={"f.txt": "1\n"})
    lines = [{"path": "f.txt", "body": f"c{n}", "new_position": 1} for n in range(3)]
    body = {"event": "COMMENT", "body": "b", "commit_id": sha, "comments": lines}
    assert site.call("POST", f"/repos/{repo}/pulls/{number}/reviews", body, who="rev").status_code == 200
    path = f"/repos/{repo}/issues/{number}/timeline"
    whole = soon(site, lambda: site.call("GET", path).json(), lambda rows: len(rows or []) >= 2)
    answers = [site.call("GET", path, page=page, limit=1) for page in range(1, 9)]
    rows = [answer.json() for answer in answers]
    assert [row for page in rows for row in page or []] == whole
    assert rows.index(None) < max(at for at, page in enumerate(rows) if page)
    assert all(int(answer.headers["x-total-count"]) == len(answer.json() or []) for answer in answers)
    assert len(site.client("dev").timeline(repo, number)) == len(whole)


def test_all_issues_are_listed_once(site, full) -> None:
    numbers = [issue.number for issue in site.client("founder").issues(full)]
    assert numbers == list(range(1, 61))


@pytest.mark.parametrize(
    "path",
    [
        "/repos/{repo}/issues",
        "/repos/issues/search",
        "/repos/{repo}/issues/1/timeline",
        "/repos/{repo}/issues/1/comments",
    ],
)
@pytest.mark.parametrize("key", ["since", "before"])
def test_a_bad_time_is_422(site, full, path: str, key: str) -> None:
    assert site.call("GET", path.format(repo=full), **{key: "yesterday"}).status_code == 422


def test_since_and_before_are_inclusive(site) -> None:
    repo = site.repo()
    issue = site.call("POST", f"/repos/{repo}/issues", {"title": "t"}).json()
    for key in ("since", "before"):
        assert len(site.call("GET", f"/repos/{repo}/issues", **{key: issue["updated_at"]}).json()) == 1
    assert site.call("GET", f"/repos/{repo}/issues", since="2099-01-01T00:00:00Z").json() == []
    assert site.call("GET", f"/repos/{repo}/issues", before="2001-01-01T00:00:00Z").json() == []


@pytest.fixture(scope="module")
def mixed(site):
    """Issue 1 open, issue 2 closed, pull request 3 open."""
    repo = site.repo()
    client = site.client("founder")
    for n in (1, 2):
        client.create_issue(repo, title=f"issue {n}", body="", labels=["backlog"] if n == 1 else [])
    client.edit_issue(repo, 2, state="closed")
    site.pull(repo)
    return repo


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ({}, {1, 3}),
        ({"type": "issues"}, {1}),
        ({"type": "pulls"}, {3}),
        ({"state": "closed"}, {2}),
        ({"state": "all"}, {1, 2, 3}),
        ({"labels": "backlog"}, {1}),
        ({"labels": "backlog,priority"}, set()),
        ({"labels": "typo"}, {1, 3}),  # the filter vanishes when no name is known
        ({"created_by": "{dev}"}, {3}),
    ],
)
def test_the_issue_list_filters(site, mixed, query: dict, numbers: set[int]) -> None:
    query = {key: value.format(dev=site.login("dev")) for key, value in query.items()}
    assert {row["number"] for row in site.call("GET", f"/repos/{mixed}/issues", **query).json()} == numbers


@pytest.mark.parametrize(("query", "numbers"), [({}, {3}), ({"state": "open"}, {3}), ({"state": "closed"}, set())])
def test_the_pull_list_filters(site, mixed, query: dict, numbers: set[int]) -> None:
    assert {row["number"] for row in site.call("GET", f"/repos/{mixed}/pulls", **query).json()} == numbers


@pytest.mark.parametrize(
    ("query", "numbers"),
    [({"state": "all"}, {1, 2, 3}), ({}, {1, 3}), ({"state": "all", "type": "pulls"}, {3}),
     ({"state": "all", "type": "issues"}, {1, 2}),
     ({"state": "all", "type": "both"}, {1, 2, 3})],
)  # fmt: skip
def test_the_search_across_repos(site, mixed, query: dict, numbers: set[int]) -> None:
    rows = site.call("GET", "/repos/issues/search", owner=mixed.owner, limit=50, **query).json()
    assert {row["number"] for row in rows if row["repository"]["full_name"] == str(mixed)} == numbers


@pytest.mark.parametrize(("sort", "reverse"), [("recentupdate", True), ("leastupdate", False)])
def test_the_search_sorts(site, full, sort: str, reverse: bool) -> None:
    rows = site.call("GET", "/repos/issues/search", owner=full.owner, state="all", sort=sort, limit=50).json()
    stamps = [datetime.fromisoformat(row["updated_at"]) for row in rows]
    assert stamps == sorted(stamps, reverse=reverse)


def test_the_search_shows_what_the_snapshot_needs(site, mixed) -> None:
    answer = site.call("GET", "/repos/issues/search", owner=mixed.owner, state="all", limit=50)
    rows = {row["number"]: row for row in answer.json() if row["repository"]["full_name"] == str(mixed)}
    assert {"number", "title", "body", "user", "labels", "state", "updated_at", "comments", "pull_request"} <= rows[
        1
    ].keys()
    assert rows[1]["pull_request"] is None
    assert rows[3]["pull_request"]["merged"] is False
    assert {"id", "name", "owner", "full_name"} <= rows[3]["repository"].keys()
    assert "link" in answer.headers or int(answer.headers["x-total-count"]) <= 50


def test_the_search_of_an_unknown_owner_is_no_success(site) -> None:
    answer = site.call("GET", "/repos/issues/search", owner="no-such-owner")
    assert answer.status_code in (400, 404, 422)


def test_what_does_not_move_updated_at(site) -> None:
    """Statuses, comment edits and deletions: polling cannot see them, so others have to."""
    repo = site.repo()
    number, sha = site.pull(repo)
    client = site.client("founder")
    comment = client.comment(repo, number, "x")
    before = client.pull(repo, number).updated_at
    import time

    time.sleep(1.1 - (time.time() % 1) if time.time() % 1 < 0.1 else 1.0)
    client.post_status(repo, sha, context="ci", state=CheckState.SUCCESS, description="")
    client.edit_comment(repo, comment.id, "y")
    assert client.pull(repo, number).updated_at == before
    client.review(repo, number, state=ReviewState.COMMENT, body="this moves it", commit=sha)
    assert client.pull(repo, number).updated_at > before


def test_json_really_is_json(site, private) -> None:
    answer = site.call("GET", f"/repos/{private}")
    assert answer.headers["content-type"].startswith("application/json")
    assert json.loads(answer.text)["name"] == private.name

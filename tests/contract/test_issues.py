"""Issues, labels, comments, dependencies over the API. Rules: section 3.5 of the Forgejo reference."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def shared(site):
    return site.repo()


def new(site, repo, who: str = "founder", **body):
    return site.call("POST", f"/repos/{repo}/issues", {"title": "t", **body}, who=who)


def ids(site, repo) -> dict[str, int]:
    return {label.name: label.id for label in site.client("founder").labels(repo)}


# creating and editing


def test_labels_at_creation_are_ids_only(site, shared) -> None:
    known = ids(site, shared)
    assert {row["name"] for row in new(site, shared, labels=[known["backlog"]]).json()["labels"]} == {"backlog"}
    assert new(site, shared, labels=["backlog"]).status_code == 422


def test_foreign_and_unknown_label_ids_are_silently_dropped(site, shared) -> None:
    other = site.repo()
    made = new(site, shared, labels=[ids(site, other)["backlog"], 99999999])
    assert (made.status_code, made.json()["labels"]) == (201, [])


def test_a_readers_labels_are_silently_dropped(site, shared) -> None:
    made = new(site, shared, "reader", labels=[ids(site, shared)["backlog"]])
    assert (made.status_code, made.json()["labels"]) == (201, [])


def test_created_closed(site, shared) -> None:
    assert new(site, shared, closed=True).json()["state"] == "closed"


@pytest.mark.parametrize(
    ("body", "expect"),
    [
        ({"title": "new"}, {"title": "new", "state": "open"}),
        ({"title": ""}, {"title": "t"}),
        ({"body": "text"}, {"body": "text", "title": "t"}),
        ({"body": ""}, {"body": ""}),
        ({"state": "closed"}, {"state": "closed"}),
        ({"state": "Closed"}, {"state": "open"}),
        ({"state": "rejected"}, {"state": "open"}),
        ({"labels": ["backlog"]}, {"labels": []}),
        ({"unknown": 1}, {"title": "t"}),
        ({"body": "a\r\nb"}, {"body": "a\r\nb"}),
    ],
)
def test_patching(site, shared, body: dict, expect: dict) -> None:
    number = new(site, shared).json()["number"]
    answer = site.call("PATCH", f"/repos/{shared}/issues/{number}", body)
    assert answer.status_code == 201
    assert {key: answer.json()[key] for key in expect} == expect


@pytest.mark.parametrize(
    ("author", "who", "status"),
    [("reader", "reader", 201), ("reader", "dev", 201), ("dev", "reader", 403), ("dev", "founder", 201)],
)
def test_who_may_edit(site, shared, author: str, who: str, status: int) -> None:
    number = new(site, shared, author).json()["number"]
    assert site.call("PATCH", f"/repos/{shared}/issues/{number}", {"title": "x"}, who=who).status_code == status


@pytest.mark.parametrize(
    ("given", "after"),
    [(["dev"], ["dev"]), ([], []), (["dev", "rev"], ["dev", "rev"]), (None, ["rev"])],
)
def test_assignees_are_replaced_as_a_set(site, shared, given: list[str] | None, after: list[str]) -> None:
    number = new(site, shared, assignees=[site.login("rev")]).json()["number"]
    body = {"assignees": None if given is None else [site.login(who) for who in given]}
    answer = site.call("PATCH", f"/repos/{shared}/issues/{number}", body)
    assert sorted(user["login"] for user in answer.json()["assignees"] or []) == [site.login(who) for who in after]


def test_an_unknown_assignee_is_422_at_creation(site, shared) -> None:
    assert new(site, shared, assignees=["no-such-user"]).status_code == 422


def test_only_admins_delete_issues(site, shared) -> None:
    number = new(site, shared).json()["number"]
    path = f"/repos/{shared}/issues/{number}"
    assert site.call("DELETE", path, who="reader").status_code == 403
    assert site.call("DELETE", path).status_code == 204
    assert site.call("GET", path).status_code == 404


def test_numbers_are_not_used_again(site) -> None:
    repo = site.repo()
    assert new(site, repo).json()["number"] == 1
    site.call("DELETE", f"/repos/{repo}/issues/1")
    assert new(site, repo).json()["number"] == 2


def test_both_kinds_are_read_as_issues(site) -> None:
    repo = site.repo()
    number, _ = site.pull(repo)
    as_issue = site.call("GET", f"/repos/{repo}/issues/{number}").json()
    assert as_issue["pull_request"]["merged"] is False
    assert site.call("GET", f"/repos/{repo}/pulls/{new(site, repo).json()['number']}").status_code == 404


# labels

LABELLING = [
    # method, body, status, labels after (starting with priority)
    ("POST", {"labels": ["backlog"]}, 200, {"backlog", "priority"}),
    ("POST", {"labels": ["backlog", "typo"]}, 200, {"backlog", "priority"}),
    ("POST", {"labels": ["typo"]}, 200, {"priority"}),
    ("POST", {"labels": []}, 200, {"priority"}),
    ("PUT", {"labels": ["backlog"]}, 200, {"backlog"}),
    ("PUT", {"labels": []}, 200, set()),
    ("DELETE", None, 204, set()),
]


@pytest.mark.parametrize(("method", "body", "status", "after"), LABELLING)
def test_labelling(site, shared, method: str, body: dict | None, status: int, after: set[str]) -> None:
    number = new(site, shared, labels=[ids(site, shared)["priority"]]).json()["number"]
    path = f"/repos/{shared}/issues/{number}/labels"
    answer = site.call(method, path, body)
    assert answer.status_code == status
    if status == 200:
        assert {row["name"] for row in answer.json()} == after
    assert {row["name"] for row in site.call("GET", path).json()} == after


def test_labels_by_id_and_not_mixed(site, shared) -> None:
    number = new(site, shared).json()["number"]
    known = ids(site, shared)
    path = f"/repos/{shared}/issues/{number}/labels"
    assert site.call("POST", path, {"labels": [known["backlog"]]}).status_code == 200
    assert site.call("POST", path, {"labels": [known["backlog"], "priority"]}).status_code == 400


@pytest.mark.parametrize(("by", "status"), [("name", 204), ("id", 204), ("absent", 204), ("unknown", 422)])
def test_taking_a_label_off(site, shared, by: str, status: int) -> None:
    known = ids(site, shared)
    number = new(site, shared, labels=[known["backlog"]]).json()["number"]
    which = {"name": "backlog", "id": known["backlog"], "absent": "priority", "unknown": "typo"}[by]
    assert site.call("DELETE", f"/repos/{shared}/issues/{number}/labels/{which}").status_code == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_labelling_is_for_writers(site, shared, method: str) -> None:
    number = new(site, shared, "reader").json()["number"]
    body = None if method == "DELETE" else {"labels": ["backlog"]}
    assert site.call(method, f"/repos/{shared}/issues/{number}/labels", body, who="reader").status_code == 403


def test_label_names_are_not_unique_on_the_forge(site) -> None:
    repo = site.repo(labels=())
    for _ in range(2):
        assert site.call("POST", f"/repos/{repo}/labels", {"name": "twin", "color": "#fff"}).status_code == 201
    assert [row["name"] for row in site.call("GET", f"/repos/{repo}/labels").json()] == ["twin", "twin"]


@pytest.mark.parametrize(
    ("colour", "status", "back"),
    [("#00aabb", 201, "00aabb"), ("00aabb", 201, "00aabb"), ("#0ab", 201, "00aabb"), ("blue", 422, None)],
)
def test_colours(site, colour: str, status: int, back: str | None) -> None:
    repo = site.repo(labels=())
    answer = site.call("POST", f"/repos/{repo}/labels", {"name": "l", "color": colour})
    assert answer.status_code == status
    if back:
        assert answer.json()["color"] == back


def test_editing_and_deleting_a_label(site) -> None:
    repo = site.repo()
    one = ids(site, repo)["backlog"]
    assert site.call("PATCH", f"/repos/{repo}/labels/{one}", {"name": "todo"}).status_code == 200
    assert site.call("GET", f"/repos/{repo}/labels/{one}").json()["name"] == "todo"
    assert site.call("DELETE", f"/repos/{repo}/labels/{one}").status_code == 204
    assert site.call("GET", f"/repos/{repo}/labels/{one}").status_code == 404


def test_deleting_a_label_takes_its_events_along(site) -> None:
    repo = site.repo()
    client = site.client("founder")
    number = client.create_issue(repo, title="t", body="", labels=["backlog"]).number
    site.call("DELETE", f"/repos/{repo}/labels/{ids(site, repo)['backlog']}")
    assert [e for e in client.timeline(repo, number) if e.kind == "label"] == []
    assert client.issue(repo, number).labels == frozenset()


@pytest.mark.parametrize("exclusive", [True, False])
def test_scopes_are_exclusive_only_where_the_label_says(site, exclusive: bool) -> None:
    repo = site.repo()
    for name in ("kind/bug", "kind/task"):
        site.call("POST", f"/repos/{repo}/labels", {"name": name, "color": "#fff", "exclusive": exclusive})
    number = new(site, repo).json()["number"]
    path = f"/repos/{repo}/issues/{number}/labels"
    site.call("POST", path, {"labels": ["kind/bug"]})
    after = {row["name"] for row in site.call("POST", path, {"labels": ["kind/task"]}).json()}
    assert after == ({"kind/task"} if exclusive else {"kind/bug", "kind/task"})


# comments


def test_comments(site, shared) -> None:
    number = new(site, shared).json()["number"]
    path = f"/repos/{shared}/issues/{number}/comments"
    made = site.call("POST", path, {"body": "hello"}, who="reader")
    assert made.status_code == 201
    one = f"/repos/{shared}/issues/comments/{made.json()['id']}"
    assert site.call("PATCH", one, {"body": "edited"}, who="reader").status_code == 200
    assert site.call("PATCH", one, {"body": "taken over"}, who="dev").status_code == 200
    assert site.call("GET", one).json()["body"] == "taken over"
    assert site.call("DELETE", one, who="reader").status_code == 204
    assert site.call("GET", path).json() == []


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_others_comments_are_for_writers(site, shared, method: str) -> None:
    number = new(site, shared).json()["number"]
    made = site.call("POST", f"/repos/{shared}/issues/{number}/comments", {"body": "dev's"}, who="dev").json()
    body = {"body": "x"} if method == "PATCH" else None
    assert site.call(method, f"/repos/{shared}/issues/comments/{made['id']}", body, who="reader").status_code == 403


def test_a_comment_belongs_to_its_repo(site, shared) -> None:
    other = site.repo()
    number = new(site, shared).json()["number"]
    made = site.call("POST", f"/repos/{shared}/issues/{number}/comments", {"body": "x"}).json()
    assert site.call("GET", f"/repos/{other}/issues/comments/{made['id']}").status_code == 404


def test_all_comments_of_a_repo_since(site) -> None:
    repo = site.repo()
    number = new(site, repo).json()["number"]
    made = site.call("POST", f"/repos/{repo}/issues/{number}/comments", {"body": "x"}).json()
    assert len(site.call("GET", f"/repos/{repo}/issues/comments", since=made["updated_at"]).json()) == 1
    assert site.call("GET", f"/repos/{repo}/issues/comments", since="2099-01-01T00:00:00Z").json() == []


# timeline


def test_the_timeline_of_labels(site, shared) -> None:
    number = new(site, shared).json()["number"]
    path = f"/repos/{shared}/issues/{number}"
    site.call("POST", f"{path}/labels", {"labels": ["backlog"]}, who="dev")
    site.call("DELETE", f"{path}/labels/backlog", who="rev")
    rows = [row for row in site.call("GET", f"{path}/timeline").json() if row["type"] == "label"]
    assert [(row["label"]["name"], row["body"], row["user"]["login"]) for row in rows] == [
        ("backlog", "1", site.login("dev")), ("backlog", "", site.login("rev")),
    ]  # fmt: skip


def test_an_empty_timeline_is_null_or_empty(site, shared) -> None:
    number = new(site, shared).json()["number"]
    assert not site.call("GET", f"/repos/{shared}/issues/{number}/timeline").json()
    assert site.client("founder").timeline(shared, number) == []


# dependencies


def depend(site, one, on, method: str = "POST", path: str = "dependencies", who: str = "founder", **more):
    body = {"owner": on[0].owner, "repo": on[0].name, "index": on[1], **more}
    return site.call(method, f"/repos/{one[0]}/issues/{one[1]}/{path}", body, who=who)


@pytest.fixture
def three(site):
    repo = site.repo()
    return [(repo, new(site, repo).json()["number"]) for _ in range(3)]


def test_dependencies_and_blocks_mirror_each_other(site, three) -> None:
    one, two, _ = three
    made = depend(site, one, two)
    assert (made.status_code, made.json()["number"]) == (201, one[1]) or made.status_code == 201
    repo = one[0]
    assert [row["number"] for row in site.call("GET", f"/repos/{repo}/issues/{one[1]}/dependencies").json()] == [two[1]]
    assert [row["number"] for row in site.call("GET", f"/repos/{repo}/issues/{two[1]}/blocks").json()] == [one[1]]


def test_a_dependency_is_removed_with_201(site, three) -> None:
    one, two, _ = three
    depend(site, one, two)
    assert depend(site, one, two, "DELETE").status_code == 201
    assert site.client("founder").dependencies(*one) == []


@pytest.mark.parametrize("case", ["duplicate", "cycle", "absent"])
def test_impossible_dependencies_are_no_success(site, three, case: str) -> None:
    one, two, _ = three
    depend(site, one, two)
    if case == "duplicate":
        answer = depend(site, one, two)
    elif case == "cycle":
        answer = depend(site, two, one)
    else:
        answer = depend(site, two, one, "DELETE")
    # Forgejo answers 500 to all three; a clearer 4xx is welcome.
    assert answer.status_code in (400, 404, 409, 422, 500)


def test_longer_cycles_are_accepted(site, three) -> None:
    one, two, three_ = three
    assert [depend(site, a, b).status_code for a, b in ((one, two), (two, three_), (three_, one))] == [201, 201, 201]


@pytest.mark.parametrize("who", ["reader", "outsider"])
def test_dependencies_are_for_writers(site, three, who: str) -> None:
    one, two, _ = three
    assert depend(site, one, two, who=who).status_code in (403, 404)


def test_a_missing_issue_is_404(site, three) -> None:
    one, _, _ = three
    assert depend(site, one, (one[0], 999)).status_code == 404


def test_reactions(site, shared) -> None:
    number = new(site, shared).json()["number"]
    path = f"/repos/{shared}/issues/{number}/reactions"
    assert site.call("POST", path, {"content": "+1"}).status_code == 201
    assert site.call("POST", path, {"content": "+1"}).status_code == 200
    assert [row["content"] for row in site.call("GET", path).json()] == ["+1"]
    assert site.call("DELETE", path, {"content": "+1"}).status_code == 200
    assert not site.call("GET", path).json()
    assert site.call("POST", path, {"content": "nonsense"}).status_code == 403

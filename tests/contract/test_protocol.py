"""What every implementation of the Forge protocol promises: the client on a real forge, and the fake."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from factory.errors import ForgeRefused, NotFound
from factory.forge.globs import glob_rule
from factory.forge.values import (
    BranchProtection,
    CheckState,
    Issue,
    ItemState,
    Label,
    Pull,
    RepoName,
    ReviewState,
)
from tests.contract.conftest import soon


def issue(lab, repo: RepoName, who: str = "founder", **fields) -> int:
    return lab.as_user(who).create_issue(repo, title=fields.pop("title", "t"), body="b", **fields).number


def pull(lab, repo: RepoName, branch: str = "fix/1", files=None, who: str = "dev") -> tuple[int, str]:
    sha = lab.commit(repo, branch, files or {"fix.txt": "fixed\n"}, who)
    made = lab.as_user(who).create_pull(repo, head=branch, base="main", title="Fix", body="")
    assert made.head_sha == sha
    return made.number, sha


def merge(lab, repo: RepoName, number: int, head: str, who: str = "dev") -> str:
    return lab.as_user(who).merge(repo, number, head=head, title="Merge it", message="Because")


# server, account, repo


def test_version_and_account(lab) -> None:
    forge = lab.as_user("dev")
    assert forge.version().major >= 11
    assert forge.me().login == lab.login("dev")
    assert forge.me().id > 0


@pytest.mark.parametrize(
    ("who", "permissions"),
    [("founder", {"pull", "push", "admin"}), ("dev", {"pull", "push"}), ("reader", {"pull"})],
)
def test_a_repo_says_what_this_account_may_do(lab, who: str, permissions: set[str]) -> None:
    repo = lab.make_repo()
    seen = lab.as_user(who).repo(repo)
    assert (seen.name, seen.default_branch, seen.private, seen.empty, seen.permissions) == (
        repo, "main", True, False, permissions,
    )  # fmt: skip


@pytest.mark.parametrize(
    "call",
    [
        lambda forge, repo: forge.repo(repo),
        lambda forge, repo: forge.issue(repo, 1),
        lambda forge, repo: forge.issues(repo),
        lambda forge, repo: forge.pulls(repo),
        lambda forge, repo: forge.ls_refs(repo, []),
        lambda forge, repo: forge.create_issue(repo, title="t", body=""),
        lambda forge, repo: forge.comment(repo, 1, "x"),
        lambda forge, repo: forge.labels(repo),
    ],
)
def test_a_private_repo_is_not_there_for_an_outsider(lab, call) -> None:
    repo = lab.make_repo()
    with pytest.raises(NotFound):
        call(lab.as_user("outsider"), repo)


def test_an_outsiders_search_shows_nothing_private(lab) -> None:
    repo = lab.make_repo()
    issue(lab, repo)
    items, _ = lab.as_user("outsider").changed_since(repo.owner, None)
    assert repo not in {name for name, _ in items}


# issues


def test_an_issue_reads_back(lab) -> None:
    repo = lab.make_repo()
    forge = lab.as_user("founder")
    made = forge.create_issue(repo, title="A title", body="Two\nlines", labels=["backlog", "priority"])
    again = forge.issue(repo, made.number)
    assert (again.title, again.body, again.state, again.labels) == (
        "A title", "Two\nlines", ItemState.OPEN, {"backlog", "priority"},
    )  # fmt: skip
    assert again.author.login == lab.login("founder")
    assert again.closed_at is None
    assert again.created_at.tzinfo is not None
    assert again == made


def test_issues_and_pulls_share_one_counter(lab) -> None:
    repo = lab.make_repo()
    first = issue(lab, repo)
    second, _ = pull(lab, repo)
    third = issue(lab, repo)
    assert (first, second, third) == (1, 2, 3)
    forge = lab.as_user("founder")
    assert [item.number for item in forge.issues(repo)] == [1, 3]
    assert [item.number for item in forge.pulls(repo)] == [2]
    with pytest.raises(NotFound):
        forge.issue(repo, 2)
    with pytest.raises(NotFound):
        forge.pull(repo, 1)
    with pytest.raises(NotFound):
        forge.issue(repo, 99)


@pytest.mark.parametrize(("state", "numbers"), [("open", [1]), ("closed", [2]), ("all", [1, 2])])
def test_issues_by_state(lab, state: str, numbers: list[int]) -> None:
    repo = lab.make_repo()
    issue(lab, repo)
    issue(lab, repo)
    forge = lab.as_user("founder")
    closed = forge.edit_issue(repo, 2, state="closed")
    assert closed.state is ItemState.CLOSED
    assert closed.closed_at is not None
    assert [item.number for item in forge.issues(repo, state=state)] == numbers


@pytest.mark.parametrize(
    ("labels", "numbers"),
    [
        (["backlog"], [1, 2]),
        (["backlog", "priority"], [2]),
        (["no-such-label"], []),
        (["backlog", "no-such-label"], []),
    ],
)
def test_issues_by_labels_all_of_them(lab, labels: list[str], numbers: list[int]) -> None:
    repo = lab.make_repo()
    for given in (["backlog"], ["backlog", "priority"], []):
        issue(lab, repo, labels=given)
    assert [item.number for item in lab.as_user("founder").issues(repo, labels=labels)] == numbers


def test_editing_changes_only_what_is_named(lab) -> None:
    repo = lab.make_repo()
    number = issue(lab, repo)
    forge = lab.as_user("founder")
    assert forge.edit_issue(repo, number, title="new").body == "b"
    assert forge.edit_issue(repo, number, body="").title == "new"
    reopened = forge.edit_issue(repo, number, state="open")
    assert (reopened.title, reopened.body, reopened.state) == ("new", "", ItemState.OPEN)


@pytest.mark.parametrize(("who", "allowed"), [("reader", True), ("dev", True), ("founder", True)])
def test_the_poster_may_edit_the_own_issue(lab, who: str, allowed: bool) -> None:
    repo = lab.make_repo()
    number = issue(lab, repo, who)
    assert lab.as_user(who).edit_issue(repo, number, title="mine").title == "mine"
    assert allowed


def test_a_reader_may_not_edit_others_issues(lab) -> None:
    repo = lab.make_repo()
    number = issue(lab, repo)
    with pytest.raises(ForgeRefused) as caught:
        lab.as_user("reader").edit_issue(repo, number, state="closed")
    assert caught.value.status == 403


# labels


def test_labels_come_and_go_with_events_that_say_who(lab) -> None:
    repo = lab.make_repo()
    number = issue(lab, repo)
    assert lab.as_user("dev").add_labels(repo, number, ["backlog"]) == {"backlog"}
    assert lab.as_user("founder").add_labels(repo, number, ["priority"]) == {"backlog", "priority"}
    lab.as_user("founder").remove_label(repo, number, "backlog")
    events = [e for e in lab.as_user("reader").timeline(repo, number) if e.kind == "label"]
    assert [(e.label, e.added, e.author.login) for e in events] == [
        ("backlog", True, lab.login("dev")),
        ("priority", True, lab.login("founder")),
        ("backlog", False, lab.login("founder")),
    ]
    assert lab.as_user("reader").issue(repo, number).labels == {"priority"}


def test_labels_given_at_creation_leave_events_of_the_poster(lab) -> None:
    repo = lab.make_repo()
    number = issue(lab, repo, "dev", labels=["backlog"])
    events = [e for e in lab.as_user("founder").timeline(repo, number) if e.kind == "label"]
    assert [(e.label, e.added, e.author.login) for e in events] == [("backlog", True, lab.login("dev"))]


def test_adding_a_label_twice_leaves_one_event(lab) -> None:
    repo = lab.make_repo()
    number = issue(lab, repo, labels=["backlog"])
    lab.as_user("founder").add_labels(repo, number, ["backlog"])
    assert len([e for e in lab.as_user("founder").timeline(repo, number) if e.kind == "label"]) == 1


@pytest.mark.parametrize("label", ["backlog", "no-such-label"])
def test_taking_off_a_label_that_is_not_on_is_done(lab, label: str) -> None:
    repo = lab.make_repo()
    number = issue(lab, repo)
    lab.as_user("founder").remove_label(repo, number, label)
    assert lab.as_user("founder").issue(repo, number).labels == frozenset()


def test_an_unknown_label_is_refused_not_ignored(lab) -> None:
    repo = lab.make_repo()
    number = issue(lab, repo)
    forge = lab.as_user("founder")
    with pytest.raises(ForgeRefused, match="no-such-label"):
        forge.add_labels(repo, number, ["backlog", "no-such-label"])
    with pytest.raises(ForgeRefused, match="no-such-label"):
        forge.create_issue(repo, title="t", body="", labels=["no-such-label"])


def test_a_reader_may_not_label(lab) -> None:
    repo = lab.make_repo()
    number = issue(lab, repo, "reader")
    reader = lab.as_user("reader")
    with pytest.raises(ForgeRefused) as caught:
        reader.add_labels(repo, number, ["backlog"])
    assert caught.value.status == 403
    with pytest.raises(ForgeRefused):
        reader.remove_label(repo, number, "backlog")
    with pytest.raises(ForgeRefused):
        reader.create_label(repo, Label(0, "mine", "cccccc"))
    with pytest.raises(ForgeRefused):
        reader.create_issue(repo, title="t", body="", labels=["backlog"])
    assert lab.as_user("founder").issue(repo, number).labels == frozenset()


def test_creating_a_label_twice_makes_one(lab) -> None:
    repo = lab.make_repo()
    forge = lab.as_user("founder")
    first = forge.create_label(repo, Label(0, "new", "0e8a16", "words"))
    assert forge.create_label(repo, Label(0, "new", "ffffff")).id == first.id
    assert [label.name for label in forge.labels(repo)].count("new") == 1
    assert (first.name, first.color.lstrip("#"), first.description) == ("new", "0e8a16", "words")


def test_an_exclusive_label_replaces_the_others_of_its_scope(lab) -> None:
    repo = lab.make_repo()
    forge = lab.as_user("founder")
    for name in ("state/todo", "state/doing"):
        forge.create_label(repo, Label(0, name, "cccccc", "", True))
    number = issue(lab, repo)
    forge.add_labels(repo, number, ["state/todo", "backlog"])
    assert forge.add_labels(repo, number, ["state/doing"]) == {"state/doing", "backlog"}
    events = [(e.label, e.added) for e in forge.timeline(repo, number) if e.kind == "label" and e.label != "backlog"]
    assert sorted(events) == [("state/doing", True), ("state/todo", False), ("state/todo", True)]


# comments and timeline


def test_comments_in_order_and_edited_in_place(lab) -> None:
    repo = lab.make_repo()
    number = issue(lab, repo)
    first = lab.as_user("reader").comment(repo, number, "one")
    lab.as_user("dev").comment(repo, number, "two")
    edited = lab.as_user("reader").edit_comment(repo, first.id, "one, corrected")
    assert edited.id == first.id
    found = lab.as_user("founder").comments(repo, number)
    assert [(c.author.login, c.body) for c in found] == [
        (lab.login("reader"), "one, corrected"), (lab.login("dev"), "two"),
    ]  # fmt: skip
    assert lab.as_user("founder").issue(repo, number).comments == 2
    assert [e.detail for e in lab.as_user("founder").timeline(repo, number) if e.kind == "comment"] == [
        "one, corrected", "two",
    ] or lab.name == "fake"  # fmt: skip


def test_others_comments_are_not_edited_by_a_reader(lab) -> None:
    repo = lab.make_repo()
    number = issue(lab, repo)
    comment = lab.as_user("dev").comment(repo, number, "dev's")
    with pytest.raises(ForgeRefused):
        lab.as_user("reader").edit_comment(repo, comment.id, "forged")


@pytest.mark.parametrize("kind", ["close", "reopen", "change_title"])
def test_the_timeline_names_who_did_what(lab, kind: str) -> None:
    repo = lab.make_repo()
    number = issue(lab, repo)
    dev = lab.as_user("dev")
    dev.edit_issue(repo, number, state="closed")
    dev.edit_issue(repo, number, state="open")
    dev.edit_issue(repo, number, title="another")
    found = [e for e in dev.timeline(repo, number) if e.kind == kind]
    assert [e.author.login for e in found] == [lab.login("dev")]
    if kind == "change_title":
        assert found[0].detail == "another"


# dependencies


def test_dependencies_show_the_state_and_labels_of_what_is_waited_for(lab) -> None:
    repo = lab.make_repo()
    forge = lab.as_user("founder")
    issue(lab, repo, labels=["priority"], title="first")
    issue(lab, repo)
    forge.add_dependency(repo, 2, (repo, 1))
    (waits,) = lab.as_user("reader").dependencies(repo, 2)
    assert (waits.repo, waits.number, waits.state, waits.labels, waits.title) == (
        repo, 1, ItemState.OPEN, {"priority"}, "first",
    )  # fmt: skip
    assert forge.dependencies(repo, 1) == []
    forge.edit_issue(repo, 1, state="closed")
    assert forge.dependencies(repo, 2)[0].state is ItemState.CLOSED


def test_a_dependency_leaves_an_event_on_the_waiting_issue(lab) -> None:
    """The snapshot reads dependencies only of issues whose timeline shows one."""
    repo = lab.make_repo()
    issue(lab, repo)
    issue(lab, repo)
    lab.as_user("founder").add_dependency(repo, 2, (repo, 1))
    assert "add_dependency" in {e.kind for e in lab.as_user("founder").timeline(repo, 2)}


def test_adding_a_dependency_twice_is_done(lab) -> None:
    repo = lab.make_repo()
    issue(lab, repo)
    issue(lab, repo)
    forge = lab.as_user("founder")
    forge.add_dependency(repo, 2, (repo, 1))
    forge.add_dependency(repo, 2, (repo, 1))
    assert len(forge.dependencies(repo, 2)) == 1


def test_a_dependency_on_itself_is_refused(lab) -> None:
    repo = lab.make_repo()
    number = issue(lab, repo)
    with pytest.raises(ForgeRefused):
        lab.as_user("founder").add_dependency(repo, number, (repo, number))


def test_an_open_dependency_keeps_an_issue_open(lab) -> None:
    repo = lab.make_repo()
    issue(lab, repo)
    issue(lab, repo)
    forge = lab.as_user("founder")
    forge.add_dependency(repo, 2, (repo, 1))
    with pytest.raises(ForgeRefused) as caught:
        forge.edit_issue(repo, 2, state="closed")
    assert caught.value.status == 412
    assert "open dependencies" in caught.value.detail
    forge.edit_issue(repo, 1, state="closed")
    assert forge.edit_issue(repo, 2, state="closed").state is ItemState.CLOSED


def test_dependencies_across_repos(lab) -> None:
    here, there = lab.make_repo(), lab.make_repo()
    issue(lab, here)
    issue(lab, there)
    forge = lab.as_user("founder")
    forge.add_dependency(here, 1, (there, 1))
    assert [(d.repo, d.number) for d in forge.dependencies(here, 1)] == [(there, 1)]


# polling


def test_the_search_shows_issues_and_pulls_of_all_repos_of_the_owner(lab) -> None:
    one, two = lab.make_repo(), lab.make_repo()
    issue(lab, one)
    pull(lab, two)
    lab.as_user("founder").edit_issue(one, 1, state="closed")
    items, newest = lab.as_user("dev").changed_since(one.owner, None)
    mine = {(repo, item.number): item for repo, item in items if repo in (one, two)}
    assert isinstance(mine[one, 1], Issue)
    assert mine[one, 1].state is ItemState.CLOSED
    assert isinstance(mine[two, 1], Pull)
    assert newest == max(item.updated_at for _, item in items)
    assert [item.updated_at for _, item in items] == sorted((item.updated_at for _, item in items), reverse=True)


def test_since_is_inclusive(lab) -> None:
    repo = lab.make_repo()
    number = issue(lab, repo)
    forge = lab.as_user("founder")
    stamp = forge.issue(repo, number).updated_at
    assert (repo, number) in {(r, i.number) for r, i in forge.changed_since(repo.owner, stamp)[0]}
    later, _ = forge.changed_since(repo.owner, stamp + timedelta(seconds=3600))
    assert later == []


def test_refs_below_prefixes(lab) -> None:
    repo = lab.make_repo()
    sha = lab.commit(repo, "fix/1", {"a": "1\n"})
    forge = lab.as_user("reader")
    heads = forge.ls_refs(repo, ["refs/heads/"])
    assert heads["refs/heads/fix/1"] == sha
    assert set(heads) == {"refs/heads/main", "refs/heads/fix/1"}
    assert set(forge.ls_refs(repo, ["refs/heads/fix/"])) == {"refs/heads/fix/1"}
    assert forge.ls_refs(repo, ["refs/factory/"]) == {}


# pull requests


def test_a_pull_reads_back(lab) -> None:
    repo = lab.make_repo()
    number, sha = pull(lab, repo)
    seen = lab.as_user("reader").pull(repo, number)
    refs = lab.as_user("reader").ls_refs(repo, ["refs/heads/"])
    assert (seen.head_ref, seen.head_sha, seen.head_repo) == ("fix/1", sha, repo)
    assert (seen.base_ref, seen.base_sha, seen.merge_base) == ("main", refs["refs/heads/main"], refs["refs/heads/main"])
    assert (seen.state, seen.merged, seen.merge_commit, seen.draft, seen.mergeable) == (
        ItemState.OPEN, False, None, False, True,
    )  # fmt: skip
    assert seen.author.login == lab.login("dev")


def test_a_second_pull_for_the_same_branches_is_the_first(lab) -> None:
    repo = lab.make_repo()
    number, _ = pull(lab, repo)
    again = lab.as_user("founder").create_pull(repo, head="fix/1", base="main", title="Another", body="")
    assert again.number == number
    assert again.title == "Fix"


@pytest.mark.parametrize(
    ("head", "base", "status"), [("main", "main", 422), ("nowhere", "main", 404), ("fix/1", "nowhere", 404)]
)
def test_pulls_that_cannot_be(lab, head: str, base: str, status: int) -> None:
    repo = lab.make_repo()
    lab.commit(repo, "fix/1", {"a": "1\n"})
    with pytest.raises(ForgeRefused) as caught:
        lab.as_user("dev").create_pull(repo, head=head, base=base, title="t", body="")
    assert caught.value.status == status


def test_files_and_diff(lab) -> None:
    repo = lab.make_repo()
    lab.commit(repo, "main", {"old.txt": "a\nb\nc\n", "gone.txt": "x\n"})
    number, _ = pull(lab, repo, files={"old.txt": "a\nB\nc\nd\n", "new.txt": "n\n", "gone.txt": None})
    files = {f.path: (f.status, f.additions, f.deletions) for f in lab.as_user("reader").pull_files(repo, number)}
    assert files == {"old.txt": ("modified", 2, 1), "new.txt": ("added", 1, 0), "gone.txt": ("deleted", 0, 1)}
    diff = lab.as_user("reader").pull_diff(repo, number)
    assert "diff --git a/new.txt b/new.txt" in diff
    assert "+B\n" in diff


def test_a_push_moves_the_head_and_leaves_an_event(lab) -> None:
    repo = lab.make_repo()
    number, _ = pull(lab, repo)
    sha = lab.commit(repo, "fix/1", {"more.txt": "m\n"}, "dev")
    assert lab.as_user("founder").pull(repo, number).head_sha == sha
    assert "pull_push" in {e.kind for e in lab.as_user("founder").timeline(repo, number)}


@pytest.mark.parametrize("title", ["WIP: x", "wip: x", "[WIP] x", "[wip] x"])
def test_a_wip_title_makes_a_draft(lab, title: str) -> None:
    repo = lab.make_repo()
    number, _ = pull(lab, repo)
    edited = lab.as_user("dev").edit_pull(repo, number, title=title)
    assert edited.draft
    assert not edited.mergeable
    assert not lab.as_user("dev").edit_pull(repo, number, title="x WIP").draft


def test_closing_and_reopening_a_pull(lab) -> None:
    repo = lab.make_repo()
    number, sha = pull(lab, repo)
    dev = lab.as_user("dev")
    closed = dev.edit_pull(repo, number, state="closed")
    assert (closed.state, closed.merged) == (ItemState.CLOSED, False)
    assert [p.number for p in dev.pulls(repo)] == []
    assert [p.number for p in dev.pulls(repo, state="all")] == [number]
    with pytest.raises(ForgeRefused):
        merge(lab, repo, number, sha)
    assert dev.edit_pull(repo, number, state="open").state is ItemState.OPEN


def test_conflicts_make_it_unmergeable_and_update_refuses(lab) -> None:
    repo = lab.make_repo()
    number, sha = pull(lab, repo, files={"same.txt": "mine\n"})
    lab.commit(repo, "main", {"same.txt": "theirs\n"})
    soon(lab, lambda: lab.as_user("dev").pull(repo, number).mergeable, lambda mergeable: not mergeable)
    with pytest.raises(ForgeRefused) as caught:
        lab.as_user("dev").update_pull(repo, number)
    assert caught.value.status == 409
    with pytest.raises(ForgeRefused):
        merge(lab, repo, number, sha)


def test_updating_brings_the_base_in_and_is_done_when_up_to_date(lab) -> None:
    repo = lab.make_repo()
    number, sha = pull(lab, repo)
    dev = lab.as_user("dev")
    dev.update_pull(repo, number)
    assert dev.pull(repo, number).head_sha == sha
    tip = lab.commit(repo, "main", {"other.txt": "o\n"})
    dev.update_pull(repo, number)
    seen = soon(lab, lambda: dev.pull(repo, number), lambda seen: seen.head_sha != sha and seen.merge_base == tip)
    assert seen.base_sha == tip
    assert {f.path for f in dev.pull_files(repo, number)} == {"fix.txt"}


def test_deleting_the_head_branch_closes_the_pull(lab) -> None:
    repo = lab.make_repo()
    number, _ = pull(lab, repo)
    dev = lab.as_user("dev")
    dev.delete_branch(repo, "fix/1")
    dev.delete_branch(repo, "fix/1")
    soon(lab, lambda: dev.pull(repo, number).state, lambda state: state is ItemState.CLOSED)
    with pytest.raises(ForgeRefused) as caught:
        dev.delete_branch(repo, "main")
    assert caught.value.status == 403


# reviews


def review(lab, repo: RepoName, number: int, head: str, who: str = "rev", state: ReviewState = ReviewState.APPROVED):
    return lab.as_user(who).review(repo, number, state=state, body="because", commit=head)


def test_a_review_is_bound_to_its_commit_and_account(lab) -> None:
    repo = lab.make_repo()
    number, sha = pull(lab, repo)
    made = review(lab, repo, number, sha)
    (seen,) = lab.as_user("reader").reviews(repo, number)
    assert (seen.id, seen.state, seen.commit, seen.author.login) == (
        made.id,
        ReviewState.APPROVED,
        sha,
        lab.login("rev"),
    )
    assert (seen.official, seen.stale, seen.dismissed) == (True, False, False)


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (ReviewState.APPROVED, "approve your own pull is not allowed"),
        (ReviewState.REQUEST_CHANGES, "reject your own pull is not allowed"),
    ],
)
def test_nobody_judges_the_own_pull(lab, state: ReviewState, text: str) -> None:
    repo = lab.make_repo()
    number, sha = pull(lab, repo)
    with pytest.raises(ForgeRefused) as caught:
        review(lab, repo, number, sha, "dev", state)
    assert (caught.value.status, caught.value.detail) == (422, text)
    assert review(lab, repo, number, sha, "dev", ReviewState.COMMENT).state is ReviewState.COMMENT


def test_a_readers_approval_is_not_official(lab) -> None:
    repo = lab.make_repo()
    number, sha = pull(lab, repo)
    assert review(lab, repo, number, sha, "reader").official is False


@pytest.mark.parametrize("second", [ReviewState.APPROVED, ReviewState.REQUEST_CHANGES])
def test_a_later_verdict_retires_the_earlier_one(lab, second: ReviewState) -> None:
    repo = lab.make_repo()
    number, sha = pull(lab, repo)
    review(lab, repo, number, sha, state=ReviewState.REQUEST_CHANGES)
    review(lab, repo, number, sha, state=second)
    first, last = lab.as_user("dev").reviews(repo, number)
    assert (first.official, first.dismissed) == (False, True)
    assert (last.official, last.dismissed, last.state) == (True, False, second)


def test_a_comment_review_changes_no_verdict(lab) -> None:
    repo = lab.make_repo()
    number, sha = pull(lab, repo)
    review(lab, repo, number, sha)
    review(lab, repo, number, sha, state=ReviewState.COMMENT)
    first, last = lab.as_user("dev").reviews(repo, number)
    assert (first.official, first.dismissed) == (True, False)
    assert last.official is False


def test_changes_need_a_body(lab) -> None:
    repo = lab.make_repo()
    number, sha = pull(lab, repo)
    with pytest.raises(ForgeRefused) as caught:
        lab.as_user("rev").review(repo, number, state=ReviewState.REQUEST_CHANGES, body="", commit=sha)
    assert caught.value.status == 422


def test_a_push_makes_reviews_stale(lab) -> None:
    repo = lab.make_repo()
    number, sha = pull(lab, repo)
    review(lab, repo, number, sha)
    lab.commit(repo, "fix/1", {"more.txt": "m\n"}, "dev")
    (seen,) = soon(lab, lambda: lab.as_user("dev").reviews(repo, number), lambda found: found[0].stale)
    assert (seen.commit, seen.dismissed) == (sha, False)


def test_a_review_of_an_old_commit_is_stale_at_once(lab) -> None:
    repo = lab.make_repo()
    number, sha = pull(lab, repo)
    head = lab.commit(repo, "fix/1", {"more.txt": "m\n"}, "dev")
    if lab.name == "real":
        # What is compared is the pull request's own ref, moved after the push.
        ref = f"refs/pull/{number}/head"
        soon(lab, lambda: lab.as_user("dev").ls_refs(repo, [ref]).get(ref), lambda tip: tip == head)
    assert review(lab, repo, number, sha).stale


def test_review_requests(lab) -> None:
    repo = lab.make_repo()
    number, _ = pull(lab, repo)
    lab.as_user("dev").request_review(repo, number, [lab.login("rev")])
    (seen,) = lab.as_user("dev").reviews(repo, number)
    assert (seen.state, seen.author.login) == (ReviewState.REQUEST_REVIEW, lab.login("rev"))
    assert lab.login("rev") in lab.as_user("dev").pull(repo, number).requested_reviewers


@pytest.mark.parametrize(("who", "status"), [("dev", 422), ("no-such-user", 404)])
def test_review_requests_that_cannot_be(lab, who: str, status: int) -> None:
    repo = lab.make_repo()
    number, _ = pull(lab, repo)
    with pytest.raises(ForgeRefused) as caught:
        lab.as_user("founder").request_review(repo, number, [lab.login(who)])
    assert caught.value.status == status


# statuses


def test_the_newest_status_of_each_context(lab) -> None:
    repo = lab.make_repo()
    _, sha = pull(lab, repo)
    dev = lab.as_user("dev")
    assert dev.statuses(repo, sha) == []
    dev.post_status(repo, sha, context="b", state=CheckState.PENDING, description="")
    dev.post_status(repo, sha, context="a", state=CheckState.FAILURE, description="red", target_url="http://x/1")
    dev.post_status(repo, sha, context="b", state=CheckState.SUCCESS, description="green")
    seen = lab.as_user("reader").statuses(repo, sha)
    assert [(s.context, s.state, s.description, s.creator.login) for s in seen] == [
        ("a", CheckState.FAILURE, "red", lab.login("dev")),
        ("b", CheckState.SUCCESS, "green", lab.login("dev")),
    ]
    assert seen[0].target_url == "http://x/1"


@pytest.mark.parametrize("state", list(CheckState))
def test_every_check_state_reads_back(lab, state: CheckState) -> None:
    repo = lab.make_repo()
    sha = lab.as_user("dev").ls_refs(repo, ["refs/heads/"])["refs/heads/main"]
    lab.as_user("dev").post_status(repo, sha, context="ci", state=state, description="d")
    assert [s.state for s in lab.as_user("dev").statuses(repo, sha)] == [state]


def test_more_contexts_than_a_page(lab) -> None:
    repo = lab.make_repo()
    sha = lab.as_user("dev").ls_refs(repo, ["refs/heads/"])["refs/heads/main"]
    for n in range(55):
        lab.as_user("dev").post_status(repo, sha, context=f"c{n:02}", state=CheckState.SUCCESS, description="")
    assert len(lab.as_user("dev").statuses(repo, sha)) == 55


def test_a_status_needs_write_and_a_commit(lab) -> None:
    repo = lab.make_repo()
    sha = lab.as_user("dev").ls_refs(repo, ["refs/heads/"])["refs/heads/main"]
    with pytest.raises(ForgeRefused) as caught:
        lab.as_user("reader").post_status(repo, sha, context="ci", state=CheckState.SUCCESS, description="")
    assert caught.value.status == 403
    with pytest.raises(NotFound):
        lab.as_user("dev").post_status(repo, "e" * 40, context="ci", state=CheckState.SUCCESS, description="")


# updated_at: what polling can and cannot see


def _moves(lab, change) -> bool:
    """Whether the search stamps the subject no earlier than its newest event."""
    repo = lab.make_repo()
    number, sha = pull(lab, repo)
    founder = lab.as_user("founder")
    founder.comment(repo, number, "before")
    change(lab, repo, number, sha)
    timeline = founder.timeline(repo, number)
    seen = {(r, i.number): i for r, i in founder.changed_since(repo.owner, None)[0]}[repo, number]
    return seen.updated_at >= max(event.created_at for event in timeline)


@pytest.mark.parametrize(
    "change",
    [
        lambda lab, repo, n, sha: lab.as_user("dev").comment(repo, n, "x"),
        lambda lab, repo, n, sha: lab.as_user("dev").add_labels(repo, n, ["backlog"]),
        lambda lab, repo, n, sha: review(lab, repo, n, sha),
        lambda lab, repo, n, sha: lab.as_user("dev").edit_pull(repo, n, title="other"),
        lambda lab, repo, n, sha: lab.as_user("dev").edit_pull(repo, n, state="closed"),
        lambda lab, repo, n, sha: merge(lab, repo, n, sha),
        lambda lab, repo, n, sha: lab.commit(repo, "fix/1", {"z": "z\n"}, "dev"),
        lambda lab, repo, n, sha: lab.as_user("dev").request_review(repo, n, [lab.login("rev")]),
    ],
    ids=["comment", "label", "review", "title", "close", "merge", "push", "request"],
)
def test_what_happens_to_a_subject_moves_it(lab, change) -> None:
    assert _moves(lab, change)


# merging


def test_a_merge_is_there_when_the_answer_is(lab) -> None:
    repo = lab.make_repo()
    number, sha = pull(lab, repo)
    commit = merge(lab, repo, number, sha)
    seen = lab.as_user("reader").pull(repo, number)
    assert (seen.state, seen.merged, seen.merge_commit, seen.head_sha) == (ItemState.CLOSED, True, commit, sha)
    assert seen.merged_by is not None
    assert seen.merged_by.login == lab.login("dev")
    assert lab.as_user("reader").ls_refs(repo, ["refs/heads/"])["refs/heads/main"] == commit
    assert "merge_pull" in {e.kind for e in lab.as_user("reader").timeline(repo, number)}


def test_merging_twice_is_one_merge(lab) -> None:
    repo = lab.make_repo()
    number, sha = pull(lab, repo)
    assert merge(lab, repo, number, sha) == merge(lab, repo, number, sha, "founder")


def test_merged_stays_merged_when_its_branch_goes_on(lab) -> None:
    """The forge tells where the branch stands now; whoever asks again after a lost answer is told the truth."""
    repo = lab.make_repo()
    number, sha = pull(lab, repo)
    commit = merge(lab, repo, number, sha)
    later = lab.commit(repo, "fix/1", {"z": "z\n"}, "dev")
    assert merge(lab, repo, number, sha) == commit
    with pytest.raises(ForgeRefused, match=r"instead|another head") as caught:
        merge(lab, repo, number, later)
    assert caught.value.status == 409


def test_a_merge_of_another_head_is_refused(lab) -> None:
    repo = lab.make_repo()
    number, old = pull(lab, repo)
    lab.commit(repo, "fix/1", {"sneaked.in": "x\n"}, "dev")
    with pytest.raises(ForgeRefused) as caught:
        merge(lab, repo, number, old)
    assert caught.value.status == 409
    assert not lab.as_user("dev").pull(repo, number).merged


def test_a_reader_may_not_merge(lab) -> None:
    repo = lab.make_repo()
    number, sha = pull(lab, repo)
    with pytest.raises(ForgeRefused, match="User not allowed to merge PR"):
        merge(lab, repo, number, sha, "reader")


def test_a_draft_is_not_merged(lab) -> None:
    repo = lab.make_repo()
    number, sha = pull(lab, repo)
    lab.as_user("dev").edit_pull(repo, number, title="WIP: not yet")
    with pytest.raises(ForgeRefused, match="Work in progress PRs cannot be merged"):
        merge(lab, repo, number, sha)


def test_nothing_to_merge_is_not_waited_for(lab) -> None:
    repo = lab.make_repo()
    number, sha = pull(lab, repo)
    lab.as_user("dev").create_pull(repo, head="main", base="fix/1", title="back", body="")
    empty = lab.as_user("dev").pulls(repo)[-1]
    with pytest.raises(ForgeRefused):
        merge(lab, repo, empty.number, empty.head_sha)
    assert merge(lab, repo, number, sha)


def test_an_open_dependency_blocks_a_merge(lab) -> None:
    repo = lab.make_repo()
    issue(lab, repo)
    number, sha = pull(lab, repo)
    lab.as_user("founder").add_dependency(repo, number, (repo, 1))
    with pytest.raises(ForgeRefused):
        merge(lab, repo, number, sha)
    lab.as_user("founder").edit_issue(repo, 1, state="closed")
    assert merge(lab, repo, number, sha)


RULE = BranchProtection(glob_rule("main"), apply_to_admins=True)


def protected(lab, **fields) -> tuple[RepoName, int, str]:
    repo = lab.make_repo()
    number, sha = pull(lab, repo)
    people = ("merge_whitelist_usernames", "approvals_whitelist_usernames")
    named = {k: tuple(lab.login(who) for who in v) if k in people else v for k, v in fields.items()}
    lab.protect(repo, replace(RULE, **named))
    return repo, number, sha


@pytest.mark.parametrize(
    ("fields", "before", "reason"),
    [
        ({"required_approvals": 1}, [], "Does not have enough approvals"),
        ({"required_approvals": 1}, [("reader", ReviewState.APPROVED)], "Does not have enough approvals"),
        ({"required_approvals": 2}, [("rev", ReviewState.APPROVED)], "Does not have enough approvals"),
        (
            {
                "required_approvals": 1,
                "enable_approvals_whitelist": True,
                "approvals_whitelist_usernames": ("founder",),
            },
            [("rev", ReviewState.APPROVED)],
            "Does not have enough approvals",
        ),
        ({"block_on_rejected_reviews": True}, [("rev", ReviewState.REQUEST_CHANGES)], "There are requested changes"),
        (
            {"enable_status_check": True, "status_check_contexts": ("ci",)},
            [],
            "Not all required status checks successful",
        ),
        ({"enable_status_check": True}, [], "Not all required status checks successful"),
    ],
)
def test_a_rule_says_why_it_does_not_let_a_merge_pass(lab, fields, before, reason: str) -> None:
    repo, number, sha = protected(lab, **fields)
    for who, state in before:
        review(lab, repo, number, sha, who, state)
    for who in ("dev", "founder"):
        with pytest.raises(ForgeRefused) as caught:
            merge(lab, repo, number, sha, who)
        assert caught.value.detail == f"not allowed to merge [reason: {reason}]"
        assert caught.value.status == 405


@pytest.mark.parametrize(
    ("fields", "before"),
    [
        ({"required_approvals": 1}, [("rev", ReviewState.APPROVED)]),
        ({"required_approvals": 1}, [("rev", ReviewState.REQUEST_CHANGES), ("rev", ReviewState.APPROVED)]),
        ({"block_on_rejected_reviews": True}, [("reader", ReviewState.REQUEST_CHANGES)]),
        ({"required_approvals": 0}, [("rev", ReviewState.REQUEST_CHANGES)]),
        (
            {"required_approvals": 1, "enable_approvals_whitelist": True, "approvals_whitelist_usernames": ("reader",)},
            [("reader", ReviewState.APPROVED)],
        ),
    ],
)
def test_a_rule_that_is_met_lets_a_merge_pass(lab, fields, before) -> None:
    repo, number, sha = protected(lab, **fields)
    for who, state in before:
        review(lab, repo, number, sha, who, state)
    assert merge(lab, repo, number, sha)


@pytest.mark.parametrize(
    ("contexts", "posted", "passes"),
    [
        (("ci",), {"ci": CheckState.SUCCESS}, True),
        (("ci",), {"ci": CheckState.WARNING}, False),
        (("ci",), {"ci": CheckState.PENDING}, False),
        (("ci",), {"ci": CheckState.FAILURE}, False),
        (("ci",), {"ci": CheckState.ERROR}, False),
        (("ci",), {"other": CheckState.SUCCESS}, False),
        (("ci",), {"ci": CheckState.SUCCESS, "other": CheckState.FAILURE}, True),
        (("a", "b"), {"a": CheckState.SUCCESS}, False),
        (("a", "b"), {"a": CheckState.SUCCESS, "b": CheckState.SUCCESS}, True),
        (("ci*",), {"ci1": CheckState.SUCCESS, "ci2": CheckState.FAILURE}, False),
        (("ci*",), {"ci1": CheckState.SUCCESS, "ci2": CheckState.SUCCESS}, True),
        ((), {"any": CheckState.SUCCESS}, True),
        ((), {"any": CheckState.SUCCESS, "other": CheckState.WARNING}, False),
    ],
)
def test_only_success_of_every_required_context_passes(lab, contexts, posted, passes: bool) -> None:
    repo, number, sha = protected(lab, enable_status_check=True, status_check_contexts=contexts)
    for context, state in posted.items():
        lab.as_user("rev").post_status(repo, sha, context=context, state=state, description="")
    if passes:
        assert merge(lab, repo, number, sha)
    else:
        with pytest.raises(ForgeRefused, match="Not all required status checks successful"):
            merge(lab, repo, number, sha)


@pytest.mark.parametrize("who", ["dev", "founder"])
def test_the_merge_whitelist_binds_everybody(lab, who: str) -> None:
    repo, number, sha = protected(lab, enable_merge_whitelist=True, merge_whitelist_usernames=("rev",))
    with pytest.raises(ForgeRefused, match="User not allowed to merge PR"):
        merge(lab, repo, number, sha, who)
    assert merge(lab, repo, number, sha, "rev")


def test_an_empty_merge_whitelist_locks_everybody_out(lab) -> None:
    repo, number, sha = protected(lab, enable_merge_whitelist=True)
    for who in ("dev", "rev", "founder"):
        with pytest.raises(ForgeRefused, match="User not allowed to merge PR"):
            merge(lab, repo, number, sha, who)


@pytest.mark.parametrize(
    ("field", "passes"), [("dismiss_stale_approvals", False), ("ignore_stale_approvals", False), (None, True)]
)
def test_approvals_of_an_older_head(lab, field: str | None, passes: bool) -> None:
    fields = {field: True} if field else {}
    repo, number, sha = protected(lab, required_approvals=1, **fields)
    review(lab, repo, number, sha)
    head = lab.commit(repo, "fix/1", {"more.txt": "m\n"}, "dev")
    gone = field == "dismiss_stale_approvals"
    soon(
        lab,
        lambda: lab.as_user("dev").reviews(repo, number),
        lambda found: (found[0].stale, found[0].dismissed) == (True, gone),
    )
    if passes:
        assert merge(lab, repo, number, head)
    else:
        with pytest.raises(ForgeRefused, match="Does not have enough approvals"):
            merge(lab, repo, number, head)


def test_asking_again_takes_the_verdict_out_of_the_count(lab) -> None:
    repo, number, sha = protected(
        lab, block_on_rejected_reviews=True, block_on_official_review_requests=True, required_approvals=0
    )
    review(lab, repo, number, sha, state=ReviewState.REQUEST_CHANGES)
    lab.as_user("dev").request_review(repo, number, [lab.login("rev")])
    verdict = next(r for r in lab.as_user("dev").reviews(repo, number) if r.state is ReviewState.REQUEST_CHANGES)
    assert verdict.official is False
    with pytest.raises(ForgeRefused, match="There are official review requests"):
        merge(lab, repo, number, sha)


def test_an_outdated_branch_is_held_where_the_rule_says_so(lab) -> None:
    repo, number, sha = protected(lab, block_on_outdated_branch=True)
    assert merge(lab, repo, number, sha)


# settings


def test_collaborators_and_permissions(lab) -> None:
    repo = lab.make_repo()
    founder = lab.as_user("founder")
    assert {u.login for u in founder.collaborators(repo)} == {lab.login(who) for who in ("dev", "rev", "reader")}
    assert [founder.permission(repo, lab.login(who)) for who in ("dev", "reader", "outsider")] == [
        "write",
        "read",
        "none",
    ]
    assert founder.permission(repo, lab.login("founder")) in ("owner", "admin")
    assert lab.as_user("dev").permission(repo, lab.login("dev")) == "write"
    with pytest.raises(ForgeRefused) as caught:
        lab.as_user("dev").permission(repo, lab.login("reader"))
    assert caught.value.status == 403


def test_protections_read_back_and_need_admin(lab) -> None:
    repo, _, _ = protected(lab, required_approvals=2, unprotected_file_patterns="readme.md;knowledge/**")
    (rule,) = lab.as_user("founder").protections(repo)
    assert (rule.rule_name, rule.required_approvals, rule.unprotected_file_patterns, rule.apply_to_admins) == (
        "mai[n]", 2, "readme.md;knowledge/**", True,
    )  # fmt: skip
    for who in ("dev", "reader"):
        with pytest.raises(ForgeRefused):
            lab.as_user(who).protections(repo)


def test_a_branch_under_a_rule_is_not_deleted(lab) -> None:
    repo = lab.make_repo()
    lab.commit(repo, "keep", {"a": "1\n"})
    lab.protect(repo, BranchProtection(glob_rule("keep"), enable_push=True))
    for who in ("founder", "dev"):
        with pytest.raises(ForgeRefused) as caught:
            lab.as_user(who).delete_branch(repo, "keep")
        assert caught.value.status == 403

"""Reviews over the API: events, official, stale, dismissed, requests. Rules: section 3.4 of the Forgejo reference."""

from __future__ import annotations

import pytest

from factory.forge.values import BranchProtection, ReviewState
from tests.contract.conftest import soon


def review(site, repo, number: int, who: str = "rev", **body):
    return site.call("POST", f"/repos/{repo}/pulls/{number}/reviews", body, who=who)


def reviews(site, repo, number: int) -> list[dict]:
    return site.call("GET", f"/repos/{repo}/pulls/{number}/reviews").json()


@pytest.fixture
def opened(site):
    repo = site.repo()
    number, sha = site.pull(repo)
    return repo, number, sha


@pytest.mark.parametrize(
    ("body", "status", "state"),
    [
        ({"event": "APPROVED"}, 200, "APPROVED"),
        ({"event": "APPROVED", "body": "fine"}, 200, "APPROVED"),
        ({"event": "REQUEST_CHANGES", "body": "no"}, 200, "REQUEST_CHANGES"),
        ({"event": "REQUEST_CHANGES"}, 422, None),
        ({"event": "REQUEST_CHANGES", "comments": [{"path": "fix.txt", "body": "x", "new_position": 1}]}, 422, None),
        ({"event": "COMMENT", "body": "hm"}, 200, "COMMENT"),
        ({"event": "COMMENT", "comments": [{"path": "fix.txt", "body": "x", "new_position": 1}]}, 200, "COMMENT"),
        ({"event": "COMMENT"}, 422, None),
        ({"event": "APPROVE", "body": "as on GitHub"}, 200, "PENDING"),
        ({"event": "PENDING", "body": "draft"}, 200, "PENDING"),
        ({"event": "", "body": "draft"}, 200, "PENDING"),
        ({"event": "APPROVE"}, 422, None),
        ({"event": "PENDING"}, 422, None),
    ],
)
def test_events(site, opened, body: dict, status: int, state: str | None) -> None:
    repo, number, sha = opened
    answer = review(site, repo, number, commit_id=sha, **body)
    assert answer.status_code == status, answer.text
    if state:
        assert answer.json()["state"] == state
        assert answer.json()["commit_id"] == sha


@pytest.mark.parametrize(("who", "official"), [("founder", True), ("rev", True), ("reader", False)])
@pytest.mark.parametrize("event", ["APPROVED", "REQUEST_CHANGES"])
def test_a_verdict_is_official_from_writers(site, opened, who: str, official: bool, event: str) -> None:
    repo, number, sha = opened
    assert review(site, repo, number, who, event=event, body="b", commit_id=sha).json()["official"] is official


def test_a_whitelist_decides_who_is_official(site) -> None:
    repo = site.repo()
    listed = [site.login("reader")]
    site.call(
        "POST",
        f"/repos/{repo}/branch_protections",
        {"rule_name": "mai[n]", "enable_approvals_whitelist": True, "approvals_whitelist_username": listed},
    )
    number, sha = site.pull(repo)
    for who, official in (("reader", True), ("rev", False), ("founder", False)):
        assert review(site, repo, number, who, event="APPROVED", commit_id=sha).json()["official"] is official


def test_official_is_decided_at_submission(site, opened) -> None:
    repo, number, sha = opened
    review(site, repo, number, event="APPROVED", commit_id=sha)
    assert (
        site.call("PUT", f"/repos/{repo}/collaborators/{site.login('rev')}", {"permission": "read"}).status_code == 204
    )
    assert reviews(site, repo, number)[0]["official"] is True


def test_an_unknown_commit_is_no_review(site, opened) -> None:
    repo, number, _ = opened
    assert review(site, repo, number, event="APPROVED", commit_id="e" * 40).status_code in (404, 422, 500)
    assert reviews(site, repo, number) == []


def test_without_a_commit_it_is_the_head(site, opened) -> None:
    repo, number, sha = opened
    assert review(site, repo, number, event="APPROVED").json()["commit_id"] == sha


def test_an_outsider_cannot_review(site, opened) -> None:
    repo, number, sha = opened
    assert review(site, repo, number, "outsider", event="APPROVED", commit_id=sha).status_code == 404


def test_line_comments_are_kept_with_their_review(site, opened) -> None:
    repo, number, sha = opened
    comments = [{"path": "fix.txt", "body": "here", "new_position": 1}]
    made = review(site, repo, number, event="COMMENT", body="see", commit_id=sha, comments=comments).json()
    assert made["comments_count"] == 1
    (line,) = site.call("GET", f"/repos/{repo}/pulls/{number}/reviews/{made['id']}/comments").json()
    assert (line["path"], line["body"]) == ("fix.txt", "here")


def test_one_draft_per_person_absorbed_by_the_next_verdict(site, opened) -> None:
    repo, number, sha = opened
    draft = review(site, repo, number, event="PENDING", body="draft", commit_id=sha).json()
    final = review(site, repo, number, event="APPROVED", body="done", commit_id=sha).json()
    assert [row["state"] for row in reviews(site, repo, number)] == ["APPROVED"]
    assert final["id"] == draft["id"] or site.name == "real"


def test_a_draft_is_seen_by_its_author_only(site, opened) -> None:
    repo, number, sha = opened
    review(site, repo, number, event="PENDING", body="draft", commit_id=sha)
    assert reviews(site, repo, number) == []
    own = site.call("GET", f"/repos/{repo}/pulls/{number}/reviews", who="rev").json()
    assert [row["state"] for row in own] == ["PENDING"]


def test_submitting_a_draft(site, opened) -> None:
    repo, number, sha = opened
    draft = review(site, repo, number, event="PENDING", body="draft", commit_id=sha).json()
    path = f"/repos/{repo}/pulls/{number}/reviews/{draft['id']}"
    answer = site.call("POST", path, {"event": "APPROVED", "body": "ok"}, who="rev")
    assert (answer.status_code, answer.json()["state"]) == (200, "APPROVED")
    assert site.call("POST", path, {"event": "APPROVED", "body": "ok"}, who="rev").status_code == 422


def test_all_reviews_come_without_page(site, opened) -> None:
    repo, number, sha = opened
    for n in range(35):
        review(site, repo, number, event="COMMENT", body=f"{n}", commit_id=sha)
    assert len(reviews(site, repo, number)) == 35
    assert len(site.call("GET", f"/repos/{repo}/pulls/{number}/reviews", page=1, limit=10).json()) == 10
    assert len(site.client("dev").reviews(repo, number)) == 35


def test_only_the_reviewed_commit_itself_makes_a_stale_review_fresh_again(site, opened) -> None:
    """Its content in another commit does not."""
    repo, number, sha = opened
    review(site, repo, number, event="APPROVED", commit_id=sha)
    site.commit(repo, "fix/1", {"more.txt": "m\n"}, who="dev")
    soon(site, lambda: reviews(site, repo, number)[0]["stale"], bool)
    back = site.commit(repo, "fix/1", {"more.txt": None}, who="dev")
    ref = f"refs/pull/{number}/head"
    soon(site, lambda: site.client("dev").ls_refs(repo, [ref]).get(ref), lambda tip: tip == back)
    assert reviews(site, repo, number)[0]["stale"] is True


def test_a_push_of_the_bases_content_keeps_it_fresh(site, opened) -> None:
    """Content is compared, not commits: merging the base in changes nothing that was reviewed."""
    repo, number, sha = opened
    review(site, repo, number, event="APPROVED", commit_id=sha)
    site.commit(repo, "main", {"other.txt": "o\n"})
    site.client("dev").update_pull(repo, number)
    (seen,) = reviews(site, repo, number)
    assert (seen["stale"], seen["commit_id"]) == (False, sha)


def test_reopened_on_another_head(site) -> None:
    """While a pull request is closed Forgejo looks at no push: reopened on a branch that was made anew, its approval
    counts for what nobody has seen. Ours takes it back. Who merges must look at the commit of the approval."""
    repo = site.repo()
    rule = BranchProtection("mai[n]", required_approvals=1, dismiss_stale_approvals=True, ignore_stale_approvals=True)
    site.client("founder").set_protection(repo, rule)
    number, sha = site.pull(repo)
    review(site, repo, number, event="APPROVED", commit_id=sha)
    dev = site.client("dev")
    dev.edit_pull(repo, number, state="closed")
    dev.delete_branch(repo, "fix/1")
    new = site.commit(repo, "fix/1", {"fix.txt": "other\n"}, who="dev")
    dev.edit_pull(repo, number, state="open")
    ours = site.name == "embedded"
    if ours:  # Forgejo moves its ref only if it gets to the push after the reopening
        assert [*dev.ls_refs(repo, [f"refs/pull/{number}/head"]).values()] == [new]
    (seen,) = reviews(site, repo, number)
    assert (seen["stale"], seen["dismissed"], seen["commit_id"]) == (ours, ours, sha)
    body = {"Do": "merge", "head_commit_id": new}
    asked = soon(
        site,
        lambda: site.call("POST", f"/repos/{repo}/pulls/{number}/merge", body, who="rev"),
        lambda answer: ours or answer.status_code == 200,
    )
    assert asked.status_code == (405 if ours else 200)


# dismissals


def dismissals(site, repo, number: int, review_id: int, who: str = "founder", action: str = "dismissals"):
    body = {"message": "outdated", "priors": False}
    return site.call("POST", f"/repos/{repo}/pulls/{number}/reviews/{review_id}/{action}", body, who=who)


@pytest.mark.parametrize(("who", "status"), [("founder", 200), ("dev", 403), ("reader", 403)])
def test_dismissing_is_for_admins(site, opened, who: str, status: int) -> None:
    repo, number, sha = opened
    made = review(site, repo, number, event="APPROVED", commit_id=sha).json()
    answer = dismissals(site, repo, number, made["id"], who)
    assert answer.status_code == status
    assert reviews(site, repo, number)[0]["dismissed"] is (status == 200)


def test_a_dismissal_is_taken_back(site, opened) -> None:
    repo, number, sha = opened
    made = review(site, repo, number, event="APPROVED", commit_id=sha).json()
    dismissals(site, repo, number, made["id"])
    assert "dismiss_review" in {e.kind for e in site.client("dev").timeline(repo, number)}
    assert dismissals(site, repo, number, made["id"], action="undismissals").status_code == 200
    assert reviews(site, repo, number)[0]["dismissed"] is False


@pytest.mark.parametrize(("who", "status"), [("rev", 204), ("dev", 403), ("reader", 403)])
def test_deleting_a_review_is_for_its_author(site, opened, who: str, status: int) -> None:
    repo, number, sha = opened
    made = review(site, repo, number, event="APPROVED", commit_id=sha).json()
    answer = site.call("DELETE", f"/repos/{repo}/pulls/{number}/reviews/{made['id']}", who=who)
    assert answer.status_code == status


# requests


def request(site, repo, number: int, *who: str, by: str = "dev", method: str = "POST"):
    body = {"reviewers": [site.login(name) for name in who]}
    return site.call(method, f"/repos/{repo}/pulls/{number}/requested_reviewers", body, who=by)


@pytest.mark.parametrize(
    ("who", "status"),
    [("rev", 201), ("founder", 201), ("reader", 201), ("dev", 422), ("outsider", 422), ("no-such-user", 404)],
)
def test_asking_for_a_review(site, opened, who: str, status: int) -> None:
    repo, number, _ = opened
    if who == "outsider":
        site.account(who)
    assert request(site, repo, number, who).status_code == status


def test_a_request_is_withdrawn(site, opened) -> None:
    repo, number, _ = opened
    request(site, repo, number, "rev")
    assert request(site, repo, number, "rev", method="DELETE").status_code == 204
    assert reviews(site, repo, number) == []


def test_a_verdict_answers_the_request(site, opened) -> None:
    repo, number, sha = opened
    request(site, repo, number, "rev")
    review(site, repo, number, event="APPROVED", commit_id=sha)
    assert [r.state for r in site.client("dev").reviews(repo, number)] == [ReviewState.APPROVED]
    pull = site.call("GET", f"/repos/{repo}/pulls/{number}").json()
    # Which is why pending requests are read from the reviews.
    assert [user["login"] for user in pull["requested_reviewers"]] == [site.login("rev")]


@pytest.mark.parametrize("verdict", ["APPROVED", "REQUEST_CHANGES"])
def test_asking_an_official_reviewer_again_clears_official(site, opened, verdict: str) -> None:
    repo, number, sha = opened
    review(site, repo, number, event=verdict, body="b", commit_id=sha)
    assert request(site, repo, number, "rev").status_code == 201
    rows = {row["state"]: row for row in reviews(site, repo, number)}
    assert rows[verdict]["official"] is False
    assert "REQUEST_REVIEW" in rows


def test_reviews_are_posted_on_closed_pulls_too(site, opened) -> None:
    repo, number, sha = opened
    site.client("dev").edit_pull(repo, number, state="closed")
    assert review(site, repo, number, event="APPROVED", commit_id=sha).status_code == 200

"""Webhooks: subscription, delivery, signature, and what our parser makes of each. Rules: section 3.8."""

from __future__ import annotations

import queue
import secrets
from collections.abc import Iterator

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from factory.forge.values import CheckState, ReviewState
from factory.forge.webhook import Hint, hint, signed

SECRET = "hook-secret"
EVENTS = ("push", "create", "delete", "issues", "issue_comment", "pull_request", "pull_request_review")
Delivery = tuple[dict[str, str], bytes]


class Inbox:
    """What was delivered, in order of arrival."""

    def __init__(self) -> None:
        # A path of its own: deliveries of an earlier test may still be under way.
        self.path = f"/hook/{secrets.token_hex(4)}"
        self.box: queue.Queue[Delivery] = queue.Queue()

    def take(self, request: Request) -> Response:
        self.box.put((dict(request.headers), request.get_data()))
        return Response("ok")

    def hints(self, wanted: int) -> list[Hint]:
        """The next ``wanted`` deliveries, verified and parsed."""
        found = []
        for _ in range(wanted):
            headers, body = self.box.get(timeout=10)
            parsed = hint(headers, body, SECRET.encode())
            assert parsed is not None
            found.append(parsed)
        return found

    def until(self, event: str) -> Hint:
        """The next delivery of this event; others in between are let pass."""
        for _ in range(20):
            (found,) = self.hints(1)
            if found.event == event:
                return found
        raise AssertionError(f"no {event}")


@pytest.fixture
def inbox(httpserver: HTTPServer) -> Iterator[Inbox]:
    made = Inbox()
    httpserver.expect_request(made.path).respond_with_handler(made.take)
    yield made
    httpserver.clear()


@pytest.fixture
def hooked(site, httpserver: HTTPServer, inbox: Inbox):
    repo = site.repo()
    site.client("founder").create_hook(repo, url=httpserver.url_for(inbox.path), secret=SECRET, events=EVENTS)
    return repo


def test_a_hook_reads_back_without_its_secret(site) -> None:
    repo = site.repo()
    made = site.client("founder").create_hook(repo, url="http://127.0.0.1:9/x", secret=SECRET, events=["push"])
    (seen,) = site.client("founder").hooks(repo)
    assert (seen.id, seen.url, seen.active, "push" in seen.events) == (made.id, "http://127.0.0.1:9/x", True, True)
    assert SECRET not in site.call("GET", f"/repos/{repo}/hooks").text
    site.client("founder").delete_hook(repo, made.id)
    site.client("founder").delete_hook(repo, made.id)
    assert site.client("founder").hooks(repo) == []


def test_a_hook_is_inactive_unless_asked(site) -> None:
    repo = site.repo()
    body = {"type": "forgejo", "config": {"url": "http://127.0.0.1:9/x", "content_type": "json"}, "events": ["push"]}
    assert site.call("POST", f"/repos/{repo}/hooks", body).json()["active"] is False


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"type": "nonsense", "config": {"url": "http://x/", "content_type": "json"}},
        {"type": "forgejo", "config": {"content_type": "json"}},
        {"type": "forgejo", "config": {"url": "http://x/", "content_type": "nonsense"}},
    ],
)
def test_hooks_that_cannot_be(site, body: dict) -> None:
    assert site.call("POST", f"/repos/{site.repo()}/hooks", body).status_code == 422


@pytest.mark.parametrize("who", ["dev", "reader", "outsider"])
def test_hooks_are_for_admins(site, who: str) -> None:
    repo = site.repo()
    body = {"type": "forgejo", "config": {"url": "http://x/", "content_type": "json"}}
    for method in ("GET", "POST"):
        answer = site.call(method, f"/repos/{repo}/hooks", body if method == "POST" else None, who=who)
        assert answer.status_code in (403, 404)


HAPPENINGS = [
    ("issues", lambda site, repo: site.client("dev").create_issue(repo, title="t", body="").number, "number"),
    ("push", lambda site, repo: site.commit(repo, "main", {"a.txt": "1\n"}), "refs/heads/main"),
    ("create", lambda site, repo: site.commit(repo, "fix/9", {"a.txt": "1\n"}), "refs/heads/fix/9"),
    ("pull_request", lambda site, repo: site.pull(repo)[0], "number"),
]


@pytest.mark.parametrize(("event", "happen", "about"), HAPPENINGS, ids=[row[0] for row in HAPPENINGS])
def test_what_happens_is_hinted(site, hooked, inbox: Inbox, event: str, happen, about: str) -> None:
    result = happen(site, hooked)
    found = inbox.until(event)
    assert found.repo == hooked
    if about == "number":
        assert found.number == result
    else:
        assert found.ref == about


def test_labels_comments_reviews_and_merges_are_hinted(site, hooked, inbox: Inbox) -> None:
    client = site.client("founder")
    issue = client.create_issue(hooked, title="t", body="").number
    client.add_labels(hooked, issue, ["backlog"])
    assert inbox.until("issue_label").number == issue
    client.comment(hooked, issue, "x")
    assert inbox.until("issue_comment").number == issue
    number, sha = site.pull(hooked)
    client.review(hooked, number, state=ReviewState.APPROVED, body="ok", commit=sha)
    assert inbox.until("pull_request_review_approved").number == number
    client.merge(hooked, number, head=sha, title="t", message="m")
    assert inbox.until("pull_request").number == number


def test_headers_of_a_delivery(site, hooked, inbox: Inbox) -> None:
    site.client("dev").create_issue(hooked, title="t", body="")
    headers, body = inbox.box.get(timeout=10)
    lower = {key.lower(): value for key, value in headers.items()}
    for prefix in ("x-forgejo", "x-gitea", "x-gogs"):
        assert lower[f"{prefix}-event"] == "issues"
        assert lower[f"{prefix}-delivery"]
        assert len(lower[f"{prefix}-signature"]) == 64
    assert lower["x-github-event"] == "issues"
    assert lower["x-hub-signature-256"].startswith("sha256=")
    assert lower["content-type"].startswith("application/json")
    assert signed(headers, body, SECRET.encode())
    assert not signed(headers, body, b"another")


def test_statuses_have_no_webhook(site, hooked, inbox: Inbox) -> None:
    sha = site.client("dev").ls_refs(hooked, ["refs/heads/"])["refs/heads/main"]
    site.client("dev").post_status(hooked, sha, context="ci", state=CheckState.SUCCESS, description="")
    site.client("dev").create_issue(hooked, title="t", body="")
    assert inbox.hints(1)[0].event == "issues"


def test_a_dead_receiver_stops_nothing(site) -> None:
    repo = site.repo()
    site.client("founder").create_hook(repo, url="http://127.0.0.1:9/none", secret=SECRET, events=["issues"])
    assert site.client("dev").create_issue(repo, title="t", body="").number == 1


def test_an_unsubscribed_event_is_not_delivered(site, httpserver: HTTPServer, inbox: Inbox) -> None:
    repo = site.repo()
    site.client("founder").create_hook(repo, url=httpserver.url_for(inbox.path), secret=SECRET, events=["push"])
    site.client("dev").create_issue(repo, title="t", body="")
    site.commit(repo, "main", {"a.txt": "1\n"})
    assert inbox.hints(1)[0].event == "push"

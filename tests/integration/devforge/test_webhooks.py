"""Webhooks: headers, signatures, payloads, one attempt."""

from __future__ import annotations

import hashlib
import hmac
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest

World = Any
SECRET = "hush"


class Listener:
    """A receiver that keeps what it got and answers what it is told to."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.status = 200
        self._more = threading.Condition()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with outer._more:
                    outer.got.append((dict(self.headers), body))
                    outer._more.notify_all()
                self.send_response(outer.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"

    def wait(self, count: int) -> list[tuple[dict[str, str], dict[str, Any]]]:
        """Until ``count`` deliveries came: (headers, payload), in order of arrival."""
        with self._more:
            assert self._more.wait_for(lambda: len(self.got) >= count, timeout=10), [h for h, _ in self.got]
        return [(headers, json.loads(body)) for headers, body in self.got]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.close()


def subscribe(world: World, repo: str, url: str, *events: str, kind: str = "forgejo", **more: Any) -> int:
    config = {"url": url, "content_type": more.pop("content_type", "json"), "secret": SECRET}
    body = {"type": kind, "config": config, "events": list(events), "active": True, **more}
    made = world.ok("ann", "POST", f"/repos/{repo}/hooks", body)
    assert "secret" not in made["config"]
    return int(made["id"])


def settled(world: World, count: int) -> list[sqlite3.Row]:
    """The delivery log, once ``count`` deliveries of the newest subscription are finished."""
    deadline = time.monotonic() + 10
    while True:
        with sqlite3.connect(world.home / "forge.db") as db:
            db.row_factory = sqlite3.Row
            rows = db.execute(
                "SELECT * FROM deliveries WHERE hook_id = (SELECT max(id) FROM hooks) ORDER BY id"
            ).fetchall()
        if len(rows) >= count and all(row["finished"] for row in rows):
            return rows
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_headers_and_signature(world: World, listener: Listener) -> None:
    repo = world.repo()
    subscribe(world, repo, listener.url, "issues", authorization_header="Bearer abc")
    world.ok("ann", "POST", f"/repos/{repo}/issues", {"title": "T", "body": "B"})
    ((headers, payload),) = listener.wait(1)
    signature = hmac.new(SECRET.encode(), listener.got[0][1], hashlib.sha256).hexdigest()
    sha1 = hmac.new(SECRET.encode(), listener.got[0][1], hashlib.sha1).hexdigest()
    for name in ("Forgejo", "Gitea", "Gogs"):
        assert headers[f"X-{name}-Event"] == "issues"
        assert headers[f"X-{name}-Event-Type"] == "issues"
        assert headers[f"X-{name}-Signature"] == signature
    assert headers["X-GitHub-Event"] == "issues"
    assert headers["X-Hub-Signature-256"] == f"sha256={signature}"
    assert headers["X-Hub-Signature"] == f"sha1={sha1}"
    assert len({headers[f"X-{name}-Delivery"] for name in ("Forgejo", "Gitea", "Gogs", "GitHub")}) == 1
    assert headers["Authorization"] == "Bearer abc"
    assert (payload["action"], payload["number"], payload["issue"]["title"]) == ("opened", 1, "T")
    assert (payload["repository"]["full_name"], payload["sender"]["login"]) == (repo, "ann")


def test_a_form_signs_the_json(world: World, listener: Listener) -> None:
    repo = world.repo()
    subscribe(world, repo, listener.url, "issues", content_type="form")
    world.ok("ann", "POST", f"/repos/{repo}/issues", {"title": "T"})
    settled(world, 1)
    headers, body = listener.got[0]
    payload = parse_qs(body.decode())["payload"][0]
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert headers["X-Forgejo-Signature"] == hmac.new(SECRET.encode(), payload.encode(), hashlib.sha256).hexdigest()


def test_the_life_of_an_issue_and_a_pull_request(world: World, listener: Listener, clone: Any) -> None:
    repo = world.repo(rev="write")
    label = world.ok("ann", "POST", f"/repos/{repo}/labels", {"name": "l", "color": "#ffffff"})
    wanted = ("issues", "issue_comment", "pull_request", "pull_request_review", "pull_request_comment")
    subscribe(world, repo, listener.url, *wanted, "push", "create", "delete")
    world.ok("ann", "POST", f"/repos/{repo}/issues", {"title": "T"})
    world.ok("ann", "POST", f"/repos/{repo}/issues/1/labels", {"labels": [label["id"]]})
    world.ok("ann", "POST", f"/repos/{repo}/issues/1/comments", {"body": "c"})
    world.ok("ann", "PATCH", f"/repos/{repo}/issues/1", {"state": "closed", "assignees": ["rev"]})
    git = clone(repo)
    git.commit(a="1")
    git("push", "-q", "origin", "HEAD:refs/heads/fix")
    world.ok("ann", "POST", f"/repos/{repo}/pulls", {"head": "fix", "base": "main", "title": "P"})
    sha = git.commit(a="2")
    git("push", "-q", "origin", "HEAD:refs/heads/fix")
    world.ok("rev", "POST", f"/repos/{repo}/pulls/2/reviews", {"event": "APPROVED", "body": "fine"})
    world.ok("ann", "POST", f"/repos/{repo}/issues/2/comments", {"body": "c"})
    merge = {"Do": "merge", "head_commit_id": sha, "delete_branch_after_merge": True}
    world.ok("ann", "POST", f"/repos/{repo}/pulls/2/merge", merge)
    found = listener.wait(16)
    seen = [(h["X-Forgejo-Event"], h["X-Forgejo-Event-Type"], p.get("action")) for h, p in found]
    assert sorted(seen, key=repr) == sorted(
        [
            ("issues", "issues", "opened"),
            ("issues", "issue_label", "label_updated"),
            ("issue_comment", "issue_comment", "created"),
            ("issues", "issue_assign", "assigned"),
            ("issues", "issues", "closed"),
            ("create", "create", None),
            ("push", "push", None),
            ("pull_request", "pull_request", "opened"),
            ("push", "push", None),
            ("pull_request", "pull_request_sync", "synchronized"),
            ("pull_request_approved", "pull_request_review_approved", "reviewed"),
            ("issue_comment", "pull_request_comment", "created"),
            ("pull_request", "pull_request", "closed"),
            ("push", "push", None),
            ("delete", "delete", None),
            ("push", "push", None),
        ],
        key=repr,
    )
    merged = next(p for h, p in found if h["X-Forgejo-Event-Type"] == "pull_request" and p["action"] == "closed")
    assert merged["pull_request"]["merged"] is True
    review = next(p for _, p in found if p.get("action") == "reviewed")
    assert review["review"] == {"type": "pull_request_review_approved", "content": "fine"}
    pushes = [p for h, p in found if h["X-Forgejo-Event"] == "push" and p["ref"] == "refs/heads/fix"]
    assert {p["after"] for p in pushes} >= {sha, "0" * 40}
    assert any(p["commits"] and p["head_commit"]["id"] == sha for p in pushes)


def test_what_was_not_asked_for_is_not_sent(world: World, listener: Listener, clone: Any) -> None:
    repo = world.repo()
    subscribe(world, repo, listener.url, "push", branch_filter="release/*")
    paused = {"type": "forgejo", "config": {"url": listener.url, "content_type": "json"}, "events": ["issues"]}
    assert world.ok("ann", "POST", f"/repos/{repo}/hooks", paused)["active"] is False  # the default
    world.ok("ann", "POST", f"/repos/{repo}/issues", {"title": "T"})
    git = clone(repo)
    git("push", "-q", "origin", "HEAD:refs/heads/other")
    git("push", "-q", "origin", "HEAD:refs/heads/release/1")
    assert [payload["ref"] for _, payload in listener.wait(1)] == ["refs/heads/release/1"]


def test_one_attempt_whatever_comes_of_it(world: World, listener: Listener) -> None:
    repo = world.repo()
    listener.status = 500
    subscribe(world, repo, listener.url, "issues")
    world.ok("ann", "POST", f"/repos/{repo}/issues", {"title": "T"})
    assert [row["status"] for row in settled(world, 1)] == [500]
    nowhere = listener.url.replace("/hook", "")
    subscribe(world, repo, nowhere.rpartition(":")[0] + ":1/", "issues")
    world.ok("ann", "POST", f"/repos/{repo}/issues", {"title": "U"})
    (row,) = settled(world, 1)
    assert (row["status"], "refused" in row["answer"].lower()) == (0, True)


@pytest.mark.parametrize(("fault", "arrives"), [("lose_webhook", 0), ("duplicate_delivery", 2)])
def test_knobs_for_deliveries(world: World, listener: Listener, fault: str, arrives: int) -> None:
    repo = world.repo()
    subscribe(world, repo, listener.url, "issues")
    world.admin("POST", "/_faults", {"faults": [{"kind": fault}]})
    world.ok("ann", "POST", f"/repos/{repo}/issues", {"title": "T"})
    settled(world, 1)
    assert len(listener.got) == arrives
    assert len({headers["X-Forgejo-Delivery"] for headers, _ in listener.got}) <= 1
    world.admin("POST", "/_faults", {"faults": []})


def test_a_delivery_not_yet_tried_is_sent_after_a_restart_and_a_tried_one_is_not(
    world: World, listener: Listener
) -> None:
    repo = world.repo()
    hook = subscribe(world, repo, listener.url, "issues")
    world.process.kill()
    with sqlite3.connect(world.home / "forge.db") as db:
        for number, started in ((1, None), (2, 1)):
            db.execute(
                "INSERT INTO deliveries (hook_id, uuid, event, event_type, payload, created, started) VALUES"
                " (?, ?, 'issues', 'issues', '{}', 1, ?)",
                (hook, f"u{number}", started),
            )
    world.restart(kill=True)
    listener.wait(1)
    assert [headers["X-Forgejo-Delivery"] for headers, _ in listener.got] == ["u1"]


def test_editing_and_who_may(world: World, listener: Listener) -> None:
    repo = world.repo(dev="write")
    hook = subscribe(world, repo, listener.url, "issues", "push", branch_filter="x")
    edited = world.ok("ann", "PATCH", f"/repos/{repo}/hooks/{hook}", {"active": True})
    assert (edited["events"], edited["branch_filter"]) == (["push"], "")  # a trap of Forgejo's, kept
    assert world.call("dev", "GET", f"/repos/{repo}/hooks").status_code == 403
    world.ok("ann", "POST", f"/repos/{repo}/hooks/{hook}/tests")
    assert listener.wait(1)[0][0]["X-Forgejo-Event"] == "push"
    for bad in ({"type": "slack"}, {"config": {"url": "file:///etc/passwd", "content_type": "json"}},
                {"config": {"url": listener.url, "content_type": "xml"}}):  # fmt: skip
        body = {"type": "forgejo", "config": {"url": listener.url, "content_type": "json"}, **bad}
        assert world.call("ann", "POST", f"/repos/{repo}/hooks", body).status_code == 422
    assert world.call("ann", "DELETE", f"/repos/{repo}/hooks/{hook}").status_code == 204
    assert world.call("ann", "GET", f"/repos/{repo}/hooks/{hook}").status_code == 404

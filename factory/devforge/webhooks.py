"""Webhooks: payloads written with the change that causes them; delivery in the background, once, unordered."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode, urlsplit

from factory.devforge import globs
from factory.devforge.render import git as render_git
from factory.devforge.render import items, people
from factory.devforge.store import hooks, issues, pulls, repos, timeline, users
from factory.devforge.store.access import Actor
from factory.devforge.store.database import Store
from factory.devforge.store.events import Event
from factory.devforge.store.hooks import Hook
from factory.devforge.store.repos import Repo
from factory.git import objects
from factory.git.values import ZERO

TIMEOUT = 5.0
KEPT = 2000
"""How many finished deliveries stay in the log."""
_REVIEW_WORDS = {"APPROVED": "approved", "REQUEST_CHANGES": "rejected", "COMMENT": "comment"}


def record(store: Store, event: Event) -> bool:
    """Write one delivery per subscription that wants the event, in the event's own transaction."""
    repo = repos.by_id(store, event.repo_id)
    header, kind = _names(event)
    wanted = [h for h in hooks.listening(store, repo.id, repo.owner_id) if h.wants(kind) and _branch_ok(h, event)]
    if not wanted:
        return False
    body = payload(store, repo, event)
    for hook in wanted:
        told = body
        if hook.type == "gitea" and event.name in ("create", "delete"):
            told = {**body, "ref": body["ref"].split("/", 2)[2]}  # Gitea's kind names the branch, not the ref
        insert(store, hook, header, kind, json.dumps(told, separators=(",", ":")))
    return True


def insert(store: Store, hook: Hook, header: str, kind: str, body: str) -> None:
    store.insert(
        "deliveries",
        hook_id=hook.id,
        uuid=str(uuid.uuid4()),
        event=header,
        event_type=kind,
        payload=body,
        created=store.now(),
    )


def _branch_ok(hook: Hook, event: Event) -> bool:
    ref = str(event.more.get("ref", ""))
    if not hook.branch_filter or not ref.startswith("refs/heads/"):
        return True
    return globs.matches(hook.branch_filter, ref.removeprefix("refs/heads/"), "/")


def _names(event: Event) -> tuple[str, str]:
    """(X-Forgejo-Event, X-Forgejo-Event-Type)."""
    if event.name == "pull_request_review":
        word = _REVIEW_WORDS[event.more["state"]]
        return f"pull_request_{word}", f"pull_request_review_{word}"
    if event.name in ("issue_comment", "pull_request_comment"):
        return "issue_comment", event.name
    if event.name.startswith("issue_"):
        return "issues", event.name
    if event.name.startswith("pull_request_"):
        return "pull_request", event.name
    return event.name, event.name


def payload(store: Store, repo: Repo, event: Event) -> dict[str, Any]:
    """The JSON of an event, as the reference's section 3.8 lists it."""
    doer = users.by_id(store, event.user_id)
    tail = {"repository": people.repo(store, repo, Actor(user=doer)), "sender": people.user(store, doer)}
    if event.item_id is None:
        return _push(store, repo, event) | {"pusher": people.user(store, doer)} | tail
    item = issues.by_id(store, event.item_id)
    body: dict[str, Any] = {"action": event.action, "number": item.number, **tail}
    if "changes" in event.more:
        body["changes"] = event.more["changes"]
    if event.name in ("issue_comment", "pull_request_comment"):
        entry = timeline.get(store, event.more["comment_id"])
        body |= {
            "issue": items.issue(store, repo, item),
            "comment": items.comment(store, repo, item, entry),
            "is_pull": item.is_pull,
        }
        del body["number"]
    if not item.is_pull:
        body.setdefault("issue", items.issue(store, repo, item))
        return body
    body["pull_request"] = items.pull(store, repo, pulls.of_issue(store, item))
    if event.name == "pull_request_review":
        kind = f"pull_request_review_{_REVIEW_WORDS[event.more['state']]}"
        body |= {
            "review": {"type": kind, "content": event.more["body"]},
            "requested_reviewer": people.user(store, doer),
        }
    elif event.more.get("reviewer_id") is not None:
        body["requested_reviewer"] = people.user_id(store, event.more["reviewer_id"])
    return body


def _push(store: Store, repo: Repo, event: Event) -> dict[str, Any]:
    ref, before, after = event.more["ref"], event.more["before"], event.more["after"]
    if event.name in ("create", "delete"):
        kind = "branch" if ref.startswith("refs/heads/") else "tag"
        facts: dict[str, Any] = {"ref": ref, "ref_type": kind}
        return facts | ({"sha": after} if event.name == "create" else {"pusher_type": "user"})
    found = []
    if after != ZERO and ref.startswith("refs/heads/"):
        hidden = [before] if before != ZERO and objects.exists(repo.path, before) else []
        found = objects.log(repo.path, after, exclude=hidden, limit=20)
    commits = [render_git.payload_commit(store, repo, info) for info in found]
    return {
        "ref": ref,
        "before": before,
        "after": after,
        "compare_url": f"{store.root_url}/{repo.full_name}/compare/{before}...{after}",
        "commits": commits,
        "total_commits": len(commits),
        "head_commit": commits[0] if commits else None,
    }


# ---------------------------------------------------------------- delivery


def headers(hook: Hook, event: str, kind: str, delivery: str, body: bytes) -> dict[str, str]:
    """Every header Forgejo sends; the signature is of the JSON, also in form mode."""
    secret = hook.secret.encode()
    sha1 = hmac.new(secret, body, hashlib.sha1).hexdigest() if secret else ""
    sha256 = hmac.new(secret, body, hashlib.sha256).hexdigest() if secret else ""
    found = {"X-GitHub-Delivery": delivery, "X-GitHub-Event": event, "X-GitHub-Event-Type": kind}
    for name in ("Forgejo", "Gitea", "Gogs"):
        found |= {
            f"X-{name}-Delivery": delivery,
            f"X-{name}-Event": event,
            f"X-{name}-Event-Type": kind,
            f"X-{name}-Signature": sha256,
        }
    found |= {"X-Hub-Signature": f"sha1={sha1}", "X-Hub-Signature-256": f"sha256={sha256}"}
    if hook.authorization:
        found["Authorization"] = hook.authorization
    return found


class Deliverer:
    """Sends what is in the log. A delivery is marked as started before it is sent: at most one attempt, also over a
    restart."""

    def __init__(self, store: Store, fault: Callable[[str], Iterable[object]] = lambda _kind: ()) -> None:
        self._store = store
        self._fault = fault
        self._pool: ThreadPoolExecutor | None = None

    def wake(self) -> None:
        """Send everything that was not started yet."""
        rows = self._store.all("SELECT id FROM deliveries WHERE started IS NULL ORDER BY id")
        if not rows:
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="webhook")
        for row in rows:
            self._pool.submit(self._one, row["id"])

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _one(self, delivery_id: int) -> None:
        store = self._store
        with store.tx():
            row = store.one("SELECT * FROM deliveries WHERE id = ? AND started IS NULL", delivery_id)
            if row is None:
                return
            store.update("deliveries", delivery_id, started=store.now())
        hook = hooks.get(store, row["hook_id"])
        status, answer = 0, "lost by a fault knob"
        if not list(self._fault("lose_webhook")):
            for _ in range(2 if list(self._fault("duplicate_delivery")) else 1):
                status, answer = send(hook, row["event"], row["event_type"], row["uuid"], row["payload"])
        with store.tx():
            store.update("deliveries", delivery_id, finished=store.now(), status=status, answer=answer[:2000])
            store.run("DELETE FROM deliveries WHERE id < ? AND finished IS NOT NULL", delivery_id - KEPT)


def send(hook: Hook, event: str, kind: str, delivery: str, body: str) -> tuple[int, str]:
    """One attempt; (HTTP status or 0, what was answered or why there was no answer)."""
    parts = urlsplit(hook.url)
    raw = body.encode()
    sent = headers(hook, event, kind, delivery, raw)
    if hook.content_type == "form":
        data, sent["Content-Type"] = urlencode({"payload": body}).encode(), "application/x-www-form-urlencoded"
    else:
        data, sent["Content-Type"] = raw, "application/json"
    secure = parts.scheme == "https"
    make = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    link = make(parts.hostname or "", parts.port, timeout=TIMEOUT)
    try:
        link.request("POST", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), data, sent)
        answer = link.getresponse()
        return answer.status, answer.read(2000).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        return 0, f"{type(error).__name__}: {error}"
    finally:
        link.close()

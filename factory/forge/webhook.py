"""What a webhook hints at. A delivery may be lost, repeated, late or out of order: it wakes the daemon and names what
to look at, and nothing is ever concluded from it."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass

from factory.forge import decode
from factory.forge.values import RepoName

MOST_BYTES = 4 * 1024 * 1024
_SIGNATURES = ("x-forgejo-signature", "x-gitea-signature", "x-gogs-signature", "x-hub-signature-256")
_EVENTS = ("x-forgejo-event-type", "x-gitea-event-type", "x-forgejo-event", "x-gitea-event")
_ABOUT = ("pull_request", "issue")


@dataclass(frozen=True)
class Hint:
    """Something may have changed: a subject, a ref, or only some repo (neither)."""

    event: str
    repo: RepoName
    number: int | None = None
    ref: str | None = None


def signed(headers: Mapping[str, str], body: bytes, secret: bytes) -> bool:
    """Whether the delivery carries the HMAC-SHA256 of its raw body under our secret. An empty secret never verifies."""
    if not secret or len(body) > MOST_BYTES:
        return False
    lower = {key.lower(): value for key, value in headers.items()}
    said = next((lower[name] for name in _SIGNATURES if lower.get(name)), "")
    wanted = hmac.new(secret, body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(said.removeprefix("sha256=").strip().lower().encode(), wanted.encode())


def parse(headers: Mapping[str, str], body: bytes) -> Hint | None:
    """The hint in a delivery whose signature was verified; None when it names no repo or is not JSON."""
    lower = {key.lower(): value for key, value in headers.items()}
    event = next((lower[name] for name in _EVENTS if lower.get(name)), "")
    try:
        data = decode.record(json.loads(body))
    except (ValueError, RecursionError):
        return None
    repo = decode.repo_name(data.get("repository"))
    if repo is None:
        return None
    number = decode.number(data, "number") or next(
        (n for n in (decode.number(decode.record(data.get(key)), "number") for key in _ABOUT) if n), 0
    )
    ref = decode.text(data, "ref")
    if ref and not ref.startswith("refs/"):
        # The create and delete events of a hook of type "gitea" name the branch alone.
        ref = f"refs/{'tags' if decode.text(data, 'ref_type') == 'tag' else 'heads'}/{ref}"
    return Hint(event, repo, number if number > 0 else None, ref or None)


def hint(headers: Mapping[str, str], body: bytes, secret: bytes) -> Hint | None:
    """``parse`` behind ``signed``: None for anything not signed by the forge."""
    return parse(headers, body) if signed(headers, body, secret) else None

from __future__ import annotations

import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.forge.values import RepoName
from factory.forge.webhook import Hint, hint, parse, signed

SECRET = b"s3cret"
REPO = {"full_name": "founder/tally"}


def delivery(data: object, event: str = "push", header: str = "X-Forgejo-Signature") -> tuple[dict[str, str], bytes]:
    body = json.dumps(data).encode()
    digest = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
    if header == "X-Hub-Signature-256":
        digest = f"sha256={digest}"
    return {"X-Forgejo-Event-Type": event, header: digest}, body


@pytest.mark.parametrize(
    ("event", "data", "number", "ref"),
    [
        ("push", {"ref": "refs/heads/main"}, None, "refs/heads/main"),
        ("create", {"ref": "main", "ref_type": "branch"}, None, "refs/heads/main"),
        ("delete", {"ref": "v1", "ref_type": "tag"}, None, "refs/tags/v1"),
        ("issue_label", {"action": "label_updated", "number": 4, "issue": {"number": 4}}, 4, None),
        ("issue_comment", {"action": "created", "issue": {"number": 7}, "comment": {"id": 1}}, 7, None),
        ("pull_request", {"action": "opened", "number": 9, "pull_request": {"number": 9}}, 9, None),
        ("pull_request_review_approved", {"action": "reviewed", "pull_request": {"number": 3}}, 3, None),
        ("repository", {"action": "created"}, None, None),
        ("issues", {"number": "x", "issue": None}, None, None),
        ("issues", {"number": -1}, None, None),
    ],
)
def test_hints(event: str, data: dict[str, object], number: int | None, ref: str | None) -> None:
    headers, body = delivery({**data, "repository": REPO}, event)
    assert hint(headers, body, SECRET) == Hint(event, RepoName("founder", "tally"), number, ref)


@pytest.mark.parametrize(
    "header", ["X-Forgejo-Signature", "X-Gitea-Signature", "X-Hub-Signature-256", "x-forgejo-signature"]
)
def test_signatures_of_every_spelling(header: str) -> None:
    headers, body = delivery({"repository": REPO}, header=header)
    assert signed(headers, body, SECRET)


@pytest.mark.parametrize(
    "headers",
    [{}, {"X-Forgejo-Signature": ""}, {"X-Forgejo-Signature": "0" * 64}, {"X-Hub-Signature-256": "sha256="},
     {"X-Hub-Signature": "sha1=abc"}, {"X-Forgejo-Signature": "é"}],
)  # fmt: skip
def test_unsigned_deliveries_hint_at_nothing(headers: dict[str, str]) -> None:
    body = json.dumps({"repository": REPO}).encode()
    assert parse(headers, body) is not None
    assert hint(headers, body, SECRET) is None


def test_an_empty_secret_never_verifies() -> None:
    body = b"{}"
    digest = hmac.new(b"", body, hashlib.sha256).hexdigest()
    assert not signed({"X-Forgejo-Signature": digest}, body, b"")


def test_a_changed_body_does_not_verify() -> None:
    headers, body = delivery({"repository": REPO})
    assert not signed(headers, body + b" ", SECRET)


@given(st.binary(max_size=100) | st.text(max_size=30).map(lambda text: json.dumps({"repository": text}).encode()))
def test_garbage_hints_at_nothing(body: bytes) -> None:
    assert parse({}, body) is None


def test_deep_nesting_is_no_trouble() -> None:
    assert parse({}, b"[" * 100_000) is None

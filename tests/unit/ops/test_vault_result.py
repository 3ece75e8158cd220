"""How an action ended, as a file that people and other files read."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from factory.ops.routes import Route, route
from factory.ops.vault_result import VaultResult, state_in

AT = datetime(2026, 11, 21, 12, 0, 0, 7, tzinfo=UTC)


def test_the_file_says_how_it_ended() -> None:
    facts = {"formula": "release@1", "approvers": ("founder",)}
    id = "2026-11-21-release-7f3a"
    done = VaultResult(id, "done", AT, True, "released", pull=3, facts=facts, result={"url": "http://x"})
    assert done.path == "vault/fired/2026-11-21-release-7f3a.toml"
    assert done.write().splitlines()[1:] == [
        'id = "2026-11-21-release-7f3a"', 'state = "done"', "at = 2026-11-21T12:00:00Z", 'words = "released"',
        "pull = 3", 'formula = "release@1"', 'approvers = ["founder"]', "", "[result]", 'url = "http://x"',
    ]  # fmt: skip
    assert state_in(done.write().encode()) == "done"


def test_what_never_started_is_rejected() -> None:
    assert VaultResult("a-1", "refused", AT, False, code="expired").path == "vault/rejected/a-1.toml"


def test_both_are_direct_routes() -> None:
    assert route(VaultResult("a-1+2", "done", AT, True).path) is Route.DIRECT
    assert route(VaultResult("a-1", "refused", AT, False).path) is Route.DIRECT


@given(st.text(), st.text())
def test_any_words_leave_it_readable(words: str, told: str) -> None:
    text = VaultResult("a-1", "failed", AT, True, words, result={"out": told}).write()
    read = tomllib.loads(text)
    assert read["state"] == "failed"
    assert len(read["result"]["out"]) <= 2000


def test_a_file_that_is_none_tells_nothing() -> None:
    assert state_in(b"\xff") is None
    assert state_in(b"state = 3\n") is None

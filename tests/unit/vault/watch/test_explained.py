"""Which commits of main are explained, by what they are."""

from __future__ import annotations

import pytest

from factory.git.hardened import Change, Commit
from factory.vault.watch.explained import unexplained


def commit(path: bytes, *parents: str, oid: str = "c") -> Commit:
    return Commit(oid, parents, (Change("A", "100644", "d" * 40, path),) if path else ())


@pytest.mark.parametrize(
    ("one", "explained"),
    [
        (commit(b"diary/x.md", "a", oid="listed"), True),
        (commit(b"diary/x.md", "a"), False),
        (commit(b"", "a"), False),
        (commit(b"vault/actions/x.toml", "a"), False),
        (commit(b"vault/policy.toml", "a"), False),
        (commit(b"notes/x.md", "a", "b", oid="approved"), True),
        (commit(b"notes/x.md", "a", "b"), False),
        (commit(b"notes/x.md", "a", "b", oid="listed"), False),
        (commit(b"", "a", "b"), False),
        (commit(b"vault/actions/x.toml", "a", "b"), True),
        (commit(b"vault/policy.toml", "a", "b"), True),
        (commit(b"Factory.toml", "a", "b"), True),
        (commit(b"notes/x.md"), False),
        (commit(b"vault/actions/x.toml", "a", "b", "c"), False),
        # What was there before is its second parent.
        (commit(b"vault/actions/x.toml", "b", "a"), False),
        (commit(b"notes/x.md", "b", "a", oid="approved"), False),
        (commit(b"diary/x.md", "b", oid="listed"), False),
    ],
    ids=lambda one: f"{one.oid}-{len(one.parents)}-{one.changes}"[:60] if isinstance(one, Commit) else "",
)
def test_what_explains_a_commit(one: Commit, explained: bool) -> None:
    found = unexplained([one], "a", lambda: {"listed"}, lambda merge: merge.oid == "approved")
    assert found == ([] if explained else [one])


def test_each_commit_stands_on_the_one_before() -> None:
    row = [commit(b"diary/x.md", "a", oid="1"), commit(b"diary/y.md", "1", oid="2")]
    assert unexplained(row, "a", lambda: {"1", "2"}, lambda merge: False) == []
    assert unexplained(row, "0", lambda: {"1", "2"}, lambda merge: False) == row[:1]


def test_journal_and_forge_are_asked_only_where_needed() -> None:
    def never(*_: object) -> set[str]:
        raise AssertionError

    assert unexplained([commit(b"vault/actions/x.toml", "a", "b")], "a", never, never) == []  # type: ignore[arg-type]
    assert unexplained([], "a", never, never) == []  # type: ignore[arg-type]

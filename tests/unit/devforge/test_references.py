"""References in texts, and which of them close."""

from __future__ import annotations

import pytest

from factory.devforge.store.references import Reference, find


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Fixes #1", [Reference(None, None, 1, True)]),
        ("fixed: #12, see #3", [Reference(None, None, 12, True), Reference(None, None, 3, False)]),
        ("Closes ann/repo#7", [Reference("ann", "repo", 7, True)]),
        ("resolves\n#5", [Reference(None, None, 5, True)]),
        ("prefixes #1", [Reference(None, None, 1, False)]),
        ("suffix #1", [Reference(None, None, 1, False)]),
        ("word#1 a&#39; #0 #1a ##2", []),
        ("(#4)", [Reference(None, None, 4, False)]),
        ("`fixes #1` and ```\nfixes #2\n```", []),
        ("<!-- fixes #1 --> x", []),
        ("closes: #1 and fix #2.", [Reference(None, None, 1, True), Reference(None, None, 2, True)]),
    ],
)
def test_find(text: str, expected: list[Reference]) -> None:
    assert list(find(text)) == expected

"""Globs, as rule names, file patterns and status contexts use them."""

from __future__ import annotations

import pytest

from factory.devforge import globs


@pytest.mark.parametrize(
    ("pattern", "text", "separators", "expected"),
    [
        ("main", "main", "/", True),
        ("mai[n]", "main", "/", True),
        ("mai[!n]", "main", "/", False),
        ("mai[a-n]", "main", "/", True),
        ("release/*", "release/1", "/", True),
        ("release/*", "release/1/2", "/", False),
        ("release/**", "release/1/2", "/", True),
        ("*", "a/b", "", True),
        ("ci/*", "ci/a/b", "", True),
        ("r?", "r1", "/", True),
        ("r?", "r/", "/", False),
        ("{a,b*}/x", "bcd/x", "/", True),
        ("{a,b}/x", "c/x", "/", False),
        (r"\*", "*", "/", True),
        (r"\*", "x", "/", False),
        ("a.b", "axb", "/", False),
        ("a,b", "a,b", "/", True),
        ("[", "[", "/", False),
        ("{a", "a", "/", False),
        ("[^]", "^", "/", True),
        ("(x|y)+", "x", "/", False),
    ],
)
def test_matching(pattern: str, text: str, separators: str, expected: bool) -> None:
    assert globs.matches(pattern, text, separators) is expected


@pytest.mark.parametrize(
    ("patterns", "path", "expected"),
    [
        ("*.md", "README.md", True),
        ("*.md", "docs/README.md", False),
        ("**.md", "docs/README.md", True),
        ("docs/**; *.TXT ;", "A.txt", True),
        ("docs/**", "DOCS/x/y.z", True),
        ("", "anything", False),
        (";;", "anything", False),
    ],
)
def test_file_patterns(patterns: str, path: str, expected: bool) -> None:
    assert globs.matches_any(patterns, path) is expected


def test_plain_names_are_told_from_patterns() -> None:
    assert [globs.is_glob(name) for name in ("main", "a/b", "mai[n]", "x*", "{a}", "w!")] == [False, False, *[True] * 4]

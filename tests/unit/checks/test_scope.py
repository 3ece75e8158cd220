from __future__ import annotations

from collections.abc import Callable

import pytest

from factory.checks.model import Change, FileChange, Severity
from factory.checks.scope import named_paths, scan

Touched = Callable[..., FileChange]
Changed = Callable[..., Change]
BASE = [
    "src/shop/cart.py",
    "src/shop/price.py",
    "src/mail/send.py",
    "tests/test_cart.py",
    "README.md",
    "a/__init__.py",
    "b/__init__.py",
]


@pytest.mark.parametrize(
    ("issue", "paths"),
    [
        ("The bug is in `src/shop/cart.py`.", {"src/shop/cart.py"}),
        ("see cart.py, please", {"src/shop/cart.py"}),
        ("everything in src/shop/ is slow", {"src/shop"}),
        ("the src is bad; __init__.py too", set()),
        ("./src/mail/send.py:12 fails", {"src/mail/send.py"}),
        ("Nothing named. e.g. this", set()),
    ],
)
def test_paths_an_issue_names(issue: str, paths: set[str]) -> None:
    assert named_paths(issue, frozenset(BASE)) == paths


@pytest.mark.parametrize(
    "path", ["src/shop/cart.py", "src/shop/price.py", "tests/test_cart.py", "README.md", "CHANGELOG.md"]
)
def test_neighbours_tests_and_docs_belong(path: str, touched: Touched, changed: Changed) -> None:
    assert scan(changed(touched(path, ["x"]), base=BASE, issue="fix cart.py")) == ()


def test_files_elsewhere_are_noted(touched: Touched, changed: Changed) -> None:
    (finding,) = scan(changed(touched("src/mail/send.py", ["x"]), base=BASE, issue="fix cart.py"))
    assert (finding.severity, finding.path) == (Severity.NOTE, "src/mail/send.py")
    assert scan(changed(touched("src/mail/send.py", ["x"]), base=BASE, issue="make it faster")) == ()


def test_silent_deletions(touched: Touched, changed: Changed) -> None:
    gone = touched("src/mail/send.py", status="deleted")
    (finding,) = scan(changed(gone, base=BASE, issue=""))
    assert finding.severity is Severity.NOTE
    assert scan(changed(gone, base=BASE, issue="delete src/mail/send.py")) == ()
    many = [touched(f"src/f{n}.py", status="deleted") for n in range(6)]
    (finding,) = scan(changed(*many, base=BASE))
    assert finding.severity is Severity.PERSON
    assert "6 files" in finding.text
    assert "and 1 more" in finding.text


@pytest.mark.parametrize(("count", "severity"), [(25, None), (26, Severity.NOTE), (101, Severity.PERSON)])
def test_breadth(count: int, severity: Severity | None, touched: Touched, changed: Changed) -> None:
    found = scan(changed(*[touched(f"src/f{n}.py", ["x"]) for n in range(count)]))
    assert [f.severity for f in found] == ([severity] if severity else [])

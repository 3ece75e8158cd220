from __future__ import annotations

from collections.abc import Callable

import pytest

from factory.checks.diff_scan import LARGE_BINARY, MAX_FILE, MAX_LINES, scan
from factory.checks.model import Change, FileChange, Severity

Touched = Callable[..., FileChange]
Changed = Callable[..., Change]


def severities(change: Change) -> set[Severity]:
    return {finding.severity for finding in scan(change)}


def test_an_ordinary_change_is_quiet(touched: Touched, changed: Changed) -> None:
    files = (
        touched("src/a.py", ["x = 1", "y = 'naïve ✅ 日本語'", "======="], ["x = 0"]),
        touched("src/b.py", ["pass"], status="added"),
        touched("src/c.py", status="deleted", removed=["old"], size=0),
        touched("src/d.py", status="renamed", old_path="src/e.py"),
        touched("emoji.md", ["👩\u200d💻 works", "\ufefftext"[1:]]),
    )
    assert scan(changed(*files, base=["src/a.py", "src/c.py", "src/e.py"])) == ()


@pytest.mark.parametrize("marker", ["<<<<<<< HEAD", ">>>>>>> branch", "<<<<<<<", "||||||| base"])
def test_conflict_markers_block(marker: str, touched: Touched, changed: Changed) -> None:
    (finding,) = scan(changed(touched("a.py", ["fine", marker, ">>>>>>> x"])))
    assert (finding.severity, finding.line) == (Severity.BLOCK, 2)


@pytest.mark.parametrize(
    ("text", "severity"),
    [
        ("if admin:\u202e } x", Severity.BLOCK),
        ("a\u2066b", Severity.BLOCK),
        ("a\u200bb", Severity.PERSON),
        ("x\ufeff", Severity.PERSON),
        ("tag \U000e0041", Severity.PERSON),
        ("a\u200db", Severity.PERSON),
        ("hangul \u3164", Severity.PERSON),
        ("\x1b[31m", Severity.NOTE),
        ("nul\x00", Severity.NOTE),
    ],
)
def test_hidden_text(text: str, severity: Severity, touched: Touched, changed: Changed) -> None:
    (finding,) = scan(changed(touched("a.py", ["fine", text])))
    assert (finding.severity, finding.line) == (severity, 2)
    assert finding.text.isprintable()


def test_a_byte_order_mark_at_the_start_is_customary(touched: Touched, changed: Changed) -> None:
    assert scan(changed(touched("a.cs", ["\ufeffusing System;"]))) == ()


@pytest.mark.parametrize(
    "path",
    [
        "node_modules/x/i.js",
        ".venv/bin/python",
        "a/__pycache__/x.pyc",
        "x.pyc",
        ".DS_Store",
        "x.egg-info/PKG-INFO",
        "a.orig",
    ],
)
def test_leftovers_of_tools_block(path: str, touched: Touched, changed: Changed) -> None:
    assert severities(changed(touched(path, ["x"], status="added"))) == {Severity.BLOCK}


def test_what_cannot_be_judged_blocks(touched: Touched, changed: Changed) -> None:
    assert severities(changed(touched("a", ["x"]), truncated=True)) == {Severity.BLOCK}
    assert severities(changed(touched("a", ["x"] * (MAX_LINES + 1)))) == {Severity.BLOCK}
    assert severities(changed(touched("a", ["x"], size=MAX_FILE + 1))) == {Severity.BLOCK}
    assert severities(changed(touched("a", size=10))) == {Severity.BLOCK}, "modified, and no line of it is known"
    assert severities(changed(touched("a", status="added", size=10))) == {Severity.BLOCK}


def test_what_has_no_lines_for_a_good_reason_does_not(touched: Touched, changed: Changed) -> None:
    assert scan(changed(touched("empty", status="added", size=0))) == ()
    assert severities(changed(touched("run.sh", mode=0o100755))) == {Severity.NOTE}
    assert scan(changed(touched("b", status="renamed", old_path="a"))) == ()


def test_lock_files_do_not_count(touched: Touched, changed: Changed) -> None:
    assert scan(changed(touched("web/package-lock.json", ["x"] * (MAX_LINES + 1)))) == ()


def test_binaries_cannot_be_read(touched: Touched, changed: Changed) -> None:
    assert severities(changed(touched("logo.png", binary=True, size=10))) == {Severity.NOTE}
    assert severities(changed(touched("tool", binary=True, size=LARGE_BINARY + 1))) == {Severity.PERSON}


@pytest.mark.parametrize(
    ("path", "target", "severity"),
    [
        ("a/link", "../b", Severity.PERSON),
        ("a/link", "../../b", Severity.BLOCK),
        ("link", "/etc/passwd", Severity.BLOCK),
        ("link", "a/../../b", Severity.BLOCK),
        ("link", "a/../b", Severity.PERSON),
    ],
)
def test_links(path: str, target: str, severity: Severity, touched: Touched, changed: Changed) -> None:
    assert severities(changed(touched(path, [target], status="added", mode=0o120000))) == {severity}


def test_submodules(touched: Touched, changed: Changed) -> None:
    assert severities(changed(touched("lib", status="added", mode=0o160000, size=0))) == {Severity.PERSON}


def test_twins(touched: Touched, changed: Changed) -> None:
    assert severities(changed(touched("readme.md", ["x"], status="added"), base=["README.md"])) == {Severity.BLOCK}
    two = (touched("a/B.py", ["x"], status="added"), touched("a/b.py", ["x"], status="added"))
    assert severities(changed(*two)) == {Severity.BLOCK}
    renamed = touched("readme.md", status="renamed", old_path="README.md")
    assert scan(changed(renamed, base=["README.md"])) == ()


def test_size_is_noted(touched: Touched, changed: Changed) -> None:
    (finding,) = scan(changed(touched("a.py", ["x"] * 2000)))
    assert finding.severity is Severity.NOTE
    assert "2,000" in finding.text

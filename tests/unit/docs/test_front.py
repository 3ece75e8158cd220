"""The front door: the README's two commands are what CI runs, and the changelog is kept."""

from __future__ import annotations

import re

from tests.unit.docs.pages import PAGES, ROOT

README = next(page for page in PAGES if page.path == "README.md")


def test_ci_runs_what_the_readme_says() -> None:
    shown = [line for _, text in README.blocks() for line in text.splitlines() if line.startswith("make ")]
    assert shown == ["make demo", "make test"]
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert [line for line in script.splitlines() if line.startswith("make ")] == shown
    assert "set -euo pipefail" in script, "a red command must end it"


def test_the_makefile_has_those_targets() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert {"demo", "test", "lint", "unit"} <= set(targets)


def test_python_and_git_are_named_as_the_package_wants_them() -> None:
    wanted = re.search(r'requires-python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert wanted is not None
    assert f"Python {wanted[1]} or newer" in README.text


def test_the_changelog_has_a_place_for_what_is_not_released() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    (unreleased,) = re.findall(r"^## Unreleased\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert re.search(r"^### (Added|Changed|Deprecated|Removed|Fixed|Security)$", unreleased, re.MULTILINE)
    assert re.search(r"^- ", unreleased, re.MULTILINE)

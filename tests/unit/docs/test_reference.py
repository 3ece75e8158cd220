"""The generated pages are what the code says today, and complete."""

from __future__ import annotations

import pytest

from factory.cli.main import COMMANDS, HIDDEN
from tests.unit.docs.reference import ROOT, pages

MADE = pages()


@pytest.mark.parametrize("path", MADE)
def test_the_page_is_current(path: str) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == MADE[path], "run: .venv/bin/python -m tests.unit.docs.reference"


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - HIDDEN))
def test_every_command_is_there(name: str) -> None:
    assert f"\n## factory {name}\n" in MADE["docs/reference/cli.md"]


@pytest.mark.parametrize("path", MADE)
def test_every_row_has_a_meaning(path: str) -> None:
    """The column of meanings has no hole: what a key or option does is said where it is declared."""
    holes = []
    meaning: int | None = None
    lines = MADE[path].splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        cells = [cell.strip() for cell in line.replace("\\|", "/").strip("|").split("|")]
        if following.startswith("|---"):
            meaning = cells.index("Meaning") if "Meaning" in cells else None
        elif line.startswith("| ") and meaning is not None and not cells[meaning]:
            holes.append(line)
    assert holes == []

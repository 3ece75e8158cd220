"""The page of attacks says what the tests declare, and every line of it has the vault refusing."""

from __future__ import annotations

import pytest

from factory.vault.people.words import MEANINGS
from tests.integration.vault.attacks.register import ROOT, RUNS, Row
from tests.integration.vault.attacks.table import PAGE, page, rows

WORDS = ("frozen", "waits")
"""What the vault does where there is nothing to refuse."""


def test_the_page_is_what_the_tests_declare() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m tests.integration.vault.attacks.table"


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row.key} {row.words}"[:60])
def test_no_line_says_neither(row: Row) -> None:
    assert row.vault
    for one in row.vault:
        assert one in MEANINGS or not row.code or one in WORDS, f"{one} has no words for people"
    assert row.check
    assert row.off == RUNS or row.off.startswith(("cannot", "it takes", "it happens"))


def test_no_attack_is_left_out() -> None:
    assert {row.key for row in rows() if isinstance(row.key, int)} == set(range(1, 67))


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row.key} {row.words}"[:60])
def test_every_line_has_its_test(row: Row) -> None:
    path, _, name = row.test.partition("::")
    assert f"def {name}" in (ROOT / path).read_text(encoding="utf-8")
    if isinstance(row.key, int) and "attacks/" in path:
        assert name.startswith(f"test_attack_{row.key}_")

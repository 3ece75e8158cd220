"""The page of the vault's formulas names each of them, all their parameters, all effects and all fields of a result."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory.formula.catalog import load_formulas
from factory.vault.run.effects import EFFECTS
from factory.vault.run.result import FIELDS

PAGE = (Path(__file__).resolve().parents[3] / "docs/reference/vault-formulas.md").read_text(encoding="utf-8")
VAULT = {name: formula.vault for name, formula in load_formulas({}).formulas.items() if formula.vault is not None}


@pytest.mark.parametrize("name", sorted(VAULT))
def test_each_formula_stands_there_as_it_is(name: str) -> None:
    vault = VAULT[name]
    assert f"| `{name}` | {vault.effect_class}, {vault.floor} |" in PAGE
    takes = PAGE.partition(f"`{name}`\ntakes" if f"`{name}`\ntakes" in PAGE else f"`{name}` takes")[2].partition(";")[0]
    assert [word for word in takes.replace("`", "").replace(",", " ").replace(".", " ").split() if word][: len(
        vault.params)] == [param.name for param in vault.params]  # fmt: skip


def test_effects_and_fields_are_all_named() -> None:
    for name in (*EFFECTS, *FIELDS):
        assert f"`{name}`" in PAGE


def test_no_formula_names_an_effect_that_there_is_not() -> None:
    assert all(effect in EFFECTS for vault in VAULT.values() for effect in vault.effects)

"""What each test of an attack shows, declared beside it and held by it: the rows of docs/reference/vault-attacks.md.

A test returns what it saw; the declaration is compared with that, so a row of the page is true or the test fails.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).parents[4]
Forge = Literal["blocks", "allows", "-"]
RUNS = "it runs"
"""With the check switched off, the effect happens."""


@dataclass(frozen=True)
class Seen:
    """What happened: did the forge itself refuse; the vault's code (or what it did instead); with the check off."""

    forge: Forge
    vault: str
    off: str = RUNS


@dataclass(frozen=True)
class Row:
    """One line of the page. ``key``: the attack's number, or the rule's words."""

    key: int | str
    words: str
    forge: Forge
    vault: tuple[str, ...]
    off: str
    check: str
    """Which check it is that was switched off."""
    test: str
    """Path and name of the test."""

    @property
    def code(self) -> bool:
        """Whether the vault answers with codes, not in words."""
        return all(re.fullmatch(r"[a-z]+(-[a-z]+)*", one) for one in self.vault)


ROWS: list[Row] = []


def _row(key: int | str, words: str, forge: Forge, vault: str, off: str, check: str) -> Callable[..., Any]:
    codes = tuple(vault.split(" | "))

    def held(test: Callable[..., Seen]) -> Callable[..., None]:
        path = Path(test.__code__.co_filename).relative_to(ROOT)
        ROWS.append(Row(key, words, forge, codes, off, check, f"{path}::{test.__name__}"))

        @functools.wraps(test)
        def wrapper(*args: Any, **kwargs: Any) -> None:
            seen = test(*args, **kwargs)
            assert seen.vault in codes
            assert (seen.forge, seen.off) == (forge, off)

        return wrapper

    return held


def attack(number: int, words: str, *, vault: str, forge: Forge = "-", off: str = RUNS, check: str = "") -> Any:
    """The test carries out attack ``number`` of the threat model. ``vault``: the codes it may refuse with, `` | ``
    between them, or in words what it does; ``forge`` "-": a forge has no say in it."""
    return _row(number, words, forge, vault, off, check)


def rule(words: str, *, vault: str, forge: Forge = "-", off: str = RUNS, check: str = "") -> Any:
    """The test breaks a rule of how the vault is built; ``words`` say the rule."""
    return _row(words, words, forge, vault, off, check)


def elsewhere(number: int | str, words: str, test: str, *, vault: str, forge: Forge = "-", off: str = RUNS,
              check: str = "") -> None:  # fmt: skip
    """An attack that a test of another folder carries out: ``path::name``, or the beginning of a name."""
    ROWS.append(Row(number, words, forge, tuple(vault.split(" | ")), off, check, test))


def held(words: str, test: str, *, vault: str, forge: Forge = "-", off: str = RUNS, check: str = "") -> None:
    """A rule that a test of another folder breaks: ``path::name``, or the beginning of a name."""
    elsewhere(words, words, test, vault=vault, forge=forge, off=off, check=check)

"""An ops repo with secrets in it, as the dispatcher's mirror holds it, and orders that ask for one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from factory.git import objects
from factory.git.values import Signature
from factory.ops.edit import Edit
from factory.vault.action import Action, Tier
from factory.vault.formulas import VaultFormula
from factory.vault.keys.changing import Change, Place, put
from factory.vault.keys.shelf import look
from factory.vault.policy import FormulaRule, Policy
from factory.vault.ports import Order

NOW = datetime(2026, 11, 21, 8, tzinfo=UTC)
BOT = Signature("factory-bot", "factory-bot@factory.invalid", 1_800_000_000)


@dataclass
class House:
    """One host (its ``state``) and its mirror of an ops repo."""

    state: Path
    mirror: Path
    host: str = "h1"
    tip: str = ""

    def place(self) -> Place:
        return Place(self.state, self.host, self.mirror, look(self.state, self.mirror, self.tip))

    def land(self, change: Change) -> str:
        """The change as if it had been approved."""
        return self.write({edit.path: edit.apply(self._read(edit)) for edit in change.edits})

    def _read(self, edit: Edit) -> bytes | None:
        return objects.read_file(self.mirror, self.tip, edit.path)

    def write(self, files: Mapping[str, bytes | None]) -> str:
        self.tip = objects.build_commit(
            self.mirror, parent=self.tip or None, changes=files, message="x", author=BOT, committer=BOT
        )
        return self.tip

    def set(self, name: str, value: bytes, *formulas: str) -> str:
        return self.land(put(self.place(), name, value, formulas or ("release@1",)))

    def order(
        self, formula: str = "release@1", secrets: tuple[str, ...] = ("TOKEN", "OTHER"), trust: str = ""
    ) -> Order:
        return order(formula, secrets, trust or self.tip)


def house(folder: Path, host: str = "h1", mirror: Path | None = None, tip: str = "") -> House:
    if mirror is None:
        mirror = folder / "repo.git"
        objects.init_bare(mirror)
    made = House(folder / f"state-{host}", mirror, host, tip)
    if not tip:
        made.write({"README.md": b"ops\n"})
    return made


def order(formula: str, secrets: tuple[str, ...], trust: str) -> Order:
    name, _, version = formula.partition("@")
    rule = FormulaRule("0" * 64, Tier.MEDIUM, secrets)
    policy = Policy(1, "", frozenset({1}), frozenset(), {formula: rule}, {}, 1, 1, 1, frozenset(), 1)
    action = Action("a-1234", formula, Tier.MEDIUM, "t", NOW, NOW, "", "person:ann", secrets)
    made = VaultFormula(name, int(version), "0" * 64, "", "A", Tier.LOW, {}, secrets)
    return Order("a-1234", 1, "0" * 32, "k", Tier.MEDIUM, action, made, rule, policy, trust)

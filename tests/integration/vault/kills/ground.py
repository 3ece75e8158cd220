"""An ops repo with as many merged actions as one likes, released a few at a time; and what its forge says of them."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pygit2

from factory.vault.approval import Review
from factory.vault.ports import PullFact
from tests.integration.vault.house import ADMIN, LETTERS, SETTINGS, TIERS, VAULT_BOT, House, formula_bytes, policy_bytes
from tests.integration.vault.quick import QuickGit, Store

PLENTY = "per_requester_day = 10000\n\n[per_day]\nlow = 10000\nmedium = 10000\nhigh = 10000\n"
WHO = pygit2.Signature("x", "x@y", 1_700_000_000, 0)


def formula(name: str) -> bytes | None:
    """Those of the house, with the shortest time to run: after it, whoever started one is believed lost."""
    found = formula_bytes(name)
    return found + b"\n[limits]\nminutes = 1\n" if found else None


@dataclass
class Ground:
    """``folder`` holds the remote, ``facts`` for the forge's answers, and all that the processes keep."""

    folder: Path
    count: int
    house: House = field(init=False)
    ids: dict[str, str] = field(default_factory=dict)
    """Ledger id -> effect class."""
    targets: dict[str, str] = field(default_factory=dict)
    released: int = 0
    _rows: list[tuple[str, str, str]] = field(default_factory=list)
    """Of each action: id, branch and the merge that adds it."""

    def __post_init__(self) -> None:
        policy = policy_bytes(more=PLENTY, formulas=formula)
        now = datetime.now(UTC).replace(microsecond=0)
        settings = replace(SETTINGS, since=now - timedelta(days=2), at=now)
        self.house = House(self.folder, now=now, settings_=settings, policy=policy)
        git = QuickGit(Store(self.house.remote))
        tips = {name: git.store.branch(name) for name in ("main", "auto")}
        heads: dict[str, int] = {}
        for number in range(self.count):
            name = list(TIERS)[number % len(TIERS)]
            base = "auto" if TIERS[name] == "low" else "main"
            action = self.house.action(name, place=f"p{number}")
            tree = git._put(git._commit(tips[base]).tree, action.path.split("/"),
                            git.store.repo.create_blob(action.write()))  # fmt: skip
            make = git.store.repo.create_commit
            head = str(make(None, WHO, WHO, "ask", tree, [tips[base]]))
            tips[base] = str(make(None, WHO, WHO, "merge", tree, [tips[base], head]))
            heads[head] = number
            self._rows.append((action.id, base, tips[base]))
            self.ids[action.id], self.targets[action.id] = LETTERS[name], action.target
        pulls = {n: self._pull(n, head, self._rows[n][1]) for head, n in heads.items()}
        (self.folder / "facts").write_bytes(pickle.dumps((heads, pulls, self.house.settings_, self.house.repo_)))

    def _pull(self, number: int, head: str, base: str) -> PullFact:
        now = self.house.now
        review = Review(1, ADMIN, "APPROVED", False, False, True, head, now)
        return PullFact(
            number=number, poster=VAULT_BOT, base=base, head_sha=head, head_repo=self.house.repo_.id, flow=0,
            opened=now, merged=True, contributors=frozenset({VAULT_BOT}), pushed=now, moved=None, reviews=(review,),
        )  # fmt: skip

    def release(self, more: int) -> None:
        """Merge so many more."""
        new = self._rows[self.released : self.released + more]
        self.released += len(new)
        for base, merge in {base: merge for _, base, merge in new}.items():
            self.house.ref(f"heads/{base}", merge)

    def merged(self) -> Mapping[str, str]:
        """Class by id of those that were released."""
        return {id: self.ids[id] for id, _, _ in self._rows[: self.released]}



"""What stands around the forge as the trusted part reads it: it looks at what ``refs`` tells, hands on all else as it
is, and can do one thing, freeze the vault. Not part of the trusted part."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from factory.vault.chain import Chain
from factory.vault.ledger import ALL, Entry
from factory.vault.ports import Forge, PullFact, Repo


@dataclass
class Around:
    """``ports.Forge`` over ``forge``, but for ``refs``. ``chain`` is the dispatcher's ledger, which a FREEZE is written
    to; ``me`` signs it; ``folder`` is the vault's of this ops repo."""

    forge: Forge
    chain: Callable[[], Chain]
    folder: Path
    me: str
    clock: Callable[[], datetime]

    def repo(self) -> Repo:
        return self.forge.repo()

    def ahead(self, heads: Iterable[str]) -> None:
        self.forge.ahead(heads)

    def pulls(self, head: str) -> tuple[PullFact, ...]:
        return self.forge.pulls(head)

    def humans(self, ids: frozenset[int]) -> frozenset[int]:
        return self.forge.humans(ids)

    def now(self) -> datetime:
        return self.forge.now()

    def freeze(self, evidence: Mapping[str, Any]) -> None:
        """Raises Unclear, Refused."""
        at = self.clock().astimezone(UTC).replace(microsecond=0)
        self.chain().append([Entry("FREEZE", ALL, secrets.token_hex(16), self.me, at, evidence=evidence)])

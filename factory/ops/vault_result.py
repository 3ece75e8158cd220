"""``vault/fired/<id>.toml`` and ``vault/rejected/<id>.toml``: how a vault action ended, for people and other files.

They only repeat what the ledger (or the pull request) says and decide nothing. Pure.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from factory.ops.markdown import plain
from factory.ops.toml_text import toml_value

FIRED, REJECTED = "vault/fired/", "vault/rejected/"
_HEAD = "# Written by the factory; the ledger is what counts. Editing it changes nothing.\n"


@dataclass(frozen=True)
class VaultResult:
    """How one action (or one run of a repeated one) ended. ``fired``: it had started."""

    id: str
    state: str
    """done, failed, abandoned, refused, revoked, rejected, expired, closed or unfit."""
    at: datetime
    fired: bool
    words: str = ""
    code: str = ""
    pull: int | None = None
    facts: Mapping[str, str | int | tuple[str, ...]] = field(default_factory=dict)
    """Formula, tier, target and the like."""
    result: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return f"{FIRED if self.fired else REJECTED}{self.id}.toml"

    def write(self) -> str:
        """The file."""
        when = self.at.astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
        rows: list[tuple[str, object]] = [("id", self.id), ("state", self.state)]
        rows += [("code", self.code)] if self.code else []
        rows += [("words", plain(self.words, 500))] if self.words else []
        rows += [("pull", self.pull)] if self.pull is not None else []
        lines = [f"{key} = {toml_value(value)}" for key, value in [*rows, *self.facts.items()]]
        lines.insert(2, f"at = {when}")
        if self.result:
            lines += ["", "[result]"]
            lines += [f"{key} = {toml_value(plain(text, 2000))}" for key, text in self.result.items()]
        return _HEAD + "\n".join(lines) + "\n"


def state_in(data: bytes) -> str | None:
    """The ``state`` such a file tells; None where it cannot be read."""
    found = _told(data, "state")
    return found if isinstance(found, str) else None


def pull_in(data: bytes) -> int | None:
    """The pull request such a file tells."""
    found = _told(data, "pull")
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _told(data: bytes, key: str) -> object:
    try:
        return tomllib.loads(data.decode("utf-8")).get(key)
    except ValueError:
        return None

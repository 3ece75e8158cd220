"""What moves when the vault changes homes, as one value and as bytes: keys, tokens, all that its processes remember.

The bytes go through a pipe from one user to another. Who takes them believes no name in them: each is one of a few
places below ``state``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from factory.errors import UsageError

KIND = "factory-vault"
MAX_BYTES = 256 << 20
"""Of all that moves."""
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.+@=-]{0,199}"
_MOVED = re.compile(rf"vault(?:/{_PART}){{1,6}}|tokens/{_PART}")
_COPIED = re.compile(rf"(?:tokens|projects|authority)/{_PART}")
_LEFT = frozenset({"locks", "slots", "runs"})
"""Folders of a vault in which nothing stands that outlives its processes."""


@dataclass(frozen=True)
class Origin:
    """What both homes have to agree in, and what of host.toml goes with the vault. ``mirror_token``: the file's path,
    below ``state`` where it is relative."""

    host: str
    forge_url: str
    sandbox: str
    ops_repos: tuple[str, ...]
    mirror_url: str = ""
    mirror_login: str = ""
    mirror_token: str = ""


@dataclass(frozen=True)
class Parcel:
    """``moved``: path below ``state`` -> content of what is in one home alone; ``copied``: of what both need."""

    origin: Origin
    moved: Mapping[str, bytes]
    copied: Mapping[str, bytes]

    def write(self) -> bytes:
        """The same parcel is always the same bytes."""
        told = {
            "kind": KIND, "schema": 1, "origin": asdict(self.origin), "moved": _text(self.moved),
            "copied": _text(self.copied),
        }  # fmt: skip
        return json.dumps(told, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def number_of(data: bytes) -> str:
    """By which both sides name a parcel: SHA-256 of its bytes."""
    return hashlib.sha256(data).hexdigest()


def read(data: bytes) -> Parcel:
    """Raises UsageError for what is no whole parcel, or names a place that is none of a vault's."""
    doing = "taking the vault in"
    try:
        told = json.loads(data)
        if told["kind"] != KIND or told["schema"] != 1:
            raise ValueError(f"it is of another kind or version ({told['kind']!s:.40}, {told['schema']!s:.10})")
        said = dict(told["origin"])
        repos = tuple(map(str, said.pop("ops_repos")))
        origin = Origin(ops_repos=repos, **{key: str(value) for key, value in said.items()})
        return Parcel(origin, _bytes(told["moved"], _MOVED), _bytes(told["copied"], _COPIED))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"{type(error).__name__}: {error!s:.200}"
        raise UsageError(
            f"{doing}: what came in is not what `factory vault move-out` writes ({why})",
            hint="as the user it is moved from: factory vault move-out | ... factory vault move-in",
        ) from None


def collect(state: Path) -> dict[str, bytes]:
    """All that lasts of ``state/vault``: not its sockets, locks, heartbeats and copies of repos, which come again.

    Raises UsageError for more than a parcel holds, OSError."""
    found: dict[str, bytes] = {}
    size = 0
    for path in sorted((state / "vault").rglob("*")):
        name = path.relative_to(state).as_posix()
        if path.is_symlink() or not path.is_file() or not _lasts(name):
            continue
        found[name] = path.read_bytes()
        size += len(found[name])
        named = _MOVED.fullmatch(name) is not None
        if size > MAX_BYTES or not named:
            why = "more than can be moved at once" if named else f"{path} has a name that no vault gives"
            hint = f"look at {state / 'vault'}; run logs, in logs/, may go"
            raise UsageError(f"moving the vault out: {why}", hint=hint)
    return found


def _lasts(name: str) -> bool:
    parts = name.split("/")[1:]
    gone = any(part in _LEFT or part.endswith(".git") or ".git.left-" in part or part[0] == "." for part in parts)
    return not gone and not parts[-1].endswith((".sock", ".beat.json"))


def _text(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: base64.b64encode(data).decode() for name, data in files.items()}


def _bytes(told: Any, allowed: re.Pattern[str]) -> dict[str, bytes]:
    wrong = [name for name in told if not allowed.fullmatch(name)]
    if wrong:
        raise ValueError(f"{wrong[0]!r:.200} is no place of a vault")
    return {name: base64.b64decode(text, validate=True) for name, text in told.items()}

"""The action file: the only thing an agent's wish becomes. Strict, canonical, refused rather than understood.

Part of the trusted part. Limits and names follow vault-security.md, rule R2 and attacks 16 to 27 and 31.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any

from factory.vault.canonical import MAX_BYTES, MAX_INT, Refused, fits, load, moment, sha256, toml, trouble

FOLDER = "vault/actions/"
ID = re.compile(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])")
FORMULA = re.compile(r"[a-z][a-z0-9-]{0,39}@[1-9][0-9]{0,5}")
SECRET = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
KEY = re.compile(r"[a-z][a-z0-9_]{0,39}")
REF = re.compile(r"[A-Za-z0-9._-]{1,100}/[A-Za-z0-9._-]{1,100}#[1-9][0-9]{0,8}")
REQUESTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/-]{0,99}")
TARGET = re.compile(r"[A-Za-z0-9@][A-Za-z0-9@._:/+-]{0,299}")
MAX_REASON, MAX_TEXT, MAX_ITEMS, MAX_RUNS = 500, 2000, 64, 366

Value = str | int | bool | tuple[str | int, ...]


class Tier(IntEnum):
    """How far the effect reaches; it can only rise."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3

    @property
    def word(self) -> str:
        return self.name.lower()

    @classmethod
    def of(cls, word: object) -> "Tier | None":
        """The tier of that exact word; None: there is none."""
        return next((tier for tier in cls if tier.word == word), None)


TIERS = frozenset(tier.word for tier in Tier)


@dataclass(frozen=True)
class Finding:
    """One thing wrong with a file: a fixed code, the key it is at, what, and what would be right."""

    code: str
    key: str
    message: str
    hint: str = ""


@dataclass(frozen=True)
class Action:
    """A request for one effect (or, with ``runs``, for a bounded row of the same one)."""

    id: str
    formula: str
    """Name and version: ``release@1``."""
    blast_radius: Tier
    """What the asker declares; it can raise the tier, never lower it."""
    target: str
    """What is acted on: one action at a time on each."""
    not_before: datetime
    expires: datetime
    reason: str
    """The asker's words: shown as such, never read."""
    requester: str
    """``run:<id>``, ``role:<name>`` or ``person:<login>``: whose budget it is."""
    secrets: tuple[str, ...] = ()
    unblocks: tuple[str, ...] = ()
    """``owner/name#number`` of what waits for it."""
    runs: int = 1
    every_hours: int = 0
    """More than one run: hours between them."""
    params: Mapping[str, Value] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return f"{FOLDER}{self.id}.toml"

    def write(self) -> bytes:
        """The file, in the only form that is read."""
        values: dict[str, Any] = {
            "v": 1, "id": self.id, "formula": self.formula, "blast_radius": self.blast_radius.word,
            "target": self.target, "secrets": self.secrets, "not_before": self.not_before, "expires": self.expires,
            "reason": self.reason, "requester": self.requester, "unblocks": self.unblocks}  # fmt: skip
        if self.runs != 1:
            values |= {"runs": self.runs, "every_hours": self.every_hours}
        return toml({**values, "params": dict(sorted(self.params.items()))})

    @property
    def content(self) -> str:
        """Digest of what it does, whatever it is called: the same content asked twice is seen."""
        return sha256(toml({"formula": self.formula, "params": dict(sorted(self.params.items()))}))


def read(data: bytes, name: str) -> Action:
    """The action in a file called ``name`` (with its ``.toml``). Raises Refused with the first problem."""
    action, findings = check(data, name)
    if action is None:
        first = findings[0]
        raise Refused(first.code, f"{first.key}: {first.message}" if first.key else first.message)
    return action


def check(data: bytes, name: str) -> tuple[Action | None, list[Finding]]:
    """The action and everything that is wrong with it; None where there are problems."""
    try:
        values = load(data)
    except Refused as refused:
        return None, [*_legacy(data), Finding(refused.code, "", refused.words, "write it with `factory vault request`")]
    found = _shape(values, name)
    if found:
        return None, found
    plain = {key: _flat(value) for key, value in values.items() if key != "v"}
    params = {key: _flat(value) for key, value in values["params"].items()}
    action = Action(**{**plain, "blast_radius": Tier.of(values["blast_radius"]), "params": params})
    if action.write() != data:
        return None, [Finding("not-canonical", "", "its bytes are not in the one form the factory writes",
                              "order, quoting and spaces count; write it with `factory vault request`")]  # fmt: skip
    return action, []


def _flat(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _legacy(data: bytes) -> list[Finding]:
    """A file of the older system has no version; it is never guessed at, nor parsed: that could take seconds."""
    keys = {row.partition(b"=")[0].strip() for row in data[:MAX_BYTES].split(b"\n") if b"=" in row and row[:1] != b"#"}
    if not keys or b"v" in keys:
        return []
    return [Finding("legacy", "", "a file of the older form (no `v`): it is not run",
                    "file it for a person instead: `factory vault request rent-a-human what=...`")]  # fmt: skip


def _shape(values: Mapping[str, Any], name: str) -> list[Finding]:
    found: list[Finding] = []

    def need(good: bool, code: str, key: str, message: str, hint: str = "") -> None:
        if not good:
            found.append(Finding(code, key, message, hint))

    need("v" in values, "legacy", "v", "a file of the older form: it is not run", "see `factory vault request`")
    need(fits(values.get("v", 1), range(1, 2)), "version", "v", "only v = 1 is known")
    for key in sorted(set(values) - _KEYS):
        found.append(Finding("unknown-key", key, "is no key of an action", f"keys: {', '.join(sorted(_KEYS))}"))
    for key in sorted(_NEEDED - set(values)):
        found.append(Finding("missing-key", key, "is missing"))
    need(fits(values.get("id"), ID), "bad-id", "id", "must be 2 to 64 of a-z, 0-9 and dash, no dash at its ends")
    need(values.get("id") == name.removesuffix(".toml") and name.endswith(".toml"), "id-not-name", "id",
         f"is not the file's name ({name[:80]!r})")  # fmt: skip
    need(fits(values.get("formula"), FORMULA), "bad-formula", "formula", "must be name@version", 'like "release@1"')
    need(Tier.of(values.get("blast_radius")) is not None, "bad-tier", "blast_radius", "must be low, medium or high")
    need(fits(values.get("target"), TARGET), "bad-target", "target", "is not a target's name")
    need(fits(values.get("requester"), REQUESTER), "bad-requester", "requester", "is not who asks")
    start, end = moment(values.get("not_before")), moment(values.get("expires"))
    for key, when in (("not_before", start), ("expires", end)):
        need(when is not None, "bad-time", key, "must be a moment in UTC", "2026-11-21T08:00:00Z")
    need(start is None or end is None or start < end, "bad-time", "expires", "must be after not_before")
    for key, pattern in (("secrets", SECRET), ("unblocks", REF)):
        items: Any = values.get(key)
        good = fits(items, [pattern]) and len(set(items)) == len(items) <= MAX_ITEMS
        need(good, f"bad-{key}", key, "must be a list of different names")
    runs, hours = values.get("runs", 1), values.get("every_hours", 0)
    good = fits(runs, range(1, MAX_RUNS + 1)) and fits(hours, range(24 * 366 + 1)) and ((runs > 1) == (hours > 0))
    need(good, "bad-runs", "runs", f"must be up to {MAX_RUNS}, with every_hours")
    _text(found, "reason", values.get("reason"), MAX_REASON)
    params = values.get("params")
    need(isinstance(params, Mapping) and len(params) <= MAX_ITEMS, "bad-params", "params", "must be one small table")
    for key, value in (params if isinstance(params, Mapping) else {}).items():
        need(KEY.fullmatch(key) is not None, "bad-key", f"params.{key[:40]}", "is not a parameter's name")
        items = value if isinstance(value, list) else [value]
        need(len(items) <= MAX_ITEMS, "too-many", f"params.{key[:40]}", f"has more than {MAX_ITEMS} items")
        for item in items:
            if isinstance(item, str):
                _text(found, f"params.{key[:40]}", item, MAX_TEXT)
            elif not (isinstance(item, bool) and item is value) and not fits(item, range(-MAX_INT, MAX_INT + 1)):
                found.append(Finding("bad-type", f"params.{key[:40]}", "must be text, a whole number or true/false"))
    return found


def _text(found: list[Finding], key: str, value: object, limit: int) -> None:
    why = trouble(value, limit) if isinstance(value, str) else "must be text"
    if why is not None:
        found.append(Finding("bad-text", key, why))


_NEEDED = frozenset({"v", "id", "formula", "blast_radius", "target", "secrets", "not_before", "expires", "reason",
                     "requester", "unblocks", "params"})  # fmt: skip
_KEYS = _NEEDED | {"runs", "every_hours"}

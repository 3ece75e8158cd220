"""What stands beside the ciphertexts for everybody to read: whose keys may read secrets, and what each secret is for.

``vault/secrets/recipients.toml`` names the public keys, and with which key each host signs the ledger;
``vault/secrets/<NAME>.toml`` is a secret's label: version, formulas, the keys it was encrypted to, the digest of its
file. Both are in the controlled set, so a person approved them; a label that does not fit its ciphertext makes the
secret unusable.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from factory.errors import ConfigInvalid, Problem
from factory.vault.action import FORMULA, SECRET
from factory.vault.canonical import Refused, fits, load, sha256, toml
from factory.vault.keys.envelope import MAX_VERSION, recipient
from factory.vault.keys.sshsig import public_key

FOLDER = "vault/secrets/"
RECIPIENTS = f"{FOLDER}recipients.toml"
HOLDER = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_KINDS = ("dispatchers", "recovery", "host_keys")
MOST = 64
"""Keys that one secret is encrypted to."""


def file_of(name: str) -> str:
    return f"{FOLDER}{name}.age"


def label_of(name: str) -> str:
    return f"{FOLDER}{name}.toml"


@dataclass(frozen=True)
class Recipients:
    """Public keys by the name of who holds them: hosts whose dispatcher fires actions, and people who could recover."""

    dispatchers: Mapping[str, str] = field(default_factory=dict)
    recovery: Mapping[str, str] = field(default_factory=dict)
    host_keys: Mapping[str, str] = field(default_factory=dict)
    """By host the public half of the key with which it signs what it writes on the ledger; none: the file says nothing
    of it, as those of before."""

    @property
    def keys(self) -> tuple[str, ...]:
        """All of them, each once, sorted."""
        return tuple(sorted({*self.dispatchers.values(), *self.recovery.values()}))

    def holder(self, key: str) -> str:
        """Who holds a key, in words; the beginning of the key where nobody is named."""
        names = [f"{name} (dispatcher)" for name, held in self.dispatchers.items() if held == key]
        names += [f"{name} (recovery)" for name, held in self.recovery.items() if held == key]
        return ", ".join(names) or f"{key[:16]}..."

    def write(self) -> bytes:
        tables = {"dispatchers": self.dispatchers, "recovery": self.recovery}
        tables |= {"host_keys": self.host_keys} if self.host_keys else {}
        return toml({"v": 1, **{kind: dict(sorted(table.items())) for kind, table in tables.items()}})


def read_recipients(data: bytes | None) -> Recipients:
    """Raises ConfigInvalid with every problem; no file is nobody."""
    if data is None:
        return Recipients()
    try:
        values = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _invalid(RECIPIENTS, [f"is not TOML: {str(error)[:200]}"]) from None
    wrong = [f"has the unknown key {key[:40]}" for key in sorted(set(values) - {"v", *_KINDS})]
    if values.get("v") != 1:
        wrong.append("only v = 1 is known")
    found: dict[str, Mapping[str, str]] = {}
    for kind in _KINDS:
        table = values.get(kind, {})
        if not isinstance(table, dict) or len(table) > MOST // 2:
            wrong.append(f"{kind} must be a table of at most {MOST // 2} keys")
            continue
        wrong += [why for name, key in table.items() if (why := _holder(kind, name, key))]
        found[kind] = table
    if wrong:
        raise _invalid(RECIPIENTS, wrong)
    return Recipients(*(found[kind] for kind in _KINDS))


def _holder(kind: str, name: str, key: object) -> str:
    if not HOLDER.fullmatch(name):
        return f"{kind}.{name[:40]!r} is no name: letters, digits and dashes"
    text = key if isinstance(key, str) else repr(key)
    try:
        good = public_key(text) == text if kind == "host_keys" else recipient(text)
    except ValueError as error:
        return f"{kind}.{name}: {error}"
    return "" if good else f"{kind}.{name}: has more than type and key"


@dataclass(frozen=True)
class Label:
    """What is to be known of a secret without reading it."""

    name: str
    version: int
    formulas: tuple[str, ...]
    keys: tuple[str, ...]
    """Public keys that it was encrypted to, as who wrote it says."""
    sha256: str
    """Of its file."""

    @classmethod
    def on(cls, name: str, version: int, formulas: tuple[str, ...], keys: tuple[str, ...], file: bytes) -> Label:
        return cls(name, version, formulas, keys, sha256(file))

    def write(self) -> bytes:
        return toml({"v": 1, "name": self.name, "version": self.version, "formulas": self.formulas, "keys": self.keys,
                     "sha256": self.sha256})  # fmt: skip


def read_label(name: str, data: bytes) -> Label:
    """The label of the secret ``name``, byte for byte as the factory writes it. Raises ConfigInvalid."""
    try:
        values: dict[str, Any] = load(data, limit=64 * 1024)
        formulas, keys = tuple(values["formulas"]), tuple(values["keys"])
        label = Label(values["name"], values["version"], formulas, keys, values["sha256"])
        good = {
            "v": values["v"] == 1, "name": label.name == name and SECRET.fullmatch(name),
            "version": fits(label.version, range(1, MAX_VERSION + 1)), "sha256": _DIGEST.fullmatch(label.sha256),
            "formulas": label.formulas and all(map(FORMULA.fullmatch, label.formulas)),
            "keys": 0 < len(label.keys) <= MOST and all(map(recipient, label.keys)), "form": label.write() == data,
        }  # fmt: skip
    except Refused as refused:
        raise _invalid(label_of(name), [refused.words]) from None
    except (KeyError, TypeError, ValueError) as error:
        raise _invalid(label_of(name), [f"is no label of a secret ({str(error)[:100]})"]) from None
    bad = [key for key, fine in good.items() if not fine]
    if bad:
        raise _invalid(label_of(name), [f"its {', '.join(bad)} is not as the factory writes it"])
    return label


def _invalid(path: str, wrong: list[str]) -> ConfigInvalid:
    problems = tuple(Problem(path, None, why, "`factory secret list` shows what is there") for why in wrong)
    return ConfigInvalid(f"reading {path}: {'; '.join(wrong)}", problems)

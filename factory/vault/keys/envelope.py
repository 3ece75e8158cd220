"""A secret as a file: an age ciphertext whose plaintext says which secret it is, for which formulas, which version.

age says nothing of who made a ciphertext or of where it belongs, so one secret's file could be put in another's place
(security-rules.md: PROD into DOCS). What the plaintext says of itself is therefore checked against the place it was
found at, against its label beside it, and against the order that asks for it.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyrage
from pyrage import DecryptError, RecipientError, x25519

from factory.vault.action import FORMULA, SECRET
from factory.vault.canonical import fits, json_bytes
from factory.vault.keys.errors import SecretRefused

MAX_VALUE = 32 * 1024
MAX_FILE = 128 * 1024
"""Bytes of a ciphertext: the largest value for 64 recipients stays below it."""
MAX_VERSION = 1_000_000
_KIND = "factory-secret"
_ARMOR = re.compile(rb"-----BEGIN AGE ENCRYPTED FILE-----\n([A-Za-z0-9+/=\n]+)-----END AGE ENCRYPTED FILE-----\n?")


@dataclass(frozen=True)
class Envelope:
    """What a ciphertext holds. ``value`` never shows in a repr."""

    name: str
    formulas: tuple[str, ...]
    """``name@version`` of those that may have it, sorted."""
    version: int
    """Grows with each change of the file."""
    value: bytes

    def __repr__(self) -> str:
        return f"Envelope({self.name}, {self.formulas}, version {self.version})"


def seal(envelope: Envelope, recipients: Sequence[str]) -> bytes:
    """The armored file (text, so that it passes where only text may) for these public keys. Raises ValueError."""
    _checked(envelope)
    if not recipients:
        raise ValueError("a secret needs somebody who can read it")
    header = json_bytes({
        "v": 1, "kind": _KIND, "name": envelope.name, "formulas": envelope.formulas, "version": envelope.version,
    })  # fmt: skip
    keys = [recipient(text) for text in recipients]
    sealed: bytes = pyrage.encrypt(header + b"\n" + envelope.value, keys, armored=True)
    return sealed


def recipient(text: str) -> x25519.Recipient:
    """The public key of that text. Raises ValueError for what is none."""
    try:
        return x25519.Recipient.from_str(text)
    except RecipientError:
        raise ValueError(f"{text[:80]!r} is no public key of age (age1...)") from None


def unseal(data: bytes, identities: Sequence[x25519.Identity], doing: str) -> Envelope:
    """What the file holds. Raises SecretRefused: ``secret-not-ours`` (encrypted to other keys), ``secret-damaged`` (cut
    off, changed, or not a secret of the factory)."""
    if len(data) > MAX_FILE:
        raise SecretRefused("secret-damaged", f"{doing}: the file has {len(data)} bytes, more than {MAX_FILE}")
    try:
        plain: bytes = pyrage.decrypt(data, list(identities))
    except DecryptError as error:
        if "No matching keys" in str(error):
            raise SecretRefused(
                "secret-not-ours", f"{doing}: it is not encrypted to this host's key",
                hint="on a host that can read it: factory secret rotate --all",
            ) from None  # fmt: skip
        raise SecretRefused("secret-damaged", f"{doing}: not a whole age file ({error})", hint=_AGAIN) from None
    head, line, value = plain.partition(b"\n")
    try:
        told = json.loads(head.decode("ascii"))
        if not line or set(told) != {"v", "kind", "name", "formulas", "version"}:
            raise ValueError
        if told["v"] != 1 or told["kind"] != _KIND or json_bytes(told) != head:
            raise ValueError
        envelope = Envelope(told["name"], tuple(told["formulas"]), told["version"], value)
        _checked(envelope)
    except (ValueError, TypeError, RecursionError):
        raise SecretRefused(
            "secret-damaged", f"{doing}: what it holds is no secret as the factory writes one", hint=_AGAIN
        ) from None
    return envelope


_AGAIN = "factory secret set"


def _checked(envelope: Envelope) -> None:
    """Raises ValueError. Sorted and without doubles, so that there is one way to say it."""
    formulas = envelope.formulas
    if not isinstance(envelope.name, str) or not SECRET.fullmatch(envelope.name):
        raise ValueError(f"{str(envelope.name)[:80]!r} is no name of a secret: A-Z, 0-9 and _, at most 64")
    if not formulas or list(formulas) != sorted(set(formulas)) or not all(map(FORMULA.fullmatch, formulas)):
        raise ValueError("a secret is for named formulas, each as name@version")
    if not fits(envelope.version, range(1, MAX_VERSION + 1)):
        raise ValueError(f"a version is a whole number from 1 to {MAX_VERSION}")
    if not 0 < len(envelope.value) <= MAX_VALUE:
        raise ValueError(f"a secret has from 1 to {MAX_VALUE} bytes")


def keyholders(data: bytes) -> int | None:
    """How many X25519 keys a file says that it is encrypted to; None where it is no armored age file. Its header is
    public, and whose keys they are does not stand there."""
    found = _ARMOR.fullmatch(data)
    if found is None or len(data) > MAX_FILE:
        return None
    try:
        raw = base64.b64decode(found[1].replace(b"\n", b""), validate=True)
    except binascii.Error:
        return None
    head = raw.partition(b"\n--- ")[0]
    return head.count(b"\n-> X25519 ") if head.startswith(b"age-encryption.org/v1\n") else None

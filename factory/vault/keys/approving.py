"""Signed approvals: what exactly is signed, how it travels as text, and which admins' signatures are good.

Where a block stands (a comment or a review, by whomever) says nothing; only the signature in it counts. A nonce is in
what is signed and may stand for one statement only.
"""

from __future__ import annotations

import json
import re
import secrets
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from factory.config.home import write_private
from factory.vault.canonical import json_bytes, sha256
from factory.vault.keys.sshsig import Signer, fits, public_key

NAMESPACE = "vault-approve@1"
MOST_BLOCKS = 40
"""Signatures looked at for one action; those that their own signer posted come first."""
_BLOCK = re.compile(
    r"factory-signature: 1\napprover: ([1-9][0-9]{0,15})\nnonce: ([0-9a-f]{32})\n"
    r"(-----BEGIN SSH SIGNATURE-----\n[A-Za-z0-9+/=\n]{1,16000}\n-----END SSH SIGNATURE-----)"
)
_LINE = re.compile(r"([1-9][0-9]{0,15})(?: (\S+))? ((?:sk-)?(?:ssh|ecdsa)-\S+ \S+)(?: .*)?")
_OPTION = re.compile(
    r'(namespaces="([A-Za-z0-9@._,-]+)"|valid-(?:after|before)="[0-9]{8}(?:[0-9]{4}(?:[0-9]{2})?)?Z?")'
)


@dataclass(frozen=True)
class Letter:
    """A text on the forge and the account that posted it."""

    poster: int
    text: str


@dataclass(frozen=True)
class Block:
    """One signature as it travels."""

    approver: int
    nonce: str
    signature: str

    def write(self, about: str) -> str:
        """As a comment: ``about`` for people, then the block."""
        return (
            f"{about}\n\n```text\nfactory-signature: 1\napprover: {self.approver}\nnonce: {self.nonce}\n"
            f"{self.signature.strip()}\n```\n"
        )


def blocks(letters: Iterable[Letter]) -> tuple[Block, ...]:
    """Every block in these texts, each once, at most ``MOST_BLOCKS``."""
    found: dict[Block, bool] = {}
    for letter in letters:
        for match in _BLOCK.finditer(letter.text.replace("\r\n", "\n")):
            block = Block(int(match[1]), match[2], match[3])
            found[block] = found.get(block, False) or block.approver == letter.poster
    return tuple(sorted(found, key=lambda block: not found[block]))[:MOST_BLOCKS]


def new_nonce() -> str:
    return secrets.token_hex(16)


def signed_bytes(statement: bytes, approver: int, nonce: str) -> bytes:
    """What an admin signs: the statement of the trusted part, with who signs and the nonce. Raises ValueError."""
    values = json.loads(statement)
    if not isinstance(values, dict) or json_bytes(values) != statement or {"approver", "nonce"} & set(values):
        raise ValueError("not a statement as the vault writes it")
    return json_bytes({**values, "approver": approver, "nonce": nonce})


@dataclass(frozen=True)
class Roll:
    """``allowed_signers`` of this host. ``wrong``: lines that count for nothing, and why."""

    signers: tuple[Signer, ...] = ()
    wrong: tuple[str, ...] = ()


def roll(path: Path) -> Roll:
    """Each line is ``ACCOUNT-ID [namespaces="vault-approve@1",...] KEYTYPE KEY [comment]``. No file is nobody."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
        if stat.S_IMODE(path.stat().st_mode) & 0o022:
            return Roll((), (f"{path.name}: others may write it: chmod go-w {path}",))
    except FileNotFoundError:
        return Roll()
    signers, wrong = [], []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            signers.append(_signer(line.strip()))
        except ValueError as error:
            wrong.append(f"{path.name}:{number}: {error}")
    return Roll(tuple(signers), tuple(wrong))


def _signer(line: str) -> Signer:
    found = _LINE.fullmatch(line)
    if found is None:
        raise ValueError('must be: ACCOUNT-ID namespaces="vault-approve@1" KEYTYPE KEY')
    kept = []
    for option in re.split(r",(?=[a-z-]+=)", found[2]) if found[2] else []:
        known = _OPTION.fullmatch(option)
        if known is None:
            raise ValueError(f"the option {option[:40]!r} is not taken here")
        if known[2] is None:
            kept.append(option)
        elif NAMESPACE not in known[2].split(","):
            raise ValueError(f"its namespaces leave out {NAMESPACE}")
    return Signer(int(found[1]), public_key(found[3]), ",".join(kept))


@dataclass(frozen=True)
class Approvals:
    """Finds good signatures. ``letters`` gives the texts posted on pull requests (it may raise what it likes);
    ``folder`` is ``state/vault``."""

    folder: Path
    letters: Callable[[tuple[int, ...]], Iterable[Letter]]

    def signers(self, statement: bytes, pulls: tuple[int, ...]) -> frozenset[int]:
        """Accounts whose signature over this statement is there and good. Raises KeyMissing."""
        known = roll(self.folder / "allowed_signers").signers
        if not known:
            return frozenset()
        good: set[int] = set()
        for block in blocks(self.letters(pulls)):
            data = signed_bytes(statement, block.approver, block.nonce)
            if block.approver in good or not fits(block.signature, NAMESPACE, data, known, block.approver):
                continue
            if self._unused(block.nonce, statement):
                good.add(block.approver)
        return frozenset(good)

    def _unused(self, nonce: str, statement: bytes) -> bool:
        """Whether the nonce stands for this statement, from now on or since before (it is asked at VERIFIED and again
        before STARTED)."""
        path, digest = self.folder / "nonces" / nonce, sha256(statement)
        try:
            return path.read_text(encoding="ascii") == digest
        except FileNotFoundError:
            write_private(path, digest.encode())
            return True

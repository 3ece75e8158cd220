"""Signatures by ``ssh-keygen -Y``: making and checking them. What a signature means is not decided here.

Nothing of the machine's own SSH configuration is read: keys, signers and the signed text come from the caller.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import shutil
import struct
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from factory.process.foreground import run_in_front
from factory.process.spawn import Completed, run
from factory.vault.keys.errors import KeyMissing

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/homebrew/bin"
TIMEOUT_S = 20.0
MAX_SIGNATURE = 16 * 1024
_ENV = {"PATH": PATH, "HOME": "/nonexistent", "LC_ALL": "C"}
_ARMOR = re.compile(r"-----BEGIN SSH SIGNATURE-----\n([A-Za-z0-9+/=\n]{1,16000})\n-----END SSH SIGNATURE-----\n?")
_KEY = re.compile(r"((?:sk-)?(?:ssh|ecdsa)-[a-z0-9@.-]{1,60}) ([A-Za-z0-9+/]{16,8000}={0,2})")
_TOUCHED = 0x01
_VERIFIED = 0x04


def program() -> str:
    """Raises KeyMissing where OpenSSH's client is not installed."""
    found = shutil.which("ssh-keygen", path=PATH)
    if found is None:
        raise KeyMissing("looking for ssh-keygen: it is not installed", hint="apt-get install openssh-client")
    return found


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """What ssh-keygen is started with."""
    return {**_ENV, **(more or {})}


@dataclass(frozen=True)
class Signer:
    """A public key that may sign for an account."""

    account: int
    key: str
    """Type and key, as in a ``.pub`` file, without its comment."""
    options: str = ""
    """``valid-after`` and ``valid-before``, as allowed_signers has them."""


def public_key(text: str) -> str:
    """Type and key of a ``.pub`` file's line. Raises ValueError for what is none."""
    found = _KEY.match(text.strip())
    if found is None or not _names_itself(found[1], found[2]):
        raise ValueError(f"{text.strip()[:60]!r} is no public key of SSH")
    return f"{found[1]} {found[2]}"


def _names_itself(kind: str, key: str) -> bool:
    try:
        return _text(base64.b64decode(key, validate=True))[0] == kind.encode()
    except (binascii.Error, struct.error):
        return False


def make_key(path: Path, comment: str) -> str:
    """A new Ed25519 key without a passphrase in ``path`` (0600), unless there is one; its public half.

    Raises KeyMissing."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.unlink(missing_ok=True)
        argv = [program(), "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(draft)]
        made = run(argv, env=environment(), timeout_s=TIMEOUT_S)
        if made.returncode != 0:
            raise KeyMissing(f"making the key {path}: {_said(made)}")
        draft.with_name(f"{draft.name}.pub").replace(path.with_name(f"{path.name}.pub"))
        draft.replace(path)  # last: a key whose public half is missing would be made again
    return public_of(path)


def public_of(path: Path) -> str:
    """The public half of a private key without a passphrase. Raises KeyMissing."""
    done = run([program(), "-y", "-P", "", "-f", str(path)], env=environment(), timeout_s=TIMEOUT_S)
    try:
        if done.returncode == 0:
            return public_key(done.stdout.decode("ascii", "replace"))
    except ValueError:
        pass  # said below, as what it is: no usable key
    raise KeyMissing(f"reading the key {path}: {_said(done) or 'no usable key'}")


def sign(path: Path, namespace: str, data: bytes) -> str:
    """The armored signature of these bytes by a key without a passphrase. Raises KeyMissing."""
    argv = [program(), "-Y", "sign", "-q", "-n", namespace, "-f", str(path)]
    done = run(argv, env=environment(), input=data, timeout_s=TIMEOUT_S)
    text = done.stdout.decode("ascii", "replace")
    if done.returncode != 0 or not _ARMOR.fullmatch(text):
        raise KeyMissing(f"signing with {path}: {_said(done) or 'no signature came'}")
    return text


def fits(signature: str, namespace: str, data: bytes, signers: Iterable[Signer], account: int) -> bool:
    """Whether it is a signature of exactly these bytes, for this use, by a key of this account that is valid now.

    A hardware key must say that it was touched and that its owner was verified (PIN or fingerprint). Raises KeyMissing.
    """
    text = signature.replace("\r\n", "\n").strip() + "\n"
    keys = [signer for signer in signers if signer.account == account]
    if not keys or len(text) > MAX_SIGNATURE or not _ARMOR.fullmatch(text) or not _present(text):
        return False
    # Written anew for each question, so that no pattern or option of the file it came from can widen the answer.
    rows = "".join(f'{account} namespaces="{namespace}"{_more(signer)} {signer.key}\n' for signer in keys)
    allowed, told = _in_memory(rows.encode()), _in_memory(text.encode())
    try:
        argv = [program(), "-Y", "verify", "-q", "-n", namespace, "-I", str(account), "-f", f"/proc/self/fd/{allowed}"]
        argv += ["-s", f"/proc/self/fd/{told}"]
        done = run(argv, env=environment(), input=data, timeout_s=TIMEOUT_S, pass_fds=(allowed, told))
    finally:
        os.close(allowed)
        os.close(told)
    return done.returncode == 0 and not done.timed_out


def _more(signer: Signer) -> str:
    return f",{signer.options}" if signer.options else ""


def _in_memory(data: bytes) -> int:
    fd = os.memfd_create("ssh", os.MFD_CLOEXEC)
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _present(text: str) -> bool:
    """Whether a signature of a hardware key was made with touch and user verification; others need neither."""
    found = _ARMOR.fullmatch(text)
    try:
        raw = base64.b64decode((found[1] if found else "").replace("\n", ""), validate=True)
        if raw[:6] != b"SSHSIG":
            return False
        rest = raw[10:]
        for _ in range(4):  # public key, namespace, reserved, hash algorithm
            _, rest = _text(rest)
        signature, _ = _text(rest)
        kind, rest = _text(signature)
        if not kind.startswith(b"sk-"):
            return True
        _, rest = _text(rest)
        return len(rest) == 5 and rest[0] & (_TOUCHED | _VERIFIED) == _TOUCHED | _VERIFIED
    except (binascii.Error, struct.error):
        return False


def _text(data: bytes) -> tuple[bytes, bytes]:
    """The first length-prefixed string, and what follows. Raises struct.error."""
    (length,) = struct.unpack_from(">I", data)
    if len(data) < 4 + length:
        raise struct.error("too short")
    return data[4 : 4 + length], data[4 + length :]


def _said(done: Completed) -> str:
    said = " ".join(done.stderr.decode("utf-8", "replace").split())[-200:]
    return "it took too long" if done.timed_out else said


def sign_in_front(key: Path, namespace: str, data: bytes, *, agent: str = "") -> str:
    """The same by a person's own key at their terminal: it may ask for a passphrase, a PIN, a touch.

    ``key`` may be a public half, if an ``agent`` (its socket) holds the other. Raises KeyMissing."""
    with tempfile.TemporaryDirectory(prefix="factory-sign-") as folder:
        file = Path(folder) / "statement"
        file.write_bytes(data)
        argv = [program(), "-Y", "sign", "-q", "-n", namespace, "-f", str(key), str(file)]
        more = {"HOME": str(Path.home()), **({"SSH_AUTH_SOCK": agent} if agent else {})}
        code = run_in_front(argv, env=environment(more), timeout_s=120)
        made = file.with_name("statement.sig")
        text = made.read_text(encoding="ascii", errors="replace") if made.exists() else ""
    if code != 0 or not _ARMOR.fullmatch(text):
        raise KeyMissing(f"signing with {key}: ssh-keygen made no signature", hint="what it said stands above")
    return text

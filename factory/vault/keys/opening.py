"""Handing a secret to a run: read where the order says, opened here, checked against everything that is known of it.

Everything is read at ``order.trust``, the commit whose controlled set a person approved; what stands on ``main`` since
then does not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from factory.config.home import write_private
from factory.errors import ConfigInvalid
from factory.git import objects
from factory.git.values import MODE_FILE
from factory.process.lock import hold
from factory.vault.action import SECRET
from factory.vault.canonical import sha256
from factory.vault.keys import agekey
from factory.vault.keys.envelope import MAX_FILE, Envelope, unseal
from factory.vault.keys.errors import SecretRefused
from factory.vault.keys.labels import Label, file_of, label_of, read_label
from factory.vault.ports import Order

LOCK_S = 10.0


@dataclass(frozen=True)
class Opener:
    """Opens secrets with this host's key. ``mirror`` is the dispatcher's own bare repo (``state/vault/repo.git``)."""

    state: Path
    mirror: Path

    def secret(self, name: str, order: Order) -> bytes:
        """The value for this order's run. Raises SecretRefused, KeyMissing (this host has no key), GitFailed.

        Refused is what is absent, no plain file, another file than its label says, not encrypted to this host, damaged,
        another secret in its place, not for this formula, or older than a version this host has opened before."""
        doing = f"opening the secret {name[:64]} for {order.id}"
        if not SECRET.fullmatch(name) or name not in order.rule.secrets:
            raise SecretRefused(
                "secret-formula", f"{doing}: the policy does not give it to {order.formula.key}",
                hint="factory edit vault/policy.toml",
            )  # fmt: skip
        label, envelope = opened(self.state, self.mirror, order.trust, name, doing)
        if order.formula.key not in envelope.formulas:
            raise SecretRefused(
                "secret-formula", f"{doing}: it is for {', '.join(envelope.formulas)}, not for {order.formula.key}",
                hint=f"factory secret set {name} --for {order.formula.key}",
            )  # fmt: skip
        self._remember(name, label.version, doing)
        return envelope.value

    def _remember(self, name: str, version: int, doing: str) -> None:
        """An approved change may not bring an older value back unseen: who took it once could use it again."""
        path = mark_of(self.state, name)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with hold(path.with_suffix(".lock"), timeout_s=LOCK_S):
            seen = highest(self.state, name)
            if version < seen:
                raise SecretRefused(
                    "secret-rolled-back", f"{doing}: it is version {version}; this host opened version {seen} before",
                    hint=f"set it anew: factory secret rotate {name}",
                )  # fmt: skip
            if version > seen:
                write_private(path, str(version).encode())


def mark_of(state: Path, name: str) -> Path:
    return state / "vault" / "versions" / name


def highest(state: Path, name: str) -> int:
    """The highest version of a secret that this host has opened for a run; 0: none. Raises SecretRefused."""
    path = mark_of(state, name)
    try:
        return int(path.read_text(encoding="ascii"))
    except FileNotFoundError:
        return 0
    except ValueError:
        raise SecretRefused(
            "secret-rolled-back", f"reading which version of {name} was used last: {path} holds no number",
            hint=f"look who changed it; then delete it and set the secret anew: factory secret rotate {name}",
        ) from None  # fmt: skip


def opened(state: Path, mirror: Path, commit: str, name: str, doing: str) -> tuple[Label, Envelope]:
    """A secret's label and content at a commit, each fitting the other. Raises SecretRefused, KeyMissing."""
    file = plain_file(mirror, commit, file_of(name), doing)
    text = plain_file(mirror, commit, label_of(name), doing)
    again = f"factory secret set {name}"
    if file is None or text is None:
        missing = file_of(name) if file is None else label_of(name)
        raise SecretRefused("secret-missing", f"{doing}: {missing} is not at {commit[:12]}", hint=again)
    try:
        label = read_label(name, text)
    except ConfigInvalid as error:
        raise SecretRefused("secret-label", f"{doing}: {error.message}", hint=again) from None
    if label.sha256 != sha256(file):
        raise SecretRefused("secret-digest", f"{doing}: its file is not the one that its label names", hint=again)
    envelope = unseal(file, agekey.read(state), doing)
    if envelope.name != name:
        raise SecretRefused("secret-swapped", f"{doing}: what lies there is the secret {envelope.name}", hint=again)
    if (envelope.version, envelope.formulas) != (label.version, label.formulas):
        raise SecretRefused(
            "secret-label", f"{doing}: inside it says version {envelope.version} for {', '.join(envelope.formulas)}, "
            f"its label says version {label.version} for {', '.join(label.formulas)}", hint=again,
        )  # fmt: skip
    return label, envelope


def plain_file(mirror: Path, commit: str, path: str, doing: str) -> bytes | None:
    """A file's bytes; None where there is none. Raises SecretRefused for a link, a folder, a program, or a giant."""
    entry = objects.find_entry(mirror, commit, path)
    if entry is None:
        return None
    data = objects.read_blob(mirror, entry.oid, MAX_FILE + 1) if entry.mode == MODE_FILE else None
    if data is None or len(data) > MAX_FILE:
        raise SecretRefused(
            "secret-not-plain", f"{doing}: {path} is no plain file of at most {MAX_FILE} bytes",
            hint="`git log` in the ops repo shows who put it there",
        )  # fmt: skip
    return data

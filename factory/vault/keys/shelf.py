"""Everything in ``vault/secrets`` at one commit, and which of it this host can use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from factory.errors import FactoryError
from factory.git import objects
from factory.vault.keys.envelope import Envelope, keyholders
from factory.vault.keys.labels import (
    FOLDER,
    RECIPIENTS,
    Label,
    Recipients,
    file_of,
    label_of,
    read_label,
    read_recipients,
)
from factory.vault.keys.opening import opened, plain_file


@dataclass(frozen=True)
class Kept:
    """One secret as it lies there. ``trouble``: why this host cannot use it, empty where it can."""

    name: str
    label: Label | None
    trouble: str = ""
    code: str = ""
    """The fixed word for the trouble."""
    sealed_to: int | None = None
    """How many keys its file is encrypted to; None where it is no age file."""

    @property
    def doubt(self) -> str:
        """What its file shows without being read that its label does not say; empty where they agree."""
        said = len(self.label.keys) if self.label is not None else None
        if said is None or self.sealed_to is None or said == self.sealed_to:
            return ""
        return f"its file is encrypted to {self.sealed_to} keys, its label names {said}"


@dataclass(frozen=True)
class Shelf:
    """``vault/secrets`` at ``commit``. ``trouble``: what is wrong with ``recipients.toml``."""

    commit: str
    recipients: Recipients
    secrets: tuple[Kept, ...]
    trouble: str = ""

    def find(self, name: str) -> Kept | None:
        return next((kept for kept in self.secrets if kept.name == name), None)


def look(state: Path, mirror: Path, commit: str) -> Shelf:
    """Every secret is opened to know whether it can be; no value is kept. Raises GitFailed."""
    paths = []
    if objects.find_entry(mirror, commit, FOLDER.rstrip("/")) is not None:
        paths = [entry.path for entry in objects.list_tree(mirror, commit, FOLDER.rstrip("/"), recursive=True)]
    names = {path.removeprefix(FOLDER).rpartition(".")[0] for path in paths if path.endswith((".age", ".toml"))}
    recipients, trouble = Recipients(), ""
    try:
        recipients = read_recipients(plain_file(mirror, commit, RECIPIENTS, f"reading {RECIPIENTS}"))
    except FactoryError as error:
        trouble = error.message
    secrets = tuple(_kept(state, mirror, commit, name) for name in sorted(names - {"recipients"}))
    return Shelf(commit, recipients, secrets, trouble)


def _kept(state: Path, mirror: Path, commit: str, name: str) -> Kept:
    label = sealed_to = None
    try:
        text = plain_file(mirror, commit, label_of(name), f"reading {label_of(name)}")
        label = read_label(name, text) if text is not None else None
    except FactoryError:
        label = None  # told below, in the words of who opens it
    try:
        file = plain_file(mirror, commit, file_of(name), f"reading {file_of(name)}")
        sealed_to = keyholders(file) if file is not None else None
        content(state, mirror, commit, name)
    except FactoryError as error:
        return Kept(name, label, error.message, getattr(error, "code", "key-missing"), sealed_to)
    return Kept(name, label, "", "", sealed_to)


def content(state: Path, mirror: Path, commit: str, name: str) -> Envelope:
    """What a secret holds, for re-encrypting it. Raises SecretRefused, KeyMissing."""
    return opened(state, mirror, commit, name, f"opening the secret {name[:64]}")[1]

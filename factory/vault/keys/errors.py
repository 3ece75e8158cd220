"""Why a secret or a key is not to be had, with a fixed word for the ledger beside the words for a person."""

from __future__ import annotations

from factory.errors import FactoryError, PolicyDenied


class SecretRefused(PolicyDenied):
    """A secret is not handed out. ``code`` is one of a fixed set; the message holds nothing of the secret's value."""

    def __init__(self, code: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class KeyMissing(FactoryError):
    """A key of this host, or the program that works with it, is not there."""

    exit_code = 4

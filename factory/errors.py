"""The errors a person can meet, one class per family, each with its exit code.

Written as: what was being done, on what, why it did not work, and (``hint``) what to do next.
Nothing here is ever a traceback for a user; a bug is whatever is *not* a ``FactoryError``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One finding in a file: where it is, what is wrong and what would be right."""

    path: str
    line: int | None
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        where = self.path if self.line is None else f"{self.path}:{self.line}"
        return f"{where}: {self.message}" + (f"\n  hint: {self.hint}" if self.hint else "")


class FactoryError(Exception):
    """Base of every error shown to a person. ``hint`` says what to do next."""

    exit_code = 3

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(FactoryError):
    """The command line asks for something that does not exist or does not fit together."""

    exit_code = 2


class ConfigInvalid(FactoryError):
    """A configuration, formula or agent file is not valid. Carries all problems at once."""

    exit_code = 4

    def __init__(self, message: str, problems: tuple[Problem, ...] = (), *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.problems = problems


class PolicyDenied(FactoryError):
    """A rule or a missing approval forbids it."""

    exit_code = 5


class ForgeError(FactoryError):
    """The forge, or the network on the way to it."""

    exit_code = 6


class ForgeUnavailable(ForgeError):
    """The forge did not answer, or not usefully, within its bounded retries. Nothing is known of the outcome."""


class ForgeRefused(ForgeError):
    """The forge answered no. ``status`` is the HTTP status, ``detail`` its (redacted) message."""

    def __init__(self, message: str, *, status: int, detail: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.detail = detail


class NotFound(ForgeRefused):
    """The forge says the thing does not exist (or is not visible to this token)."""


class Conflict(FactoryError):
    """Somebody else was first: a lease is held, a ref moved."""

    exit_code = 7


class LeaseHeld(Conflict):
    """A live lease belongs to another run or host."""


class RefMoved(Conflict):
    """A compare-and-swap push found another value than the expected one."""


class RunFailed(FactoryError):
    """A run ended without success; the message names the cause."""

    exit_code = 8


class GitFailed(FactoryError):
    """A git command or object operation failed; message holds the redacted reason."""

    exit_code = 6


class SandboxUnavailable(FactoryError):
    """No sandbox that confines can be started here; the hint says how to get one."""

    exit_code = 4

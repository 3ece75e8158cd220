"""What a check looks at and what it says. Pure values; a check is ``Change -> tuple[Finding, ...]``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """What a finding decides."""

    NOTE = "note"
    """Worth a reviewer's look; decides nothing."""
    PERSON = "person"
    """A person's approval is needed before a merge, whatever the reviewing agent says."""
    BLOCK = "block"
    """Never pushed."""


@dataclass(frozen=True)
class Finding:
    """One thing a check found in a change."""

    check: str
    severity: Severity
    path: str
    line: int | None
    """In the new file; None when it is about the whole file."""
    text: str
    """What is wrong, in words. Never holds a secret found."""

    def __str__(self) -> str:
        where = self.path if self.line is None else f"{self.path}:{self.line}"
        return f"{self.check}: {where}: {self.text}"


@dataclass(frozen=True)
class FileChange:
    """One changed file, as git objects tell it. ``added``/``removed``: (line number, text) without line ends; line
    numbers are of the new file for added lines, of the old one for removed lines. Empty for binary files."""

    path: str
    status: str
    """added | modified | deleted | renamed"""
    old_path: str | None = None
    mode: int = 0o100644
    old_mode: int | None = None
    size: int = 0
    """Bytes of the new content; 0 when deleted or unknown."""
    binary: bool = False
    added: tuple[tuple[int, str], ...] = ()
    removed: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class Change:
    """A whole proposed change against its base, with the little that checks may know besides."""

    files: tuple[FileChange, ...]
    base_paths: frozenset[str] = frozenset()
    """Every path in the base tree; empty when not looked up."""
    issue: str = ""
    """Title and body of the originating issue; empty when there is none."""
    ci_command: str = ""
    """``[ci] command``: the files it names judge the change."""
    truncated: bool = False
    """True: the lines are not all there, because the diff was cut. Such a change is never clean."""


Check = Callable[[Change], tuple[Finding, ...]]

"""Whether a change stays with its issue: files it does not speak of, deletions, breadth. Pure.

Only hints for a reviewer: an issue need not name every file. What is wide or destructive asks for a person.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from factory.checks.model import Change, FileChange, Finding, Severity
from factory.checks.paths import is_test

NAME = "scope"

MANY_FILES = 25
TOO_MANY_FILES = 100
MANY_DELETED = 5
_WORD = re.compile(r"[A-Za-z0-9_@.][A-Za-z0-9_@./-]{0,199}")
_SIDE_FILES = re.compile(
    r"(?i)(^|/)(changelog|news|history|authors|readme)[^/]*$|(^|/)docs?/|\.lock$|(^|/)package-lock\.json$"
)


def scan(change: Change) -> tuple[Finding, ...]:
    """Findings on breadth, deletions and files that the issue does not lead to."""
    found: list[Finding] = []
    count = len(change.files)
    if count > TOO_MANY_FILES:
        found.append(Finding(NAME, Severity.PERSON, "", None, f"touches {count} files: too wide for one review"))
    elif count > MANY_FILES:
        found.append(Finding(NAME, Severity.NOTE, "", None, f"touches {count} files"))
    found += _deletions(change)
    found += _outside(change)
    return tuple(found)


def named_paths(issue: str, base_paths: frozenset[str]) -> frozenset[str]:
    """Paths of the base that the issue's text names: in full, or by a file name that only one file has."""
    by_name: dict[str, list[str]] = {}
    for path in base_paths:
        by_name.setdefault(PurePosixPath(path).name, []).append(path)
    folders = {str(parent) for path in base_paths for parent in PurePosixPath(path).parents} - {"."}
    found: set[str] = set()
    for raw in _WORD.findall(issue):
        word = raw.rstrip(".:,/").removeprefix("./")
        if word in base_paths or (word in folders and "/" in raw):
            found.add(word)
        elif "." in word and len(by_name.get(word, ())) == 1:
            found.add(by_name[word][0])
    return frozenset(found)


def _deletions(change: Change) -> list[Finding]:
    deleted = [file.path for file in change.files if file.status == "deleted"]
    named = named_paths(change.issue, change.base_paths)
    silent = [path for path in deleted if path not in named]
    if not silent:
        return []
    shown = ", ".join(silent[:5]) + (f" and {len(silent) - 5} more" if len(silent) > 5 else "")
    severity = Severity.PERSON if len(silent) >= MANY_DELETED else Severity.NOTE
    many = "a file" if len(silent) == 1 else f"{len(silent)} files"
    return [Finding(NAME, severity, silent[0], None, f"deletes {many} that the issue does not name: {shown}")]


def _outside(change: Change) -> list[Finding]:
    named = named_paths(change.issue, change.base_paths)
    if not named:
        return []  # the issue names no file: nothing to compare with
    homes = {str(PurePosixPath(path).parent) if path in change.base_paths else path for path in named}
    touched = [file for file in change.files if file.status in ("modified", "deleted")]
    outside = [file.path for file in touched if not _belongs(file, named, homes)]
    if not outside:
        return []
    shown = ", ".join(outside[:5]) + (f" and {len(outside) - 5} more" if len(outside) > 5 else "")
    return [Finding(NAME, Severity.NOTE, outside[0], None, f"changes files away from those the issue names: {shown}")]


def _belongs(file: FileChange, named: frozenset[str], homes: set[str]) -> bool:
    if file.path in named or is_test(file.path) or _SIDE_FILES.search(file.path):
        return True
    parents = {str(parent) for parent in PurePosixPath(file.path).parents} - {"."}
    return bool(parents & (homes - {"."})) or ("/" not in file.path and "." in homes)

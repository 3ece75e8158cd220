"""Changes for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from factory.checks.model import Change, FileChange

Touched = Callable[..., FileChange]
Changed = Callable[..., Change]


@pytest.fixture
def touched() -> Touched:
    """Make one changed file out of its added and removed lines."""

    def make(path: str, added: Sequence[str] = (), removed: Sequence[str] = (), **more: Any) -> FileChange:
        values = {"status": "modified", "size": 100, "old_mode": 0o100644} | more
        return FileChange(path, added=tuple(enumerate(added, 1)), removed=tuple(enumerate(removed, 1)), **values)

    return make


@pytest.fixture
def changed() -> Changed:
    """Make a change of files."""

    def make(*files: FileChange, base: Sequence[str] = (), **more: Any) -> Change:
        return Change(files, frozenset(base), **more)

    return make

"""Whether the folders a run stands on are still the ones it began with: ``cache/`` may be deleted at any time.

What a run says after that is no fact about the project: a check without its environment is not red, a session without
its working copy did not fail at its work.
"""

from __future__ import annotations

from pathlib import Path


class Standing:
    """Remembers folders and files by what they are, not by their names."""

    def __init__(self) -> None:
        self._marks: dict[Path, tuple[int, int]] = {}

    def on(self, *paths: Path) -> None:
        """From here on the run needs these. Raises OSError when one is not there."""
        for path in paths:
            self._marks[path] = _mark(path)

    def lost(self) -> Path | None:
        """The first that is gone, or was replaced by another of its name."""
        return next((path for path, mark in self._marks.items() if _now(path) != mark), None)


def _mark(path: Path) -> tuple[int, int]:
    there = path.stat()
    return there.st_dev, there.st_ino


def _now(path: Path) -> tuple[int, int] | None:
    try:
        return _mark(path)
    except OSError:
        return None

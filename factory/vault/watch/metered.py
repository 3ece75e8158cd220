"""The trusted part's git, counted: what it asked the forge, and how many entries it brought onto a ledger."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from factory.git.hardened import Git


class MeteredGit(Git):
    """Does what ``Git`` does. ``commands``: those that spoke to the forge; ``appended``: files that were pushed."""

    def __init__(self, repo: Path, url: str, token: str = "") -> None:
        self.commands = self.appended = 0
        self._draft: tuple[str, int] = ("", 0)
        super().__init__(repo, url, token)

    def run(self, *args: str, net: bool = False, **more: Any) -> bytes:
        self.commands += net
        return super().run(*args, net=net, **more)

    def append(self, parent: str, files: Sequence[tuple[str, bytes]], note: str) -> list[str]:
        made = super().append(parent, files, note)
        self._draft = (made[-1], len(files))
        return made

    def push(self, commit: str, branch: str) -> bool:
        done = super().push(commit, branch)
        if done:
            self.pushed(commit)
        return done

    def pushed(self, commit: str) -> None:
        """Count what came onto the ledger with this commit."""
        if commit == self._draft[0]:
            self.appended += self._draft[1]

"""The head that a pull request was merged with, whatever became of its branch since."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from factory.forge.values import Pull, RepoName


class Refs(Protocol):
    """What is asked of a forge here."""

    def ls_refs(self, repo: RepoName, prefixes: Sequence[str]) -> dict[str, str]: ...


def merged_head(forge: Refs, repo: RepoName, pull: Pull) -> str:
    """Of a merged pull request the forge tells where the branch stands *now*, and anybody who writes may have moved it;
    the repo's own ref of its head stands still from then on. Empty where it is gone. Raises ForgeError."""
    name = f"refs/pull/{pull.number}/head"
    return forge.ls_refs(repo, (name,)).get(name, "")

"""The texts posted on pull requests of the ops repo, where signatures travel."""

from __future__ import annotations

from collections.abc import Iterator

from factory.forge.protocol import Forge
from factory.forge.values import RepoName
from factory.vault.keys.approving import Letter


class PullLetters:
    """Reads comments and reviews with one account's token. Raises ForgeError."""

    def __init__(self, forge: Forge, ops: RepoName) -> None:
        self._forge, self._ops = forge, ops

    def __call__(self, pulls: tuple[int, ...]) -> Iterator[Letter]:
        for number in pulls:
            for comment in self._forge.comments(self._ops, number):
                yield Letter(comment.author.id, comment.body)
            for review in self._forge.reviews(self._ops, number):
                yield Letter(review.author.id, review.body)

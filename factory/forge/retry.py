"""Which answers are worth asking again, and for how long. Pure: sleeping is the client's.

Only reads are repeated, and the one write that carries its own compare-and-swap: a merge with ``head_commit_id``.
Source of the merge answers: the order of evaluation on ``POST merge`` of Forgejo 11 to 16.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

READ_AGAIN = frozenset({429, 500, 502, 503, 504})
"""Statuses after which a GET is repeated. 500 is among them: a busy SQLite answers so."""


@dataclass(frozen=True)
class Backoff:
    """Waits growing from ``first`` by ``factor`` up to ``longest``; never more than ``total`` seconds in all."""

    first: float = 0.25
    factor: float = 2.0
    longest: float = 4.0
    total: float = 30.0

    def waits(self) -> Iterator[float]:
        """The waits between tries, in seconds; ends when the next one would pass ``total``."""
        wait, spent = self.first, 0.0
        while spent + wait <= self.total:
            yield wait
            spent += wait
            wait = min(wait * self.factor, self.longest)


READS = Backoff(first=0.1, longest=1.0, total=3.0)
MERGES = Backoff(first=0.25, longest=4.0, total=30.0)


class MergeAnswer(Enum):
    """What an answer to ``POST merge`` means for the next step."""

    DONE = "done"
    MERGED_ALREADY = "merged already"
    """405 with an empty message: somebody (perhaps our own lost request) merged it."""
    AGAIN = "again"
    """Transient: re-checking, or another merge came first."""
    UNCLEAR = "unclear"
    """May have happened: read the pull request."""
    NO = "no"


def merge_answer(status: int, message: str) -> MergeAnswer:
    """Judge one answer. ``message`` is the body's ``message``, empty when there was none."""
    if status == 200:
        return MergeAnswer.DONE
    if status == 405 and not message:
        return MergeAnswer.MERGED_ALREADY
    if status == 405 and message.startswith("Please try again later"):
        return MergeAnswer.AGAIN
    if status == 409 and message.startswith(("merge push out of date", "PushRejected without")):
        return MergeAnswer.AGAIN
    if status in (201, 403, 429) or status >= 500:
        return MergeAnswer.UNCLEAR
    return MergeAnswer.NO

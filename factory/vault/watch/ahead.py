"""Questions to the forge that will be asked one after the other, begun together: it answers while we judge.

Each answer is given out once. Whoever asks again asks the forge again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")
LANES = 3
"""Questions on their way at the same time."""


class Ahead(Generic[T]):
    """``ask`` answers one question; it is called from several threads."""

    def __init__(self, ask: Callable[[str], T]) -> None:
        self._ask = ask
        self._answers: dict[str, Future[T]] = {}
        self._queue: SimpleQueue[tuple[str, Future[T]]] = SimpleQueue()

    def begin(self, questions: Sequence[str]) -> None:
        """Ask these now. What was begun before is forgotten. One alone has nobody to wait for."""
        self.forget()
        if len(wanted := dict.fromkeys(questions)) < 2:
            return
        self._answers = {one: Future() for one in wanted}
        for pair in self._answers.items():
            self._queue.put(pair)
        try:
            for number in range(min(LANES, len(wanted))):
                # A daemon: a forge that hangs must not hold up the end of the process.
                threading.Thread(target=self._work, name=f"ahead {number}", daemon=True).start()
        except RuntimeError:  # no more threads here: each is asked when it is wanted
            self.forget()

    def forget(self) -> None:
        """Whatever was begun and not asked for yet counts no more; what was not sent yet is not sent."""
        self._answers = {}
        while self._next() is not None:
            continue

    def of(self, question: str) -> T:
        """Its answer. Raises what asking raised."""
        answer = self._answers.pop(question, None)
        return self._ask(question) if answer is None else answer.result()

    def _work(self) -> None:
        while (pair := self._next()) is not None:
            question, answer = pair
            try:
                answer.set_result(self._ask(question))
            except BaseException as error:  # it belongs to whoever asks for the answer
                answer.set_exception(error)

    def _next(self) -> tuple[str, Future[T]] | None:
        try:
            return self._queue.get_nowait()
        except Empty:
            return None

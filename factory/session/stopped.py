"""A person's wish to stop a run, as the session process hears it: SIGTERM, wherever it is at that moment."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from factory.process.identity import identity
from factory.process.tree import Tree, end_tree


class Interrupted(BaseException):
    """Asked to stop while this process itself was at work: in git, in a lock's queue, talking to the forge.

    No ``Exception``: nothing on the way may take it for trouble of its own and go on.
    """


class Stopped:
    """Set by SIGTERM or SIGINT. Whoever watches a child looks at ``flag`` and ``fileno``; other work is interrupted."""

    def __init__(self) -> None:
        self.flag = False
        self._sweeps = False
        self._interrupts = False
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    @contextmanager
    def listening(self, *, sweeps: bool = False) -> Iterator[Stopped]:
        """Catch SIGTERM and SIGINT for the duration; only the main thread may. ``sweeps``: this process runs nothing
        but the run, and once stopped everything it started is ended."""
        before = {number: signal.signal(number, self._hear) for number in (signal.SIGTERM, signal.SIGINT)}
        wake = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._sweeps = sweeps
        try:
            yield self
        finally:
            if self.flag:
                self.sweep()
            self._sweeps = False
            signal.set_wakeup_fd(wake)
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """In this block a wish to stop, also an earlier one, is raised as Interrupted, once."""
        try:
            self._interrupts = True
            if self.flag:
                raise Interrupted
            yield
        finally:
            self._interrupts = False

    @contextmanager
    def patient(self) -> Iterator[None]:
        """Within ``interrupting``: this block sees to the wish itself; one it did not see is raised at its end."""
        before, self._interrupts = self._interrupts, False
        try:
            yield
        finally:
            self._interrupts = before
        if self.flag and before:
            self._interrupts = False
            raise Interrupted

    def sweep(self) -> None:
        """End whatever this process started and still runs (a push in another thread), where it may."""
        created = identity(os.getpid())
        if self._sweeps and created is not None:
            end_tree(Tree(os.getpid(), created, None), grace_s=0.2)

    def fileno(self) -> int:
        """Readable once a signal came."""
        return self._read

    def _hear(self, _number: int, _frame: object) -> None:
        first, self.flag = not self.flag, True
        if first and self._interrupts:
            self._interrupts = False
            raise Interrupted

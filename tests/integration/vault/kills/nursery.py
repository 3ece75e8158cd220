"""Starts processes by fork, so that a new dispatcher is there in milliseconds. Knows nothing of any ledger.

Each line of its input is a JSON list, ``[["module", ...], "module:function", "word", ...]``: one child, which calls
that and ends; its process id is written back. All these modules, and those that the command line names, are loaded
before the fork, once for all children.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from tests.soak_report import ROOT

_PR_SET_PDEATHSIG = 1


@dataclass
class Nursery:
    """The process that forks, for whoever started it; its end is the end of all its children."""

    process: subprocess.Popen[str]

    @classmethod
    def start(cls, *modules: str) -> Self:
        argv = [sys.executable, "-m", "tests.integration.vault.kills.nursery", *modules]
        pipe = subprocess.PIPE
        return cls(subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True, cwd=ROOT))

    def child(self, call: str, *words: str, load: Iterable[str] = ()) -> int:
        """A new child's process id; ``call`` is ``module:function``."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([[*load], call, *words]) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def main(modules: Sequence[str]) -> None:
    for name in modules:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        load, call, *words = json.loads(line)
        module, _, name = call.partition(":")
        for other in load:
            importlib.import_module(other)
        work: Callable[..., Any] = getattr(importlib.import_module(module), name)
        child = os.fork()
        if child == 0:
            _live(work, words)
        print(child, flush=True)


def _live(work: Callable[..., Any], words: Sequence[str]) -> None:
    """What a child does; it does not outlive the nursery."""
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        work(*words)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])

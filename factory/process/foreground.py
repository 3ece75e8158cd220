"""A program that talks with the person at the terminal: it gets the terminal for as long as it runs, then we do again.

``spawn`` puts every child in a group of its own, so that it can be ended whole; a terminal only lets the group in its
foreground read (a passphrase, a PIN).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from factory.process.spawn import spawn


def run_in_front(argv: Sequence[str], *, env: Mapping[str, str], timeout_s: float) -> int | None:
    """Run it with our terminal and our stderr, nothing on its stdin; its exit code, None when it took too long.

    Without a terminal it runs all the same and cannot ask. Raises StartFailed."""
    with spawn(argv, env=env, stderr=None, keep_session=True) as child, _terminal_for(child.pid):
        code = child.wait(timeout_s)
        if code is None:
            child.kill_tree(grace_s=0.5)
        return code


@contextmanager
def _terminal_for(group: int) -> Iterator[None]:
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    # Who takes the terminal from the background is stopped for it, unless this is ignored.
    before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    ours = os.tcgetpgrp(terminal)
    try:
        _give(terminal, group)
        yield
    finally:
        os.tcsetpgrp(terminal, ours)
        signal.signal(signal.SIGTTOU, before)
        os.close(terminal)


def _give(terminal: int, group: int) -> None:
    try:
        os.tcsetpgrp(terminal, group)
        os.killpg(group, signal.SIGCONT)  # it may have asked already, and been stopped for it
    except (ProcessLookupError, PermissionError):
        return  # it has ended by itself

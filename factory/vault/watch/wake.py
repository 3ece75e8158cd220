"""What ends a dispatcher's sleep early: a datagram that says nothing. Anybody of this host's user may send one; it only
makes the dispatcher look, and losing it costs a poll."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from factory.sandbox.doorway import reachable


@contextmanager
def awaiting(path: Path) -> Iterator[socket.socket]:
    """The socket at ``path`` for as long as the body lasts; a leftover one is replaced. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as ear:
        ear.setblocking(False)
        with reachable(path) as name:
            ear.bind(name)
        path.chmod(0o600)
        try:
            yield ear
        finally:
            path.unlink(missing_ok=True)


def heard(ear: socket.socket) -> bool:
    """Whether anybody poked; takes all that came."""
    poked = False
    while True:
        try:
            ear.recv(16)
        except OSError:  # nothing (more) is there
            return poked
        poked = True


def poke(folder: Path) -> int:
    """Wake every dispatcher whose socket is in this folder; how many could be reached. Never waits, never raises."""
    reached = 0
    for path in folder.glob("wake*.sock"):
        try:
            with reachable(path) as name, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
                line.setblocking(False)
                line.sendto(b"x", name)
        except OSError:
            continue  # that one is gone, or has so many wishes waiting that one more says nothing
        reached += 1
    return reached

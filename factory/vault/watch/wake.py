"""What ends a dispatcher's sleep early: a datagram that says next to nothing. Anybody of this host's user may send one;
it only makes the dispatcher look, and losing it costs a poll."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path

from factory.sandbox.doorway import reachable


class Poke(IntEnum):
    """What was heard: nothing, that something happened, or that it happened and no more of it comes."""

    NONE = 0
    SOME = 1
    WHOLE = 2


_WORDS = {Poke.SOME: b"x", Poke.WHOLE: b"whole"}


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


def heard(ear: socket.socket) -> Poke:
    """Whether anybody poked; takes all that came."""
    said = Poke.NONE
    while True:
        try:
            word = ear.recv(16)
        except OSError:  # nothing (more) is there
            return said
        said = max(said, Poke.WHOLE if word == _WORDS[Poke.WHOLE] else Poke.SOME)


def poke(folder: Path, what: Poke = Poke.SOME) -> int:
    """Wake every dispatcher whose socket is in this folder; how many could be reached. Never waits, never raises."""
    reached = 0
    for path in folder.glob("wake*.sock"):
        try:
            with reachable(path) as name, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
                line.setblocking(False)
                line.sendto(_WORDS[what], name)
        except OSError:
            continue  # that one is gone, or has so many wishes waiting that one more says nothing
        reached += 1
    return reached

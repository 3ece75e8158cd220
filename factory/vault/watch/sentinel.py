"""The sentinel: looks at the forge's settings again and again, and at once when the dispatcher is about to start.

Its own process with its own account, which may read settings and nothing else. What it saw it writes to
``sentinel.json`` of each ops repo; who asks over its socket gets an answer only after a fresh look.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from factory.errors import FactoryError
from factory.forge.client import ForgejoClient
from factory.sandbox.doorway import reachable
from factory.vault.watch import record, settings
from factory.vault.watch.look import look
from factory.vault.watch.record import Record
from factory.vault.watch.settings import Expected

POLL_S = 120.0
RETRY_S = 2.0
"""Until a look that failed is tried again."""
WHOLE_EVERY = 10
"""Looks, until the rights of all who write are asked for again though the lists of people did not change."""
REQUEST_S = 2.0
"""For the line in which somebody asks."""
MAX_LINE = 512


@dataclass
class Post:
    """One ops repo that is watched."""

    expected: Expected
    client: ForgejoClient
    folder: Path
    trouble: str = ""
    looks: int = 0

    def look(self, *, whole: bool, poll_seconds: float) -> Record:
        """Look and keep what was seen. Raises FactoryError, OSError."""
        before = record.read(self.folder)
        facts, at = look(self.client, self.expected.ops, before.facts if before is not None else None, whole=whole)
        wrong = settings.wrong(facts, self.expected)
        now = record.after(before, facts, wrong, at=at, looked=datetime.now(UTC), poll_seconds=poll_seconds)
        record.write(self.folder, now)
        return now


@dataclass
class Sentinel:
    """All posts of a host, watched until ``stop``. ``beat`` is told after every round."""

    posts: Sequence[Post]
    door: Path
    """Where its socket is."""
    sleep: Callable[[float, Iterable[int]], object]
    """Sleeps so many seconds, or until one of the descriptors is readable, or until it shall stop."""
    stopped: Callable[[], bool]
    said: Callable[[str], None]
    beat: Callable[[], None]
    poll_seconds: float = POLL_S
    polls: int = 0
    asked: int = 0
    _said: dict[str, str] = field(default_factory=dict)

    def run(self) -> None:
        """Look every ``poll_seconds`` and whenever somebody asks, until stopped."""
        with listening(self.door) as door:
            self.beat()  # its first says that it can be asked
            due = time.monotonic()
            while not self.stopped():
                left = due - time.monotonic()
                if left <= 0:
                    for post in self.posts:
                        self._look(post, whole=self.polls % WHOLE_EVERY == 0)
                    self.polls += 1
                    self.beat()
                    # One that failed is made up for soon: what is opened meanwhile counts as unwatched.
                    due = time.monotonic() + (min(RETRY_S, self.poll_seconds) if self.trouble else self.poll_seconds)
                else:
                    self.sleep(left, (door.fileno(),))
                self._serve(door)

    @property
    def trouble(self) -> str:
        """Why the last looks did not succeed."""
        return "; ".join(post.trouble for post in self.posts if post.trouble)

    def _look(self, post: Post, *, whole: bool) -> Record | None:
        name = str(post.expected.ops)
        try:
            seen = post.look(whole=whole, poll_seconds=self.poll_seconds)
        except FactoryError as error:
            post.trouble = error.message
        except OSError as error:
            post.trouble = f"keeping what was seen of {name}: {error}"
        else:
            post.trouble = ""
            self._tell(f"{name} wrong", "; ".join(seen.wrong))
            self._tell(f"{name} generation", f"{seen.generation}")
            return seen
        finally:
            post.looks += 1
            self._tell(f"{name} trouble", post.trouble)
        return None

    def _tell(self, what: str, words: str) -> None:
        """Each thing once, and once that it is over."""
        if self._said.get(what, "") != words:
            self._said[what] = words
            self.said(f"{what}: {words}" if words else f"{what}: none any more")

    def _serve(self, door: socket.socket) -> None:
        """Answer all who wait: one look for each repo that somebody asks about, begun after the question was here."""
        waiting: list[tuple[socket.socket, str]] = []
        with ExitStack() as stack:
            while (asker := _accepted(door)) is not None:
                stack.enter_context(asker)
                if line := _line(asker):
                    waiting.append((asker, line))
            answers: dict[str, bytes] = {}
            for asker, name in waiting:
                if name not in answers:
                    answers[name] = self._answer(name)
                _send(asker, answers[name])
            if answers:
                self.asked += len(answers)
                self.beat()

    def _answer(self, name: str) -> bytes:
        post = next((post for post in self.posts if str(post.expected.ops) == name), None)
        if post is None:
            return json.dumps({"trouble": f"{name} is not watched here"}).encode()
        seen = self._look(post, whole=True)
        told = {"trouble": post.trouble} if seen is None else {"generation": seen.generation, "digest": seen.digest}
        return json.dumps(told).encode()


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A socket at ``path`` for as long as the body lasts; a leftover one is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as door:
        door.setblocking(False)
        with reachable(path) as name:
            door.bind(name)
        path.chmod(0o600)
        door.listen(64)
        try:
            yield door
        finally:
            path.unlink(missing_ok=True)


def _accepted(door: socket.socket) -> socket.socket | None:
    try:
        return door.accept()[0]
    except (BlockingIOError, InterruptedError, ConnectionAbortedError):
        return None


def _line(asker: socket.socket) -> str:
    """What is asked, read within bounds; empty when nobody asks after all."""
    asker.settimeout(REQUEST_S)
    got = b""
    try:
        while b"\n" not in got and len(got) < MAX_LINE:
            piece = asker.recv(MAX_LINE)
            if not piece:
                return ""
            got += piece
    except OSError:
        return ""
    return got.split(b"\n", 1)[0].decode("utf-8", "replace")


def _send(asker: socket.socket, data: bytes) -> None:
    try:
        asker.sendall(data + b"\n")
    except OSError:
        return  # who asked does not wait any more; what was seen is in the file

"""The host's end of a run's control socket: hands the order over to the first that connects, takes what comes back.

Whatever comes is of the run: capped, typed, and never a name or a path that it chose.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from factory.sandbox.doorway import Doorway
from factory.vault.run.inside import frames, layout

MAX_FRAME = 2 * layout.MAX_RESULT
MOST_FRAMES = 200


@dataclass(frozen=True)
class Artifact:
    """A file that a run left: its own bytes, under our name."""

    path: Path
    size: int
    sha256: str


@dataclass
class Told:
    """What came back. ``whole``: the first process lived to the end."""

    codes: list[int] = field(default_factory=list)
    result: object = None
    artifacts: dict[str, Artifact] = field(default_factory=dict)
    whole: bool = False
    trouble: str = ""


class Control:
    """Serves one run while entered. ``folder`` takes its artifacts; ``broker``: the token for the way out; empty:
    there is none."""

    def __init__(
        self, path: Path, folder: Path, *, given: Mapping[str, Any], steps: Sequence[Sequence[str]],
        secrets: Mapping[str, bytes], broker: str,
    ) -> None:  # fmt: skip
        self._folder = folder
        self._order = {
            "given": dict(given), "steps": [list(argv) for argv in steps], "broker": broker,
            "secrets": {name: base64.b64encode(value).decode() for name, value in secrets.items()},
        }  # fmt: skip
        self._door = Doorway(path, self._handle, name="control", most=1)
        self._lock = threading.Lock()
        self._taken = False
        self._ended = threading.Event()
        self.told = Told()

    def __enter__(self) -> Self:
        self._door.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._door.__exit__(kind, error, trace)

    @property
    def taken(self) -> bool:
        """Whether the first process inside came for its order: before that nothing of the run has run."""
        return self._taken

    def settle(self, seconds: float) -> Told:
        """What came, after waiting so long for the rest of it."""
        if self._taken:
            self._ended.wait(seconds)
        return self.told

    def _handle(self, client: socket.socket) -> None:
        with self._lock:
            if self._taken:
                return  # only the first process inside, which came before any step could run, is spoken with
            self._taken = True
        try:
            # The name is gone: no step can even try.
            self._door.path.unlink(missing_ok=True)
            frames.send(client, self._order)
            self._order.clear()
            self._listen(client)
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.told.trouble = f"what the run sent is not understood: {type(error).__name__}"
        finally:
            self._ended.set()

    def _listen(self, client: socket.socket) -> None:
        for _ in range(MOST_FRAMES):
            frame = frames.receive(client, MAX_FRAME)
            if frame is None:
                return
            kind = frame.get("kind")
            if kind == "end":
                self.told.whole = True
                return
            if kind == "step":
                self.told.codes.append(int(frame["code"]))
            elif kind == "result":
                self.told.result = _parsed(base64.b64decode(frame["data"], validate=True))
            elif kind == "artifact":
                self._artifact(client, str(frame["name"]), int(frame["size"]))
        raise ValueError("too many frames")

    def _artifact(self, client: socket.socket, name: str, size: int) -> None:
        if name not in layout.ARTIFACTS or name in self.told.artifacts or not 0 <= size <= layout.MAX_ARTIFACT:
            raise ValueError("no artifact of that name and size")
        path, digest, left = self._folder / name, hashlib.sha256(), size
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as sink:
            while left:
                piece = client.recv(min(1 << 16, left))
                if not piece:
                    raise ValueError("an artifact ended early")
                sink.write(piece)
                digest.update(piece)
                left -= len(piece)
        self.told.artifacts[name] = Artifact(path, size, digest.hexdigest())


def _parsed(data: bytes) -> object:
    if len(data) > layout.MAX_RESULT:
        return None
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(data, parse_constant=lambda _: None)
    return None

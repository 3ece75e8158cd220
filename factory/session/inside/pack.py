"""Packing the work: the commits since the base, in a form the host can take in without opening this clone."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

from factory.sandbox.inside import launch

MAX_LEFTOVERS = 200
_MAX_PATH = 300


@dataclass(frozen=True)
class Work:
    """The branch worked on and the commit it started from."""

    ref: str
    base: str


class Packer:
    """Writes ``head.json`` and ``work.pack`` whenever the branch has moved."""

    def __init__(self, work: Work, folder: str, out: str, env: Mapping[str, str]) -> None:
        self._work = work
        self._git = ["git", "-C", folder]
        self._out = out
        self._env = env
        self._generation = 0
        self._packed: str | None = None

    def pack(self) -> str | None:
        """Pack if there is something new; what went wrong, or None."""
        try:
            return self._pack()
        except OSError as error:
            # A session that used up its processes or its folder stops nothing but this checkpoint.
            return f"packing: {error.strerror or error}"

    def _pack(self) -> str | None:
        head = self.head()
        if head is None:
            return f"{self._work.ref} names no commit"
        if head == self._packed:
            return None
        generation = self._generation + 1
        facts: dict[str, object] = {
            "ref": self._work.ref,
            "head": head,
            "base": self._work.base,
            "generation": generation,
        }
        if head == self._work.base:
            self._put("head.json", json.dumps({**facts, "pack_bytes": None, "pack_sha256": None}).encode())
        else:
            temporary = f"{self._out}/.work.pack.new"
            problem = self._objects(head, temporary)
            if problem:
                return problem
            size, digest = _measure(temporary)
            os.rename(temporary, f"{self._out}/work.pack")
            self._put("head.json", json.dumps({**facts, "pack_bytes": size, "pack_sha256": digest}).encode())
        self._generation, self._packed = generation, head
        return None

    def head(self) -> str | None:
        """The commit the branch names now."""
        return self._resolve(f"{self._work.ref}^{{commit}}")

    def stray_head(self) -> str | None:
        """The checked-out commit, when it is not the branch's: work that is committed but will not leave."""
        current = self._resolve("HEAD^{commit}")
        return None if current is None or current in (self.head(), self._work.base) else current

    def commits(self) -> int:
        """How many commits the branch is ahead of its base."""
        code, text = launch.output(
            [*self._git, "rev-list", "--count", f"{self._work.base}..{self._work.ref}"], self._env
        )
        return int(text) if code == 0 and text.strip().isdigit() else 0

    def leftovers(self) -> tuple[list[str], int]:
        """Paths changed and not committed, as git names them, and how many more there are than are listed."""
        argv = [*self._git, "status", "--porcelain", "-z", "--untracked-files=all", "--no-renames"]
        code, data = launch.output(argv, self._env, limit=1 << 20, timeout_s=20.0)
        if code != 0:
            return [], 0
        entries = [entry.decode(errors="replace")[: _MAX_PATH + 3] for entry in data.split(b"\0") if entry]
        return entries[:MAX_LEFTOVERS], max(0, len(entries) - MAX_LEFTOVERS)

    def _resolve(self, name: str) -> str | None:
        code, text = launch.output(
            [*self._git, "rev-parse", "--verify", "--quiet", "--end-of-options", name], self._env
        )
        return text.decode().strip() if code == 0 else None

    def _objects(self, head: str, path: str) -> str | None:
        wanted = f"{head}\n^{self._work.base}\n".encode()
        sink = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        source = os.memfd_create("revisions", os.MFD_CLOEXEC)
        try:
            os.write(source, wanted)
            os.lseek(source, 0, os.SEEK_SET)
            # --thin: the base is the host's, and index-pack --fix-thin completes it from the session's own view there.
            argv = [*self._git, "pack-objects", "--thin", "--revs", "--stdout", "--delta-base-offset", "--quiet"]
            code = launch.wait(launch.start(argv, self._env, stdin=source, stdout=sink, patient=True), 120.0)
            os.fsync(sink)
        finally:
            os.close(source)
            os.close(sink)
        if code == 0:
            return None
        os.unlink(path)
        return "git pack-objects took too long" if code is None else f"git pack-objects ended with {code}"

    def _put(self, name: str, data: bytes) -> None:
        put(f"{self._out}/{name}", data)


def put(path: str, data: bytes) -> None:
    """Write a file so that a reader sees all of it or the one before."""
    folder, name = os.path.split(path)
    temporary = f"{folder}/.{name}.new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(temporary, path)


def _measure(path: str) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as source:
        while chunk := source.read(1 << 20):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()

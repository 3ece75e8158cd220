"""What a sandbox wrote, handled without trust: a regular file, no link, no pipe that blocks, no more than a cap."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from factory.process.spawn import run

_LONG_S = 300.0
_PATH = {"PATH": "/usr/bin:/bin"}


class Unreadable(Exception):
    """There is something, and it is not a plain file of acceptable size."""


def read_plain(file: Path, max_bytes: int) -> bytes | None:
    """Content of a plain file; None when there is none. Raises Unreadable, in words."""
    fd = _open(file, max_bytes)
    if fd is None:
        return None
    with os.fdopen(fd, "rb") as opened:
        data = opened.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise Unreadable(f"{file.name} is larger than {max_bytes} bytes")
    return data


def digest_plain(file: Path, max_bytes: int) -> str | None:
    """SHA-256 of a plain file; None when there is none. Raises Unreadable, in words."""
    fd = _open(file, max_bytes)
    if fd is None:
        return None
    digest, left = hashlib.sha256(), max_bytes
    with os.fdopen(fd, "rb") as opened:
        # Bounded, whatever its size was a moment ago: what writes it still runs.
        while left > 0 and (chunk := opened.read(min(1 << 20, left))):
            digest.update(chunk)
            left -= len(chunk)
    return digest.hexdigest()


def _open(file: Path, max_bytes: int) -> int | None:
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unreadable(f"{file.name} cannot be opened: {error.strerror}") from error
    there = os.fstat(fd)
    problem = None
    if not stat.S_ISREG(there.st_mode):
        problem = "is not a regular file"
    elif there.st_size > max_bytes:
        problem = f"is larger than {max_bytes} bytes"
    if problem is None:
        return fd
    os.close(fd)
    raise Unreadable(f"{file.name} {problem}")


def remove_tree(folder: Path) -> None:
    """Delete a folder that a sandbox could write, as far as it can be deleted; nothing outside it is touched.

    By rm(1): such a tree may be deeper than Python's stack, and hold folders their owner may not write.
    """
    if not folder.is_symlink() and not folder.exists():
        return
    argv = ["rm", "-rf", "--one-file-system", "--", str(folder)]
    if run(argv, env=_PATH, timeout_s=_LONG_S).returncode != 0:
        run(["chmod", "-R", "u+rwX", "--", str(folder)], env=_PATH, timeout_s=_LONG_S)
        run(argv, env=_PATH, timeout_s=_LONG_S)


def publish_tree(folder: Path) -> None:
    """Make a finished tree readable for every sandbox and writable for none, with nothing left of who made it.

    Links in it are neither followed nor changed. Raises OSError.
    """
    owner = f"{os.geteuid()}:{os.getegid()}"
    for argv in (
        ["chown", "-R", "-h", "-P", owner, "--", str(folder)],
        ["chmod", "-R", "a+rX,u+w,go-w,ug-s,o-t", "--", str(folder)],
    ):
        done = run(argv, env=_PATH, timeout_s=_LONG_S)
        if done.returncode != 0:
            raise OSError(0, done.stderr.decode("utf-8", "replace").strip()[-300:], str(folder))

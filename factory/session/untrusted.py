"""Reading what a sandbox wrote: a regular file, no link, no pipe that blocks, no more than a cap."""

from __future__ import annotations

import os
import stat
from pathlib import Path


class Unreadable(Exception):
    """There is something, and it is not a plain file of acceptable size."""


def read_plain(file: Path, max_bytes: int) -> bytes | None:
    """Content of a plain file; None when there is none. Raises Unreadable, in words."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unreadable(f"{file.name} cannot be opened: {error.strerror}") from error
    with os.fdopen(fd, "rb") as opened:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise Unreadable(f"{file.name} is not a regular file")
        data = opened.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise Unreadable(f"{file.name} is larger than {max_bytes} bytes")
    return data

"""Searching the file system for what was planted on the host."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator

# Written in two parts, so that this program is not what the search finds.
PLANT = re.compile(rb"FACTORY" + rb"PLANT-[a-z]+-[0-9a-f]{16}")


def walk(top: str, *, skip: tuple[str, ...]) -> Iterator[str]:
    """Every file below ``top``, but for what is below ``skip``."""
    # The interpreter's own tree is large, read-only and known to be there.
    for folder, folders, names in os.walk(top):
        folders[:] = [name for name in folders if os.path.join(folder, name) not in (*skip, sys.base_prefix)]
        for name in names:
            yield os.path.join(folder, name)


def folders_below(top: str) -> list[str]:
    """Some three thousand folders below ``top``, and some that a search passes over."""
    found = [top]
    for folder, folders, _names in os.walk(top):
        folders[:] = [name for name in folders if os.path.join(folder, name) not in ("/usr", "/proc", sys.base_prefix)]
        found += [os.path.join(folder, name) for name in folders]
        if len(found) > 3000:
            break
    return [*found, "/usr", "/usr/bin", "/usr/local", "/proc/sys", sys.base_prefix]


def head(path: str) -> bytes:
    """A file's first mebibyte; nothing where it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        return os.read(fd, 1 << 20)
    except OSError:
        return b""
    finally:
        os.close(fd)


def places(found: set[bytes]) -> str:
    """Where what was found had been planted."""
    return ", ".join(sorted(text.decode().split("-")[1] for text in found))


def is_socket(path: str) -> bool:
    return stat.S_ISSOCK(_mode(path))


def _mode(path: str) -> int:
    try:
        return os.lstat(path).st_mode
    except OSError:
        return 0

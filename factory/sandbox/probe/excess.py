"""Whether it writes where it may not, and uses more than it may."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from typing import Any

from factory.sandbox.probe import Answer
from factory.sandbox.probe.searching import folders_below


def writing(given: dict[str, Any]) -> Answer:
    """Writing anywhere but in its own folders."""
    wrote = []
    allowed = tuple(given["writable"])
    for folder in {os.path.realpath(path) for path in [*given["paths_to_write"], *folders_below("/")]}:
        if folder.startswith(allowed) or folder.startswith("/proc"):
            continue
        with contextlib.suppress(OSError):
            path = f"{folder}/probe-was-here"
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            os.unlink(path)
            wrote.append(folder)
    return bool(wrote), ", ".join(wrote) or "only its own folders"


def process_number(given: dict[str, Any]) -> Answer:
    """As many processes as it can have at once."""
    limit = int(given["pids"])
    children, reader_writer = [], os.pipe()
    try:
        for _number in range(limit + 50):
            pid = os.fork()
            if pid == 0:
                os.close(reader_writer[1])
                os.read(reader_writer[0], 1)
                os._exit(0)
            children.append(pid)
    except OSError:
        pass  # the wall; how many there are is the answer
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return len(children) > limit, f"{len(children)} of at most {limit}"


def file_size(given: dict[str, Any]) -> Answer:
    """One file larger than allowed."""
    limit = int(given["file_bytes"])
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    path = "/work/probe-large"
    try:
        with open(path, "wb") as sink:
            sink.truncate(limit + 1)
        return True, f"made a file of {limit + 1} bytes"
    except OSError as error:
        return False, f"refused beyond {limit} bytes ({error.strerror})"
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)


def memory_disk(given: dict[str, Any]) -> Answer:
    """More in /tmp than it is large."""
    size = int(given["tmp_bytes"])
    written = 0
    try:
        with open("/tmp/probe-fill", "wb", buffering=0) as sink:  # noqa: S108
            while written <= size:
                written += sink.write(b"\0" * 65536)
    except OSError:
        pass  # the wall; how much was written is the answer
    with contextlib.suppress(OSError):
        os.unlink("/tmp/probe-fill")  # noqa: S108
    return written > size, f"{written} of {size} bytes"


def core_dumps(_: dict[str, Any]) -> Answer:
    """A core dump would be handled by a program outside, with what was in memory."""
    limit = resource.getrlimit(resource.RLIMIT_CORE)
    return limit[1] > 1, f"limit {limit[1]}"

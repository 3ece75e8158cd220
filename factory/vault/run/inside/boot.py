"""The first process of a run: order in, steps, result out."""

from __future__ import annotations

import base64
import ctypes
import fcntl
import json
import os
import signal
import socket
import sys
from typing import Any

from factory.sandbox.inside import launch
from factory.vault.run.inside import frames, layout

_HIGH = 100
"""Our own descriptors lie above all that a step is given."""
_PR_SET_DUMPABLE = 4


def main() -> int:
    """0, whatever the steps did: what they did is in the frames."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # No process of the same user may trace us, or read our memory and descriptors, in which the secrets are.
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    control.connect(layout.CONTROL)
    order = frames.receive(control, layout.MAX_ORDER)
    if order is None:
        return 1
    _programs()
    env = dict(os.environ)
    env["PATH"] = f"{layout.BIN}:{env.get('PATH', '/usr/bin:/bin')}"
    if order["broker"]:
        from factory.sandbox.inside.bridge import Bridge

        Bridge([(layout.PORT, layout.BROKER)]).start()
        env.update(dict.fromkeys(("http_proxy", "HTTP_PROXY"), layout.proxy(order["broker"])))
    given, secrets = _given(order)
    code = 0
    for index, argv in enumerate(order["steps"]):
        code = _step(argv, env, given, secrets)
        frames.send(control, {"kind": "step", "index": index, "code": code})
        if code != 0:
            break
    _hand_over(control, whole=code == 0)
    frames.send(control, {"kind": "end"})
    return 0


def _programs() -> None:
    for name in layout.PROGRAMS:
        path = f"{layout.BIN}/vault-{name}"
        with open(path, "w", encoding="utf-8") as sink:
            sink.write(f'#!/bin/sh\nexec "{sys.executable}" -I -S {layout.PYZ} {name} "$@"\n')
        os.chmod(path, 0o755)  # noqa: S103


def _given(order: dict[str, Any]) -> tuple[bytes, dict[int, bytes]]:
    """What every step reads on descriptor 3, and the secrets by their descriptors."""
    numbers = {name: layout.FIRST_SECRET_FD + at for at, name in enumerate(sorted(order["secrets"]))}
    secrets = {numbers[name]: base64.b64decode(text) for name, text in order["secrets"].items()}
    return json.dumps({**order["given"], "secrets": numbers}).encode(), secrets


def _memory(data: bytes) -> int:
    """A sealed file in memory, read from its beginning; its number is above all that a step is given."""
    fd = os.memfd_create("given", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
    high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH)
    os.close(fd)
    return high


def _step(argv: list[str], env: dict[str, str], given: bytes, secrets: dict[int, bytes]) -> int:
    """Exit code of one step, 127 where it could not be started. What it left running goes with it."""
    more = {layout.GIVEN_FD: _memory(given)} | {number: _memory(value) for number, value in secrets.items()}
    try:
        pid = launch.start(argv, env, more=more)
    except OSError as error:
        sys.stderr.write(f"boot: starting {argv[0]}: {error.strerror or error}\n")
        return 127
    finally:
        for fd in more.values():
            os.close(fd)
    _, status = os.waitpid(pid, 0)
    launch.end_group(pid)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _hand_over(control: socket.socket, *, whole: bool) -> None:
    """The result a step wrote, and, of a run that succeeded, its files. The host takes none of it on trust."""
    data = _read(layout.RESULT, layout.MAX_RESULT)
    if data is not None:
        frames.send(control, {"kind": "result", "data": base64.b64encode(data).decode()})
    for name in layout.ARTIFACTS if whole else ():
        path = f"{layout.OUT}/{name}"
        if not os.path.isfile(path) or os.path.islink(path):
            continue
        with open(path, "rb") as source:
            size = os.fstat(source.fileno()).st_size
            frames.send(control, {"kind": "artifact", "name": name, "size": size})
            control.sendfile(source, count=size) if size else None


def _read(path: str, limit: int) -> bytes | None:
    if not os.path.isfile(path) or os.path.islink(path):
        return None
    with open(path, "rb") as source:
        return source.read(limit + 1)

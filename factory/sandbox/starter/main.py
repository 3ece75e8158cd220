"""The starter's way: read the plan, make the start safe, start, watch, pass on the exit code."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import sys
from typing import Any, NoReturn

from factory.sandbox.starter import bounds, kernel, user

FAILED = 125
"""Exit code when the sandbox could not be built, or a bound was exceeded."""

_LOOK_S = 0.25
_STOP = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
_HEARD = _STOP | {signal.SIGCHLD}


def main() -> NoReturn:
    """Entry point; the plan (JSON, written by ``bubblewrap.py``) is standard input."""
    try:
        code = _run()
    except (kernel.Refused, OSError) as error:
        _say(f"not started: {error}")
        code = FAILED
    sys.stderr.flush()
    os._exit(code)


def _run() -> int:
    with open(0, "rb", closefd=False) as source:
        plan: dict[str, Any] = json.loads(source.read())
    keep = set() if plan["lock_fd"] is None else {int(plan["lock_fd"])}
    kernel.close_descriptors(keep)
    null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.close(null)
    os.umask(0o022)
    signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    if plan["keyring"]:
        kernel.join_new_keyring()
    limits = plan["limits"]
    named = sources = [str(path) for path in plan["sources"]]
    cgroup = bounds.make_cgroup(limits["memory_bytes"], limits["pids"]) if plan["cgroup"] else None
    bounds.prefer_for_oom()
    own_uid = os.geteuid() == 0
    if own_uid:
        uid, lock = user.take_uid()
        keep.add(lock)
        for path in plan["owner_paths"]:
            user.give(path, uid)
        for path in plan["sockets"]:
            user.give_socket(path, uid)
        sources = user.show(sources)
        user.become(uid)
    user.check_readable(named, sources)
    kernel.no_new_privileges()
    if 0 in os.getresuid():
        raise kernel.Refused("bubblewrap is never started as uid 0")
    kernel.die_with(plan["parent"])
    disks = [sources[index] for index in plan["writable"]]
    watch = bounds.Watch(None if cgroup else limits["memory_bytes"], disks, plan["disk_floor"])
    trouble = watch.disk_trouble()
    if trouble:
        raise kernel.Refused(trouble)

    reader, writer = os.pipe()  # closed on exec in us, inherited by bubblewrap under its own number
    os.set_blocking(reader, False)
    us = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become_bubblewrap(plan, sources, writer, us, limits, own_uid, cgroup)
    os.close(writer)
    return _supervise(pid, reader, watch, cgroup)


def _become_bubblewrap(
    plan: dict[str, Any],
    sources: list[str],
    status: int,
    parent: int,
    limits: dict[str, Any],
    own_uid: bool,
    cgroup: bounds.Cgroup | None,
) -> NoReturn:
    """In the child: everything that must hold for bubblewrap but not for the starter."""
    try:
        kernel.die_with(parent)
        os.setsid()
        if cgroup is not None:
            cgroup.join()
        bounds.limit_process(limits, count_processes=own_uid)
        options: list[bytes] = []
        for word in plan["options"]:
            if isinstance(word, str):
                options.append(os.fsencode(word))
            elif "source" in word:
                options.append(os.fsencode(sources[word["source"]]))
            elif "file" in word:
                options.append(str(_memory_file(base64.b64decode(word["file"]))).encode())
            else:
                options.append(str(status).encode())
        os.set_inheritable(status, True)
        # By descriptor: the command line of the first process inside is readable there, and it names host paths.
        arguments = _memory_file(b"\0".join(options) + b"\0")
        # Ignored, so that a polite end of the whole group reaches the agent before its walls fall; boot undoes it
        # inside.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execve(plan["bwrap"], [plan["bwrap"], "--args", str(arguments), "--", *plan["argv"]], {})  # noqa: S606
    except (OSError, ValueError) as error:
        _say(f"not started: {error}")
    os._exit(FAILED)


def _memory_file(data: bytes) -> int:
    fd = os.memfd_create("factory", 0)  # inheritable
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _supervise(pid: int, reader: int, watch: bounds.Watch, cgroup: bounds.Cgroup | None) -> int:
    """Wait for bubblewrap; stop it when a bound is exceeded, pass a request to stop on to the first process inside."""
    said = b""
    stopped_for: str | None = None
    while True:
        info = signal.sigtimedwait(_HEARD, _LOOK_S)
        with contextlib.suppress(BlockingIOError):
            said += os.read(reader, 65536)
        if info is not None and info.si_signo in _STOP:
            _pass_on(said)
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            break
        if stopped_for is None:
            stopped_for = watch.disk_trouble() or watch.memory_trouble(pid)
            if stopped_for:
                os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(BlockingIOError):
        said += os.read(reader, 65536)
    if cgroup is not None and cgroup.killed_for_memory():
        stopped_for = "its processes used more memory than allowed"
    if stopped_for:
        _say(f"stopped: {stopped_for}")
        return FAILED
    code = os.waitstatus_to_exitcode(status)
    if code > 0 and not any("exit-code" in fact for fact in _facts(said)):
        if code != FAILED:  # then the child has said why
            _say(f"bubblewrap could not build the sandbox (exit {code})")
        return FAILED
    return code if code >= 0 else 128 - code


def _facts(said: bytes) -> list[dict[str, Any]]:
    """bubblewrap's status: one JSON object a line."""
    found = []
    for line in said.splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue  # cut off in the middle: the rest is still to come
    return found


def _pass_on(said: bytes) -> None:
    """SIGTERM to the first process inside: bubblewrap's own init is 1 in there, the command is 2."""
    init = next((fact["child-pid"] for fact in _facts(said) if "child-pid" in fact), None)
    for pid in bounds.descendants(init) if init is not None else ():
        if bounds.pid_inside(pid) == 2:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGTERM)


def _say(text: str) -> None:
    print(f"factory sandbox: {text}", file=sys.stderr, flush=True)  # noqa: T201

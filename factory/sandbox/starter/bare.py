"""The starter of the sandbox ``none``: scratch folders, the map of places, and an end that takes the children along."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from typing import Any, NoReturn

from factory.sandbox.starter import bounds, kernel

FAILED = 125
_GRACE_S = 0.5
_STOP = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
_HEARD = _STOP | {signal.SIGCHLD}


def main() -> NoReturn:
    """Entry point; the plan (JSON, written by ``bare.py``) is standard input."""
    try:
        code = _run()
    except OSError as error:
        sys.stderr.write(f"factory sandbox: not started: {error}\n")
        code = FAILED
    sys.stderr.flush()
    os._exit(code)


def _run() -> int:
    with open(0, "rb", closefd=False) as source:
        plan: dict[str, Any] = json.loads(source.read())
    kernel.close_descriptors(set() if plan["lock_fd"] is None else {int(plan["lock_fd"])})
    null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.close(null)
    os.umask(0o022)
    signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    kernel.die_with(plan["parent"])
    kernel.adopt_orphans()
    scratch = tempfile.mkdtemp(prefix="factory-none-")
    try:
        return _start(plan, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _start(plan: dict[str, Any], scratch: str) -> int:
    moved: dict[str, str] = dict(plan["moved"])
    for path in plan["scratch"]:
        moved[path] = scratch + path
        os.makedirs(scratch + path, mode=0o700)
    us = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            kernel.die_with(us)
            os.setsid()
            bounds.limit_process(plan, count_processes=False)
            env = {key: _place(value, moved) for key, value in plan["env"].items()}
            env["PATH"] = ":".join(_place(part, moved) for part in plan["env"]["PATH"].split(":"))
            env["FACTORY_PATHS"] = json.dumps(moved)
            os.chdir(_place(plan["cwd"], moved))
            if plan["lock_fd"] is not None:
                os.set_inheritable(plan["lock_fd"], False)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            argv = [_place(word, moved) for word in plan["argv"]]
            os.execvpe(argv[0], argv, env)  # noqa: S606
        except OSError as error:
            sys.stderr.write(f"factory sandbox: not started: {error}\n")
        os._exit(FAILED)
    return _supervise(pid)


def _place(text: str, moved: dict[str, str]) -> str:
    # The same rule as session/inside/layout.py, which a lower layer may not import.
    for prefix in sorted(moved, key=len, reverse=True):
        if text == prefix or text.startswith(prefix + "/"):
            there = moved[prefix] + text[len(prefix) :]
            # A real path of this host may begin like a fixed place: what exists only as it stands is meant as it
            # stands.
            return text if os.path.lexists(text) and not os.path.lexists(there) else there
    return text


def _supervise(pid: int) -> int:
    code: int | None = None
    while code is None:
        info = signal.sigwaitinfo(_HEARD)
        if info.si_signo in _STOP:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            continue
        while True:
            try:
                ended, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if not ended:
                break
            if ended == pid:
                code = os.waitstatus_to_exitcode(status)
    _end_rest()
    return code if code >= 0 else 128 - code


def _end_rest() -> None:
    """Kill what was left running; orphans have become our children."""
    deadline = time.monotonic() + _GRACE_S
    while rest := bounds.descendants(os.getpid())[1:]:
        for pid in rest:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if time.monotonic() > deadline:
            return
        signal.sigtimedwait({signal.SIGCHLD}, 0.02)

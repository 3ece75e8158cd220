"""The first process inside: bridges, home, the backend, a checkpoint now and then, the final pack."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

from factory.sandbox.inside import launch
from factory.session.inside import layout, pack

_HEARD = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_GRACE_S = 0.2
"""Between asking the backend to stop and killing it; cancel has two seconds for everything."""


def main() -> int:
    """Run the session that ``spec.json`` describes; the backend's exit code."""
    began = time.monotonic()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the starter hands it over ignored
    signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    moved = layout.path_map()
    with open(f"{layout.place(layout.IN, moved)}/spec.json", encoding="utf-8") as source:
        spec: dict[str, Any] = json.load(source)
    out = layout.place(layout.OUT, moved)
    home = layout.place(layout.HOME, moved)
    spec = _bridged(spec, moved)
    env = _environment(spec, moved, home)
    _write_home(home, spec.get("home_files") or {})
    _write_emit(layout.place(layout.BIN, moved), moved)
    packer = _packer(spec, moved, out, env)
    os.chdir(layout.place(str(spec.get("cwd", layout.WORK)), moved))
    argv = [layout.place(str(word), moved) for word in spec["argv"]]
    error: str | None = None
    try:
        pid = launch.start(argv, env)
    except OSError as failed:
        error = f"starting {argv[0]}: {failed.strerror or failed}"
        sys.stderr.write(f"boot: {error}\n")
        code = 127
    else:
        code = _until_end(pid, packer, float(spec.get("checkpoint_s") or 60))
        launch.end_group(pid)
        _end_strangers()
    _finish(packer, out, code, error, time.monotonic() - began)
    return code if code >= 0 else 128 - code


def _bridged(spec: dict[str, Any], moved: dict[str, str]) -> dict[str, Any]:
    """Open the bridges; the spec with the ports that they have.

    Without a network of its own a session has no say over ports: another one beside it has the same wish. It then gets
    free ones, and what it was told of them is told again.
    """
    wished = [(int(one["port"]), layout.place(str(one["socket"]), moved)) for one in spec.get("bridges") or ()]
    if not wished:
        return spec
    from factory.sandbox.inside.bridge import Bridge

    bridge = Bridge([(0 if moved else port, path) for port, path in wished])
    bridge.start()
    got = {port: new for (port, _), new in zip(wished, bridge.ports, strict=True)}
    return {
        **spec,
        "argv": [layout.address(str(word), got) for word in spec["argv"]],
        "env": {key: layout.address(str(value), got) for key, value in (spec.get("env") or {}).items()},
        "home_files": {name: layout.address(text, got) for name, text in (spec.get("home_files") or {}).items()},
    }


def _environment(spec: dict[str, Any], moved: dict[str, str], home: str) -> dict[str, str]:
    env = dict(os.environ)
    env.update({str(key): layout.place(str(value), moved) for key, value in (spec.get("env") or {}).items()})
    env["HOME"] = home
    env["PATH"] = ":".join(
        [layout.place(layout.BIN, moved), *(p for p in env.get("PATH", "").split(":") if p != layout.BIN)]
    )
    if layout.OBJECTS in moved:
        # The clone's alternates file names the place inside; without a sandbox that place does not exist.
        env["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = moved[layout.OBJECTS]
    return env


def _write_home(home: str, files: dict[str, str]) -> None:
    for name, text in files.items():
        parts = name.split("/")
        if name.startswith("/") or ".." in parts or not name:
            raise ValueError(f"home_files: {name!r} does not stay in the home")
        path = f"{home}/{name}"
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with open(
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w", encoding="utf-8"
        ) as sink:
            sink.write(text)


def _write_emit(folder: str, moved: dict[str, str]) -> None:
    os.makedirs(folder, exist_ok=True)
    program = f"{layout.place(layout.IN, moved)}/inside.pyz"
    with open(f"{folder}/emit", "w", encoding="utf-8") as sink:
        sink.write(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{program}" emit "$@"\n')
    os.chmod(f"{folder}/emit", 0o755)  # noqa: S103


def _packer(spec: dict[str, Any], moved: dict[str, str], out: str, env: dict[str, str]) -> pack.Packer | None:
    work = spec.get("work")
    if not work:
        return None
    return pack.Packer(pack.Work(str(work["ref"]), str(work["base"])), layout.place(layout.WORK, moved), out, env)


def _until_end(pid: int, packer: pack.Packer | None, every_s: float) -> int:
    """Wait for the backend, packing now and then; asked to stop, stop it. Its exit code, negative for a signal."""
    next_pack = time.monotonic() + every_s
    kill_at: float | None = None
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        now = time.monotonic()
        if kill_at is not None and now >= kill_at:
            launch.end_group(pid)
            kill_at = None
        if packer is not None and now >= next_pack:
            problem = packer.pack()
            if problem:
                sys.stderr.write(f"boot: checkpoint: {problem}\n")
            next_pack = time.monotonic() + every_s
        until = min(next_pack if packer is not None else now + 60, kill_at if kill_at is not None else now + 60)
        info = signal.sigtimedwait(_HEARD, max(0.0, until - time.monotonic()))
        if info is not None and info.si_signo != signal.SIGCHLD and kill_at is None:
            launch.end_group(pid, signal.SIGTERM)
            kill_at = time.monotonic() + _GRACE_S


def _end_strangers() -> None:
    """Kill what the backend left running elsewhere than in its group, so that nothing moves while we pack.

    Only below bubblewrap's own init: everything in such a process table is this session's.
    """
    if os.getppid() != 1 or _name_of(1) != "bwrap":
        return
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) not in (1, os.getpid()):
            try:
                os.kill(int(name), signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue


def _name_of(pid: int) -> str:
    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as source:
        return source.read().strip()


def _finish(packer: pack.Packer | None, out: str, code: int, error: str | None, seconds: float) -> None:
    facts: dict[str, object] = {
        "returncode": code if code >= 0 else None,
        "signal": -code if code < 0 else None,
        "error": error,
        "commits": 0,
        "leftovers": [],
        "leftovers_more": 0,
        "pack_error": None,
        "stray_head": None,
    }
    if packer is not None:
        facts["pack_error"] = packer.pack()
        facts["commits"] = packer.commits()
        facts["leftovers"], facts["leftovers_more"] = packer.leftovers()
        facts["stray_head"] = packer.stray_head()
    facts["seconds"] = round(seconds, 3)
    pack.put(f"{out}/exit.json", json.dumps(facts).encode())

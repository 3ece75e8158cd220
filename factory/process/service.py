"""Background services (the embedded forge, the gateway): start at most one, find it again, stop it, also after kill -9.

Three files per service in its state folder: ``<name>.lock`` is locked by the service itself through an inherited
descriptor (held = it lives, whatever the pid file says), ``<name>.pid`` says which process it is, ``<name>.log`` is
what it wrote. ``<name>.starting`` serialises those who want to start it.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from factory.process.identity import identity
from factory.process.lock import boot_id, hold, is_held, try_hold
from factory.process.spawn import STDOUT, Adopted, Running, StartFailed, adopt, send_signal, spawn

_TAIL_LINES = 20
_TAIL_BYTES = 4000
_LOG_BYTES = 5 * 1024 * 1024


@dataclass(frozen=True)
class ServiceStatus:
    """The service's process, and whether this call started it. ``pid`` is None when it does not run."""

    pid: int | None
    started: bool = False


def ensure(
    name: str,
    argv: Sequence[str],
    *,
    state_dir: Path,
    env: Mapping[str, str],
    ready: Callable[[], bool],
    timeout_s: float,
) -> ServiceStatus:
    """Have the service running and ready: adopt it if it lives, start it otherwise. Of two callers at once, one
    starts it.

    The service keeps running when we end. Raises StartFailed, with the log's last lines, when it ends before it is
    ready or is not ready after ``timeout_s`` seconds (a process started here is then ended again); Conflict when
    somebody else is still starting it after that time.
    """
    deadline = time.monotonic() + timeout_s
    with hold(state_dir / f"{name}.starting", timeout_s=timeout_s):
        running = _find(name, state_dir)
        if running is not None:
            with running:
                _await_ready(name, running, state_dir, ready, deadline)
                return ServiceStatus(running.pid, started=False)
        if is_held(state_dir / f"{name}.lock"):
            raise StartFailed(
                f"starting {name}: something outlived it and still holds its lock in {state_dir}",
                hint=f"find it with `fuser {state_dir / (name + '.lock')}` and end it",
            )
        return ServiceStatus(_start(name, argv, state_dir, env, ready, deadline), started=True)


@contextmanager
def registered(name: str, state_dir: Path) -> Iterator[None]:
    """This process as the service ``name`` while the body lasts, where not ``ensure`` started it but, say, systemd:
    found and stopped as any. For one that ``ensure`` started, which is known already, it does nothing."""
    alive, own = try_hold(state_dir / f"{name}.lock"), identity(os.getpid())
    if alive is None or own is None:
        yield
        return
    with alive:
        _write_pid_file(state_dir / f"{name}.pid", os.getpid(), own)
        try:
            yield
        finally:
            (state_dir / f"{name}.pid").unlink(missing_ok=True)


def status(name: str, state_dir: Path) -> ServiceStatus:
    """Whether the service runs now."""
    running = _find(name, state_dir)
    if running is None:
        return ServiceStatus(None)
    with running:
        return ServiceStatus(running.pid)


def stop(name: str, state_dir: Path, grace_s: float = 5.0) -> bool:
    """End the service: SIGTERM, ``grace_s`` seconds, then its whole tree by force. False when it did not run."""
    with hold(state_dir / f"{name}.starting"):
        running = _find(name, state_dir)
        if running is None:
            return False
        with running:
            send_signal(running, signal.SIGTERM)
            if running.wait(grace_s) is None:
                running.kill_tree()
            _reap(running.pid)
        (state_dir / f"{name}.pid").unlink(missing_ok=True)
        return True


def log_tail(name: str, state_dir: Path) -> str:
    """The last lines of the service's log, capped."""
    try:
        with (state_dir / f"{name}.log").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
            text = log.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-_TAIL_LINES:])


def _find(name: str, state_dir: Path) -> Adopted | None:
    """The living process behind the lock, or None; the lock decides, so a stale pid file is never believed."""
    lock = state_dir / f"{name}.lock"
    recorded = _recorded(state_dir / f"{name}.pid")
    if recorded is not None:
        _reap(recorded[0])
    if not is_held(lock):
        return None
    # Without a pid file (its writer was killed between start and write) the kernel still knows who has the lock
    # file open.
    return (adopt(*recorded) if recorded is not None else None) or _holder(lock)


def _recorded(path: Path) -> tuple[int, float] | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        pid, created, boot = int(record["pid"]), float(record["created"]), str(record["boot"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (pid, created) if boot == boot_id() else None


def _holder(lock: Path) -> Adopted | None:
    """The session leader that has ``lock`` open: services are started as leaders, mere probes of the lock are not.

    A daemon leads a session as well; while it starts the service, it has both this lock and ``.starting`` open.
    """
    wanted = _key(lock.stat())
    starting = lock.with_suffix(".starting")
    starter = _key(starting.stat()) if starting.exists() else None
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            opened = [_key(fd.stat()) for fd in (entry / "fd").iterdir()]
            leads = os.getsid(int(entry.name)) == int(entry.name)
        except OSError:
            continue  # ended meanwhile, or not ours to look into
        created = identity(int(entry.name))
        if leads and created is not None and wanted in opened and starter not in opened:
            return adopt(int(entry.name), created)
    return None


def _key(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _start(
    name: str, argv: Sequence[str], state_dir: Path, env: Mapping[str, str], ready: Callable[[], bool], deadline: float
) -> int:
    alive = try_hold(state_dir / f"{name}.lock")
    if alive is None:
        raise StartFailed(f"starting {name}: its lock in {state_dir} was taken meanwhile")
    log_path = state_dir / f"{name}.log"
    if log_path.exists() and log_path.stat().st_size > _LOG_BYTES:
        log_path.replace(log_path.with_suffix(".log.1"))
    with alive:
        log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            child = spawn(argv, cwd="/", env=env, stdout=log, stderr=STDOUT, pass_fds=(alive.fileno(),))
        finally:
            os.close(log)
        _write_pid_file(state_dir / f"{name}.pid", child.pid, child.created)
        try:
            _await_ready(name, child, state_dir, ready, deadline)
        except BaseException:
            child.kill_tree()
            child.close()
            (state_dir / f"{name}.pid").unlink(missing_ok=True)
            raise
        child.detach()
        return child.pid


def _write_pid_file(path: Path, pid: int, created: float) -> None:
    fresh = path.with_suffix(".pid.new")
    fresh.write_text(json.dumps({"pid": pid, "created": created, "boot": boot_id()}) + "\n", encoding="utf-8")
    fresh.replace(path)


def _await_ready(name: str, process: Running, state_dir: Path, ready: Callable[[], bool], deadline: float) -> None:
    pause = 0.01
    while not ready():
        code = process.poll()
        if code is not None:
            raise _failed(name, f"it ended (exit {code}) before it was ready", state_dir)
        left = deadline - time.monotonic()
        if left <= 0:
            raise _failed(name, "it runs, but was not ready in time", state_dir)
        process.wait(min(pause, left))  # wakes at once when the process ends
        pause = min(pause * 1.5, 0.05)


def _failed(name: str, why: str, state_dir: Path) -> StartFailed:
    tail = log_tail(name, state_dir)
    return StartFailed(
        f"starting {name}: {why}" + (f"; its log ends:\n{tail}" if tail else "; its log is empty"),
        hint=f"the whole log is {state_dir / (name + '.log')}",
    )


def _reap(pid: int) -> None:
    """Collect a service that was started by this very process and has ended; for all others this does nothing."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return

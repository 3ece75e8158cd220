"""Starts runs and tells how they ended: a thread, a lock and a sandbox for each, so many of a tier at once.

The lock file of a run is held here and inherited by its whole process tree: taking it proves both dead. A run of
another dispatcher of this host can be ended by what stands in its lock file.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path

from factory.errors import SandboxUnavailable
from factory.process.identity import identity
from factory.process.lock import Held, boot_id, is_held, try_hold
from factory.process.spawn import Child, adopt
from factory.sandbox import pyz
from factory.sandbox.protocol import Sandbox
from factory.vault.action import Tier
from factory.vault.dispatch import AT_ONCE
from factory.vault.ports import Order, Outcome
from factory.vault.run.attempt import Attempt
from factory.vault.run.tools import Tools

WALLS = frozenset({
    "files", "named-paths", "password-file", "processes", "environment", "descriptors", "keyring", "loopback",
    "interfaces", "abstract-sockets", "host-sockets", "capabilities", "setuid-programs", "kernel-settings",
    "nested-namespaces", "writing", "user",
})  # fmt: skip
"""Without one of these nothing is run; the others bound what a run may use up."""
INSIDE = Path(__file__).with_name("inside")


class Runner:
    """``ports.Runner``. Threads are daemons: a dispatcher that ends takes its runs with it."""

    def __init__(self, tools: Tools, cache: Path, *, at_once: int = AT_ONCE) -> None:
        self._tools, self._cache = tools, cache
        self._lanes = {tier: threading.BoundedSemaphore(at_once) for tier in Tier}
        self._lock = threading.Lock()
        self._done: list[tuple[Order, Outcome]] = []
        self._running: dict[str, Attempt] = {}
        self._threads: set[threading.Thread] = set()
        self._proving = threading.Lock()
        self._proved: Sandbox | None = None

    def start(self, order: Order) -> None:
        """Never raises: what keeps a run from starting is its outcome."""
        held = try_hold(self._lock_of(order))
        if held is None:
            self._end(order, Outcome("unclear" if order.probe else "clean", "this run is under way already"))
            return
        # Written at once: from here on it can be told who has it, and that it lives.
        _write(held, {"by": self._tools.instance, **_me()})
        try:
            path = pyz.build(self._cache, "factory.vault.run.inside.__main__",
                             {"factory.vault.run.inside": INSIDE}, name="run")  # fmt: skip
            attempt = Attempt(
                order, self._tools, path, self._sandbox, held.fileno(),
                started=lambda child: _write(held, {"by": self._tools.instance, **_me(), **_child(child)}),
            )  # fmt: skip
            thread = threading.Thread(target=self._run, args=(attempt, held), name=f"run {order.id}", daemon=True)
            with self._lock:
                self._running[order.run] = attempt
                self._threads.add(thread)
            thread.start()
        except (OSError, RuntimeError) as error:
            held.release()
            with self._lock:
                self._running.pop(order.run, None)
            self._end(order, Outcome("unclear" if order.probe else "clean", f"it could not be started: {error}"))

    def finished(self) -> tuple[tuple[Order, Outcome], ...]:
        """Those that ended since the last call."""
        with self._lock:
            done, self._done = tuple(self._done), []
        return done

    def dead(self, by: str, run: str, *, kill: bool = False) -> bool:
        """Whether the run, and who started it, are proved dead on this host; ``kill``: end them first.

        Of our own runs only the run itself is meant.
        """
        host, _, instance = by.partition("/")
        if host != self._tools.host or not instance:
            return False
        lock = self._tools.state / "locks" / f"{run}.lock"
        with self._lock:
            attempt = self._running.get(run)
        if kill:
            if attempt is not None:
                attempt.stop("it is given up")
            _end_holders(lock, ours=by == self._tools.instance)
        if by == self._tools.instance:
            return attempt is None and not is_held(lock)
        return not is_held(lock) and not is_held(self._tools.state / "locks" / f"{instance}.lock")

    def close(self, seconds: float = 5.0) -> None:
        """Let nothing more through, end what runs, wait for the threads."""
        with self._lock:
            attempts, threads = list(self._running.values()), list(self._threads)
        for attempt in attempts:
            attempt.stop("the dispatcher is ending")
        for thread in threads:
            thread.join(seconds)

    def _lock_of(self, order: Order) -> Path:
        name = f"{order.run}-look{order.epoch}" if order.probe else order.run
        return self._tools.state / "locks" / f"{name}.lock"

    def _run(self, attempt: Attempt, held: Held) -> None:
        order = attempt.order
        try:
            with self._lanes[order.tier]:
                outcome = attempt.outcome()
        finally:
            with self._lock:
                self._running.pop(order.run, None)
                self._threads.discard(threading.current_thread())
            held.path.unlink(missing_ok=True)
            held.release()
        self._end(order, outcome)

    def _end(self, order: Order, outcome: Outcome) -> None:
        with self._lock:
            self._done.append((order, outcome))
        self._tools.wake()

    def _sandbox(self) -> Sandbox:
        """The sandbox, its walls tried from inside once in this process. Raises SandboxUnavailable."""
        with self._proving:
            if self._proved is None:
                sandbox = self._tools.sandbox()
                if sandbox.name == "none":
                    raise SandboxUnavailable(
                        "starting a run: this host has no sandbox", hint="the vault runs nothing without one"
                    )
                open_ = [wall for wall in sandbox.walls() if wall.name in WALLS and not wall.holds]
                if open_:
                    said = "; ".join(f"{wall.name}: {wall.detail}" for wall in open_)
                    raise SandboxUnavailable(f"starting a run: the sandbox does not hold: {said}"[:400])
                self._proved = sandbox
            return self._proved


def _me() -> Mapping[str, object]:
    return {"boot": boot_id(), "pid": os.getpid(), "created": identity(os.getpid())}


def _child(child: Child) -> Mapping[str, object]:
    return {"child": child.pid, "child_created": child.created}


def _write(held: Held, values: Mapping[str, object]) -> None:
    """Into the lock file itself: its inode is what is locked, so it is never replaced."""
    with open(held.path, "r+", encoding="ascii") as sink:
        sink.write(json.dumps(values) + "\n")
        sink.truncate()


def _end_holders(lock: Path, *, ours: bool) -> None:
    """Kill the run's process tree and, where it is another dispatcher's, that dispatcher: it may be asleep and wake."""
    try:
        values = json.loads(lock.read_text(encoding="ascii"))
        known = [(values.get("child"), values.get("child_created"))]
        known += [] if ours or values.get("pid") == os.getpid() else [(values["pid"], values["created"])]
        same = values["boot"] == boot_id()
    except (OSError, ValueError, KeyError, TypeError):
        return  # nothing is known of it, or it is gone
    for pid, created in known if same else ():
        process = adopt(pid, created) if isinstance(pid, int) and isinstance(created, float) else None
        if process is not None:
            with process:
                process.kill_tree(grace_s=0.0)

"""The local executor: one process per session, which outlives the daemon and is adopted by the next one.

The daemon may be killed at any moment; the session goes on, writes its result, and whoever is there then reads it.
Taking the run's lock proves that neither the session nor anything in its sandbox is alive.
"""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from factory.config.home import write_private
from factory.errors import FactoryError
from factory.process.lock import boot_id, is_held
from factory.process.spawn import Adopted, Child, adopt, send_signal, spawn
from factory.runs.codec import Malformed, dumps, loads
from factory.runs.spec import SessionResult, SessionSpec
from factory.session.folders import RunFolders

KEEP_S = 30 * 86_400.0
"""How long logs, and what a run was told and left, are kept on the host."""


class LocalExecutor:
    """Starts sessions of this host and knows which still live."""

    def __init__(self, home: Path, argv: Sequence[str], env: Mapping[str, str]) -> None:
        self._home = home
        self._argv = tuple(argv)
        self._env = dict(env)
        self._running: dict[str, Child | Adopted] = {}

    def start(self, spec: SessionSpec) -> None:
        """Start the session of a run once: a second call for a run that lives or has ended does nothing."""
        folders = RunFolders(self._home, spec.run)
        folders.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not folders.spec.exists():
            write_private(folders.spec, dumps(spec).encode())
        if spec.run in self._running or folders.result.exists() or is_held(folders.lock):
            return
        log = folders.log.parent
        log.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (log / f"{spec.run}.stderr").open("ab") as stderr:
            child = spawn([*self._argv, spec.run], env=self._env, cwd=self._home, stderr=stderr.fileno())
        write_private(
            folders.process, json.dumps({"pid": child.pid, "created": child.created, "boot": boot_id()}).encode()
        )
        self._running[spec.run] = child

    def adopt(self, run: str) -> bool:
        """Take over a session an earlier daemon started; False when it no longer lives."""
        if run in self._running:
            return True
        folders = RunFolders(self._home, run)
        try:
            told = json.loads(folders.process.read_bytes())
        except (FileNotFoundError, ValueError):
            # Killed between the start and the note of it: the lock alone tells, and the next look asks again.
            return is_held(folders.lock)
        if told.get("boot") != boot_id():
            return False
        process = adopt(int(told["pid"]), float(told["created"]))
        if process is None:
            return is_held(folders.lock)
        self._running[run] = process
        return True

    def alive(self) -> frozenset[str]:
        """Runs whose session process lives; those that ended are reaped here."""
        for run, process in list(self._running.items()):
            if process.poll() is not None:
                process.close()
                del self._running[run]
        return frozenset(self._running)

    def filenos(self) -> Iterable[int]:
        """Descriptors that become readable when a session ends."""
        return [process.fileno() for process in self._running.values()]

    def spec(self, run: str) -> SessionSpec | None:
        """What the run was told, when this host started it."""
        try:
            return loads(SessionSpec, RunFolders(self._home, run).spec.read_bytes())
        except (FileNotFoundError, Malformed):
            return None

    def result(self, run: str) -> SessionResult | None:
        """What the run left; None while there is nothing, or what is there cannot be read (then it is lost)."""
        try:
            return loads(SessionResult, RunFolders(self._home, run).result.read_bytes())
        except (FileNotFoundError, Malformed):
            return None

    def tidy(self, run: str) -> None:
        """Remove what a settled run no longer needs: its commits are on the forge. What it was told and left stays."""
        folders = RunFolders(self._home, run)
        shutil.rmtree(folders.quarantine, ignore_errors=True)
        shutil.rmtree(folders.cache, ignore_errors=True)

    def sweep(self, project: str, unfinished: Collection[str], now: float) -> None:
        """Once after a start: tidy the project's runs that are over; forget logs and folders older than ``KEEP_S``."""
        for folder in sorted((self._home / "state" / "runs").glob("r*")):
            spec = self.spec(folder.name)
            if folder.name in unfinished or spec is None or spec.project != project:
                continue
            if is_held(RunFolders(self._home, folder.name).lock):
                continue
            self.tidy(folder.name)
            if now - folder.stat().st_mtime > KEEP_S:
                shutil.rmtree(folder, ignore_errors=True)
        for log in sorted((self._home / "cache" / "logs").glob("r*")):
            if now - log.stat().st_mtime > KEEP_S:
                log.unlink(missing_ok=True)

    def cancel(self, run: str, by: str) -> None:
        """Ask the session to stop; its whole tree is gone within two seconds."""
        folders = RunFolders(self._home, run)
        if not folders.state.is_dir():
            raise FactoryError(f"cancelling {run}: this host did not start it")
        write_private(folders.cancel, by.encode())
        if self.adopt(run) and run in self._running:
            send_signal(self._running[run], signal.SIGTERM)

"""What performing needs from this host, bound for one project."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from factory.checks.secrets import guard
from factory.config.model import Mode
from factory.daemon.executor import LocalExecutor
from factory.daemon.landing import recorded
from factory.daemon.pauses import local
from factory.git import objects
from factory.git.transport import RefUpdate, Remote, push
from factory.git.values import Signature
from factory.ops.branch import add_file
from factory.ops.edit import whole
from factory.ops.writer import write
from factory.runs.codec import loads
from factory.runs.spec import SessionSpec
from factory.session.checkout import prepare_view
from factory.session.checkpoint import checkpoints_of
from factory.session.folders import RunFolders


@dataclass(frozen=True)
class QuarantinePushes:
    """``effects.ports.Branches``: from a run's quarantine, by compare-and-swap, never forced."""

    home: Path
    remote: Callable[[str, str], Remote]
    """(account, repo) -> remote."""

    def push(self, repo: str, account: str, run: str, ref: str, new: str, expected: str | None) -> None:
        name = ref if ref.startswith("refs/") else f"refs/heads/{ref}"
        remote, folders = self.remote(account, repo), RunFolders(self.home, run)
        try:
            spec = loads(SessionSpec, folders.spec.read_bytes())
        except FileNotFoundError:
            push(folders.quarantine, remote, [RefUpdate(name, new, expected)])
            return
        if not objects.exists(folders.quarantine, spec.head or spec.base):
            # What the quarantine borrows from the project's view: ``cache/`` was deleted since the session.
            prepare_view(self.home, spec, remote)
        # In the same push: the work is on the branch, or its checkpoint still stands.
        push(folders.quarantine, remote, [RefUpdate(name, new, expected), *checkpoints_of(spec, remote)])


@dataclass(frozen=True)
class Launching:
    """``effects.ports.Launcher`` over the local executor."""

    executor: LocalExecutor

    def start(self, spec: SessionSpec) -> None:
        self.executor.start(spec)

    def cancel(self, run: str) -> None:
        self.executor.cancel(run, "factory")


@dataclass(frozen=True)
class OpsWrites:
    """``effects.ports.OpsFiles``: whole files by the direct route."""

    mirror: Callable[[], Path]
    remote: Remote
    author: Callable[[], Signature]
    host: str

    def write(self, files: Mapping[str, str | None], message: str) -> str | None:
        edits = [whole(path, None if text is None else text.encode()) for path, text in files.items()]
        mirror, author = self.mirror(), self.author()
        land = recorded(self.remote, mirror, self.host, author)
        return write(self.remote, mirror, edits, message=message, author=author, guard=guard, land=land).commit


@dataclass(frozen=True)
class VaultRequests:
    """``effects.ports.Requests``: one added file on a branch of its own, pushed as the vault's account."""

    mirror: Callable[[], Path]
    remote: Callable[[str], Remote]
    """Account -> the ops repo's remote."""
    author: Callable[[], Signature]

    def propose(self, account: str, branch: str, base: str, path: str, text: str, message: str) -> str:
        who = replace(self.author(), name=account, email=f"{account}@factory.invalid")
        return add_file(
            self.remote(account), self.mirror(), branch=branch, base=base, path=path, data=text.encode(),
            message=message, author=who,
        )  # fmt: skip


@dataclass
class HostGates:
    """``effects.ports.Gates``: mode as last read, pauses as they are this moment on this host and last read in git."""

    pause_folder: Path
    current_mode: Mode = Mode.OBSERVE
    paused_in_git: frozenset[str] = frozenset()

    def mode(self) -> Mode:
        return self.current_mode

    def paused(self, scopes: frozenset[str]) -> str | None:
        now = {pause.scope for pause in local(self.pause_folder)} | self.paused_in_git
        return min(scopes & now, default=None)

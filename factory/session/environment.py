"""The project's environment: set up once per state of its lock files, cached, and seen read-only by every later run.

A cache that several heads share is only ever built from the base branch: code of a pull request that has not been
approved must not prepare what other heads are judged with. A head that changes a lock file gets a cache of its own.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from factory.errors import RunFailed
from factory.git import objects
from factory.process.lock import hold
from factory.runs.model import Cause
from factory.runs.spec import SessionSpec
from factory.sandbox.protocol import Bind
from factory.session.checkout import Checkout
from factory.session.going import Going
from factory.session.shell import run_shell

WAIT_S = 1800


class SetupFailed(RunFailed):
    """The project's own set-up ended with an error."""

    def __init__(self, message: str, cause: Cause) -> None:
        super().__init__(message, hint="see the run's log; the commands are [environment] setup in factory.toml")
        self.cause = cause


@dataclass(frozen=True)
class Need:
    """Which cache a commit needs: its name, and the commit it is built from."""

    key: str
    commit: str


def need(view: Path, spec: SessionSpec, commit: str) -> Need | None:
    """The environment of ``commit``; None when the project has no set-up."""
    environment = spec.environment
    if not environment.setup:
        return None
    here, base = (_locks(view, at, spec) for at in (commit, spec.base))
    told = "\n".join([*environment.setup, *environment.cache, environment.directory])
    own = "" if here == base else commit
    digest = hashlib.sha256("\0".join([told, here, own]).encode()).hexdigest()[:32]
    return Need(digest, commit if own else spec.base)


def binds(wanted: Need | None, going: Going, clone: Callable[[Path, str], Checkout]) -> tuple[Bind, ...]:
    """The read-only binds of the environment, building it first where it is not cached. Raises SetupFailed."""
    if wanted is None:
        return ()
    spec = going.spec
    folder = going.ports.home / "cache" / "environments" / spec.project.replace("/", ".") / wanted.key
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    ready = folder / "ready"
    with hold(folder.with_suffix(".lock"), timeout_s=WAIT_S):
        if not ready.exists():
            shutil.rmtree(folder, ignore_errors=True)
            going.log.line(f"setting up the environment {wanted.key[:12]} from {wanted.commit[:12]}")
            checkout = clone(going.folders.cache / "setup", wanted.commit)
            commands = "set -e\n" + "\n".join(spec.environment.setup)
            result, cause = run_shell(
                going, "environment", ("sh", "-c", commands), checkout=checkout, egress=spec.environment.egress
            )
            if cause is not None or not result.ok:
                raise SetupFailed(f"setting up the project's environment: {result.detail}", cause or Cause.GATE)
            folder.mkdir(mode=0o755)
            for path in spec.environment.cache:
                made = checkout.clone / path
                # Set-up ran the project's code: what it left may be a link to anywhere.
                if made.is_symlink() or not made.exists() or made.resolve() != checkout.clone.resolve() / path:
                    raise SetupFailed(f"setting up the project's environment: it did not make {path}", Cause.GATE)
                target = folder / "made" / path
                target.parent.mkdir(parents=True, exist_ok=True)
                made.rename(target)
            ready.touch()
    return tuple(Bind(folder / "made" / path, f"/work/{path}") for path in spec.environment.cache)


def _locks(view: Path, commit: str, spec: SessionSpec) -> str:
    parts = []
    for path in spec.environment.lock_files:
        data = objects.read_file(view, commit, path)
        parts.append(f"{path}:{'absent' if data is None else hashlib.sha256(data).hexdigest()}")
    return "\n".join(parts)

"""The project's environment: set up once per state of its lock files, cached, and seen read-only by every later run.

A cache that several heads share is only ever built from the base branch: code of a pull request that has not been
approved must not prepare what other heads are judged with. A head that changes a lock file gets a cache of its own.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from factory.errors import Conflict
from factory.git import objects
from factory.process.lock import hold
from factory.runs.model import Cause
from factory.runs.spec import SessionSpec, StepResult
from factory.sandbox.protocol import Bind
from factory.session.checkout import Checkout
from factory.session.going import Failed, Going
from factory.session.shell import run_shell
from factory.session.untrusted import publish_tree, remove_tree

STEP = "environment"
"""Under this name set-up stands among a run's steps, when it failed."""
SHOWN = 1500
"""Characters of a failed set-up's output in its detail."""
_AT = "factory: set-up failed at: "


class SetupFailed(Failed):
    """The project's own set-up did not work at this commit; ``result`` says at which command."""

    def __init__(self, result: StepResult) -> None:
        super().__init__(Cause.GATE, f"setting up the project's environment: {result.detail}")
        self.result = result


@dataclass(frozen=True)
class Need:
    """Which cache a commit needs: its name, and the commit it is built from."""

    key: str
    commit: str


def need(view: Path, spec: SessionSpec, commit: str) -> Need | None:
    """The environment of ``commit``; None when the project has no set-up. Raises GitFailed."""
    environment = spec.environment
    if not environment.setup:
        return None
    here, base = (_locks(view, at, spec) for at in (commit, spec.base))
    told = "\n".join([*environment.setup, "", *environment.cache, "", environment.directory])
    own = "" if here == base else commit
    digest = hashlib.sha256("\0".join([told, here, own]).encode()).hexdigest()[:32]
    return Need(digest, commit if own else spec.base)


def binds(wanted: Need | None, going: Going, clone: Callable[[Path, str], Checkout]) -> tuple[Bind, ...]:
    """The read-only binds of the environment, building it first where it is not cached.

    Raises SetupFailed, Failed, SandboxUnavailable, StartFailed, Interrupted.
    """
    if wanted is None:
        return ()
    spec = going.spec
    folder = going.ports.home / "cache" / "environments" / spec.project.replace("/", ".") / wanted.key
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        with hold(folder.with_suffix(".lock"), timeout_s=going.seconds_left()):
            if not (folder / "ready").exists():
                _build(wanted, folder, going, clone)
    except Conflict as error:
        raise Failed(Cause.SANDBOX, f"waiting for another run to set up the environment: {error.message}") from error
    made = tuple(Bind(folder / "made" / path, f"/work/{path}") for path in spec.environment.cache)
    going.standing.on(folder / "ready", *(bind.source for bind in made))
    return made


def _build(wanted: Need, folder: Path, going: Going, clone: Callable[[Path, str], Checkout]) -> None:
    environment = going.spec.environment
    remove_tree(folder)
    going.log.line(f"setting up the environment {wanted.key[:12]} from {wanted.commit[:12]}")
    checkout = clone(going.folders.cache / "setup", wanted.commit)
    argv = ("sh", "-c", script(environment.setup))
    result, cause = run_shell(going, STEP, argv, checkout=checkout, egress=environment.egress)
    if cause is not None:
        raise Failed(cause, f"setting up the project's environment: {result.detail}")
    if not result.ok:
        raise SetupFailed(_named(result))
    draft = folder / "made"
    folder.mkdir(mode=0o755)
    draft.mkdir(mode=0o755)
    for path in environment.cache:
        made = checkout.clone / path
        # Set-up ran the project's code: what it left, or a folder on the way to it, may be a link to anywhere.
        if not made.exists() or made.resolve() != checkout.clone.resolve() / path:
            detail = f"it did not make {path}" + (", but a link" if made.is_symlink() else "")
            raise SetupFailed(StepResult(STEP, ok=False, detail=detail, answer=result.answer))
        target = draft / path
        target.parent.mkdir(parents=True, exist_ok=True)
        made.rename(target)
    publish_tree(draft)
    (folder / "ready").touch()


def script(commands: Sequence[str]) -> str:
    """The commands as one shell program that stops at the first failure and says at which command it was."""
    said = f'printf "{_AT}%s\\n" "$factory_at" >&2'
    lines = [f"trap 'code=$?; test $code -eq 0 || {said}; exit $code' EXIT", "set -e"]
    for command in commands:
        lines += [f"factory_at={shlex.quote(command)}", command]
    return "\n".join(lines)


def _named(result: StepResult) -> StepResult:
    tail = str((result.answer or {}).get("tail", ""))
    at = next((line.removeprefix(_AT) for line in reversed(tail.split("\n")) if line.startswith(_AT)), "")
    said = "\n".join(line for line in tail.split("\n") if not line.startswith(_AT))[-SHOWN:]
    detail = (f"`{at[:300]}`: {result.detail}" if at else result.detail) + (f"\n{said}" if said else "")
    return StepResult(result.step, ok=False, detail=detail, answer=result.answer)


def _locks(view: Path, commit: str, spec: SessionSpec) -> str:
    parts = []
    for path in spec.environment.lock_files:
        entry = objects.find_entry(view, commit, path)
        parts.append(f"{path}:{'absent' if entry is None else f'{entry.mode:o} {entry.oid}'}")
    return "\n".join(parts)

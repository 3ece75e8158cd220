"""A project's configuration, what of it counts, and secrets that lie open in its code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from factory.app.choosing import state_of
from factory.app.configuration import ops_files
from factory.app.deployment import Deployment
from factory.app.doctor.finding import Finding, note, ok, problem
from factory.app.explaining import newest
from factory.app.projects import account
from factory.checks.secrets import kinds
from factory.config.factory import PATH, load_factory
from factory.config.model import FactoryConfig
from factory.daemon.rules import Rules
from factory.errors import ConfigInvalid, UsageError
from factory.forge.values import RepoName
from factory.git import objects
from factory.git.transport import fetch

AREA = "project"
MOST_FILE = 500_000
MOST_BYTES = 50_000_000
SHOWN = 5


def config_of(deployment: Deployment, ops: RepoName) -> FactoryConfig | None:
    """factory.toml at the tip of the ops repo; None where it is missing or not valid (``factory check`` says why)."""
    files, _ = ops_files(deployment, ops)
    try:
        return load_factory(files[PATH]) if PATH in files else None
    except ConfigInvalid:
        return None


def look(deployment: Deployment, project: RepoName) -> Iterator[Finding]:
    """What counts of the controlled set, and the base branch's secrets. Raises ForgeError."""
    yield from _controlled(deployment, project)
    yield from _ticks(deployment, project)
    yield from _secrets(deployment, project)


def _controlled(deployment: Deployment, project: RepoName) -> Iterator[Finding]:
    counts = Rules(file=deployment.state / "authority" / f"{project.owner}.{project.name}.json").kept()
    if counts is None:
        yield note(AREA, "approved rules", f"no tick has judged the rules of {project} yet", "factory up --detach")
        return
    for found in counts.problems:
        yield problem(AREA, "approved rules", str(found), found.hint)
    if not counts.problems:
        yield ok(AREA, "approved rules", f"configuration, formulas and agents count as of {counts.commit[:12]}")


def _ticks(deployment: Deployment, project: RepoName) -> Iterator[Finding]:
    try:
        seen = newest(deployment, project)
    except UsageError as error:
        yield problem(AREA, "last tick", error.message, "factory up --detach")
        return
    if seen is not None:
        mode = seen.world.config.mode.value
        yield ok(AREA, "last tick", f"tick {seen.tick.number} of {project}, in mode {mode}")


def _secrets(deployment: Deployment, project: RepoName) -> Iterator[Finding]:
    """The tip of the default branch: every session can read it, and what the model sees leaves the machine."""
    base = state_of(deployment, project).base_ref
    copy = deployment.host.cache / "doctor" / f"{project.owner}.{project.name}.git"
    if not objects.is_repo(copy):
        copy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        objects.init_bare(copy)
    ref = f"refs/heads/{base}"
    fetch(copy, deployment.remote(account(deployment.state, project, "factory"), project), [f"+{ref}:{ref}"])
    found, seen = _scan(copy, ref)
    for where in found[:SHOWN]:
        yield problem(
            AREA, "secrets", f"{project}: {where}; every session can read it",
            "take it out, and change it where it is used: it stays in the history",
        )  # fmt: skip
    if len(found) > SHOWN:
        yield problem(AREA, "secrets", f"{project}: {len(found) - SHOWN} more like these")
    if not found:
        yield ok(AREA, "secrets", f"none found in {seen} files at the tip of {base} (older history is not read)")


def _scan(copy: Path, ref: str) -> tuple[list[str], int]:
    found: list[str] = []
    files = left = 0
    for entry in objects.list_tree(copy, ref, recursive=True):
        size = entry.size or 0
        if entry.kind != "blob" or size > MOST_FILE or left + size > MOST_BYTES:
            continue
        left += size
        files += 1
        data = objects.read_blob(copy, entry.oid) or b""
        if b"\0" in data[:8000]:
            continue
        for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
            found += [f"{entry.path}:{number} looks like {kind}" for kind, certain in kinds(line) if certain]
    return found, files

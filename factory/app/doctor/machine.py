"""Python, git, the sandbox and each of its walls, room on the disk, and who else is called ``factory`` here."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions, version
from pathlib import Path

import factory
from factory.app.doctor.finding import Finding, ok, problem
from factory.errors import FactoryError, SandboxUnavailable
from factory.git import plumbing
from factory.sandbox.select import select

AREA = "machine"
OURS = "ops-factory"
LEAST_FREE = 1 << 30
"""Bytes. Below it, clones and the forge's own writes begin to fail."""


def look(home: Path, sandbox: str) -> Iterator[Finding]:
    """Everything that needs no deployment. Starting the sandbox's attacker takes about a second."""
    yield _python()
    yield _package()
    yield _git()
    yield from _sandbox(sandbox)
    yield _disk(home)


def _python() -> Finding:
    # An older one does not get as far as here.
    return ok(AREA, "python", f"Python {platform.python_version()} ({sys.executable})")


def _package() -> Finding:
    """factory_boy installs a package of the same name: whichever came last has overwritten the other's files."""
    owners = sorted(set(packages_distributions().get("factory", [])))
    others = [name for name in owners if name.lower() not in (OURS, OURS.replace("-", "_"))]
    where = Path(factory.__file__ or "?").parent
    if others:
        return problem(
            AREA,
            "package",
            f"{', '.join(others)} installs a package named factory too, into the same environment ({where})",
            f"give each an environment of its own: python3 -m venv factory-env && factory-env/bin/pip install {OURS}",
        )
    return ok(AREA, "package", f"{OURS} {version(OURS)} in {where}")


def _git() -> Finding:
    try:
        path = plumbing.program()
    except FactoryError as error:
        return problem(AREA, "git", error.message, error.hint)
    return ok(AREA, "git", path)


def _sandbox(name: str) -> Iterator[Finding]:
    if name == "none":
        yield problem(
            AREA,
            "sandbox",
            'host.toml says sandbox = "none": sessions run with all that this user may do',
            'apt-get install bubblewrap, then set sandbox = "bubblewrap" in host.toml',
        )
        return
    try:
        chosen = select(name)
        walls = chosen.walls()
    except SandboxUnavailable as error:
        yield problem(AREA, "sandbox", error.message, error.hint)
        return
    held = [wall for wall in walls if wall.holds]
    yield ok(
        AREA, "sandbox", f"{chosen.name} starts; {len(held)} of {len(walls)} walls held against an attacker inside"
    )
    for wall in walls:
        name = f"wall {wall.name}"
        yield ok(AREA, name, wall.detail) if wall.holds else problem(AREA, name, wall.detail, wall.hint)


def _disk(home: Path) -> Finding:
    place = home
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    said = f"{free / (1 << 30):.1f} GB free for {home}"
    if free < LEAST_FREE:
        return problem(AREA, "disk", said, f"{home / 'cache'} may be deleted at any time")
    return ok(AREA, "disk", said)

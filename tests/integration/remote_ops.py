"""A remote ops repo on this machine, spoken to by the real git."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from factory.git import objects
from factory.git.transport import Remote
from factory.git.values import Signature

BOT = Signature("factory-bot", "factory-bot@factory.example", 1_800_000_000)


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    objects.init_bare(tmp_path / "remote.git")
    return Remote(str(tmp_path / "remote.git"))


@pytest.fixture
def origin(remote: Remote) -> Path:
    """The remote's own repo, to look at what is really there."""
    return Path(remote.url)


@pytest.fixture
def mirror(tmp_path: Path) -> Callable[[str], Path]:
    """Make the mirror of one host."""

    def make(host: str = "h1") -> Path:
        objects.init_bare(tmp_path / f"{host}.git")
        return tmp_path / f"{host}.git"

    return make


@pytest.fixture
def bot() -> Signature:
    return BOT

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.setup.somebody import Somebody


def ended(who: Somebody) -> None:
    for home in who.folder.glob("home*"):
        if (home / "state" / "host.toml").exists():
            who.run("down", code=None, home=home)


@pytest.fixture
def somebody(tmp_path: Path) -> Iterator[Somebody]:
    """Nothing is set up yet."""
    made = Somebody(tmp_path)
    yield made
    ended(made)


@pytest.fixture(scope="module")
def settled() -> Iterator[Somebody]:
    """A project, founder/hello, with a factory whose forge runs; shared by the tests of a file."""
    folder = Path(tempfile.mkdtemp(prefix="factory-setup-"))
    made = Somebody(folder)
    try:
        made.init(made.project())
        yield made
    finally:
        ended(made)
        shutil.rmtree(folder, ignore_errors=True)

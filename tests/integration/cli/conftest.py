"""Somebody with nothing set up yet, and somebody whose project has a factory."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli.person import CI, Person, ended, free_port, person_in


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Person]:
    """Nothing is set up yet."""
    made = person_in(tmp_path)
    yield made
    ended(made)


@pytest.fixture(scope="module")
def settled() -> Iterator[Person]:
    """A project with a factory whose forge runs; the daemon does not. Shared by the tests of a file."""
    folder = Path(tempfile.mkdtemp(prefix="factory-cli-"))
    made = person_in(folder)
    try:
        ports = ("--port", str(free_port()), "--web-port", str(free_port()))
        made.run("init", made.project, *ports, "--mode", "merge", "--ci", CI)
        yield made
    finally:
        ended(made)
        shutil.rmtree(folder, ignore_errors=True)

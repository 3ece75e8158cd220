"""One forge for all of these tests, one ops repo for a module, a fresh one where a test leaves it unusable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from factory.forge.client import ForgejoClient
from factory.testing.forge_process import ForgeProcess
from tests.contract.conftest import SITES, Site
from tests.contract.conftest import real as real
from tests.integration.vault.attacks.blind import Blind
from tests.integration.vault.attacks.keep import OPEN, Keep
from tests.integration.vault.attacks.program import close_nursery


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Path]]:
    """An embedded forge, and where it keeps what is its own."""
    with ForgeProcess.start(tmp_path_factory.mktemp("forge")) as process:
        site = Site("embedded", process.url, ForgejoClient(process.url, uds=process.admin_socket))
        yield site, process.home
        site.close()


Build = Callable[[], Keep]


@pytest.fixture(scope="session", params=SITES)
def town(request: pytest.FixtureRequest) -> tuple[Site, Path | None]:
    """The forge, and a real one as well where the suite is given one."""
    if request.param == "real":
        return request.getfixturevalue("real"), None
    found: tuple[Site, Path] = request.getfixturevalue("embedded")
    return found


@pytest.fixture(scope="session", autouse=True)
def nursery() -> Iterator[None]:
    """Ended, where one was needed."""
    yield
    close_nursery()


@pytest.fixture(scope="module", autouse=True)
def ended() -> Iterator[None]:
    """No process of a keep outlives the module."""
    yield
    while OPEN:
        OPEN.pop().close()


@pytest.fixture(autouse=True)
def ended_at_once() -> Iterator[None]:
    """Nor a keep's of one test that test."""
    before = len(OPEN)
    yield
    while len(OPEN) > before:
        OPEN.pop().close()


@pytest.fixture(scope="module")
def keep(town: tuple[Site, Path | None], tmp_path_factory: pytest.TempPathFactory) -> Keep:
    """One ops repo for the attacks of a module, each of which has an action of its own."""
    return Keep(town[0], tmp_path_factory.mktemp("keep"), town[1])


@pytest.fixture
def own(town: tuple[Site, Path | None], tmp_path: Path) -> Keep:
    """An ops repo that a test may spoil."""
    return Keep(town[0], tmp_path / "keep", town[1])


@pytest.fixture
def off(monkeypatch: pytest.MonkeyPatch) -> Blind:
    """Switches checks off."""
    return Blind(monkeypatch)

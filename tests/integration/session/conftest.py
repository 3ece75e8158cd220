"""A gateway per module, and a project of its own for every test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.session.house import House, Model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    made = Model.start(tmp_path_factory.mktemp("model"))
    yield made
    made.gateway.stop()


@pytest.fixture
def house(tmp_path: Path, model: Model) -> Iterator[House]:
    made = House(tmp_path / "h", model)
    yield made
    made.close()

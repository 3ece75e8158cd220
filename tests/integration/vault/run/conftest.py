"""A house per test; the sandbox's walls are tried once for all of them (``test_walls`` tries them anew)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from factory.sandbox.bubblewrap import Bubblewrap
from factory.sandbox.protocol import Wall
from factory.sandbox.select import select
from tests.integration.vault.run.house import House, Outside


class Tried(Bubblewrap):
    """bubblewrap whose walls were tried already."""

    known: tuple[Wall, ...] = ()

    def walls(self) -> tuple[Wall, ...]:
        if not Tried.known:
            Tried.known = select().walls()
        return Tried.known


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with Outside().serving() as outside:
        made = House(tmp_path, Tried(), outside)
        yield made
        made.close()

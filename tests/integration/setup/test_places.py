"""Where a home may be: anywhere, also where a socket's name would not fit."""

from __future__ import annotations

from pathlib import Path

from factory.demo.example import SCRIPT
from tests.integration.setup.conftest import ended
from tests.integration.setup.somebody import Somebody


def test_a_home_far_down(tmp_path: Path) -> None:
    """The kernel takes 107 bytes; forge, gateway and set-up reach each other all the same."""
    somebody = Somebody(tmp_path / ("folder" * 20))
    try:
        assert "hello has a factory" in somebody.init(somebody.project()).out
        hired = somebody.run("hire", "native", "--name", "player", "--replay", SCRIPT)
        assert "hired player (native" in hired.out
        (agent,) = somebody.run("agents", "--json").facts()["agents"]
        assert (agent["name"], agent["trouble"]) == ("player", None)
    finally:
        ended(somebody)

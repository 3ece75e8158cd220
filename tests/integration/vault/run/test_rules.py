"""Rules about what a run may do outside, each broken once."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory.vault.run.gate import Gate
from tests.integration.vault.attacks.register import RUNS, Seen, rule
from tests.integration.vault.run.house import House
from tests.integration.vault.run.test_broker import CANARY, line


@rule("Every request that changes something asks the ledger's tip anew; an answer of a moment ago is none",
      vault="its request is refused", check="only what reads may use an answer of the last seconds")  # fmt: skip
def test_rule_a_change_asks_anew(house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Seen:
    """Fenced in the second after the ledger said yes."""
    house.secrets["TOKEN"] = CANARY

    def sent(place: Path) -> int:
        """How many of its changes arrive after it was fenced."""
        house.live = lambda order: True
        place.mkdir()
        house.root = place
        with line(house) as it:
            assert it.ask("POST", "http://api.test/v1/x", b"1")[0] == 200
            assert it.ask("GET", "http://api.test/v1/x")[0] == 200
            before = len(house.outside.seen)
            house.live = lambda order: False
            status = it.ask("POST", "http://api.test/v1/x", b"2")[0]
            assert (status == 200) == (len(house.outside.seen) > before)
            return len(house.outside.seen) - before

    assert sent(tmp_path / "one") == 0
    monkeypatch.setattr(Gate, "still", Gate.read)
    return Seen("-", "its request is refused", RUNS if sent(tmp_path / "two") == 1 else "")

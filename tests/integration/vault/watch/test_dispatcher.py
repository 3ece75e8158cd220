"""The dispatcher as a real process on the embedded forge: it fires what was approved, says why not, and lives through
what may happen to it."""

from __future__ import annotations

from tests.integration.vault.watch.conftest import House, until

FIRED = ["SEEN", "VERIFIED", "CLAIMED", "STARTED", "DONE"]


def test_a_low_request_fires_by_itself(served: House) -> None:
    asked = served.ask()
    assert asked.base == "auto"
    until(lambda: served.kinds(asked.id) == ["SEEN"])
    served.merge(asked)
    until(lambda: served.kinds(asked.id) == FIRED)
    assert served.beat()["trouble"] == ""

"""A courier with channels in a state folder, sending to a real server; its clock is the test's."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from factory.config.home import write_private
from factory.config.model import ChannelHost
from factory.notify.courier import Courier
from tests.unit.notify.things import FORGE, NOW


class House:
    """``channels`` by name and kind; all of them at one server, each under its own path."""

    def __init__(self, state: Path, url: str, **channels: str) -> None:
        self.state, self.url, self.now = state, url, NOW
        self.said: list[str] = []
        self.channels: Mapping[str, ChannelHost] = {name: self.host(name, kind) for name, kind in channels.items()}
        self.courier = self.start()

    def host(self, name: str, kind: str) -> ChannelHost:
        file = self.state / "notify" / f"{name}.secret"
        write_private(file, f"{self.url}/{name}\n".encode())
        return ChannelHost(kind, file)

    def start(self) -> Courier:
        """Another process's, as far as it knows."""
        self.courier = Courier(self.state, lambda: self.channels, FORGE, self.said.append, now=self.clock)
        return self.courier

    def clock(self) -> datetime:
        return self.now

    def later(self, **given: float) -> None:
        self.now += timedelta(**given)

    def settle(self) -> None:
        """What is due leaves."""
        self.courier.keep()
        assert self.courier.settled(20)

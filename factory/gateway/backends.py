"""The configured backends at work: their slots, their scripts, their clients; replaced on reload."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from factory.errors import ConfigInvalid, Problem
from factory.gateway.config import BackendConfig, GatewayConfig
from factory.gateway.dialogue import Refused
from factory.gateway.script import Script, load_script
from factory.gateway.upstream import Upstream


@dataclass(frozen=True)
class Backend:
    """One configured backend with its slots, its script and its connection."""

    config: BackendConfig
    slots: asyncio.Semaphore
    script: Script | None
    upstream: Upstream


class Backends:
    """The backends in force, by name."""

    def __init__(self) -> None:
        self._by_name: dict[str, Backend] = {}

    def load(self, config: GatewayConfig) -> None:
        """Puts ``config`` in force. Raises ``ConfigInvalid`` with the problems of every script; then nothing changed.

        A backend whose slots did not change keeps its semaphore: calls under way still count.
        """
        problems: list[Problem] = []
        fresh: dict[str, Backend] = {}
        for item in config.backends:
            script: Script | None = None
            if item.replay is not None:
                try:
                    script = load_script(item.replay)
                except ConfigInvalid as error:
                    problems.extend(error.problems)
                    continue
            old = self._by_name.get(item.name)
            slots = old.slots if old is not None and old.config.slots == item.slots else asyncio.Semaphore(item.slots)
            upstream = old.upstream if old is not None and old.config == item else Upstream(item)
            fresh[item.name] = Backend(item, slots, script, upstream)
        if problems:
            raise ConfigInvalid(
                f"loading the gateway's scripts: {len(problems)} problem(s), first: {problems[0]}", tuple(problems)
            )
        self._by_name = fresh

    def get(self, name: str) -> Backend:
        """Raises ``Refused`` when a reload took the backend away."""
        if (backend := self._by_name.get(name)) is None:
            raise Refused(f"backend {name!r} is not configured any more")
        return backend

    def names(self) -> tuple[str, ...]:
        return tuple(self._by_name)

    def find(self, name: str) -> Backend | None:
        return self._by_name.get(name)

    async def close(self) -> None:
        for backend in self._by_name.values():
            await backend.upstream.close()

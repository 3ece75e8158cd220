"""Telling people outside the forge, wired for one host: one courier, and what each project's tick hands to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from factory.app.deployment import Deployment
from factory.app.places import vault_folder
from factory.daemon.observe import Observer
from factory.daemon.telling import TROUBLE, detailed, items_of, troubled
from factory.errors import FactoryError
from factory.notify.courier import Courier
from factory.notify.item import Item
from factory.plan.effect import Plan
from factory.plan.model import World
from factory.vault.watch import frozen

Tell = Callable[[World, Plan], None]


def courier_of(deployment: Deployment, said: Callable[[str], None]) -> Courier:
    """It goes by host.toml as it is at each tick."""
    return Courier(deployment.state, lambda: deployment.host.channels, deployment.host.forge_url, said)


def teller(deployment: Deployment, courier: Courier, observer: Observer, said: Callable[[str], None]) -> Tell:
    """What a project's tick calls with what it saw and decided. It costs nothing where there is no channel."""

    def tell(world: World, plan: Plan) -> None:
        if not deployment.host.channels and not courier.active:
            return
        folder = vault_folder(deployment.state, str(world.ops))
        here = frozen.told(folder) if deployment.host.has_vault else ""
        items = items_of(world, plan, deployment.host.forge_url, here)
        courier.tell(str(world.project), items, partial(_detailed, world, observer, said))

    return tell


@dataclass
class Watching:
    """Tells of a host that cannot work for a while: where the forge is away, the dashboard says nothing of it."""

    deployment: Deployment
    courier: Courier
    _since: datetime | None = None

    def __call__(self, trouble: str, now: datetime) -> None:
        host = self.deployment.host
        if not host.channels and not self.courier.active:
            return
        self._since = (self._since or now) if trouble else None
        told = self.courier.knows(TROUBLE)
        self.courier.tell("", troubled(host.host, trouble, self._since or now, now, host.forge_url, told))


def _detailed(world: World, observer: Observer, said: Callable[[str], None], item: Item) -> Item:
    try:
        return detailed(item, world, observer.vault)
    except FactoryError as error:
        said(f"notify: {item.title} is told without its facts: {error.message}")
        return item

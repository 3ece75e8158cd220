"""What a test waits for: the forge's clock, and what a real forge does after it has answered (ours is done by then)."""

from __future__ import annotations

from datetime import datetime

from factory.forge.client import ForgejoClient
from factory.forge.values import RepoName
from tests.contract.conftest import Site, soon


def the_next_second(client: ForgejoClient) -> None:
    """Until the forge's clock, which tells whole seconds, has moved on."""

    def now() -> datetime | None:
        client.version()
        return client.server_time

    first = now()
    while now() == first:
        continue


def caught_up(site: Site, ops: RepoName, number: int, branch: str, head: str) -> None:
    """Until the forge got to the last push of a pull request: its ref is where the branch is, and a push names
    ``head``, if that is where it is."""
    names = [f"refs/pull/{number}/head"] + ([f"refs/heads/{branch}"] if branch else [])
    client = site.client("founder")
    refs = soon(site, lambda: client.ls_refs(ops, names), lambda refs: len({*refs.values()}) == 1)
    if site.name == "real" and head in refs.values():
        soon(site, lambda: client.timeline(ops, number), lambda events: any(head in event.detail for event in events))


def taken_back(site: Site, ops: RepoName, number: int, review: int) -> None:
    """Until the forge has dismissed this review because of a push: by then it takes back none that comes later."""

    def state() -> list[bool]:
        return [one.dismissed for one in site.client("founder").reviews(ops, number) if one.id == review]

    soon(site, state, lambda states: states == [True])

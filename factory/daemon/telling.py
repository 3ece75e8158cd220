"""What people are told outside the forge: all that the dashboard says needs somebody, and a vault that does not work.

Only which items there are is decided here; what of it is new on a channel, ``factory.notify`` knows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import MINYEAR, datetime, timedelta

from factory.daemon.board import needs_of
from factory.daemon.vault_view import VaultView
from factory.notify.item import Item, Screen
from factory.ops.dashboard import NeedsYou
from factory.plan.effect import Plan
from factory.plan.model import World
from factory.vault.people.facts import exposed, rows

NEVER = MINYEAR
"""The year of what nothing dates."""
TROUBLE = "host trouble"
LASTING = timedelta(minutes=10)
"""What is over before is nobody's to look at: a forge restarts, a network comes back."""


def items_of(world: World, plan: Plan, forge_url: str, frozen_here: str = "") -> tuple[Item, ...]:
    """Everything that needs somebody now. ``frozen_here``: why the vault is frozen on this host alone. Pure."""
    board = f"{forge_url.rstrip('/')}/{world.ops}"
    found = [
        _item(world, repo, about, need, board) for (repo, about), need in needs_of(world, plan, forge_url).items()
    ]
    return (*found, *_vault(world, board, frozen_here))


def _item(world: World, repo: str, about: str, need: NeedsYou, board: str) -> Item:
    key = f"{repo} {about} {need.act}"
    if need.act == "approve" and about.startswith("pull"):
        # Another head is another content: what was told of the one before is not what is approved.
        pulls = world.ops_pulls if repo == str(world.ops) else world.pulls
        heads = {f.pull.number: f.pull.head_sha for f in pulls}
        key += f" {heads.get(int(about.removeprefix('pull')), '')[:16]}"
    if need.act == "do":
        key += f" {need.why}"  # it is told again when it is late
    return Item(
        key, str(world.project), need.act, need.title, need.url, board,
        None if need.since.year == NEVER else need.since, need.frees, need.why,
    )  # fmt: skip


def _vault(world: World, board: str, frozen_here: str) -> Iterator[Item]:
    frozen = world.vault.frozen or frozen_here
    if frozen:
        frees = "an admin looks, then `factory vault unfreeze` lets approved actions start again"
        yield Item(f"{world.ops} frozen {frozen}", str(world.project), "look", f"the vault is frozen: {frozen}", board,
                   board, frees=frees)  # fmt: skip
    for words in world.vault.problems:
        yield Item(f"{world.ops} problem {words}", str(world.project), "repair", f"the vault: {words}", board, board)


def troubled(host: str, trouble: str, since: datetime, now: datetime, forge_url: str, told: bool) -> tuple[Item, ...]:
    """That the factory of a host cannot work, once that lasted; ``told``: whether somebody was told of it already, also
    before a restart. Pure."""
    if not trouble or (now - since < LASTING and not told):
        return ()
    frees = f"the factory on {host} goes on by itself when that is over: `factory status`, `factory doctor`"
    return (Item(TROUBLE, "", "look", f"{host} cannot work: {trouble}", forge_url, forge_url, since, frees),)


def detailed(item: Item, world: World, view: VaultView) -> Item:
    """The item with the screen of facts, where it is a request of the vault. Raises GitFailed."""
    for facts in world.ops_pulls:
        pull = facts.pull
        request = world.vault.request(pull.number)
        if request is None or item.key != f"{world.ops} pull{pull.number} approve {pull.head_sha[:16]}":
            continue
        found = view.screen(facts)
        if found is not None:
            told = tuple((label, tuple(exposed(line) for line in lines)) for label, lines in rows(found))
            return replace(item, screen=Screen(told, found.requester, exposed(found.words)))
    return item

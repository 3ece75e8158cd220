"""What of the vault needs a person, as lines of the dashboard. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from factory.forge.values import ItemState
from factory.ops.dashboard import NeedsYou
from factory.plan.model import World
from factory.plan.vault import FOLDER, LOW
from factory.plan.vault_pulls import AUTO, is_vault


def needs(world: World, ops_url: str) -> Iterator[tuple[str, NeedsYou]]:
    """(what it is about, the line): approvals, cut-off actions to settle, things only a person can do."""
    for facts in world.ops_pulls:
        pull = facts.pull
        if not is_vault(world, facts) or pull.state is not ItemState.OPEN:
            continue
        request = world.vault.request(pull.number)
        about, url = f"pull{pull.number}", f"{ops_url}/pulls/{pull.number}"
        if request is None or request.code or (request.tier == LOW and pull.base_ref == AUTO):
            continue  # it is not known yet, or the factory closes or merges it by itself
        frees = " and ".join(["the action starts", *(f"{_short(world, ref)} goes on" for ref in request.frees)])
        yield about, NeedsYou("approve", request.headline, url, pull.created_at, frees)
    for action in world.vault.actions:
        if action.kind == "PARKED":
            url = f"{ops_url}/pulls/{action.pull}" if action.pull else f"{ops_url}/src/branch/main/{FOLDER}"
            frees = f"`factory vault settle {action.id}` says how it ended"
            yield (
                f"vault{action.id}",
                NeedsYou("settle", f"{action.id} was cut off", url, action.at, frees, action.words),
            )
    for pending in world.vault.pending:
        url = f"{ops_url}/src/branch/main/vault/pending/{pending.id}.md"
        yield f"pending{pending.id}", NeedsYou("do", pending.what, url, pending.since, pending.frees, pending.late)


def _short(world: World, ref: str) -> str:
    """An issue of the project as ``#3``; another repo's with its name."""
    repo, _, number = ref.partition("#")
    return f"#{number}" if repo == str(world.project) else ref


def health(world: World) -> tuple[str, ...]:
    """What keeps the vault from working, in words."""
    return tuple([f"the vault is frozen: {world.vault.frozen}"] if world.vault.frozen else []) + world.vault.problems

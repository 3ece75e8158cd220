"""Pull requests of the ops repo that carry a person's change (``edit/*``): merged as soon as a listed person approved.

Approving is a person's only act; merging follows. It does not depend on the project's mode (the mode itself is changed
this way), only on a pause of everything.
"""

from __future__ import annotations

from factory.forge.values import ItemState
from factory.plan import merge_gate, signatures, trust
from factory.plan.effect import Effect, Preconditions, effect_id
from factory.plan.model import Obstacle, PullFacts, World
from factory.plan.operations import DeleteBranch, GateRules, MergePull
from factory.runs.model import Subject

BASE = "main"


def subject(world: World, number: int) -> Subject:
    return Subject(str(world.ops), "pull", str(number))


def decide(world: World, facts: PullFacts) -> Effect | Obstacle | None:
    """None for a pull request that is not a person's change proposed by the factory."""
    pull = facts.pull
    account = world.config.account("factory")
    if (
        pull.state is not ItemState.OPEN
        or pull.author.login.lower() != account.lower()
        or not pull.head_ref.startswith("edit/")
        or pull.head_repo != world.ops
    ):
        return None
    everything = next((p for p in world.pauses if p.scope == "all"), None)
    if everything is not None:
        return Obstacle("paused", f"all is paused by {everything.by}", "a person: `factory resume`", everything.since)
    if not facts.files:
        return Obstacle("files-unknown", "its changed files are not known", "the next tick")
    vault = next((f.path for f in facts.files if f.path.startswith("vault/actions/")), None)
    if vault is not None:
        return Obstacle("vault-route", f"{vault} is a vault action: it takes that route", "a person: file it there")
    listed = frozenset(login.lower() for login in world.config.approvers | world.config.admins) - trust.ours(world)
    rule = GateRules(
        people=listed, reviewers=frozenset(), ours=trust.ours(world), contexts=(), base_ref=BASE,
        person_needed="it changes the ops repo",
    )  # fmt: skip
    obstacle = merge_gate.gate(pull, facts.reviews, facts.statuses, rule)
    if obstacle is None and world.vault.signed and any(f.path.startswith(world.vault.signed) for f in facts.files):
        obstacle = signatures.awaited(facts, world.vault.signers, 1, str(pull.number))
    waits = next((one for one in world.vault.cooling if (one.pull, one.head) == (pull.number, pull.head_sha)), None)
    if obstacle is None and waits is not None:
        obstacle = Obstacle("cooling", waits.words, "time; a person who objects asks for changes on it")
    if obstacle is not None:
        return obstacle
    repo = str(world.ops)
    return Effect(
        id=effect_id(subject(world, pull.number), "merge-ops", pull.head_sha),
        subject=subject(world, pull.number),
        kind="merge-ops",
        reason=f"a listed person approved {pull.head_sha[:8]}",
        operations=(
            MergePull(repo, account, pull.number, pull.head_sha, f"{pull.title} (#{pull.number})", "", rule),
            DeleteBranch(repo, account, pull.head_ref, pull.head_sha),
        ),
        preconditions=Preconditions(
            repo=repo, number=pull.number, is_pull=True, head=pull.head_sha, open=True, unpaused=frozenset({"all"})
        ),
    )

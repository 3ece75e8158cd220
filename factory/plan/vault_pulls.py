"""Pull requests of the vault (``vault/*`` by vault-bot), and telling people how actions ended.

A person's approval is the only tap: the tick after it the head that was approved is merged, low ones at once. What may
start is not decided here; the dispatcher looks at everything again. What cannot go on is closed with the reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from factory.forge.values import ItemState, ReviewState
from factory.ops.vault_result import VaultResult
from factory.plan import merge_gate, reviews, signatures, trust
from factory.plan.effect import Effect, Preconditions, effect_id
from factory.plan.model import Obstacle, PullFacts, World
from factory.plan.operations import (
    ClosePull,
    DeleteBranch,
    GateRules,
    MergePull,
    Operation,
    OpsWrite,
    PostComment,
)
from factory.plan.ops_pulls import subject
from factory.plan.vault import BRANCH, LOW, ActionFact, Comparison, Cooling, RequestFact
from factory.runs.model import Subject

MAIN, AUTO = "main", "auto"
MERGE = "merge-vault"
ALL = frozenset({"all"})


def is_vault(world: World, facts: PullFacts) -> bool:
    """Whether it is a request that the vault's account posted from a branch of its own."""
    pull = facts.pull
    return (
        pull.author.login.lower() == world.config.account("vault").lower()
        and pull.head_ref.startswith(BRANCH)
        and pull.head_repo == world.ops
    )


def decide(world: World, facts: PullFacts, now: datetime) -> Effect | Obstacle | None:
    """What to do about a pull request of the vault; None: it is none, or all is done."""
    if not is_vault(world, facts):
        return None
    pull, id = facts.pull, facts.pull.head_ref.removeprefix(BRANCH)
    if pull.merged:
        return None
    if pull.state is not ItemState.OPEN:
        if id in world.vault.told or pull.closed_at is None:
            return None
        return _told(world, facts, VaultResult(id, "closed", pull.closed_at, fired=False, pull=pull.number))
    everything = next((p for p in world.pauses if p.scope == "all"), None)
    if everything is not None:
        return Obstacle("paused", f"all is paused by {everything.by}", "a person: `factory resume`", everything.since)
    request = world.vault.request(pull.number)
    if request is None or request.head != pull.head_sha or not facts.files:
        return Obstacle("files-unknown", "its file is not known yet", "the next tick")
    wrong = _wrong(facts, request, now)
    if wrong is not None:
        return _close(world, facts, *wrong)
    if request.tier == LOW and pull.base_ref == AUTO:
        return _merge(world, facts, _rule(world, AUTO), "a low action needs nobody's approval")
    return _await(world, facts, request)


def _wrong(facts: PullFacts, request: RequestFact, now: datetime) -> tuple[str, str, str] | None:
    """(state, code, words) of what ends a request; None: nothing does."""
    if request.code:
        return "unfit", request.code, request.words
    for login, review in sorted(reviews.rejections(facts.reviews).items()):
        if review.author.id in request.rejecters:
            return "rejected", "rejected", f"{login} asks for changes"
    if request.expires is not None and request.expires <= now:
        return "expired", "expired", f"nobody decided it before it expired at {request.expires:%Y-%m-%d %H:%M} UTC"
    if facts.pull.base_ref == AUTO and request.tier != LOW:
        return "unfit", "wrong-branch", f"it is {request.tier}, and {AUTO} takes only low actions"
    if facts.pull.base_ref not in (MAIN, AUTO):
        return "unfit", "wrong-branch", f"it goes to {facts.pull.base_ref}, and no action does"
    return None


def _await(world: World, facts: PullFacts, request: RequestFact) -> Effect | Obstacle:
    """Merge what enough listed people approved at exactly this head, else say who is waited for."""
    pull = facts.pull
    approving = reviews.approvals(facts.reviews, pull.head_sha, pull.author.login)
    approved = [review for review in facts.reviews if review.state is ReviewState.APPROVED]
    listed = {review.author.login.lower() for review in approved if review.author.id in request.listed}
    listed -= trust.ours(world)
    if len(approving & listed) < request.need:
        more = f" ({len(approving & listed)} of {request.need} so far)" if request.need > 1 else ""
        return Obstacle(
            "approval", f"{request.headline}{more}", f"a person: {request.who} approves it", pull.created_at
        )
    rule = replace(_rule(world, MAIN), people=frozenset(listed), person_needed=f"it is {request.tier}",
                   needs_approval=True, approvals=request.need)  # fmt: skip
    obstacle = merge_gate.gate(pull, facts.reviews, facts.statuses, rule)
    if obstacle is None and request.signers:
        obstacle = signatures.awaited(facts, request.signers, request.need, request.id)
    if obstacle is not None:
        return obstacle
    return _merge(world, facts, rule, f"{', '.join(sorted(approving & listed))} approved {pull.head_sha[:8]}")


def _rule(world: World, base: str) -> GateRules:
    return GateRules(
        people=frozenset(), reviewers=frozenset(), ours=trust.ours(world), contexts=(), base_ref=base,
        needs_approval=False,
    )  # fmt: skip


def _merge(world: World, facts: PullFacts, rule: GateRules, reason: str) -> Effect | Obstacle:
    pull, repo, account = facts.pull, str(world.ops), world.config.account("vault")
    obstacle = merge_gate.gate(pull, facts.reviews, facts.statuses, rule)
    if obstacle is not None:
        return obstacle
    operations = (
        MergePull(repo, account, pull.number, pull.head_sha, f"{pull.title} (#{pull.number})", "", rule),
        DeleteBranch(repo, account, pull.head_ref, pull.head_sha),
    )
    return _effect(world, facts, MERGE, reason, operations, pull.head_sha)


def _close(world: World, facts: PullFacts, state: str, code: str, words: str) -> Effect:
    """Close it with its reason, and keep that in the ops repo."""
    pull, repo, account = facts.pull, str(world.ops), world.config.account("vault")
    id = pull.head_ref.removeprefix(BRANCH)
    result = VaultResult(id, state, pull.updated_at, fired=False, words=words, code=code, pull=pull.number)
    operations = (
        PostComment(repo, account, pull.number, f"Closed: {words}. Nothing was done."),
        ClosePull(repo, account, pull.number),
        DeleteBranch(repo, account, pull.head_ref, pull.head_sha),
        _write(world, result),
    )
    return _effect(world, facts, "close-vault", words, operations, f"{pull.head_sha} {code}")


def _told(world: World, facts: PullFacts, result: VaultResult) -> Effect:
    reason = "its pull request was closed without a merge"
    return _effect(world, facts, "tell-vault", reason, (_write(world, replace(result, words=reason)),), "closed")


def _write(world: World, result: VaultResult) -> OpsWrite:
    message = f"Vault action {result.id}: {result.state}"
    return OpsWrite(str(world.ops), world.config.account("factory"), {result.path: result.write()}, message)


def _effect(
    world: World, facts: PullFacts, kind: str, reason: str, operations: tuple[Operation, ...], key: str
) -> Effect:
    pull = facts.pull
    about = subject(world, pull.number)
    asked = Preconditions(unpaused=ALL)
    if kind != "tell-vault":
        asked = Preconditions(
            repo=str(world.ops), number=pull.number, is_pull=True, head=pull.head_sha, open=True, unpaused=ALL
        )
    return Effect(effect_id(about, kind, key), about, kind, reason, operations, asked)


def endings(world: World) -> Iterable[Effect]:
    """Telling how actions ended: a comment on the pull request, then the file in the ops repo, so that one that is
    written was also commented."""
    for action in world.vault.actions:
        if action.final and action.file:
            yield _ending(world, action)


def _ending(world: World, action: ActionFact) -> Effect:
    repo = str(world.ops)
    about = subject(world, action.pull) if action.pull else Subject(repo, "none", f"vault-{action.id}")
    operations: list[Operation] = []
    if action.pull:
        operations.append(PostComment(repo, world.config.account("vault"), action.pull, action.says))
    message = f"Vault action {action.id}: {action.kind.lower()}"
    files = {action.file: action.text, **dict(action.files)}
    operations.append(OpsWrite(repo, world.config.account("factory"), files, message))
    return Effect(
        effect_id(about, "tell-vault", f"{action.id} {action.seq}"), about, "tell-vault",
        f"{action.id} {action.state}", tuple(operations), Preconditions(unpaused=ALL),
    )  # fmt: skip


def comparisons(world: World) -> Iterable[Effect]:
    """What a proposed policy would have changed, once per head, and from when on it counts, as comments."""
    account = world.config.account("factory")
    told_now = [*world.vault.comparisons, *(Comparison(c.pull, c.head, cooling_text(c)) for c in world.vault.cooling)]
    for told in told_now:
        facts = next((f for f in world.ops_pulls if f.pull.number == told.pull), None)
        if facts is None or any(
            c.author.login.lower() == account.lower() and c.body.startswith(told.text.partition("\n")[0])
            for c in facts.comments
        ):
            continue
        yield _effect(
            world, facts, "compare-policy", "a policy is proposed",
            (PostComment(str(world.ops), account, told.pull, told.text),), told.text.partition("\n")[0],
        )  # fmt: skip


def cooling_text(waits: Cooling) -> str:
    """The comment on a change of the policy that waits."""
    words = f"{waits.words[0].upper()}{waits.words[1:]}: the policy in force lets its changes wait (`cooling_hours`)."
    return (
        f"{words}\n\nIt is merged then, and not before. Who objects asks for changes here or closes it; to have nothing"
        " start meanwhile, an admin or approver says `factory vault freeze --why ...` on the dispatcher's host.\n"
    )

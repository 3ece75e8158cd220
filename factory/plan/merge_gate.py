"""Whether one pull request may be merged at its head: asked when planning, and again right before the merge."""

from __future__ import annotations

from collections.abc import Iterable

from factory.checks.paths import is_evaluator_surface, is_infrastructure, is_test
from factory.config.model import Mode
from factory.forge.values import ChangedFile, ItemState, Pull, Review, Status
from factory.plan import required_checks, reviews, trust
from factory.plan.model import Obstacle, PullFacts, World
from factory.plan.names import is_base_fix
from factory.plan.operations import GateRules
from factory.plan.required_checks import Light


def rules(world: World, facts: PullFacts) -> GateRules:
    """The gate of this project for this pull request."""
    return GateRules(
        people=trust.people(world),
        reviewers=frozenset({world.config.account("reviewer").lower()}),
        ours=trust.ours(world),
        contexts=required_checks.required(world),
        base_ref=world.base.ref,
        person_needed=person_needed(facts.files, world.config.ci.command, facts.pull.number, world) or "",
    )


def person_needed(
    files: Iterable[ChangedFile], ci_command: str, number: int | None = None, world: World | None = None
) -> str | None:
    """Why these files need a person's approval: evaluator surfaces, weakened tests, infrastructure; None: they do not.

    A review run's own findings (fact ``person``) can only add a reason, never take one away.
    """
    for file in files:
        for path in filter(None, (file.path, file.old_path)):
            if is_evaluator_surface(path, ci_command):
                return f"{path} decides how work is judged"
            if is_infrastructure(path):
                return f"{path} acts outside the repository"
            if is_test(path) and (file.status in ("deleted", "renamed", "removed") or file.deletions > file.additions):
                return f"{path} is a test that was removed or shortened"
    if world is not None and number is not None:
        for record in world.runs:
            if record.subject.kind == "pull" and record.subject.id == str(number) and record.fact("person"):
                return record.fact("person")
    return None


def gate(pull: Pull, given: Iterable[Review], statuses: Iterable[Status], rule: GateRules) -> Obstacle | None:
    """The first thing in the way of merging ``pull`` at its head, or None.

    Approvals count only for exactly this head, official and undismissed, from a reviewing account or a person, never
    from the author; a person's rejection stands until that person changes it, whatever was pushed since.
    """
    given = tuple(given)
    return (
        _state(pull, rule)
        or _checks(pull, tuple(statuses), rule)
        or _rejected(pull, given, rule)
        or _approved(pull, given, rule)
    )


def _state(pull: Pull, rule: GateRules) -> Obstacle | None:
    if pull.merged or pull.state is not ItemState.OPEN:
        return Obstacle("closed", "the pull request is closed", "nobody: it is over")
    if pull.draft:
        return Obstacle("draft", "the pull request is a draft", "a person: take WIP off the title")
    if pull.base_ref != rule.base_ref:
        return Obstacle("foreign-base", f"it targets {pull.base_ref}, not {rule.base_ref}", "a person: retarget it")
    if not pull.mergeable:
        return Obstacle("not-mergeable", "the forge cannot merge it now (conflict, or still checking)", "the next tick")
    return None


def _checks(pull: Pull, statuses: tuple[Status, ...], rule: GateRules) -> Obstacle | None:
    for check in required_checks.judge(statuses, rule.contexts, rule.ours):
        if check.light is not Light.GREEN:
            since = check.status.created_at if check.status else pull.updated_at
            return Obstacle(
                f"check-{check.light}", f"{check.context} is {check.light} at {pull.head_sha[:8]}", "that check", since
            )
    return None


def _rejected(pull: Pull, given: tuple[Review, ...], rule: GateRules) -> Obstacle | None:
    for login, review in sorted(reviews.rejections(given).items()):
        if login in rule.people:
            return Obstacle(
                "rejected", f"{review.author.login} asked for changes", f"{review.author.login}: review it again",
                review.submitted_at,
            )  # fmt: skip
        if login in rule.reviewers and review.commit == pull.head_sha:
            return Obstacle("changes-requested", f"{review.author.login} asked for changes", "dev", review.submitted_at)
    waiting = sorted(reviews.asked(given) & rule.people)
    if waiting:
        return Obstacle("review-requested", f"waits for the review of {', '.join(waiting)}", waiting[0])
    return None


def _approved(pull: Pull, given: tuple[Review, ...], rule: GateRules) -> Obstacle | None:
    approving = reviews.approvals(given, pull.head_sha, pull.author.login)
    at = pull.head_sha[:8]
    if rule.person_needed and len(approving & rule.people) < rule.approvals:
        return Obstacle(
            "person-needed", f"a person's approval is needed: {rule.person_needed}",
            f"a person: approve #{pull.number} at {at}", pull.updated_at,
        )  # fmt: skip
    if rule.needs_approval and not approving & (rule.people | rule.reviewers):
        return Obstacle("not-approved", f"nobody who counts approves {at}", "review-bot or a person", pull.updated_at)
    return None


def held(world: World, facts: PullFacts) -> Obstacle | None:
    """What else holds a merge the gate allows: the mode, a red or unjudged default branch, unread files."""
    if world.config.mode is not Mode.MERGE:
        return Obstacle(
            "mode", f"mode is {world.config.mode}: the factory does not merge", "a person: merge it, or `factory mode`"
        )
    if not facts.files:
        return Obstacle("files-unknown", "its changed files are not known", "the next tick")
    return None if is_base_fix(facts.pull.head_ref) else base_in_the_way(world)


def base_in_the_way(world: World) -> Obstacle | None:
    """Why the default branch holds merges: it is red, or nothing has judged its tip yet."""
    checks = required_checks.judge(world.base.statuses, required_checks.required(world), trust.ours(world))
    light = required_checks.overall(checks)
    if light is Light.GREEN:
        return None
    worst = next(check for check in checks if check.light is light)
    since = worst.status.created_at if worst.status else None
    return Obstacle(
        "base-red" if light is Light.RED else "base-unknown",
        f"{worst.context} is {light} on {world.base.ref} at {world.base.tip[:8]}",
        "a green default branch", since,
    )  # fmt: skip


def base_is_red(world: World) -> bool:
    obstacle = base_in_the_way(world)
    return obstacle is not None and obstacle.rule == "base-red"

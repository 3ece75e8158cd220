"""Which commits CI judges, and what a red default branch causes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from factory.config.model import Ci, Mode
from factory.forge.values import CheckState
from factory.plan import labels
from factory.plan.base_branch import MAX_TRIES
from factory.plan.model import BaseFacts, PullFacts, World
from factory.plan.names import base_subject
from factory.plan.operations import CreateIssue, StartRun
from factory.roles.turn import decide
from factory.runs.model import Cause, RunRecord, RunState, Subject
from factory.testing import builders as b

RED = CheckState.FAILURE


def of_commit(sha: str) -> Subject:
    return Subject(str(b.PROJECT), "commit", sha)


def ran(sha: str, ci: str = "success", **changes: object) -> RunRecord:
    changes.setdefault("issue", None)
    return b.run("ci", of_commit(sha), head=sha, facts={"ci": ci, "on": "base", "want": sha}, **changes)


def infra(sha: str, minutes: float, cause: Cause = Cause.SANDBOX) -> RunRecord:
    return b.failed(
        cause, "ci", of_commit(sha), issue=None, minutes_ago=minutes, facts={"ci": "infra", "on": "base", "want": sha}
    )


def judged(world: World) -> list[str]:
    """Commits for which a CI run starts."""
    return [e.subject.id for e in decide(world, b.NOW).effects if e.kind == "start:ci"]


UNSEEN = b.pull(statuses=[])


def test_every_new_tip_and_head_is_judged_once() -> None:
    assert judged(b.world(pulls=[UNSEEN], base_state=None)) == [b.BASE, b.HEAD]
    assert judged(b.world(pulls=[UNSEEN], base_state=None, runs=[ran(b.BASE), ran(b.HEAD)])) == []


def test_a_judgement_seen_only_on_the_forge_counts() -> None:
    assert judged(b.world(pulls=[b.pull()])) == []
    assert judged(b.world(pulls=[b.pull(statuses=[b.status(RED)])])) == []


def test_a_status_of_somebody_else_is_no_judgement() -> None:
    assert judged(b.world(pulls=[b.pull(statuses=[b.status(by="colleague")])])) == [b.HEAD]


def test_pending_of_a_run_that_vanished_is_judged_again() -> None:
    assert judged(b.world(pulls=[b.pull(statuses=[b.status(CheckState.PENDING)])])) == [b.HEAD]


def test_the_same_commit_as_head_and_tip_is_judged_once() -> None:
    same = replace(UNSEEN, pull=replace(UNSEEN.pull, head_sha=b.BASE))
    assert judged(b.world(pulls=[same], base_state=None)) == [b.BASE]


def test_strangers_get_no_ci() -> None:
    stranger = b.pull(by="outsider", head_ref="patch-1", statuses=[])
    assert judged(b.world(pulls=[stranger])) == []


@pytest.mark.parametrize("ci", [Ci(command=""), Ci(command="make", contexts=("lint",))])
def test_no_command_or_no_context_no_ci(ci: Ci) -> None:
    assert judged(b.world(pulls=[UNSEEN], base_state=None, config=b.config(ci=ci))) == []


def test_infrastructure_trouble_is_tried_again_then_slowly() -> None:
    trouble = b.pull(statuses=[b.status(CheckState.ERROR)])
    assert judged(b.world(pulls=[trouble], runs=[infra(b.HEAD, 1.2)])) == []  # its backoff
    assert judged(b.world(pulls=[trouble], runs=[infra(b.HEAD, 5)])) == [b.HEAD]
    assert judged(b.world(pulls=[trouble], runs=[infra(b.HEAD, 50), infra(b.HEAD, 40)])) == []
    assert judged(b.world(pulls=[trouble], runs=[infra(b.HEAD, 90), infra(b.HEAD, 80)])) == [b.HEAD]


def test_retry_judges_a_head_again() -> None:
    red = b.pull(statuses=[b.status(RED)], comments=[b.comment("/retry", at=b.ago(2))])
    assert judged(b.world(pulls=[red], runs=[ran(b.HEAD, "failure", minutes_ago=20)])) == [b.HEAD]
    again = [ran(b.HEAD, "failure", minutes_ago=20), ran(b.HEAD, "failure", minutes_ago=1.5)]
    assert judged(b.world(pulls=[red], runs=again)) == []


def test_observe_runs_nothing() -> None:
    assert judged(b.world(pulls=[UNSEEN], base_state=None, config=b.config(mode=Mode.OBSERVE))) == []


def test_what_a_ci_run_is_told() -> None:
    effect = next(e for e in decide(b.world(pulls=[UNSEEN]), b.NOW).effects if e.kind == "start:ci")
    start = effect.operations[0]
    assert isinstance(start, StartRun)
    assert (start.spec.agent, start.spec.account, start.reserve_usd) == ("", "factory-bot", 0.0)
    assert (start.spec.head, start.spec.inputs["commit"], start.spec.inputs["pull"]) == (b.HEAD, b.HEAD, "5")
    assert start.record().fact("on") == "pull/5"


# ---- red base ------------------------------------------------------------------------------------------------------


def fix(minutes: float, cause: Cause | None = Cause.NO_CHANGES, **changes: object) -> RunRecord:
    subject = Subject(str(b.PROJECT), "none", "fix-base")
    state = RunState.SUCCEEDED if cause is None else RunState.LOST if cause is Cause.LOST else RunState.FAILED
    changes.setdefault("facts", {"want": f"tip{minutes}"})
    return b.run("fix-base", subject, minutes_ago=minutes, state=state, cause=cause, issue=None, **changes)


def red(runs: list[RunRecord] | None = None, pulls: list[PullFacts] | None = None, **changes: object) -> World:
    return b.world(
        [*changes.pop("issues", [])], pulls or [], [ran(b.BASE, "failure"), *(runs or [])], base_state=RED, **changes
    )  # type: ignore[arg-type]


def outcome(world: World) -> tuple[str, str]:
    plan = decide(world, b.NOW)
    effect = plan.effect_for(base_subject(world))
    rules = [s.rule for s in plan.skips_for(base_subject(world))]
    return (effect.kind if effect else "", rules[0] if rules else "")


BASE_FIX = b.pull(9, head_ref="fix/base-bbbbbbbb", head_sha=b.sha("x"))


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        (b.world(), ("", "")),
        (red(), ("start:fix-base", "")),
        (red([b.unfinished("fix-base", Subject(str(b.PROJECT), "none", "fix-base"))]), ("", "running")),
        (red(pulls=[BASE_FIX]), ("", "base-fix-open")),
        (red([fix(50 - n) for n in range(4)]), ("start:fix-base", "")),
        (red([fix(50 - n) for n in range(MAX_TRIES)]), ("base-frozen", "")),
        (red([fix(61)]), ("base-frozen", "")),
        (red([fix(50 - n, Cause.LOST) for n in range(MAX_TRIES)]), ("start:fix-base", "")),
        (red([fix(50 - n) for n in range(MAX_TRIES)], config=b.config(mode=Mode.OBSERVE)), ("", "mode")),
    ],
)
def test_red_base(world: World, expected: tuple[str, str]) -> None:
    assert outcome(world) == expected


def test_tries_before_the_last_green_do_not_count() -> None:
    green = ran(b.sha("green"), minutes_ago=20)
    assert outcome(red([*[fix(50 - n) for n in range(MAX_TRIES)], green])) == ("start:fix-base", "")


def test_a_frozen_base_is_told_once() -> None:
    tries = [fix(50 - n) for n in range(MAX_TRIES)]
    effect = decide(red(tries), b.NOW).effect_for(base_subject(red()))
    assert effect is not None
    told = effect.operations[0]
    assert isinstance(told, CreateIssue)
    assert told.labels == (labels.BLOCKED,)
    filed = b.ready(30, told.title, body=told.body, author=b.user("factory-bot"), labels=frozenset(told.labels),
                    timeline=[])  # fmt: skip
    assert outcome(red(tries, issues=[filed])) == ("", "base-frozen")
    forged = replace(filed, issue=replace(filed.issue, author=b.user("outsider")))
    assert outcome(red(tries, issues=[forged])) == ("base-frozen", "")


def test_what_a_base_fix_is_told() -> None:
    log = replace(ran(b.BASE, "failure"), detail="E  assert 3 == 4")
    world = b.world(runs=[log], base_state=RED)
    effect = decide(world, b.NOW).effect_for(base_subject(world))
    assert effect is not None
    start = effect.operations[0]
    assert isinstance(start, StartRun)
    assert start.spec.inputs["ci_log"] == "E  assert 3 == 4"
    assert (start.spec.head_ref, start.spec.issue, start.spec.base) == ("fix/base-bbbbbbbb", None, b.BASE)


def test_a_base_in_trouble_is_not_red() -> None:
    world = b.world([b.ready()], base_state=CheckState.ERROR, runs=[infra(b.BASE, 1.2)])
    assert outcome(world) == ("", "")
    assert any(e.kind == "start:dev" for e in decide(world, b.NOW).effects)


def test_green_again_lets_work_go_on() -> None:
    tip = b.sha("mended")
    world = b.world([b.ready()], runs=[ran(b.BASE, "failure"), fix(30, None), ran(tip, minutes_ago=5)])
    world = replace(world, base=BaseFacts("main", tip, (b.status(),)))
    assert any(e.kind == "start:dev" for e in decide(world, b.NOW).effects)

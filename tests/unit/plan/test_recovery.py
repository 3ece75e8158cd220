"""Runs whose host died, and results that wait to be settled."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from factory.plan.model import LeaseFact, Settled, World
from factory.plan.operations import FinishRun, StartRun
from factory.plan.recovery import SILENCE
from factory.roles.turn import decide
from factory.runs.model import Cause, RunState, Subject
from factory.testing import builders as b

ISSUE = Subject(str(b.PROJECT), "issue", "1")
HERE = b.unfinished(facts={"from": "", "want": "implement"})
THERE = replace(HERE, host="there")


def kind(world: World) -> str:
    plan = decide(world, b.NOW)
    effect = plan.effect_for(ISSUE)
    if effect is not None and effect.kind != "status":
        return effect.kind
    return plan.skips_for(ISSUE)[0].rule


def old(minutes: float) -> object:
    return replace(THERE, started_at=b.ago(minutes))


LONG = SILENCE / timedelta(minutes=1) + 5


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"runs": [HERE]}, "running"),
        ({"runs": [HERE], "live": frozenset({HERE.run})}, "running"),
        ({"runs": [HERE], "dead": frozenset({HERE.run})}, "lost"),
        ({"runs": [HERE], "dead": frozenset({HERE.run}), "locked": frozenset({ISSUE})}, "unconfirmed"),
        ({"runs": [old(5)]}, "running"),
        ({"runs": [old(5)], "dead": frozenset({THERE.run})}, "running"),  # only its own host can prove that
        ({"runs": [old(LONG)]}, "lost"),
        ({"runs": [old(LONG)], "heartbeats": {"there": b.ago(2)}}, "running"),
        ({"runs": [old(LONG)], "heartbeats": {"there": b.ago(LONG)}}, "lost"),
        ({"runs": [old(LONG)], "leases": (LeaseFact(ISSUE.key, THERE.run, "there", 1, b.ago(3), "c"),)}, "running"),
    ],
)
def test_table(changes: dict[str, object], expected: str) -> None:
    assert kind(b.world([b.ready()], **changes)) == expected


def test_a_lost_run_is_recorded_and_started_again_in_its_round() -> None:
    world = b.world([b.ready()], runs=[HERE], dead=frozenset({HERE.run}))
    effect = decide(world, b.NOW).effect_for(ISSUE)
    assert effect is not None
    finish = effect.operations[0]
    assert isinstance(finish, FinishRun)
    assert (finish.record.state, finish.record.cause, finish.lease) == (RunState.LOST, Cause.LOST, ISSUE.key)
    after = b.world([b.ready()], runs=[replace(finish.record, finished_at=b.NOW)], wip={HERE.run: "w1p"})
    again = decide(after, b.NOW).effect_for(ISSUE)
    assert again is not None
    start = again.operations[-1]
    assert isinstance(start, StartRun)
    assert (start.spec.round, start.spec.resume, start.epoch) == (1, "w1p", 2)


def settled(**changes: object) -> Settled:
    spec = b.spec(run=HERE.run)
    return Settled(spec, b.result(spec, head=b.sha("new")), **changes)


def test_a_result_is_settled_not_lost() -> None:
    world = b.world([b.ready()], runs=[HERE], settled=(settled(),), dead=frozenset({HERE.run}))
    assert kind(world) == "settle:dev"


def test_a_result_of_a_locked_subject_waits() -> None:
    assert kind(b.world([b.ready()], runs=[HERE], settled=(settled(),), locked=frozenset({ISSUE}))) == "unconfirmed"


def test_a_result_of_a_run_that_is_over_is_left_alone() -> None:
    over = replace(HERE, state=RunState.LOST, cause=Cause.LOST, finished_at=b.NOW)
    assert kind(b.world([b.ready()], runs=[over], settled=(settled(),))) == "start:dev"


def test_a_result_the_journal_does_not_know() -> None:
    rules = [s.rule for s in decide(b.world([b.ready()], settled=(settled(),)), b.NOW).skips]
    assert "not-in-journal" in rules


def test_grants_are_those_the_run_was_pinned_to() -> None:
    pinned = replace(b.FORMULAS["dev"], grants=replace(b.FORMULAS["dev"].grants, pull_request=False))
    world = b.world([b.ready()], runs=[HERE], settled=(settled(formula=pinned),))
    effect = decide(world, b.NOW).effect_for(ISSUE)
    assert effect is not None
    assert [type(op).__name__ for op in effect.operations] == ["PushBranch", "FinishRun"]

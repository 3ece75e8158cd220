"""When a demo cannot end by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from factory.app import demo
from factory.app.demo import BACKOFF_S, QUIET_S, Demo
from factory.app.demo_action import DemoAction
from factory.demo.stuck import needs_person, off_script, waits_for_time
from factory.errors import UsageError
from factory.plan.effect import Plan
from factory.plan.model import Skip
from factory.runs.model import Cause, RunState, Subject
from factory.testing import builders
from factory.vault.ledger import State

PULL = Subject(str(builders.PROJECT), "pull", "4")


def plan(clears: str, subject: Subject = PULL) -> Plan:
    return Plan((), (Skip(subject, "rule", "this is why", clears),))


def test_a_session_that_left_its_script_is_named_with_what_the_gateway_said() -> None:
    left = builders.run(
        "review-pr", PULL, state=RunState.FAILED, cause=Cause.BACKEND, detail="mismatch: no scripted turn for x"
    )
    told = off_script(builders.world(runs=[builders.run(), left]))
    assert told == "review-pr on pull #4 left its script: mismatch: no scripted turn for x"


@pytest.mark.parametrize(
    ("cause", "detail"),
    [
        (Cause.BACKEND, "the gateway gave no answer for 45 s"),
        (Cause.LOST, "its process ended without a result"),
        (Cause.SANDBOX, "mismatch: said by something else"),
    ],
)
def test_what_may_go_better_next_time_is_no_reason_to_stop(cause: Cause, detail: str) -> None:
    failed = builders.run(state=RunState.FAILED, cause=cause, detail=detail)
    assert off_script(builders.world(runs=[failed])) is None


def test_what_only_a_person_can_clear_is_named() -> None:
    assert needs_person(plan("a person: approve #4")) == "pull #4 waits for a person: this is why"
    assert needs_person(plan("a person: repair it", Subject(str(builders.PROJECT), "commit", "a" * 40))) is None
    assert needs_person(plan("review-bot or a person")) is None
    assert needs_person(plan("the next tick")) is None
    assert needs_person(Plan()) is None


def test_a_next_try_is_waited_for() -> None:
    assert waits_for_time(plan("time"))
    assert not waits_for_time(plan("a person: /retry"))
    assert not waits_for_time(Plan())


@pytest.mark.parametrize("kind", ["UNKNOWN", "FENCED"])
def test_an_action_that_was_cut_off_is_waited_for(kind: str) -> None:
    """A lost run is looked at a minute after its fence, longer than a demo is quiet for without a reason."""
    assert waits_for_time(plan("person"), {kind, "DONE"})
    assert waits_for_time(None, {kind})
    assert not waits_for_time(plan("person"), {"SEEN", "STARTED", "DONE"})
    assert not waits_for_time(None)


@pytest.mark.parametrize(("kind", "patience"), [("STARTED", QUIET_S), ("FENCED", BACKOFF_S), ("DONE", QUIET_S)])
def test_a_demo_asks_the_ledger_how_long_it_may_be_quiet(
    kind: str, patience: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def not_yet(*_: object) -> Any:
        raise UsageError("no tick has looked yet")

    nothing = cast(Any, None)
    one = Demo(tmp_path, print)
    one.deployment = nothing
    one.action = DemoAction(nothing, one.project, one.project, "founder", lambda: None, print)
    one.action._reader.ledger.states["a-1"] = State("a-1", kind)
    monkeypatch.setattr(demo, "newest", not_yet)
    assert one._chance("a-1 is not over") == ("a-1 is not over", patience)

"""Which issues the dev role starts: triage, admission, and what a start carries."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from factory.config.model import Budgets, Mode
from factory.forge.values import CheckState, Dependency, ItemState, RepoName
from factory.plan.model import HostFacts, IssueFacts, LeaseFact, Pause, World
from factory.plan.operations import StartRun
from factory.plan.trust import text_digest
from factory.roles.turn import decide, intents
from factory.runs.model import Cause, RunState, Subject, Usage
from factory.testing import builders as b

ISSUE = Subject(str(b.PROJECT), "issue", "1")
KEY = ISSUE.key


def base_ci() -> object:
    return b.run("ci", Subject(str(b.PROJECT), "commit", b.BASE), head=b.BASE, facts={"ci": "success", "on": "base"})


def world(issues: list[IssueFacts] | None = None, **changes: object) -> World:
    changes.setdefault("runs", ())
    runs = (*changes.pop("runs"), base_ci())  # type: ignore[misc]
    return b.world([b.ready()] if issues is None else issues, runs=runs, **changes)


def started(of: World) -> list[int]:
    return [int(e.subject.id) for e in decide(of, b.NOW).effects if e.kind == "start:dev"]


def rule(of: World) -> str:
    plan = decide(of, b.NOW)
    if any(e.kind == "start:dev" for e in plan.effects):
        return "starts"
    (skip,) = plan.skips_for(ISSUE)
    return skip.rule


def on(state: ItemState, labels: frozenset[str] = frozenset(), repo: RepoName = b.PROJECT) -> Dependency:
    return Dependency(repo, 7, state, labels)


def lease(run: str = "r-other", host: str = "there", minutes: float = 5) -> LeaseFact:
    return LeaseFact(KEY, run, host, 3, b.ago(minutes), "c0ffee")


OPEN_PULL = b.pull()
OTHER_RUN = b.unfinished("dev", Subject(str(b.PROJECT), "issue", "2"), issue=2)

TABLE: dict[str, tuple[World, str]] = {
    "ready": (world(), "starts"),
    "label in the way: blocked": (world([b.ready(labels=frozenset({"backlog", "blocked"}))]), "label-stops"),
    "label in the way: underspecified": (world([b.ready(labels=frozenset({"backlog", "underspecified"}))]),
                                         "label-stops"),
    "held": (world([b.ready(comments=[b.comment("/hold")])]), "held"),
    "stopped": (world([b.ready(comments=[b.comment("/stop")])]), "held"),
    "held and started again": (
        world([b.ready(comments=[b.comment("/hold", at=b.ago(9)), b.comment("/start", at=b.ago(8), number=2)])]),
        "starts",
    ),
    "held by an outsider": (world([b.ready(comments=[b.comment("/hold", "outsider")])]), "starts"),
    "depends on an open issue": (world([b.ready(dependencies=[on(ItemState.OPEN)])]), "dependency"),
    "depends on an open issue elsewhere": (
        world([b.ready(dependencies=[on(ItemState.OPEN, repo=RepoName("acme", "lib"))])]), "dependency",
    ),
    "depends on a done issue": (world([b.ready(dependencies=[on(ItemState.CLOSED)])]), "starts"),
    "depends on a rejected issue": (
        world([b.ready(dependencies=[on(ItemState.CLOSED, frozenset({"wontfix"}))])]), "dependency-rejected",
    ),
    "has its pull request": (world(pulls=[OPEN_PULL]), "has-pull"),
    "its pull request is over": (
        world([b.ready()], runs=[b.run(minutes_ago=20, facts={"pull": "5"})]), "pull-ended",
    ),
    "its pull request is over and the label was set again": (
        world([b.ready(timeline=[b.labelled("backlog", at=b.ago(5))])],
              runs=[b.run(minutes_ago=20, facts={"pull": "5", "want": "implement"})]), "starts",
    ),
    "its pull request is over and /retry": (
        world([b.ready(comments=[b.comment("/retry", at=b.ago(5))])],
              runs=[b.run(minutes_ago=20, facts={"pull": "5"})]), "starts",
    ),
    "a run is under way": (world(runs=[b.unfinished()]), "running"),
    "an effect is unconfirmed": (world(locked=frozenset({ISSUE})), "unconfirmed"),
    "leased by another host": (world(leases=(lease(),)), "leased"),
    "lease of a run that ended": (world(leases=(lease(b.failed(Cause.LOST).run),), runs=[b.failed(Cause.LOST)]),
                                  "starts"),
    "lease of nobody, long ago": (world(leases=(lease(minutes=30),)), "starts"),
    "lease of nobody known, whose host still beats": (
        world(leases=(lease(minutes=30),), heartbeats={"there": b.ago(2)}), "leased",
    ),
    "base is red": (world(base_state=CheckState.FAILURE), "base-red"),
    "base not judged yet": (world(base_state=None), "starts"),
    "another issue is under way": (world(runs=[OTHER_RUN]), "in-flight"),
    "another issue has an open pull request": (
        world(pulls=[b.pull(6, head_ref="fix/issue-2")]), "in-flight",
    ),
    "another issue is blocked": (
        world(pulls=[b.pull(6, head_ref="fix/issue-2", labels=frozenset({"blocked"}))]), "starts",
    ),
    "two at a time": (world(runs=[OTHER_RUN], config=b.config(dev_slots=2)), "starts"),
    "mode observe": (world(config=b.config(mode=Mode.OBSERVE)), "mode"),
    "mode suggest": (world(config=b.config(mode=Mode.SUGGEST)), "starts"),
    "all paused": (world(pauses=(Pause("all", "founder", b.ago(3)),)), "paused"),
    "role paused": (world(pauses=(Pause("dev", "founder", b.ago(3)),)), "paused"),
    "another role paused": (world(pauses=(Pause("reviewer", "founder", b.ago(3)),)), "starts"),
    "no agent": (world(host=HostFacts("here", 4, {})), "no-agent"),
    "agent for another role": (
        world(host=HostFacts("here", 4, {"hand": b.agent(roles=frozenset({"reviewer"}))})), "no-agent",
    ),
    "agent in trouble": (world(host=HostFacts("here", 4, {"hand": b.agent(trouble="no key")})), "agent-trouble"),
    "agent without quota": (
        world(host=HostFacts("here", 4, {"hand": b.agent(quota_until=b.NOW + timedelta(minutes=1))})), "quota",
    ),
    "quota is back": (
        world(host=HostFacts("here", 4, {"hand": b.agent(quota_until=b.NOW - timedelta(minutes=1))})), "starts",
    ),
    "agent busy": (world(host=HostFacts("here", 4, {"hand": b.agent(free_slots=0)})), "agent-busy"),
    "second agent free": (
        world(host=HostFacts("here", 4, {"hand": b.agent(free_slots=0), "spare": b.agent("spare")})), "starts",
    ),
    "host full": (world(host=HostFacts("here", 0, {"hand": b.agent()})), "no-slot"),
    "role not active": (world(roles={"dev": replace(b.ROLES["dev"], active=False)}), "role-inactive"),
    "no formula": (world(formulas={n: f for n, f in b.FORMULAS.items() if n != "dev"}), "no-formula"),
    "role's day is spent": (world(spent={"role:dev:day": 19.0}), "budget"),
    "project's day is spent": (world(spent={"project:day": 39.9}), "budget"),
    "project's month is spent": (world(spent={"project:month": 399.9}), "budget"),
    "failed a moment ago": (
        world(runs=[b.failed(Cause.MAX_TURNS, minutes_ago=1.5, facts={"want": "implement"})]), "backoff",
    ),
    "failed a while ago": (world(runs=[b.failed(Cause.MAX_TURNS, facts={"want": "implement"})]), "starts"),
    "failed twice": (
        world(runs=[b.failed(Cause.MAX_TURNS, minutes_ago=m, facts={"want": "implement"}) for m in (30, 20)]),
        "gave-up",
    ),
    "failed twice, then /retry": (
        world([b.ready(comments=[b.comment("/retry", at=b.ago(5))])],
              runs=[b.failed(Cause.MAX_TURNS, minutes_ago=m, facts={"want": "implement"}) for m in (30, 20)]), "starts",
    ),
    "failed twice, then the label was set again": (
        world([b.ready(timeline=[b.labelled("backlog", at=b.ago(5))])],
              runs=[b.failed(Cause.MAX_TURNS, minutes_ago=m, facts={"want": "implement"}) for m in (30, 20)]), "starts",
    ),
    "failed twice, then a bot set the label again": (
        world([b.ready(timeline=[b.labelled("backlog"), b.labelled("backlog", "dev-bot", at=b.ago(5))])],
              runs=[b.failed(Cause.MAX_TURNS, minutes_ago=m, facts={"want": "implement"}) for m in (30, 20)]),
        "label-by-bot",
    ),
    "refused": (world(runs=[b.failed(Cause.REFUSED, facts={"want": "implement"})]), "gave-up"),
    "lost": (world(runs=[b.failed(Cause.LOST, facts={"want": "implement"})]), "starts"),
    "sandbox broken for good: never blocked for good": (
        world(runs=[b.failed(Cause.SANDBOX, minutes_ago=m, facts={"want": "implement"}) for m in (90, 80)]), "starts",
    ),
    "sandbox broken a moment ago": (
        world(runs=[b.failed(Cause.SANDBOX, minutes_ago=m, facts={"want": "implement"}) for m in (30, 20)]), "backoff",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_table(name: str) -> None:
    of, expected = TABLE[name]
    assert rule(of) == expected


def test_every_reason_says_who_can_clear_it() -> None:
    for of, expected in TABLE.values():
        if expected != "starts":
            (skip,) = decide(of, b.NOW).skips_for(ISSUE)
            assert skip.reason
            assert skip.clears, skip


def aged(number: int, minutes: float, *labels: str) -> IssueFacts:
    return b.ready(
        number, f"Issue {number}", labels=frozenset({"backlog", *labels}),
        timeline=[b.labelled("backlog", at=b.ago(minutes))],
    )  # fmt: skip


def test_priority_first_then_the_oldest() -> None:
    many = world([aged(1, 10), aged(2, 90), aged(3, 5, "priority")], config=b.config(dev_slots=1))
    assert started(many) == [3]
    two = world([aged(1, 10), aged(2, 90), aged(3, 5, "priority")], config=b.config(dev_slots=2))
    assert started(two) == [3, 2]


def test_one_tick_counts_what_it_promises() -> None:
    agents = {"hand": b.agent(free_slots=1)}
    of = world([aged(1, 10), aged(2, 90)], config=b.config(dev_slots=9), host=HostFacts("here", 9, agents))
    assert started(of) == [2]
    of = world([aged(1, 10), aged(2, 90)], config=b.config(dev_slots=9), host=HostFacts("here", 1, {"hand": b.agent()}))
    assert started(of) == [2]
    budgets = Budgets(role_day_usd=2.0)
    of = world([aged(1, 10), aged(2, 90)], config=b.config(dev_slots=9, budgets=budgets))
    assert started(of) == [2]


def begin(of: World) -> StartRun:
    effect = next(e for e in decide(of, b.NOW).effects if e.kind == "start:dev")
    operation = effect.operations[-1]
    assert isinstance(operation, StartRun)
    return operation


def test_what_a_start_carries() -> None:
    start = begin(world())
    spec = start.spec
    assert spec.run.startswith("r20261121T120000000-")
    assert (spec.formula, spec.role, spec.agent, spec.account) == ("dev", "dev", "hand", "dev-bot")
    assert (spec.alias, spec.round, spec.issue) == ("add-the-median", 1, 1)
    assert (spec.base_ref, spec.base, spec.head_ref, spec.head) == ("main", b.BASE, "fix/issue-1", None)
    assert (spec.formula_digest, spec.formula_text) == ("digest-of-dev", "# dev")
    assert (spec.backend, spec.model) == ("native", "scripted-1")
    assert spec.inputs["issue_title"] == "Add the median"
    assert (start.lease, start.epoch, start.replaces, start.reserve_usd) == (KEY, 1, None, 1.5)


def test_reserves_no_more_than_the_projects_limit() -> None:
    assert begin(world(config=b.config(budgets=Budgets(run_usd=0.4)))).reserve_usd == 0.4


def test_a_taken_branch_name_is_not_reused() -> None:
    of = world(branches={"fix/issue-1": b.HEAD, "fix/issue-1-2": b.HEAD})
    assert begin(of).spec.head_ref == "fix/issue-1-3"


def test_the_epoch_grows_and_a_left_lease_is_replaced() -> None:
    ended = b.failed(Cause.LOST, epoch=4)
    start = begin(world(runs=[ended], leases=(lease(ended.run),)))
    assert start.epoch == 5
    assert start.replaces == "c0ffee"


def test_a_lost_run_is_resumed_in_its_round_from_its_checkpoint() -> None:
    lost = b.failed(Cause.LOST, facts={"from": "", "want": "implement"})
    spec = begin(world(runs=[lost], wip={lost.run: "w1p"})).spec
    assert (spec.round, spec.resume) == (1, "w1p")


def test_a_failed_run_makes_a_new_round_that_knows_why() -> None:
    tried = b.failed(Cause.NO_CHANGES, detail="nothing was committed", facts={"from": "", "want": "implement"})
    spec = begin(world(runs=[tried], wip={tried.run: "w1p"})).spec
    assert (spec.round, spec.resume) == (2, None)
    assert "nothing was committed" in spec.inputs["previous"]


def test_text_of_an_outsider_is_marked() -> None:
    facts = b.ready(author=b.user("outsider"), updated_at=b.ago(50))
    facts = replace(facts, digest_at_label=text_digest(facts.issue), updated_at_label=b.ago(50))
    assert begin(world([facts])).spec.trusted is False
    assert begin(world()).spec.trusted is True


def test_only_comments_of_trusted_people_reach_the_prompt() -> None:
    facts = b.ready(
        comments=[
            b.comment("Sort a copy.", "colleague"), b.comment("Also rm -rf.", "outsider", number=2),
            b.comment("**Status:** x", "factory-bot", number=3), b.comment("/start", number=4),
        ]
    )  # fmt: skip
    said = begin(world([facts])).spec.inputs["comments"]
    assert "Sort a copy." in said
    assert "rm -rf" not in said
    assert "Status" not in said
    assert "/start" not in said


def test_an_ended_run_of_the_same_want_blocks_only_that_want() -> None:
    done = b.run(minutes_ago=20, state=RunState.CANCELLED, cause=Cause.CANCELLED, facts={"want": "implement"})
    assert rule(world(runs=[done])) == "gave-up"
    assert rule(world([b.ready(comments=[b.comment("/retry", at=b.ago(2))])], runs=[done])) == "starts"


def test_unlabelled_issues_make_no_intent() -> None:
    of = world([b.ready(labels=frozenset()), b.ready(2, state=ItemState.CLOSED)])
    assert intents(of, b.NOW) == ()


def test_usage_of_earlier_runs_does_not_change_a_decision() -> None:
    cheap = b.failed(Cause.GATE, facts={"want": "implement"})
    dear = replace(cheap, usage=Usage(9, 9, 9, 9, 1.0))
    assert rule(world(runs=[cheap])) == rule(world(runs=[dear])) == "starts"

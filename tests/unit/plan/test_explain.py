"""Why is nothing happening: state, the first thing in the way, who can clear it, since when, at what cost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from factory.forge.values import CheckState, ItemState
from factory.plan.explain import Explanation
from factory.plan.model import World
from factory.plan.vault import RequestFact, VaultFacts
from factory.roles.turn import decide, explain
from factory.runs.model import Cause, Subject
from factory.testing import builders as b

PULL = Subject(str(b.PROJECT), "pull", "5")
NONE: frozenset[str] = frozenset()


def told(world: World, kind: str = "issue", number: int = 1) -> Explanation:
    found = explain(world, b.NOW, kind, number)
    assert found is not None
    return found


ISSUES = {
    "no label": (b.world([b.ready(labels=NONE)]), "not started", "no-start-label"),
    "label by a bot": (b.world([b.ready(timeline=[b.labelled("backlog", "dev-bot")])]), "waits", "label-by-bot"),
    "starts": (b.world([b.ready()]), "starts now", ""),
    "closed": (b.world([b.ready(state=ItemState.CLOSED)]), "closed", ""),
    "gave up": (b.world([b.ready()], runs=[b.failed(Cause.BUDGET, facts={"want": "implement"})]), "waits", "gave-up"),
    "has a pull request": (b.world([b.ready()], [b.pull()]), "pull request #5 is open", "has-pull"),
    "red base": (b.world([b.ready()], base_state=CheckState.FAILURE), "waits", "base-red"),
}

PULLS = {
    "reviewed next": (b.world([b.ready()], [b.pull()]), "moves now", ""),
    "check missing": (b.world([b.ready()], [b.pull(statuses=[])]), "waits", "check-missing"),
    "needs a person": (
        b.world([b.ready()], [b.pull(reviews=[b.review()], files=[b.file("Dockerfile")])]), "waits", "person-needed",
    ),
    "merged": (b.world([b.ready()], [b.pull(merged=True, state=ItemState.CLOSED)]), "merged", ""),
    "closed": (b.world([b.ready()], [b.pull(state=ItemState.CLOSED)]), "closed", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", ISSUES)
def test_an_issue(name: str) -> None:
    world, state, rule = ISSUES[name]
    found = told(world)
    assert (found.state, found.rule) == (state, rule)
    assert bool(found.reason) == bool(found.clears) == bool(rule)


@pytest.mark.parametrize("name", PULLS)
def test_a_pull_request(name: str) -> None:
    world, state, rule = PULLS[name]
    found = told(world, "pull", 5)
    assert (found.state, found.rule) == (state, rule)


def test_a_run_under_way() -> None:
    running = b.unfinished()
    assert told(b.world([b.ready()], runs=[running])).state == f"being worked on by {running.run} (round 1)"
    review = b.unfinished("review-pr", PULL)
    world = b.world([b.ready()], [b.pull()], [review])
    assert told(world, "pull", 5).state == f"review-pr runs as {review.run} (round 1)"


def test_a_strangers_pull_request() -> None:
    stranger = b.pull(by="outsider", head_ref="patch-1")
    assert told(b.world(pulls=[stranger]), "pull", 5).state.startswith("not the factory's")


def test_cost_and_runs_are_those_of_the_issue() -> None:
    runs = [b.run(), b.run("review-pr", PULL, minutes_ago=20), b.run(minutes_ago=10, issue=2)]
    world = b.world([b.ready()], [b.pull()], runs)
    for found in (told(world), told(world, "pull", 5)):
        assert found.cost.cost_usd == pytest.approx(0.02)
        assert [r.formula for r in found.runs] == ["dev", "review-pr"]
    assert told(world).pull == 5


def test_since_when() -> None:
    world, _, _ = PULLS["needs a person"]
    assert told(world, "pull", 5).since == b.ago(15)


def test_what_is_not_there() -> None:
    assert explain(b.world(), b.NOW, "issue", 9) is None
    assert explain(b.world(), b.NOW, "pull", 9) is None


@pytest.mark.parametrize("name", ISSUES)
def test_it_says_what_the_tick_does(name: str) -> None:
    world, _, _ = ISSUES[name]
    subject = Subject(str(b.PROJECT), "issue", "1")
    done = tuple(f"{e.kind}: {e.reason}" for e in decide(world, b.NOW).effects if e.subject == subject)
    assert told(world).doing == done


def test_an_issue_tells_where_the_actions_stand_that_it_asked_for() -> None:
    id = "2026-11-21-release-7f3a09c2"
    world = b.world([b.ready()], [b.pull()], [b.run(facts={"vault": id})],
                    vault=VaultFacts(requests=(RequestFact(9, b.HEAD, id, "high", who="founder"),)))  # fmt: skip
    assert told(world).actions == ((id, "waits for the approval of founder"),)
    assert told(replace(world, vault=VaultFacts())).actions == ()

"""Comment commands and the one status comment."""

from __future__ import annotations

from dataclasses import replace

import pytest

from factory.config.model import Mode
from factory.forge.values import Comment, Dependency, ItemState
from factory.plan.effect import Effect
from factory.plan.model import IssueFacts, Pause, World
from factory.plan.operations import AddLabels, CancelRun, RemoveLabel, SetStatusComment
from factory.plan.status_comment import OPENING
from factory.roles.turn import decide
from factory.runs.model import Cause, Subject
from factory.testing import builders as b

ISSUE = Subject(str(b.PROJECT), "issue", "1")
NONE: frozenset[str] = frozenset()


def effect(facts: IssueFacts, **changes: object) -> Effect | None:
    return decide(b.world([facts], **changes), b.NOW).effect_for(ISSUE)


def says(facts: IssueFacts, **changes: object) -> str | None:
    """What the status comment will say; None: it is left as it is."""
    found = effect(facts, **changes)
    if found is None or not isinstance(found.operations[0], SetStatusComment):
        return None
    return found.operations[0].body.removeprefix(OPENING)


def status_comment(text: str) -> Comment:
    return b.comment(f"{OPENING}{text}\n\n<!-- factory:status x -->", "factory-bot", number=77)


# ---- commands ------------------------------------------------------------------------------------------------------


def test_start_sets_the_label() -> None:
    found = effect(b.ready(labels=NONE, timeline=[], comments=[b.comment("/start")]))
    assert found is not None
    assert found.operations == (AddLabels(str(b.PROJECT), "factory-bot", 1, ("backlog",)),)


@pytest.mark.parametrize(
    "facts",
    [
        b.ready(labels=NONE, timeline=[], comments=[b.comment("/start", "outsider")]),
        b.ready(labels=NONE, timeline=[], comments=[b.comment("/start", "dev-bot")]),
        b.ready(labels=NONE, timeline=[], comments=[b.comment("/start"), b.comment("/stop", number=2, at=b.ago(1))]),
        b.ready(labels=NONE, timeline=[], state=ItemState.CLOSED, comments=[b.comment("/start")]),
        b.ready(
            labels=NONE, comments=[b.comment("/start", at=b.ago(9))],
            timeline=[b.labelled("backlog", at=b.ago(8)), b.labelled("backlog", at=b.ago(7), added=False)],
        ),
    ],
)  # fmt: skip
def test_what_sets_no_label(facts: IssueFacts) -> None:
    found = effect(facts)
    assert found is None or not isinstance(found.operations[0], AddLabels)


def test_stop_cancels_the_session() -> None:
    running = b.unfinished()
    found = effect(b.ready(comments=[b.comment("/stop")]), runs=[running], live=frozenset({running.run}))
    assert found is not None
    assert found.operations == (CancelRun(running.run, "founder said /stop"),)


@pytest.mark.parametrize(
    "facts", [b.ready(state=ItemState.CLOSED), b.ready(labels=NONE), b.ready(comments=[b.comment("/stop")])]
)
def test_what_cancels_a_session(facts: IssueFacts) -> None:
    running = b.unfinished()
    found = effect(facts, runs=[running], live=frozenset({running.run}))
    assert found is not None
    assert found.kind == "cancel"


@pytest.mark.parametrize("facts", [b.ready(), b.ready(comments=[b.comment("/hold")])])
def test_what_lets_a_session_go_on(facts: IssueFacts) -> None:
    running = b.unfinished()
    found = effect(facts, runs=[running], live=frozenset({running.run}))
    assert found is None or found.kind == "status"


def test_another_hosts_session_is_not_ours_to_cancel() -> None:
    running = b.unfinished(host="there", minutes_ago=5)
    found = effect(b.ready(comments=[b.comment("/stop")]), runs=[running])
    assert found is None or found.kind == "status"


def test_retry_takes_off_what_stopped_it() -> None:
    facts = b.ready(
        labels=frozenset({"backlog", "blocked", "underspecified"}),
        timeline=[b.labelled("backlog"), b.labelled("blocked", "dev-bot", at=b.ago(20)),
                  b.labelled("underspecified", "dev-bot", at=b.ago(5))],
        comments=[b.comment("/retry", at=b.ago(10))],
    )  # fmt: skip
    found = effect(facts)
    assert found is not None
    assert found.operations == (RemoveLabel(str(b.PROJECT), "factory-bot", 1, "blocked"),)


def test_commands_do_nothing_while_paused_or_observing() -> None:
    facts = b.ready(labels=NONE, timeline=[], comments=[b.comment("/start")])
    assert effect(facts, pauses=(Pause("all", "founder", b.ago(1)),)) is None
    assert effect(facts, config=b.config(mode=Mode.OBSERVE)) is None


# ---- the status comment --------------------------------------------------------------------------------------------


def test_a_new_issue_is_told_what_would_start_it() -> None:
    text = says(b.ready(labels=NONE, timeline=[]))
    assert text is not None
    assert "`backlog`" in text
    assert "\n" not in text


def test_an_old_issue_is_not_written_to() -> None:
    assert says(b.ready(labels=NONE, timeline=[], created_at=b.ago(60 * 25))) is None


def test_it_is_posted_in_small_numbers() -> None:
    many = [b.ready(n, f"Issue {n}", labels=NONE, timeline=[]) for n in range(1, 40)]
    plan = decide(b.world(many), b.NOW)
    assert 0 < len([e for e in plan.effects if e.kind == "status"]) <= 5


TABLE: dict[str, tuple[IssueFacts, dict[str, object], str]] = {
    "waits for a dependency": (
        b.ready(dependencies=[Dependency(b.PROJECT, 7, ItemState.OPEN, NONE)]), {},
        "waits: it depends on #7, which is open. Who can clear it: #7.",
    ),
    "being worked on": (b.ready(), {"runs": [b.unfinished()]}, "being worked on."),
    "its pull request": (b.ready(), {"pulls": [b.pull(statuses=[])]}, "#5 is its pull request."),
    "its pull request needs a person": (
        b.ready(), {"pulls": [b.pull(draft=False, reviews=[b.review()], files=[b.file("Dockerfile")])]},
        "#5 is its pull request. It waits: a person's approval is needed: Dockerfile acts outside the repository. "
        "Who can clear it: a person: approve #5 at aaaaaaaa.",
    ),
    "no slot": (b.ready(), {"host": replace(b.world().host, free_slots=0)}, "waits for its turn."),
    "gave up": (
        b.ready(), {"runs": [b.failed(Cause.BUDGET, facts={"want": "implement"})]},
        "waits: dev ended once with budget: it used up its budget; raise it or split the issue. "
        "Who can clear it: a person: `/retry`.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_what_it_says(name: str) -> None:
    facts, changes, expected = TABLE[name]
    assert says(facts, **changes) == expected


@pytest.mark.parametrize("name", TABLE)
def test_it_is_left_alone_when_it_says_so_already(name: str) -> None:
    facts, changes, expected = TABLE[name]
    told = replace(facts, comments=(status_comment(expected),), issue=replace(facts.issue, comments=1))
    assert says(told, **changes) is None


def test_it_is_edited_when_its_facts_change() -> None:
    facts = b.ready(comments=[status_comment("being worked on.")])
    assert says(facts, pulls=[b.pull(statuses=[])]) == "#5 is its pull request."


def test_it_ends_with_the_issue() -> None:
    closed = b.ready(state=ItemState.CLOSED, comments=[status_comment("being worked on.")])
    merged = b.pull(state=ItemState.CLOSED, merged=True)
    assert says(closed, pulls=[merged]) == "done with #5."
    assert says(closed) == "closed."
    assert says(b.ready(state=ItemState.CLOSED)) is None


def test_a_merge_sets_its_last_word() -> None:
    approved = b.pull(reviews=[b.review()])
    plan = decide(b.world([b.ready(comments=[status_comment("being worked on.")])], [approved]), b.NOW)
    merge = next(e for e in plan.effects if e.kind == "merge")
    assert SetStatusComment(str(b.PROJECT), "factory-bot", 1, OPENING + "done with #5.") in merge.operations
    without = decide(b.world([b.ready()], [approved]), b.NOW)
    merge = next(e for e in without.effects if e.kind == "merge")
    assert not any(isinstance(op, SetStatusComment) for op in merge.operations)


def test_a_comment_of_a_person_is_not_taken_for_it() -> None:
    facts = b.ready(comments=[b.comment(OPENING + "being worked on.", "founder")])
    assert says(facts, runs=[b.unfinished()]) == "being worked on."


def test_nothing_is_said_while_comments_are_unknown_paused_observing_or_muted() -> None:
    waiting, changes, _ = TABLE["being worked on"]
    assert says(replace(waiting, issue=replace(waiting.issue, comments=3)), **changes) is None
    assert says(waiting, **changes, pauses=(Pause("project", "founder", b.ago(1)),)) is None
    assert says(waiting, **changes, config=b.config(mode=Mode.OBSERVE)) is None
    assert says(waiting, **changes, muted=frozenset({ISSUE})) is None
    assert says(waiting, **changes, locked=frozenset({ISSUE})) is None


def test_explain_adds_cost_and_tries() -> None:
    tried = b.failed(Cause.BUDGET, facts={"want": "implement"})
    text = says(b.ready(comments=[b.comment("/explain")]), runs=[tried])
    assert text is not None
    assert "Cost so far $0.0100 (scripted)." in text
    assert f"`{tried.run}` dev round 1: budget" in text


def quiet(world: World) -> bool:
    return decide(world, b.NOW).effects == ()


def test_a_settled_world_is_quiet() -> None:
    facts = b.ready(
        dependencies=[Dependency(b.PROJECT, 7, ItemState.OPEN, NONE)], comments=[status_comment(
            TABLE["waits for a dependency"][2])],
    )  # fmt: skip
    base = b.run("ci", Subject(str(b.PROJECT), "commit", b.BASE), facts={"ci": "success", "on": "base"})
    assert quiet(b.world([facts], runs=[base]))

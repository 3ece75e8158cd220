"""What holds of every plan, whatever the world looks like."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from factory.config.model import Mode
from factory.forge.values import CheckState, Dependency, ItemState, ReviewState
from factory.plan import decide as planning
from factory.plan import names
from factory.plan.effect import Effect, effect_id
from factory.plan.model import IssueFacts, LeaseFact, Pause, PullFacts, Settled, World
from factory.plan.operations import KINDS, CreateIssue, FinishRun, MergePull, OpsWrite, SetStatusComment, StartRun
from factory.roles.turn import decide, intents
from factory.runs import codec
from factory.runs.model import Cause, RunRecord, Subject
from factory.testing import builders as b

LABELS = ("backlog", "priority", "blocked", "underspecified", "wontfix")
PEOPLE = ("founder", "colleague", "outsider", "dev-bot", "review-bot", "factory-bot", "gardener-bot")
WORDS = ("/start", "/stop", "/hold", "/retry", "/explain", "hello", "**Status:** x")
FORMULAS = ("dev", "ci", "review-pr", "fix-ci", "address-review", "resolve-conflict", "fix-base")
PATHS = ("a.py", "Dockerfile", ".ci/run", "tests/test_a.py", "AGENTS.md")

quick = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def mostly(chance: random.Random, usual: Any, *others: Any) -> Any:
    """The usual value three times out of four: a world in which everything is odd never gets anywhere."""
    return usual if chance.random() < 0.75 else chance.choice((usual, *others))


def comments(chance: random.Random) -> list[Any]:
    return [
        b.comment(chance.choice(WORDS), chance.choice(PEOPLE), at=b.ago(chance.randint(1, 60)), number=n)
        for n in range(mostly(chance, 0, 1, 2))
    ]


def an_issue(chance: random.Random, number: int) -> IssueFacts:
    held = frozenset(chance.sample(LABELS, mostly(chance, 0, 1, 2)) + (["backlog"] if chance.random() < 0.9 else []))
    facts = b.ready(
        number, f"Issue {number}", labels=held,
        timeline=[
            b.labelled(name, mostly(chance, "founder", *PEOPLE), at=b.ago(chance.randint(1, 90)))
            for name in sorted(held)
        ],
        dependencies=[Dependency(b.PROJECT, 9, chance.choice(list(ItemState)), frozenset())]
        if chance.random() < 0.2 else [],
        comments=comments(chance),
        state=mostly(chance, *ItemState),
        author=b.user(mostly(chance, "founder", *PEOPLE)),
    )  # fmt: skip
    digest = chance.choice([None, "x"])
    return replace(facts, digest_at_label=digest, updated_at_label=b.ago(50) if digest else None)


def a_pull(chance: random.Random, number: int, head: str) -> PullFacts:
    return b.pull(
        number, head_sha=head, by=mostly(chance, "dev-bot", "outsider"),
        head_ref=mostly(chance, f"fix/issue-{chance.randint(1, 4)}", "patch-1", "fix/base-bbbbbbbb"),
        state=mostly(chance, *ItemState),
        mergeable=chance.random() < 0.9, draft=chance.random() < 0.1,
        merge_base=chance.choice((b.BASE, b.sha("old"))),
        labels=frozenset(chance.sample(LABELS, mostly(chance, 0, 1))),
        reviews=[
            b.review(mostly(chance, *ReviewState), mostly(chance, "review-bot", *PEOPLE), number=n,
                     at=b.ago(chance.randint(1, 30)), commit=mostly(chance, head, b.BASE),
                     official=chance.random() < 0.9, dismissed=chance.random() < 0.1)
            for n in range(chance.randint(0, 3))
        ],
        statuses=[b.status(mostly(chance, CheckState.SUCCESS, *CheckState), mostly(chance, "factory-bot", *PEOPLE))]
        if chance.random() < 0.9 else [],
        files=[b.file(mostly(chance, *PATHS))], comments=comments(chance),
        requested_reviewers=frozenset({"review-bot"}) if chance.random() < 0.3 else frozenset(),
    )  # fmt: skip


def a_run(chance: random.Random, number: int, heads: list[str]) -> RunRecord:
    formula = chance.choice(FORMULAS)
    subject = {
        "dev": Subject(str(b.PROJECT), "issue", str(chance.randint(1, 4))),
        "ci": Subject(str(b.PROJECT), "commit", chance.choice([b.BASE, *heads])),
        "fix-base": Subject(str(b.PROJECT), "none", "fix-base"),
    }.get(formula, Subject(str(b.PROJECT), "pull", str(chance.randint(5, 7))))
    facts = {"ci": chance.choice(("success", "failure", "infra")), "on": "base", "from": chance.choice(heads),
             "verdict": "request_changes", "findings": chance.choice(("a", "a,b", "c"))}  # fmt: skip
    minutes = chance.randint(2, 90)
    name = f"r20261121T1{number:08d}-{number:08x}"
    if chance.random() < 0.2:
        host = chance.choice(("here", "there"))
        return b.unfinished(formula, subject, minutes_ago=minutes, run=name, host=host, facts=facts)
    if chance.random() < 0.4:
        cause = chance.choice(list(Cause))
        return b.failed(cause, formula, subject, minutes_ago=minutes, run=name, facts=facts)
    return b.run(formula, subject, minutes_ago=minutes, run=name, facts=facts, head=chance.choice(heads))


def worlds() -> st.SearchStrategy[World]:
    return st.integers(0, 2**32).map(a_world)


def a_world(seed: int) -> World:
    chance = random.Random(seed)
    heads = [b.sha(f"head{n}") for n in range(3)]
    runs = [a_run(chance, n, heads) for n in range(chance.randint(0, 6))]
    unfinished = [r for r in runs if not r.state.is_terminal and r.host == "here"]
    settled = [
        Settled(spec, b.result(spec, head=b.sha("new") if chance.random() < 0.5 else None))
        for r in unfinished if chance.random() < 0.3
        for spec in [b.spec(r.formula, r.subject, run=r.run)]
    ]  # fmt: skip
    subjects = [Subject(str(b.PROJECT), "issue", "1"), Subject(str(b.PROJECT), "pull", "5")]
    return b.world(
        [an_issue(chance, n) for n in range(1, chance.randint(1, 4) + 1)],
        [a_pull(chance, n + 5, heads[n]) for n in range(chance.randint(0, 3))],
        runs,
        base_state=mostly(chance, CheckState.SUCCESS, None, *CheckState),
        config=b.config(mode=mostly(chance, Mode.MERGE, *Mode), dev_slots=chance.randint(1, 3)),
        settled=tuple(settled),
        dead=frozenset(r.run for r in unfinished if chance.random() < 0.2),
        live=frozenset(r.run for r in unfinished if chance.random() < 0.4),
        locked=frozenset(chance.sample(subjects, chance.randint(0, 1))),
        pauses=tuple(Pause(s, "founder", b.ago(5)) for s in ("all", "project", "dev") if chance.random() < 0.1),
        leases=tuple(
            LeaseFact(subject.key, r.run, r.host, 1, b.ago(4), "c") for subject in subjects for r in runs[:1]
            if chance.random() < 0.2
        ),
    )  # fmt: skip


def test_the_worlds_are_worth_deciding() -> None:
    """Otherwise what follows would hold of nothing."""
    kinds = Counter(e.kind for seed in range(600) for e in decide(a_world(seed), b.NOW).effects)
    common = ("merge", "start:dev", "start:ci", "start:review-pr", "settle:dev", "lost", "status")
    assert all(kinds[kind] >= 5 for kind in common), kinds


@quick
@given(worlds())
def test_deciding_is_deterministic(world: World) -> None:
    assert decide(world, b.NOW) == decide(world, b.NOW)
    shuffled = replace(
        world, issues=world.issues[::-1], pulls=world.pulls[::-1], settled=world.settled[::-1],
        leases=world.leases[::-1],
    )  # fmt: skip
    first, second = decide(world, b.NOW), decide(shuffled, b.NOW)
    assert {e.id: e for e in first.effects} == {e.id: e for e in second.effects}


@quick
@given(worlds())
def test_at_most_one_effect_per_subject_and_none_on_a_locked_one(world: World) -> None:
    plan = decide(world, b.NOW)
    per_subject = Counter(effect.subject for effect in plan.effects)
    assert all(count == 1 for count in per_subject.values()), per_subject
    assert not set(per_subject) & world.locked
    assert len({effect.id for effect in plan.effects}) == len(plan.effects)


@quick
@given(worlds())
def test_every_intent_ends_in_one_effect_or_one_skip(world: World) -> None:
    plan = decide(world, b.NOW)
    for intent in intents(world, b.NOW):
        started = [e for e in plan.effects if e.subject == intent.subject and e.kind == f"start:{intent.formula}"]
        skips = plan.skips_for(intent.subject)
        assert len(started) + (1 if skips else 0) == 1
        assert all(skip.rule and skip.reason for skip in skips)


@quick
@given(worlds())
def test_a_stored_world_decides_the_same(world: World) -> None:
    raw = codec.parse_json(codec.compact(codec.encode(world)))
    again = codec.decode(World, raw)
    assert again == world
    assert decide(again, b.NOW) == decide(world, b.NOW)


@quick
@given(worlds())
def test_every_effect_survives_its_json(world: World) -> None:
    for effect in decide(world, b.NOW).effects:
        text = codec.compact(effect.to_json())
        assert Effect.from_json(codec.parse_json(text)) == effect


def merges(world: World) -> set[str]:
    return {op.head for e in decide(world, b.NOW).effects for op in e.operations if isinstance(op, MergePull)}


@quick
@given(worlds())
def test_observe_and_suggest_never_merge(world: World) -> None:
    for mode in (Mode.OBSERVE, Mode.SUGGEST):
        assert merges(replace(world, config=replace(world.config, mode=mode))) == set()


@quick
@given(worlds())
def test_observe_starts_nothing(world: World) -> None:
    plan = decide(replace(world, config=replace(world.config, mode=Mode.OBSERVE)), b.NOW)
    # What ran before is still brought to its end.
    assert {e.kind.partition(":")[0] for e in plan.effects} <= {"settle", "lost", "cancel"}


def test_nothing_merges_without_its_approval_or_its_green_check() -> None:
    # One test for all of them: as one each, every worker would make and decide all worlds while it collects.
    merging = [(seed, heads) for seed in range(600) if (heads := merges(a_world(seed)))]
    assert len(merging) > 15
    for seed, heads in merging:
        _merges_by_approval_and_check_only(seed, heads)


def _merges_by_approval_and_check_only(seed: int, heads: set[str]) -> None:
    world = a_world(seed)
    for number, facts in enumerate(world.pulls):
        head = facts.pull.head_sha
        if head not in heads:
            continue
        for poorer in (
            replace(facts, reviews=tuple(r for r in facts.reviews if r.state is not ReviewState.APPROVED)),
            replace(facts, reviews=tuple(replace(r, commit=b.BASE) for r in facts.reviews)),
            replace(facts, reviews=tuple(replace(r, dismissed=True) for r in facts.reviews)),
            replace(facts, reviews=tuple(replace(r, official=False) for r in facts.reviews)),
            replace(facts, reviews=tuple(replace(r, author=facts.pull.author) for r in facts.reviews)),
            replace(facts, statuses=()),
            replace(facts, statuses=tuple(replace(s, creator=b.user("founder")) for s in facts.statuses)),
            replace(facts, pull=replace(facts.pull, draft=True)),
            replace(facts, pull=replace(facts.pull, labels=frozenset({"blocked"}))),
            replace(facts, files=(b.file("Dockerfile"),), reviews=(b.review(commit=head),)),
        ):
            pulls = (*world.pulls[:number], poorer, *world.pulls[number + 1 :])
            assert head not in merges(replace(world, pulls=pulls)), f"world {seed}: {poorer}"


@quick
@given(worlds(), st.randoms(use_true_random=False))
def test_removing_somebodys_approval_never_makes_a_merge(world: World, chance: random.Random) -> None:
    before = merges(world)
    for number, facts in enumerate(world.pulls):
        approving = [r.author for r in facts.reviews if r.state is ReviewState.APPROVED]
        if not approving:
            continue
        gone = chance.choice(approving)
        # All of that person's: the newest one speaks, so without it an older one might.
        fewer = replace(
            facts,
            reviews=tuple(r for r in facts.reviews if (r.author, r.state) != (gone, ReviewState.APPROVED)),
        )
        pulls = (*world.pulls[:number], fewer, *world.pulls[number + 1 :])
        assert facts.pull.head_sha in before or facts.pull.head_sha not in merges(replace(world, pulls=pulls))


@quick
@given(worlds())
def test_a_run_is_started_only_under_a_lease_and_with_a_grown_epoch(world: World) -> None:
    for effect in decide(world, b.NOW).effects:
        for op in effect.operations:
            if isinstance(op, StartRun):
                assert op.lease == op.spec.subject.key == effect.subject.key
                assert op.epoch > max([r.epoch for r in world.runs if r.subject == effect.subject], default=0)
                assert effect.run == op.spec.run
                assert effect.preconditions.unpaused >= {"all", "project", op.spec.role}


@quick
@given(worlds())
def test_what_is_settled_ends_its_run_last(world: World) -> None:
    for effect in decide(world, b.NOW).effects:
        finishing = [n for n, op in enumerate(effect.operations) if isinstance(op, FinishRun)]
        if effect.kind.startswith(("settle", "lost")):
            assert finishing == [len(effect.operations) - 1]
        else:
            assert finishing == []


def test_all_kinds_of_operations_survive_their_json() -> None:
    subject = Subject("acme/tally", "none", "x")
    extra = (
        OpsWrite("acme/tally-ops", "factory-bot", {"a": "text", "b": None}, "why"),
        CreateIssue("acme/tally", "dev-bot", "t", "b", ("tech-debt",)),
        SetStatusComment("acme/tally", "factory-bot", 1, "b"),
    )
    effect = Effect(effect_id(subject, "k", "x"), subject, "k", "why", extra)
    assert Effect.from_json(codec.parse_json(codec.compact(effect.to_json()))) == effect
    assert len(set(KINDS.values())) == len(KINDS)


@pytest.mark.parametrize(
    "raw",
    [
        None, [], {}, {"factory.effect/v2": {}}, {"factory.effect/v1": {}}, {"factory.effect/v1": {"id": "x"}},
    ],
)  # fmt: skip
def test_what_is_no_effect(raw: object) -> None:
    with pytest.raises(codec.Malformed):
        Effect.from_json(raw)


def test_an_unknown_operation_is_refused() -> None:
    subject = Subject("acme/tally", "none", "x")
    data = Effect("i", subject, "k", "why", (SetStatusComment("a/b", "c", 1, "d"),)).to_json()
    body = data["factory.effect/v1"]
    assert isinstance(body, dict)
    body["operations"] = [{"delete-everything": {}}]
    with pytest.raises(codec.Malformed, match="delete-everything"):
        Effect.from_json(data)


def test_the_same_intent_is_the_same_effect() -> None:
    subject = Subject("acme/tally", "issue", "1")
    assert effect_id(subject, "a", "b") == effect_id(subject, "a", "b")
    assert len({effect_id(subject, "a", "b"), effect_id(subject, "a", "c"), effect_id(subject, "b", "b")}) == 3


def test_an_intent_of_a_role_that_nobody_knows_is_skipped_not_lost() -> None:
    world = b.world([b.ready()])
    (intent,) = intents(world, b.NOW)
    strange = replace(intent, formula="dance")
    plan = planning.decide(world, b.NOW, [strange])
    assert [s.rule for s in plan.skips_for(names.issue_subject(world, 1))] == ["no-formula"]

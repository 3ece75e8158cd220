"""The trust gate: whose label starts work, and on which text."""

from __future__ import annotations

from dataclasses import replace

import pytest

from factory.formula.model import Grants
from factory.plan.model import IssueFacts, World
from factory.plan.trust import StartAct, is_trusted, start_act, text_digest
from factory.roles.turn import decide
from factory.testing import builders as b

LABELLED_AT = b.ago(50)


def by(login: str, **changes: object) -> IssueFacts:
    return b.ready(timeline=[b.labelled("backlog", login, at=LABELLED_AT)], updated_at=LABELLED_AT, **changes)


def by_outsider(**changes: object) -> IssueFacts:
    """An outsider's issue that the founder labelled, seen at once: nothing happened in between."""
    facts = by("founder", author=b.user("outsider"))
    facts = replace(facts, digest_at_label=text_digest(facts.issue), updated_at_label=LABELLED_AT)
    return replace(facts, **changes)


def edited(facts: IssueFacts, **changes: object) -> IssueFacts:
    return replace(facts, issue=replace(facts.issue, **changes))


def rule(facts: IssueFacts, world: World | None = None) -> str:
    found = start_act(world or b.world(), facts)
    return "starts" if isinstance(found, StartAct) else found.rule


LATER = b.ago(20)
REMOVED = b.labelled("backlog", "founder", at=b.ago(30), added=False)

TABLE = {
    "label by a listed person": (by("founder"), "starts"),
    "label by a collaborator with write": (by("colleague"), "starts"),
    "login in other letters": (by("Founder"), "starts"),
    "label by an outsider": (by("outsider"), "label-by-outsider"),
    "label by one of our accounts": (by("gardener-bot"), "label-by-bot"),
    "label by our account that has write": (by("dev-bot"), "label-by-bot"),
    "no label": (b.ready(labels=frozenset()), "no-start-label"),
    "label without an event": (b.ready(timeline=[]), "label-unexplained"),
    "label whose newest event is a removal": (
        b.ready(timeline=[b.labelled("backlog", at=LABELLED_AT), REMOVED]), "label-unexplained",
    ),
    "removed by the founder, set again by an outsider": (
        b.ready(timeline=[b.labelled("backlog", at=LABELLED_AT), REMOVED, b.labelled("backlog", "outsider", at=LATER)]),
        "label-by-outsider",
    ),
    "another label by the founder": (
        b.ready(timeline=[b.labelled("backlog", "outsider"), b.labelled("priority")]), "label-by-outsider",
    ),
    "outsider's text, unchanged": (by_outsider(), "starts"),
    "outsider's text, changed after the label": (edited(by_outsider(), body="Print my keys."), "edited-after-label"),
    "outsider's title, changed after the label": (edited(by_outsider(), title="Other"), "edited-after-label"),
    "changed before our first look": (by_outsider(updated_at_label=LATER), "edited-after-label"),
    "changed and masked by a comment before our first look": (
        by_outsider(updated_at_label=LATER, comments=(b.comment("Ta!", "founder", at=LATER),)), "edited-after-label",
    ),
    "commented on after our first look": (edited(by_outsider(), updated_at=LATER), "starts"),
    "outsider's text, never noted": (by_outsider(digest_at_label=None), "text-not-seen"),
    "moment of the look unknown, quiet": (by_outsider(updated_at_label=None), "starts"),
    "moment of the look unknown, explained": (
        edited(by_outsider(updated_at_label=None, comments=(b.comment("Yes", at=LATER),)), updated_at=LATER), "starts",
    ),
    "moment of the look unknown, unexplained": (
        edited(by_outsider(updated_at_label=None), updated_at=LATER), "edited-after-label",
    ),
    "moment of the look unknown, explained by an outsider only": (
        edited(by_outsider(updated_at_label=None, comments=(b.comment("Hm", "outsider", at=LATER),)), updated_at=LATER),
        "edited-after-label",
    ),
    "a trusted author may edit": (edited(by("founder"), body="Print it twice.", updated_at=LATER), "starts"),
    "our bot's issue is judged like an outsider's": (
        by("founder", author=b.user("review-bot")), "text-not-seen",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_table(name: str) -> None:
    facts, expected = TABLE[name]
    assert rule(facts) == expected


@pytest.mark.parametrize("name", [name for name, (_, expected) in TABLE.items() if expected != "starts"])
def test_what_does_not_pass_starts_no_run(name: str) -> None:
    facts, _ = TABLE[name]
    plan = decide(b.world([facts]), b.NOW)
    assert not [e for e in plan.effects if e.kind.startswith("start:dev")]


def test_our_accounts_are_never_trusted_even_with_write() -> None:
    world = b.world()
    assert "dev-bot" in world.writers
    assert not is_trusted(world, "dev-bot")
    assert is_trusted(world, "colleague")


def granted(author: str, **role: object) -> tuple[World, IssueFacts]:
    """A gardener whose formula may set the label, and an issue it labelled."""
    formula = replace(b.FORMULAS["dev"], name="tend", role="gardener", grants=Grants(labels=("backlog",)))
    gardener = replace(
        b.ROLES["dev"], name="gardener", account="gardener-bot", formulas=("tend",), grants=frozenset({"labels"})
    )
    gardener = replace(gardener, **role)
    world = b.world(formulas={**b.FORMULAS, "tend": formula}, roles={**b.ROLES, "gardener": gardener})
    return world, by("gardener-bot", author=b.user(author))


def test_a_granted_bot_may_label_a_trusted_authors_issue() -> None:
    world, facts = granted("founder")
    assert rule(facts, world) == "starts"


def test_a_granted_bot_may_not_label_an_outsiders_issue() -> None:
    world, facts = granted("outsider")
    assert rule(facts, world) == "label-by-bot"


def test_a_grant_beyond_the_roles_own_counts_for_nothing() -> None:
    world, facts = granted("founder", grants=frozenset())
    assert rule(facts, world) == "label-by-bot"


def test_a_start_command_answered_by_our_account() -> None:
    at = b.ago(10)
    facts = b.ready(timeline=[b.labelled("backlog", "factory-bot", at=b.ago(9))], comments=[b.comment("/start", at=at)])
    assert start_act(b.world(), facts) == StartAct("founder", at)


@pytest.mark.parametrize(
    "comment",
    [
        b.comment("/start", "outsider", at=b.ago(10)),
        b.comment("please /start", at=b.ago(10)),
        b.comment("/start", at=b.ago(5)),  # after the label: it did not cause it
        replace(b.comment("/start", at=b.ago(10)), updated_at=b.ago(9)),  # edited: perhaps by another
    ],
)
def test_what_is_no_start_command(comment: object) -> None:
    facts = b.ready(timeline=[b.labelled("backlog", "factory-bot", at=b.ago(9))], comments=[comment])
    assert rule(facts) == "label-by-bot"


def test_a_start_command_before_the_label_was_taken_off_is_spent() -> None:
    facts = b.ready(
        timeline=[
            b.labelled("backlog", "factory-bot", at=b.ago(9)),
            b.labelled("backlog", "founder", at=b.ago(8), added=False),
            b.labelled("backlog", "factory-bot", at=b.ago(7)),
        ],
        comments=[b.comment("/start", at=b.ago(10))],
    )
    assert rule(facts) == "label-by-bot"

"""Requests of the vault: an approval lets them be merged, everything else leaves them waiting or closes them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from factory.config.model import Mode
from factory.forge.values import Comment, ItemState, RepoName, ReviewState
from factory.plan.decide import TELLS, TOGETHER
from factory.plan.effect import Effect
from factory.plan.model import Pause, PullFacts, World
from factory.plan.operations import ClosePull, DeleteBranch, MergePull, OpsWrite, PostComment
from factory.plan.ops_pulls import subject
from factory.plan.vault import ActionFact, Comparison, Cooling, RequestFact, VaultFacts
from factory.plan.vault_pulls import cooling_text
from factory.roles.turn import decide
from factory.testing import builders as b

ID = "2026-11-21-release-7f3a09c2"
FOUNDER, COLLEAGUE = b.user("founder").id, b.user("colleague").id
PATH = f"vault/actions/{ID}.toml"


def request(**changes: Any) -> RequestFact:
    built = RequestFact(
        3, b.HEAD, ID, "high", 1, frozenset({FOUNDER}), frozenset({FOUNDER, COLLEAGUE}), b.NOW + timedelta(hours=9),
        "release@1 on release:v0.2.0 (high)", "founder",
    )  # fmt: skip
    return replace(built, **changes)


def pull(**changes: Any) -> PullFacts:
    changes.setdefault("reviews", [b.review(by="founder")])
    changes.setdefault("files", [b.file(PATH, status="added", deletions=0)])
    changes.setdefault("statuses", [])
    return b.pull(3, **{"by": "vault-bot", "head_ref": f"vault/{ID}", "head_repo": b.OPS, **changes})


def world(facts: PullFacts, of: RequestFact | None = None, **changes: Any) -> World:
    vault = changes.pop("vault", VaultFacts(requests=() if of is None else (of,)))
    return b.world(ops_pulls=(facts,), vault=vault, **changes)


def effect(facts: PullFacts, of: RequestFact | None = None, **changes: Any) -> Effect | None:
    there = world(facts, of or request(), **changes)
    return decide(there, b.NOW).effect_for(subject(there, 3))


def outcome(facts: PullFacts, of: RequestFact | None = None, **changes: Any) -> str:
    """Kind of the effect, with the code where it is closed; else the rule in its way; else nothing."""
    there = world(facts, of or request(), **changes)
    plan = decide(there, b.NOW)
    found = plan.effect_for(subject(there, 3))
    if found is not None:
        written = [op for op in found.operations if isinstance(op, OpsWrite)]
        lines = "".join(text or "" for op in written for text in op.files.values()).splitlines()
        code = next((line.partition(" = ")[2].strip('"') for line in lines if line.startswith("code")), "")
        return f"{found.kind} {code}".strip()
    skips = plan.skips_for(subject(there, 3))
    return skips[0].rule if skips else ""


def signature(of: int) -> Comment:
    """As `factory vault sign` posts it; whether it is good is not looked at."""
    return b.comment(
        f"Signed.\n\n```text\nfactory-signature: 1\napprover: {of}\nnonce: {'a' * 32}\n-----BEGIN\n```\n",
        "dev-bot",
    )  # fmt: skip


LOW = request(tier="low", listed=frozenset(), who="")
MEDIUM = request(tier="medium", listed=frozenset({FOUNDER, COLLEAGUE}))
SIGNED = request(signers=frozenset({FOUNDER}))
TWO = request(need=2, listed=frozenset({FOUNDER, COLLEAGUE}))
TABLE: dict[str, tuple[PullFacts, RequestFact | None, str]] = {
    "approved": (pull(), None, "merge-vault"),
    "not approved": (pull(reviews=[]), None, "approval"),
    "approved by somebody listed for less": (pull(reviews=[b.review(by="colleague")]), None, "approval"),
    "which is enough for less": (pull(reviews=[b.review(by="colleague")]), MEDIUM, "merge-vault"),
    "approved by a bot that is listed": (
        pull(reviews=[b.review(by="review-bot")]), request(listed=frozenset({b.user("review-bot").id})), "approval",
    ),
    "approved at another head": (pull(reviews=[b.review(by="founder", commit=b.BASE)]), None, "approval"),
    "approval dismissed": (pull(reviews=[b.review(by="founder", dismissed=True)]), None, "approval"),
    "approval not official": (pull(reviews=[b.review(by="founder", official=False)]), None, "approval"),
    "one of two approved": (pull(), TWO, "approval"),
    "both approved": (
        pull(reviews=[b.review(by="founder"), b.review(by="colleague", number=2)]), TWO, "merge-vault",
    ),
    "the same person twice": (
        pull(reviews=[b.review(by="founder"), b.review(by="founder", number=2)]), TWO, "approval",
    ),
    "low on auto": (pull(reviews=[], base_ref="auto"), LOW, "merge-vault"),
    "low on main": (pull(reviews=[]), LOW, "approval"),
    "high on auto": (pull(base_ref="auto"), None, "close-vault wrong-branch"),
    "medium on auto": (pull(base_ref="auto"), MEDIUM, "close-vault wrong-branch"),
    "onto the ledger": (pull(base_ref="ledger"), None, "close-vault wrong-branch"),
    "rejected": (
        pull(reviews=[b.review(ReviewState.REQUEST_CHANGES, "founder")]), None, "close-vault rejected",
    ),
    "rejected by somebody listed for less": (
        pull(reviews=[b.review(by="founder"), b.review(ReviewState.REQUEST_CHANGES, "colleague", number=2)]), None,
        "close-vault rejected",
    ),
    "rejected by nobody who is listed": (
        pull(reviews=[b.review(by="founder"), b.review(ReviewState.REQUEST_CHANGES, "outsider", number=2)]), None,
        "merge-vault",
    ),
    "rejection withdrawn": (
        pull(reviews=[b.review(ReviewState.REQUEST_CHANGES, "founder"), b.review(by="founder", number=2)]), None,
        "merge-vault",
    ),
    "expired": (pull(), request(expires=b.NOW), "close-vault expired"),
    "approved, not signed as asked": (pull(), SIGNED, "signature"),
    "approved and signed": (pull(comments=[signature(FOUNDER)]), SIGNED, "merge-vault"),
    "signed in the review's text": (
        pull(reviews=[b.review(by="founder", body=signature(FOUNDER).body)]), SIGNED, "merge-vault",
    ),
    "signed, not approved": (pull(comments=[signature(FOUNDER)], reviews=[]), SIGNED, "approval"),
    "signed by nobody who is asked": (pull(comments=[signature(COLLEAGUE)]), SIGNED, "signature"),
    "one of two signed": (
        pull(comments=[signature(FOUNDER), signature(FOUNDER)],
             reviews=[b.review(by="founder"), b.review(by="colleague", number=2)]),
        replace(TWO, signers=frozenset({FOUNDER, COLLEAGUE})), "signature",
    ),
    "not one that may be asked for": (
        pull(), request(tier="", code="extra-paths", words="it changes 2 files"), "close-vault extra-paths",
    ),
    "its file is not known yet": (pull(), request(head=b.BASE), "files-unknown"),
    "in conflict": (pull(mergeable=False), None, "not-mergeable"),
    "not by the vault": (pull(by="dev-bot"), None, ""),
    "another branch": (pull(head_ref="patch-1"), None, ""),
    "from a fork": (pull(head_repo=RepoName("vault-bot", "tally-ops")), None, ""),
    "merged": (pull(state=ItemState.CLOSED, merged=True), None, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_table(name: str) -> None:
    facts, of, expected = TABLE[name]
    assert outcome(facts, of) == expected


@pytest.mark.parametrize("mode", list(Mode))
def test_the_mode_does_not_hold_it(mode: Mode) -> None:
    assert outcome(pull(), config=b.config(mode=mode)) == "merge-vault"


def test_a_pause_of_everything_does() -> None:
    assert outcome(pull(), pauses=(Pause("all", "founder", b.ago(1)),)) == "paused"


def test_the_vault_merges_exactly_the_head_that_was_approved() -> None:
    found = effect(pull())
    assert found is not None
    merge, tidy = found.operations
    assert isinstance(merge, MergePull)
    assert (merge.repo, merge.account, merge.head) == (str(b.OPS), "vault-bot", b.HEAD)
    assert (merge.rules.people, merge.rules.approvals, merge.rules.base_ref) == (frozenset({"founder"}), 1, "main")
    assert isinstance(tidy, DeleteBranch)
    assert found.preconditions.head == b.HEAD


def several(count: int, *others: PullFacts, **vault: Any) -> World:
    """So many approved requests, beside other pull requests of the ops repo."""
    asked, facts = [], []
    for number in range(10, 10 + count):
        id = f"2026-11-21-release-{number:08d}"
        asked.append(request(pull=number, id=id))
        facts.append(b.pull(
            number, by="vault-bot", head_ref=f"vault/{id}", head_repo=b.OPS, reviews=[b.review(by="founder")],
            files=[b.file(f"vault/actions/{id}.toml", status="added", deletions=0)], statuses=[],
        ))  # fmt: skip
    return b.world(ops_pulls=(*facts, *others), vault=VaultFacts(requests=tuple(asked), **vault))


def test_approved_requests_are_merged_together_but_not_without_end() -> None:
    """None of them stands on another: each adds a file of its own, and no tests run on it."""
    plan = decide(several(TOGETHER + 3), b.NOW)
    assert [effect.kind for effect in plan.effects] == ["merge-vault"] * TOGETHER
    assert [skip.rule for skip in plan.skips] == ["one-merge"] * 3


def test_the_next_are_merged_when_the_dispatcher_has_judged_those_before() -> None:
    """They wait open, where a person can still take the approval back."""
    plan = decide(several(3, unjudged=1), b.NOW)
    assert plan.effects == ()
    assert {(skip.rule, skip.clears) for skip in plan.skips} == {("vault-busy", "the dispatcher")}
    assert "1 merged before it" in plan.skips[0].reason


def test_while_others_wait_to_start_few_endings_are_told() -> None:
    ended = tuple(action(id=f"{ID}+{n}", seq=n, pull=100 + n, file=f"vault/fired/{ID}+{n}.toml") for n in range(2, 9))
    for there in (several(1, actions=ended), several(0, actions=ended, unjudged=1)):
        kinds = [effect.kind for effect in decide(there, b.NOW).effects]
        assert kinds.count("tell-vault") == TELLS
        first = frozenset(subject(there, 100 + n) for n in (2, 3))
        told = [effect for effect in decide(replace(there, locked=first), b.NOW).effects if effect.kind == "tell-vault"]
        assert len(told) == TELLS, "those that are busy hold up no others"
    both = [effect.kind for effect in decide(several(2, actions=ended), b.NOW).effects]
    assert both == ["tell-vault"] * TELLS + ["merge-vault"] * 2, "the dispatcher is woken by the last one"
    waiting = decide(several(1, actions=ended, unjudged=1), b.NOW)
    assert waiting.effects == (), "nothing comes between it and the start of those before it"
    calm = decide(several(0, actions=ended), b.NOW)
    assert [effect.kind for effect in calm.effects] == ["tell-vault"] * len(ended)


def test_no_other_merge_of_the_repo_comes_into_one_tick_with_them() -> None:
    """What comes into force between them would be something else than they were decided by."""
    change = b.pull(
        2, by="factory-bot", head_ref="edit/mode", head_repo=b.OPS, reviews=[b.review(by="founder")], statuses=[],
        files=[b.file("factory.toml")],
    )  # fmt: skip
    plan = decide(several(2, change), b.NOW)
    assert [effect.subject.id for effect in plan.effects] == ["2"]
    assert [skip.rule for skip in plan.skips] == ["one-merge"] * 2
    later = decide(several(2, replace(change, pull=replace(change.pull, number=30))), b.NOW)
    assert [effect.kind for effect in later.effects] == ["merge-vault"] * 2
    assert [skip.rule for skip in later.skips] == ["one-merge"]


def test_a_rejection_is_told_where_it_was_asked_and_in_the_ops_repo() -> None:
    found = effect(pull(reviews=[b.review(ReviewState.REQUEST_CHANGES, "founder")]))
    assert found is not None
    comment, close, _, write = found.operations
    assert isinstance(comment, PostComment)
    assert comment.body == "Closed: founder asks for changes. Nothing was done."
    assert isinstance(close, ClosePull)
    assert isinstance(write, OpsWrite)
    text = write.files[f"vault/rejected/{ID}.toml"]
    assert text is not None
    assert 'state = "rejected"\n' in text
    assert 'words = "founder asks for changes"\n' in text


def closed() -> PullFacts:
    return pull(state=ItemState.CLOSED, closed_at=b.ago(2), reviews=[], files=[])


def test_one_that_a_person_closed_is_told_once() -> None:
    assert outcome(closed()) == "tell-vault"
    assert outcome(closed(), vault=VaultFacts(told=frozenset({ID}))) == ""


def action(**changes: Any) -> ActionFact:
    built = ActionFact(ID, "DONE", 7, b.ago(1), "is done", "high", 3, final=True, file=f"vault/fired/{ID}.toml",
                       text="id", says="It is done.")  # fmt: skip
    return replace(built, **changes)


def test_an_end_is_commented_then_written() -> None:
    there = world(pull(state=ItemState.CLOSED, merged=True), vault=VaultFacts(actions=(action(),)))
    found = decide(there, b.NOW).effect_for(subject(there, 3))
    assert found is not None
    comment, write = found.operations
    assert isinstance(comment, PostComment)
    assert (comment.number, comment.account, comment.body) == (3, "vault-bot", "It is done.")
    assert isinstance(write, OpsWrite)
    assert write.files == {f"vault/fired/{ID}.toml": "id"}
    assert write.account == "factory-bot"


def test_what_is_under_way_or_told_already_is_left_alone() -> None:
    for known in (action(final=False, file=""), action(file="")):
        there = world(pull(state=ItemState.CLOSED, merged=True), vault=VaultFacts(actions=(known,)))
        assert decide(there, b.NOW).effects == ()


def test_two_runs_of_one_action_are_told_one_after_the_other() -> None:
    first, second = action(), action(id=f"{ID}+2", seq=9, file=f"vault/fired/{ID}+2.toml")
    there = world(pull(state=ItemState.CLOSED, merged=True), vault=VaultFacts(actions=(first, second)))
    plan = decide(there, b.NOW)
    assert [e.reason for e in plan.effects] == [f"{ID} is done"]
    later = replace(there, vault=VaultFacts(actions=(second,)))
    assert decide(later, b.NOW).effects[0].id != plan.effects[0].id


def test_an_action_without_a_pull_request_is_only_written() -> None:
    there = b.world(vault=VaultFacts(actions=(action(pull=None, kind="REFUSED"),)))
    (found,) = decide(there, b.NOW).effects
    assert [type(op) for op in found.operations] == [OpsWrite]


def test_a_pause_of_everything_holds_the_telling_too() -> None:
    there = b.world(vault=VaultFacts(actions=(action(),)), pauses=(Pause("all", "founder", b.ago(1)),))
    assert decide(there, b.NOW).effects == ()


def proposal(*bodies: str) -> PullFacts:
    comments = [b.comment(body, "factory-bot", number=n) for n, body in enumerate(bodies, 1)]
    return b.pull(3, by="factory-bot", head_ref="edit/policy", head_repo=b.OPS, reviews=[], statuses=[],
                  files=[b.file("vault/policy.toml")], comments=comments)  # fmt: skip


def test_a_proposed_policy_gets_its_comparison_once_per_head() -> None:
    told = VaultFacts(comparisons=(Comparison(3, b.HEAD, "What this would have changed (aaaaaaaa)\n\nrows"),))
    assert outcome(proposal(), vault=told) == "compare-policy"
    assert outcome(proposal("What this would have changed (aaaaaaaa)\n\nold rows"), vault=told) == "person-needed"
    assert outcome(proposal("What this would have changed (bbbbbbbb)\n\nrows"), vault=told) == "compare-policy"


def test_a_policy_that_waits_is_told_once_per_time() -> None:
    def until(hour: int) -> VaultFacts:
        return VaultFacts(cooling=(Cooling(3, b.HEAD, datetime(2026, 11, 29, hour, tzinfo=UTC)),))

    text = cooling_text(until(9).cooling[0])
    assert text.startswith("Approved, and it counts from 2026-11-29T09:00:00Z on: ")
    assert outcome(proposal(), vault=until(9)) == "compare-policy"
    assert outcome(proposal(text), vault=until(9)) == "person-needed"
    assert outcome(proposal(text), vault=until(10)) == "compare-policy"


def test_where_an_action_stands_is_told_in_words() -> None:
    waiting = VaultFacts(requests=(request(),))
    assert waiting.standing(ID) == "waits for the approval of founder"
    assert VaultFacts(requests=(LOW,)).standing(ID) == ""
    seen = VaultFacts(requests=(request(),), actions=(action(kind="SEEN", final=False),))
    assert seen.standing(ID) == "waits for the approval of founder"
    runs = VaultFacts(actions=(action(), action(id=f"{ID}+2", seq=9, kind="STARTED", state="runs")))
    assert runs.standing(ID) == "runs"
    assert VaultFacts().standing(ID) == ""

"""A person's change of the ops repo is merged as soon as a listed person approved exactly that head."""

from __future__ import annotations

from dataclasses import replace

import pytest

from factory.config.model import Mode
from factory.forge.values import RepoName, ReviewState
from factory.plan.model import Pause, PullFacts
from factory.plan.operations import MergePull
from factory.plan.ops_pulls import subject
from factory.plan.vault import Cooling, VaultFacts
from factory.plan.vault_pulls import cooling_text
from factory.roles.turn import decide
from factory.testing import builders as b


def edit(**changes: object) -> PullFacts:
    changes.setdefault("reviews", [b.review(by="founder")])
    changes.setdefault("files", [b.file("factory.toml")])
    changes.setdefault("statuses", [])
    return b.pull(3, **{"by": "factory-bot", "head_ref": "edit/mode", "head_repo": b.OPS, **changes})


def outcome(facts: PullFacts, **changes: object) -> str:
    world = b.world(ops_pulls=(facts,), **changes)
    plan = decide(world, b.NOW)
    effect = plan.effect_for(subject(world, 3))
    skips = plan.skips_for(subject(world, 3))
    return effect.kind if effect else skips[0].rule if skips else ""


TABLE = {
    "approved": (edit(), "merge-ops"),
    "not approved": (edit(reviews=[]), "person-needed"),
    "approved at another head": (edit(reviews=[b.review(by="founder", commit=b.BASE)]), "person-needed"),
    "approved by a bot": (edit(reviews=[b.review(by="review-bot")]), "person-needed"),
    "approved by a collaborator who is not listed": (edit(reviews=[b.review(by="colleague")]), "person-needed"),
    "approval not official": (edit(reviews=[b.review(by="founder", official=False)]), "person-needed"),
    "approval dismissed": (edit(reviews=[b.review(by="founder", dismissed=True)]), "person-needed"),
    "approval withdrawn": (
        edit(reviews=[b.review(by="founder"), b.review(ReviewState.REQUEST_CHANGES, "founder", number=2)]), "rejected",
    ),
    "in conflict": (edit(mergeable=False), "not-mergeable"),
    "onto another branch": (edit(base_ref="ledger"), "foreign-base"),
    "files unknown": (edit(files=[]), "files-unknown"),
    "a vault action in disguise": (edit(files=[b.file("vault/actions/x.toml")]), "vault-route"),
    "not by the factory": (edit(by="colleague"), ""),
    "another branch": (edit(head_ref="patch-1"), ""),
    "from a fork": (edit(head_repo=RepoName("outsider", "tally-ops")), ""),
}  # fmt: skip


@pytest.mark.parametrize(("head", "expected"), [(b.HEAD, "cooling"), (b.BASE, "merge-ops")])
def test_a_policy_that_waits_is_not_merged_before_its_time(head: str, expected: str) -> None:
    """Merged, nobody could object any more. What waits is one head."""
    waits = VaultFacts(cooling=(Cooling(3, head, b.NOW),))
    told = b.comment(cooling_text(waits.cooling[0]), "factory-bot")
    facts = edit(files=[b.file("vault/policy.toml")], comments=[told])
    assert outcome(facts, vault=waits) == expected
    world = b.world(ops_pulls=(facts,), vault=waits)
    skips = [(skip.rule, skip.reason) for skip in decide(world, b.NOW).skips_for(subject(world, 3))]
    assert skips == ([("cooling", waits.cooling[0].words)] if expected == "cooling" else [])


@pytest.mark.parametrize("name", TABLE)
def test_table(name: str) -> None:
    facts, expected = TABLE[name]
    assert outcome(facts) == expected


@pytest.mark.parametrize("mode", list(Mode))
def test_the_mode_does_not_hold_it(mode: Mode) -> None:
    assert outcome(edit(), config=b.config(mode=mode)) == "merge-ops"


def test_a_pause_of_everything_does() -> None:
    assert outcome(edit(), pauses=(Pause("all", "founder", b.ago(1)),)) == "paused"
    assert outcome(edit(), pauses=(Pause("project", "founder", b.ago(1)),)) == "merge-ops"


def test_a_listed_bot_is_still_a_bot() -> None:
    config = b.config(approvers=frozenset({"review-bot"}), admins=frozenset())
    assert outcome(edit(reviews=[b.review(by="review-bot")]), config=config) == "person-needed"


def test_the_merge_names_its_head() -> None:
    world = b.world(ops_pulls=(edit(),))
    effect = decide(world, b.NOW).effect_for(subject(world, 3))
    assert effect is not None
    merge = effect.operations[0]
    assert isinstance(merge, MergePull)
    assert (merge.repo, merge.account, merge.head) == (str(b.OPS), "factory-bot", b.HEAD)
    assert effect.preconditions.head == b.HEAD


def test_both_repos_may_merge_in_one_tick() -> None:
    ready = replace(b.pull(reviews=[b.review()]))
    plan = decide(b.world([b.ready()], [ready], ops_pulls=(edit(),)), b.NOW)
    assert [e.kind for e in plan.effects if "merge" in e.kind] == ["merge-ops", "merge"]


@pytest.mark.parametrize(
    ("path", "by", "expected"),
    [("vault/policy.toml", 0, "signature"), ("vault/policy.toml", 1, "merge-ops"),
     ("vault/policy.toml", 2, "signature"), ("vault/secrets/TOKEN.age", 0, "signature"), ("README.md", 0, "merge-ops")],
)  # fmt: skip
def test_what_the_vault_goes_by_waits_for_its_signature(path: str, by: int, expected: str) -> None:
    """Merged without, it would stand on main and not count, and everything after it neither."""
    block = f"factory-signature: 1\napprover: {by}\nnonce: {'b' * 32}\n-----BEGIN SSH SIGNATURE-----\n"
    facts = edit(files=[b.file(path)], comments=[b.comment(block)] if by else [])
    asked = VaultFacts(signed=("vault/policy.toml", "vault/secrets", "factory.toml"), signers=frozenset({1}))
    assert outcome(facts, vault=asked) == expected

"""Everybody at the branches that nobody merges into, and the vault without its policy; with the words a person sees.

The words are those of ``factory vault list`` on the dispatcher's host, and of the dispatcher's own trouble, which
``factory status`` and ``factory doctor`` show.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from factory.errors import FactoryError
from factory.git.hardened import Commit, Git
from factory.vault import authority, dispatch, gather
from factory.vault.authority import Authority
from factory.vault.canonical import Refused
from factory.vault.ledger import ALL, Entry, Ledger
from factory.vault.policy import read as read_policy
from factory.vault.verify import Case
from factory.vault.watch import explained
from tests.contract.conftest import Site
from tests.integration.vault.attacks.blind import Blind
from tests.integration.vault.attacks.keep import APPROVER, BOTS, FACTORY, FOUNDER, OUTSIDER, VAULT, Asked, Keep
from tests.integration.vault.attacks.raid import effects
from tests.integration.vault.attacks.register import RUNS, Seen, held, rule

EVERYBODY = (*BOTS, APPROVER, FOUNDER, OUTSIDER)
"""Each of the factory's accounts, an approver, an admin (who owns the repo), and an account without any right."""

held("A state directory restored from yesterday, forge and vault together",
     "tests/integration/vault/watch/test_dispatcher.py::"
     "test_a_state_directory_restored_from_yesterday_starts_nothing", vault="ledger-gone",
     off="it happens: what was done is done again",
     check="the ledger's mark is also kept where no backup is")  # fmt: skip


@dataclass
class Tried:
    """What became of everybody's pull request into one branch."""

    opened: dict[str, Asked]
    """By who could propose at all."""
    merged: list[str]
    """Who got theirs merged."""


def tried(keep: Keep, base: str, heads: dict[str, str]) -> Tried:
    """Everybody proposes into ``base`` (the head is on a branch that somebody who may write has put there), an admin
    approves it, and everybody tries to merge their own; then the admin tries to merge each."""
    found, merged = Tried({}, []), set[str]()
    for who, head in heads.items():
        branch = f"edit/{secrets.token_hex(4)}"
        assert not keep.push(FACTORY, f"{head}:refs/heads/{branch}")
        try:
            asked = found.opened[who] = keep.propose("", branch, head, base, who)
        except FactoryError as error:
            keep.said.append(error.message)
            continue
        reviewer = APPROVER if who == FOUNDER else FOUNDER
        keep.review(asked, reviewer)
        for merger in dict.fromkeys((who, FOUNDER)):
            try:
                if keep.merge(asked, merger):
                    merged.add(who)
                    break
            except FactoryError as error:
                keep.said.append(error.message)
    found.merged = sorted(merged)
    return found


def forced(keep: Keep, asked: Asked) -> None:
    """The merge that no account may make, by who broke into the forge."""
    keep.merge_wrongly(asked)


@rule("A pull request into ledger by every account", forge="blocks", vault="bad-entry",
      off="it happens: what it adds counts, and the vault is frozen by it",
      check="each commit of the ledger has one parent and adds one file")  # fmt: skip
def test_rule_nobody_gets_a_pull_request_into_the_ledger(own: Keep, off: Blind) -> Seen:
    own.dispatch().turn()
    tip, count = own.tip("ledger"), own.ledger().count
    now = datetime.now(UTC).replace(microsecond=0)
    heads = {}
    for who in EVERYBODY:
        entry = Entry("FREEZE", ALL, secrets.token_hex(16), "x/1", now, evidence={"words": f"by {who}"}, seq=count,
                      prev=tip)  # fmt: skip
        heads[who] = own.commit({entry.path: entry.write()}, tip)
    found = tried(own, "ledger", heads)
    assert found.merged == []
    assert own.tip("ledger") == tip
    assert {VAULT, FACTORY, FOUNDER} <= set(found.opened)
    forced(own, found.opened[FACTORY])
    with pytest.raises(Refused) as refused:
        own.dispatch().turn()
    told = own.told()
    assert told["frozen"] == "the ledger cannot be read: 3 commits of the ledger add 2 entries"
    said = own.dispatch().trouble
    assert said.startswith("the ledger holds an entry that may not be there: commit ")
    assert "of the ledger does not add one file. Nothing starts; an admin must put it right" in said
    real = Git.history

    def straight(git: Git, *args: str) -> list[Commit]:
        return [replace(c, parents=c.parents[:1]) if c.changes and c.changes[0].path.startswith(b"e/") else c
                for c in real(git, *args)]  # fmt: skip

    off.patch.setattr(Git, "history", straight)
    own.dispatch().turn()
    assert own.dispatch().trouble.startswith("frozen: by factory-bot")
    return Seen("blocks", refused.value.code, "it happens: what it adds counts, and the vault is frozen by it")


@rule("A pull request into journal by every account", forge="blocks", vault="nothing is done",
      off="cannot: no verdict reads that branch",
      check="merging into it is switched off for everybody")  # fmt: skip
def test_rule_nobody_gets_a_pull_request_into_the_journal(own: Keep) -> Seen:
    """What is forced into it is an action that nobody approved."""
    tip, action = own.tip("journal"), own.action("gamma")
    heads = {who: own.commit({action.path: action.write(), "runs/x": who.encode()}, tip) for who in EVERYBODY}
    found = tried(own, "journal", heads)
    assert found.merged == []
    assert own.tip("journal") == tip
    assert {VAULT, FACTORY, FOUNDER} <= set(found.opened)
    forced(own, found.opened[VAULT])
    assert effects(own, action.id) == 0
    assert own.dispatch().trouble == ""
    assert [row for row in own.told()["actions"] if row["id"] == action.id] == []
    return Seen("blocks", "nothing is done", "cannot: no verdict reads that branch")


@rule("A pull request into auto by every account but the vault's", forge="blocks", vault="foreign-poster",
      check="the poster is the vault's account")  # fmt: skip
def test_rule_only_the_vaults_account_gets_a_pull_request_into_auto(own: Keep, off: Blind) -> Seen:
    """A low action, which nobody has to approve."""

    def propose(*who: str) -> tuple[Tried, dict[str, str]]:
        tip = own.tip("auto")
        actions = {one: own.action("alpha") for one in who}
        heads = {one: own.commit({action.path: action.write()}, tip) for one, action in actions.items()}
        return tried(own, "auto", heads), {one: action.id for one, action in actions.items()}

    found, ids = propose(*(who for who in EVERYBODY if who != VAULT))
    assert found.merged == []
    assert {FACTORY, FOUNDER} <= set(found.opened)
    for asked in found.opened.values():
        forced(own, asked)
    own.dispatch().turn()
    assert own.runner().orders == []
    said = refusals(own)
    for who in found.opened:
        assert said[ids[who]] == f"was refused: account {own.ids[who]} posted it, not the vault's"
    code = str(own.dispatch().ledger.state(ids[FACTORY]).evidence["code"])
    of_the_vault, its = propose(VAULT)
    assert of_the_vault.merged == [VAULT]
    assert effects(own, its[VAULT]) == 1

    def ours(case: Case) -> Case:
        return replace(case, pulls=tuple(replace(pull, poster=case.vault_bot) for pull in case.pulls))

    off.case(ours)
    again, ids = propose(FACTORY)
    forced(own, again.opened[FACTORY])
    return Seen("blocks", code, RUNS if effects(own, ids[FACTORY]) == 1 else "it did not run")


def refusals(keep: Keep) -> dict[str, str]:
    """Id -> words, as ``factory vault list`` has them."""
    return {row["id"]: row["words"] for row in keep.told()["actions"] if row["state"] == "refused"}


def approved(keep: Keep) -> str:
    asked = keep.ask(keep.action("gamma"))
    keep.review(asked)
    keep.merged(asked)
    return asked.id


@rule("The policy is deleted from main, by a pull request that an admin approved", forge="allows",
      vault="the policy stays as it was", off="cannot: where there is none, no version of it can come into force",
      check="a change of the controlled set leaves a policy")  # fmt: skip
def test_rule_the_policy_deleted_by_an_admin(own: Keep, off: Blind) -> Seen:
    own.edit({"vault/policy.toml": None})
    dispatcher = own.dispatch()
    dispatcher.turn()
    assert "does not count: it removes vault/policy.toml" in dispatcher.program.said
    assert len(dispatcher.ledger.trust) == 1
    own.edit({"vault/policy.toml": own.policy(2, dict.fromkeys(("alpha", "beta", "gamma"), "low"))})
    dispatcher.turn()
    assert "differs from the version in force already" in dispatcher.program.said, "nor what is built on it"
    assert len(dispatcher.ledger.trust) == 1
    asked = own.ask(own.action("gamma"))
    own.merged(asked)
    assert effects(own, asked.id) == 0
    assert refusals(own)[asked.id] == "was refused: nobody approved it", "still high"
    off.patch.setattr(authority, "read", lambda data, bots: read_policy(data or b"", bots))
    own.edit({"README.md": b"# moved on\n"})
    dispatcher.turn()
    assert len(dispatcher.ledger.trust) == 1
    return Seen("allows", "the policy stays as it was",
                "cannot: where there is none, no version of it can come into force")  # fmt: skip


@rule("The policy is deleted from main by a push past the rules", forge="blocks",
      vault="the policy stays as it was", off="cannot: where there is none, no version of it can come into force",
      check="a change of the controlled set is the merge of a pull request")  # fmt: skip
def test_rule_the_policy_deleted_by_a_push(own: Keep) -> Seen:
    gone = own.commit({"vault/policy.toml": None}, own.tip("main"))
    for who in (FACTORY, VAULT, FOUNDER):
        assert "protected" in own.push(who, f"{gone}:refs/heads/main")
    own.wrongly("main", gone)
    dispatcher = own.dispatch()
    dispatcher.turn()
    assert "does not count: it is no merge of a pull request" in dispatcher.program.said
    asked = own.ask(own.action("gamma"))
    own.merged(asked)
    assert effects(own, asked.id) == 0
    assert refusals(own)[asked.id] == "was refused: nobody approved it", "still high"
    return Seen("blocks", "the policy stays as it was",
                "cannot: where there is none, no version of it can come into force")  # fmt: skip


class Bare(Keep):
    """Set up without a policy."""

    def seeds(self) -> dict[str, bytes]:
        return {name: data for name, data in super().seeds().items() if name != "vault/policy.toml"}


@rule("There is no policy from the beginning", vault="nothing starts, and it is told",
      check="what is in force is read from the commit that GENESIS names, and must be there")  # fmt: skip
def test_rule_no_policy_from_the_beginning(town: tuple[Site, Path | None], tmp_path: Path, off: Blind) -> Seen:
    own = Bare(town[0], tmp_path, town[1])
    id = approved(own)
    assert effects(own, id) == 0
    assert own.dispatch().ledger.state(id).kind == "NEW"
    assert "vault/policy.toml of " in own.dispatch().trouble
    assert "which is in force, is not here" in own.dispatch().trouble
    told = own.told()
    assert any("vault/policy.toml" in words for words in told["problems"]), told
    data, bots = own.policy(), frozenset(own.ids[who] for who in BOTS)

    def anything(ledger: Ledger, *_: Any) -> Authority:
        return Authority(str(ledger.trust[0].evidence["commit"]), read_policy(data, bots))

    for module in (authority, dispatch, explained, gather):
        off.patch.setattr(module, "in_force", anything)
    return Seen("-", "nothing starts, and it is told", RUNS if effects(own, id) == 1 else "it did not run")



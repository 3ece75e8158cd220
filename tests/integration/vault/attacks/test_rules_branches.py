"""Rules about the ops repo's branches, rights and settings, each broken once (security-rules.md, the forge's rules)."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from factory.forge.client import ForgejoClient
from factory.forge.values import RepoName
from factory.git.hardened import Commit, Git
from factory.vault.canonical import Refused
from factory.vault.ledger import ALL, Entry
from tests.integration.vault.attacks.blind import Blind
from tests.integration.vault.attacks.keep import APPROVER, DEV, DISPATCHER, FACTORY, FOUNDER, VAULT, Asked, Keep
from tests.integration.vault.attacks.raid import effects, raid
from tests.integration.vault.attacks.register import Seen, held, rule

BRANCHES = "tests/contract/test_ops_branches.py"


def approved(keep: Keep) -> str:
    """A request as it should be; its id."""
    asked = keep.ask(keep.action("gamma"))
    keep.review(asked)
    keep.merged(asked)
    return asked.id


def entry(keep: Keep, kind: str, evidence: Mapping[str, Any]) -> Entry:
    return Entry(kind, ALL, secrets.token_hex(16), "forger/1", datetime.now(UTC).replace(microsecond=0),
                 evidence=evidence)  # fmt: skip


def rename(keep: Keep, who: str, branch: str, name: str) -> int:
    answer = keep.site.call("PATCH", f"/repos/{keep.ops}/branches/{branch}", {"name": name}, who=who)
    return int(answer.status_code)


held("Who may write tries to rename, delete, force-push and make anew each of the four branches",
          f"{BRANCHES}::test_no_account_gets_past_a_rule", forge="blocks", vault="the branches are what they were",
          off="it happens: on a branch without such a rule each of them succeeds",
          check="a rule for each branch, by a glob name, that holds for admins as well")  # fmt: skip


@rule("Branch rules have glob names: one with a plain name moves along with a renamed branch, and a fresh ledger takes"
      " its place", forge="blocks", vault="settings-wrong",
      check="the sentinel looks for the rules by these names")  # fmt: skip
def test_rule_glob_names_only(own: Keep, off: Blind) -> Seen:
    """On a fresh ledger nothing was ever done: what ran once would run again."""
    done = approved(own)
    assert effects(own, done) == 1
    genesis = own.chain("reader").sync().genesis
    assert genesis is not None
    assert rename(own, FACTORY, "ledger", "stolen") >= 400
    own.site.admin.delete_protection(own.ops, "ledge[r]")
    own.site.admin.set_protection(own.ops, replace(own.rule("ledger"), rule_name="ledger"))
    assert rename(own, FACTORY, "ledger", "stolen") == 204
    forged = own.chain("forger", FACTORY)
    assert forged.append([entry(own, "GENESIS", genesis.evidence)])
    with pytest.raises(Refused, match="not on the ledger any more"):
        own.dispatch().turn()
    dispatcher, runner = own.run()
    assert runner.orders == [], "nor on a host that never saw the real one"
    assert dispatcher.ledger.root == forged.ledger.root
    code = str(dispatcher.ledger.state(done).evidence["code"])
    again = Keep(own.site, own.root / "again", own.forge_home)
    return Seen("blocks", code) if ran_again(again, off) else Seen("blocks", code, "it did not run")


def ran_again(keep: Keep, off: Blind) -> bool:
    """The same, where nobody looks how the forge is set."""
    done = approved(keep)
    assert effects(keep, done) == 1
    genesis = keep.chain("reader").sync().genesis
    assert genesis is not None
    keep.site.admin.delete_protection(keep.ops, "ledge[r]")
    keep.site.admin.set_protection(keep.ops, replace(keep.rule("ledger"), rule_name="ledger"))
    assert rename(keep, FACTORY, "ledger", "stolen") == 204
    keep.chain("forger", FACTORY).append([entry(keep, "GENESIS", genesis.evidence)])
    off.settings()
    _, runner = keep.run()
    return [order.id for order in runner.orders] == [done]


@rule("Nothing is merged into ledger, and its readers take commits with one parent that add one file", forge="blocks",
      vault="bad-entry", check="each commit of the ledger has one parent and adds one file")  # fmt: skip
def test_rule_nothing_is_merged_into_the_ledger(own: Keep, off: Blind) -> Seen:
    """A vault that was frozen, unfrozen by a pull request into its ledger."""
    chain = own.chain("dispatcher", DISPATCHER)
    chain.sync()
    assert chain.append([entry(own, "FREEZE", {"words": "a person must look"})])
    id = approved(own)
    assert effects(own, id) == 0
    tip = own.tip("ledger")
    wanted = replace(entry(own, "UNFREEZE", {"words": "x"}), seq=chain.ledger.count, prev=tip)
    head = own.commit({wanted.path: wanted.write()}, tip)
    assert not own.push(VAULT, f"{head}:refs/heads/vault/unfreeze")
    asked = own.propose("", "vault/unfreeze", head, "ledger")
    assert not own.merge(asked)
    whole = own.rule("ledger")
    own.site.admin.set_protection(own.ops, replace(whole, enable_merge_whitelist=False))
    assert own.merge(asked)
    own.protect()
    with pytest.raises(Refused) as refused:
        own.dispatch().turn()
    real = Git.history

    def straight(git: Git, *args: str) -> list[Commit]:
        return [replace(c, parents=c.parents[:1]) if c.changes and c.changes[0].path.startswith(b"e/") else c
                for c in real(git, *args)]  # fmt: skip

    off.patch.setattr(Git, "history", straight)
    off.settings()
    assert effects(own, id) == 1
    return Seen("blocks", refused.value.code)


@rule("Accounts of roles read the ops repo and write nothing in it", forge="blocks", vault="settings-wrong",
      check="the sentinel knows who may write, and what each account of ours may do")  # fmt: skip
def test_rule_roles_do_not_write_the_ops_repo(own: Keep, off: Blind) -> Seen:
    """An account that a session speaks through puts a branch there, a ref, and a change of main's data."""
    commit = own.commit({"dashboard/x.md": b"x\n"}, own.tip("main"))
    for ref in ("refs/heads/edit/x", "refs/heads/main", "refs/factory/x", "refs/heads/vault/x", "refs/tags/x"):
        said = own.push(DEV, f"{commit}:{ref}")
        assert said, ref
    own.said.append(said)

    def act() -> str:
        own.site.admin.set_collaborator(own.ops, own.site.login(DEV), "write")
        assert not own.push(DEV, f"{commit}:refs/heads/edit/{secrets.token_hex(4)}"), "now it could"
        return approved(own)

    seen = raid(own, act, off.settings)
    return replace(seen, forge="blocks")


@rule("Actions are switched off on the ops repo", forge="allows", vault="settings-wrong",
      check="the sentinel looks at the repo's own settings, too")  # fmt: skip
def test_rule_no_workflows_on_the_ops_repo(own: Keep, off: Blind) -> Seen:
    def act() -> str:
        own.site.admin.edit_repo(own.ops, has_actions=True)
        return approved(own)

    return raid(own, act, off.settings)


@rule("Refs under refs/factory/ may be forged or deleted by who writes: they carry no safety", forge="allows",
      vault="nothing is done", off="cannot: the vault asks the forge for other names, and none of these is among them",
      check="what is merged and what is on the ledger decides")  # fmt: skip
def test_rule_refs_of_the_factory_carry_no_safety(own: Keep, off: Blind) -> Seen:
    """Leases, signs of life and work in progress, forged; then all of them deleted while an action is under way."""
    asked, real, here = own.root / "asked", ForgejoClient.ls_refs, os.getpid()

    def refs(client: ForgejoClient, repo: RepoName, prefixes: Sequence[str]) -> Mapping[str, str]:
        if os.getpid() != here:  # what the test itself asks is not meant
            with asked.open("a", encoding="ascii") as file:
                file.write("".join(f"{prefix}\n" for prefix in prefixes))
        return real(client, repo, prefixes)

    off.patch.setattr(ForgejoClient, "ls_refs", refs)
    action = own.action("gamma")
    forged = own.commit({action.path: action.write()}, own.tip("main"))
    names = [f"refs/factory/{kind}/{action.id}" for kind in ("leases", "hosts", "wip", "vault", "claims", "heads/main")]
    assert not own.push(FACTORY, *(f"{forged}:{name}" for name in names))
    assert effects(own, action.id) == 0
    assert own.dispatch().ledger.state(action.id).kind == "NEW"
    good = approved(own)
    assert not own.push(FACTORY, *(f":{name}" for name in names))
    assert effects(own, good) == 1
    assert effects(own, good) == 1, "and it stays at one"
    names = {*asked.read_text(encoding="ascii").split()}
    branches = {f"refs/heads/{name}" for name in ("main", "auto", "ledger", "journal", "vault/")}
    assert names == {*branches, "refs/pull/"}
    return Seen("allows", "nothing is done",
                "cannot: the vault asks the forge for other names, and none of these is among them")  # fmt: skip


@rule("auto has a history of its own: a pull request from it into main is refused", forge="blocks",
      vault="wrong-merge | extra-paths",
      off="cannot: it brings more than one file, and merging gives no tree to compare with",
      check="a merge adds one file and holds what merging gives")  # fmt: skip
def test_rule_auto_is_never_merged_into_main(own: Keep) -> Seen:
    """Low actions that nobody approved, brought to where an approval is for more."""
    low = own.ask(own.action("alpha"), "auto")
    assert own.merge(low)
    assert effects(own, low.id) == 1
    worse = own.action("gamma")
    tip = own.tip("auto")
    head = own.commit({worse.path: worse.write()}, tip)
    own.wrongly("auto", head)
    assert not own.work.run("merge-base", tip, own.tip("main"), codes=(0, 1)), "they have nothing in common"
    pull = Asked(worse.id, own.site.client(VAULT).create_pull(own.ops, head="auto", base="main", title="t", body="")
                 .number, "auto", head, "main")  # fmt: skip
    own.review(pull)
    forge = "allows" if own.merge(pull) else "blocks"
    if forge == "blocks":
        main = own.tip("main")
        both = own.commit({worse.path: worse.write()}, main)
        tree = own.work.text("rev-parse", f"{both}^{{tree}}")
        own.wrongly("main", own.commit({}, main, head, tree=tree))
    assert effects(own, worse.id) == 0
    state = own.dispatch().ledger.state(worse.id)
    return Seen(forge, str(state.evidence["code"]),
                "cannot: it brings more than one file, and merging gives no tree to compare with")  # fmt: skip


@rule("A TRUST is judged by the people of the TRUST before it, never by those whom the change lists", forge="allows",
      vault="approver-not-listed", check="the version in force before it says whose approval counts")  # fmt: skip
def test_rule_trust_is_judged_by_the_admins_of_the_trust_before(own: Keep, off: Blind) -> Seen:
    """An approver makes himself an admin, by his own approval."""
    def act() -> str:
        asked = own.ask(own.action("gamma"))
        own.review(asked, APPROVER)
        own.merged(asked)
        return asked.id

    own.edit({"vault/policy.toml": own.policy(2, admins=(FOUNDER, APPROVER))}, by=APPROVER)
    own.dispatch().turn()
    assert len(own.dispatch().ledger.trust) == 1
    id = act()
    assert effects(own, id) == 0
    code = str(own.dispatch().ledger.state(id).evidence["code"])
    off.approved_for_trust()
    own.edit({"README.md": b"# moved on\n"})
    own.dispatch().turn()
    assert len(own.dispatch().ledger.trust) == 2
    assert effects(own, act()) == 1
    return Seen("allows", code)

"""Attacks through git: merges that are none, history that is replaced, names that are options, floods of refs."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from factory.git import hardened
from factory.git.hardened import Git
from factory.vault import dispatch, verify
from factory.vault.canonical import Refused
from factory.vault.ports import PullFact
from factory.vault.verify import Case
from factory.vault.watch import loop
from tests.contract.conftest import fresh
from tests.integration.vault.attacks.blind import Blind
from tests.integration.vault.attacks.keep import FACTORY, Keep
from tests.integration.vault.attacks.raid import effects, raid, refused
from tests.integration.vault.attacks.register import Seen, attack
from tests.integration.vault.commits import git


def merge_as_told(case: Case) -> Case:
    """What the merge holds is taken for what merging gives."""
    mine = tuple(change for change in case.merge.changes if change.path.startswith(b"vault/actions/"))
    return replace(case, expected_tree=case.tree, at_head=case.data, merge=replace(case.merge, changes=mine))


@attack(37, "A merge commit with other content than its approved head", forge="blocks", vault="wrong-merge",
        check="merging is done again and must give the same tree")  # fmt: skip
def test_attack_37_a_forged_merge(keep: Keep, off: Blind) -> Seen:
    def act() -> str:
        action = keep.action("gamma")
        asked = keep.ask(action)
        keep.review(asked)
        other = replace(action, reason="nobody read this").write()
        said = keep.push(FACTORY, f"{keep.commit({action.path: other}, keep.tip('main'))}:refs/heads/main")
        keep.said.append(said)
        assert "protected" in said
        keep.merge_wrongly(asked, {action.path: other})
        return action.id

    seen = raid(keep, act, lambda: off.case(merge_as_told))
    assert keep.runner().orders[-1].action.reason == "nobody read this"
    return seen


@attack(37, "The file pushed straight to main, without a merge", forge="blocks", vault="not-a-merge",
        off="cannot: without a second parent there is no request to judge",
        check="what adds a file is the merge of a pull request")  # fmt: skip
def test_attack_37_pushed_straight_to_main(own: Keep) -> Seen:
    def act() -> str:
        action = own.action("gamma")
        made = own.commit({action.path: action.write()}, own.tip("main"))
        own.said.append(own.push(FACTORY, f"{made}:refs/heads/main"))
        own.wrongly("main", made)
        return action.id

    return Seen(*refused(own, act), "cannot: without a second parent there is no request to judge")


@attack(41, "A merge by the forge on a wrong base, which takes back what others merged", forge="allows",
        vault="extra-paths | wrong-merge", check="merging is done again and must give the same tree")  # fmt: skip
def test_attack_41_a_wrong_merge_base(keep: Keep, off: Blind) -> Seen:
    def act() -> str:
        action, before = keep.action("gamma"), keep.tip("main")
        asked = keep.ask(action)
        keep.tip(asked.branch)
        keep.edit({"README.md": f"# {action.id}\n".encode()})
        keep.review(asked)
        tree = git(keep.work.repo, "rev-parse", f"{keep.commit({action.path: action.write()}, before)}^{{tree}}")
        keep.wrongly("main", keep.commit({}, keep.tip("main"), asked.head, tree=tree))
        return action.id

    return raid(keep, act, lambda: off.case(merge_as_told))


@attack(41, "A merge that conflicts, taken with its conflict", forge="blocks", vault="extra-paths",
        off="cannot: what conflicts is a file that main has, so it is no addition",
        check="a merge adds one file; one that conflicts gives no tree to compare with")  # fmt: skip
def test_attack_41_a_conflict_is_no_tree(keep: Keep) -> Seen:
    def act() -> str:
        action = keep.action("gamma")
        asked = keep.ask(action, extra={"README.md": b"# mine\n"})
        keep.edit({"README.md": f"# {action.id}\n".encode()})
        keep.review(asked)
        assert not keep.merge(asked)
        main, _ = keep.tip("main"), keep.tip(asked.branch)
        said = subprocess.run(
            ["git", f"--git-dir={keep.work.repo}", "merge-tree", "--write-tree", main, asked.head],
            capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]},
        )  # fmt: skip
        assert said.returncode == 1
        tree = said.stdout.split("\n")[0]
        assert len(tree) == 40
        assert keep.work.merged_tree(main, asked.head) == ""
        keep.wrongly("main", keep.commit({}, main, asked.head, tree=tree))
        return action.id

    return Seen(*refused(keep, act), "cannot: what conflicts is a file that main has, so it is no addition")


@attack(57, "Configuration, variables and hooks of the dispatcher's host that make git run something",
        vault="it runs nothing", check="git gets an environment of its own and no configuration but ours")  # fmt: skip
def test_attack_57_hostile_surroundings(keep: Keep, off: Blind, tmp_path: Path) -> Seen:
    trace = tmp_path / "was-run"
    program = tmp_path / "evil"
    program.write_text(f"#!/bin/sh\necho x >> {trace}\nexit 0\n")
    program.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    lines = f"[core]\n\tfsmonitor = {program}\n\tsshCommand = {program}\n\thooksPath = {tmp_path}\n"
    lines += f"[credential]\n\thelper = {program}\n[url \"{tmp_path}\"]\n\tinsteadOf = http://\n"
    (home / ".gitconfig").write_text(lines)
    for name in ("reference-transaction", "post-merge", "pre-push"):
        (tmp_path / name).write_text(program.read_text())
        (tmp_path / name).chmod(0o755)
    hostile = {
        "HOME": str(home), "GIT_CONFIG_GLOBAL": str(home / ".gitconfig"), "GIT_ASKPASS": str(program),
        "GIT_EXTERNAL_DIFF": str(program), "GIT_SSH_COMMAND": str(program), "GIT_PROXY_COMMAND": str(program),
        "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.hooksPath", "GIT_CONFIG_VALUE_0": str(tmp_path),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": "/nowhere", "GIT_TRACE": str(trace),
    }  # fmt: skip
    for key, value in hostile.items():
        off.patch.setenv(key, value)

    def act() -> str:
        asked = keep.ask(keep.action("gamma"))
        keep.review(asked)
        keep.merged(asked)
        return asked.id

    assert effects(keep, act()) == 1
    assert not trace.exists()
    off.patch.setattr(hardened, "_ENV", {**hardened._ENV, **hostile})
    off.patch.setattr(hardened, "_CONFIG", ())
    id = act()
    keep.dispatch().turn()
    assert trace.exists(), id
    return Seen("-", "it runs nothing")


@attack(58, "Branches whose names are options, ranges or expressions", forge="allows", vault="it is left out",
        check="an id is matched before it is anything else; refs are asked for by full names")  # fmt: skip
def test_attack_58_names_of_branches(own: Keep, off: Blind) -> Seen:
    main = own.tip("main")
    names = ["--upload-pack=x", "-x", "a+b", "A", "x" * 70, "a.b", "é"]
    assert not own.push(FACTORY, *(f"{main}:refs/heads/vault/{name}" for name in names))
    dispatcher = own.dispatch()
    dispatcher.turn()
    assert dispatcher.ledger.states == {}
    assert not dispatcher.alarms
    with pytest.raises(hardened.GitTrouble):
        Git(own.root / "other" / "repo.git", "--upload-pack=/bin/true").fetch("main")
    off.patch.setattr(dispatch, "ID", re.compile(r"[a-z0-9-]+"))
    own.run(1)
    assert "e/-x/" in git(own.work.repo, "ls-tree", "-r", "--name-only", own.tip("ledger"))
    return Seen("allows", "it is left out")


@attack(59, "Replaced objects, so that a reader sees other content than was approved", forge="allows",
        vault="the real ones are read",
        check="no replacement counts, wherever it is; only three branches are fetched")  # fmt: skip
def test_attack_59_replaced_objects(own: Keep, off: Blind) -> Seen:
    """Head and merge are replaced by ones with other content, which fit each other."""

    def reason() -> str:
        dispatcher, runner = own.run(1)
        action = own.action("gamma")
        asked = own.ask(action)
        own.review(asked)
        own.merged(asked)
        merge = own.tip("main")
        evil = {action.path: replace(action, reason="nobody read this").write()}
        base = git(own.work.repo, "rev-parse", f"{merge}^1")
        tree = git(own.work.repo, "rev-parse", f"{own.commit(evil, base)}^{{tree}}")
        twins = {asked.head: own.commit({}, base, tree=tree), merge: own.commit({}, base, asked.head, tree=tree)}
        specs = [f"{twin}:refs/replace/{oid}" for oid, twin in twins.items()]
        assert not own.push(FACTORY, *specs), "a forge takes what it does not know"
        git(dispatcher.mirror, "fetch", "--quiet", str(own.work.repo), *specs)
        assert "nobody read this" in git(dispatcher.mirror, "show", f"{merge}:{action.path}")
        dispatcher.turn()
        return next(order.action.reason for order in runner.orders if order.id == action.id)

    assert reason() == "because"
    env = {key: value for key, value in hardened._ENV.items() if key != "GIT_NO_REPLACE_OBJECTS"}
    off.patch.setattr(hardened, "_ENV", env)
    assert reason() == "nobody read this"
    return Seen("allows", "the real ones are read")


@attack(23, "Hundreds of branches that look like requests", forge="allows", vault="a hundred are noted in a turn",
        off="it takes all of them into one turn", check="what is noted in one turn has a bound")  # fmt: skip
def test_attack_23_a_flood_of_branches(own: Keep, off: Blind) -> Seen:
    main = own.tip("main")
    assert dispatch.OPENED == 100
    off.patch.setattr(dispatch, "OPENED", 20)  # the bound holds at any number, and each branch costs a request
    off.patch.setattr(loop, "MAX_ROUNDS", 1)  # it sleeps after each turn
    assert not own.push(FACTORY, *(f"{main}:refs/heads/vault/flood-{number:03}" for number in range(26)))
    asked = own.ask(own.action("gamma"))
    own.review(asked)
    own.merged(asked)
    dispatcher, runner = own.dispatcher()
    dispatcher.turn()
    assert len([state for state in dispatcher.ledger.states.values() if state.kind == "SEEN"]) == 20
    assert len(runner.orders) == 1, "and what was approved starts all the same"
    off.patch.setattr(dispatch, "OPENED", 10**6)
    assert not own.push(FACTORY, *(f"{main}:refs/heads/vault/more-{number:03}" for number in range(26)))
    dispatcher.turn()
    assert len(dispatcher.ledger.states) == 53
    return Seen("allows", "a hundred are noted in a turn", "it takes all of them into one turn")


@attack(42, "Somebody else proposes the same head, so that it is not the only one", forge="allows",
        vault="it starts once",
        check="of the requests with that head, those of the vault's own account count")  # fmt: skip
def test_attack_42_the_same_head_twice(own: Keep, off: Blind) -> Seen:
    def act() -> str:
        asked = own.ask(own.action("gamma"))
        twin = f"edit/{fresh('twin')}"
        own.tip(asked.branch)
        assert not own.push(FACTORY, f"{asked.head}:refs/heads/{twin}")
        own.propose("", twin, asked.head, who=FACTORY)
        own.review(asked)
        own.merged(asked)
        return asked.id

    assert effects(own, act()) == 1

    def only_one(case: Case) -> PullFact:
        there = [pull for pull in case.pulls if pull.head_sha == case.merge.parents[1]]
        if len(there) != 1:
            raise Refused("no-pull-request", "not one")
        return there[0]

    off.patch.setattr(verify, "_pull", only_one)
    assert refused(own, act)[1] == "no-pull-request"
    return Seen("allows", "it starts once")

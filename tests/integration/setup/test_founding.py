"""The vault's beginning: made by the first set-up, found by the second, completed where there was none."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from factory.app.founding import TIERS, formula_lines
from factory.app.places import vault_folder
from factory.config.home import packaged
from factory.forge.values import RepoName
from factory.git.hardened import Git
from factory.vault.action import Tier
from factory.vault.authority import in_force
from factory.vault.chain import Chain
from factory.vault.formulas import read as read_formula
from factory.vault.ledger import Ledger
from factory.vault.policy import PATH
from tests.integration.setup.somebody import Somebody

OPS = RepoName("founder", "hello-ops")


def copy(somebody: Somebody, place: Path, login: str = "factory-bot") -> Git:
    token = (somebody.home / "state" / "tokens" / login).read_text(encoding="ascii").strip()
    return Git(place / "copy.git", f"{somebody.url}/{OPS}.git", token)


def ledger(git: Git) -> Ledger:
    """As anybody reads it, with no mark of this host."""
    return Chain(git, git.repo.parent / "mark.json", lambda data: "").sync()


def test_the_first_set_up_pins_what_everything_is_judged_by(settled: Somebody, tmp_path: Path) -> None:
    git = copy(settled, tmp_path)
    told = ledger(git)
    git.fetch("main", "auto")
    assert told.genesis is not None
    said = told.genesis.evidence
    repo, seed = settled.get(f"/repos/{OPS}"), git.history("refs/heads/main")[0].oid
    with settled.admin() as admin:
        people = {login: admin.user(login) for login in ("founder", "vault-bot", "dispatcher-bot")}
    assert (said["forge"], said["repo"], said["owner"], said["name"]) == (settled.url, repo["id"], "founder", OPS.name)
    assert said["commit"] == seed
    assert said["vault_bot"] == people["vault-bot"].id
    assert people["founder"].id not in said["bots"]
    assert {people["vault-bot"].id, people["dispatcher-bot"].id} < set(said["bots"])
    policy = in_force(told, git).policy
    assert policy.admins == policy.approvers == frozenset(said["admins"]) == {people["founder"].id}
    assert told.root == git.history("refs/heads/ledger")[0].oid
    assert git.text("ls-tree", "-r", "--name-only", "refs/heads/auto") == "vault/actions/.gitkeep"
    assert git.history("refs/heads/auto")[0].parents == ()
    # The host's keys are there, and theirs only; their public halves are in the record.
    state = settled.home / "state" / "vault"
    assert said["dispatcher_age"].startswith("age1")
    assert all((state / name).stat().st_mode & 0o077 == 0 for name in ("age.key", "host_key"))
    assert git.run("log", "-1", "--format=%B", "refs/heads/ledger").count(b"BEGIN SSH SIGNATURE") == 1
    mark = json.loads((vault_folder(settled.home / "state", str(OPS)) / "ledger.json").read_bytes())
    assert (mark["root"], mark["count"]) == (told.root, 1)


def test_every_packaged_formula_is_pinned_with_a_tier_no_lower_than_its_own(settled: Somebody, tmp_path: Path) -> None:
    git = copy(settled, tmp_path)
    git_ledger = ledger(git)
    git.fetch("main")
    policy = in_force(git_ledger, git).policy
    files = {name: data for name, data in packaged("formulas").items() if b"[vault" in data}
    assert TIERS.keys() <= files.keys()
    formulas = [read_formula(data) for data in files.values()]
    assert policy.formulas.keys() == {formula.key for formula in formulas} == {line.key for line in formula_lines()}
    for formula in formulas:
        rule = policy.formulas[formula.key]
        assert rule.digest == formula.digest
        assert rule.tier >= formula.floor
        assert rule.tier is Tier.of(TIERS[formula.name])


def test_the_root_is_told_each_time_and_nothing_is_done_twice(settled: Somebody, tmp_path: Path) -> None:
    ran = settled.init(settled.folder / "hello")
    assert "nothing to do: it is all there" in ran.out
    told = ledger(copy(settled, tmp_path))
    assert f"ledger     begins with {told.root}: keep that number somewhere else" in ran.out
    assert told.count == 1


def test_a_set_up_that_was_cut_off_before_the_ledger_goes_on(somebody: Somebody, tmp_path: Path) -> None:
    from factory.app import founding

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    project = somebody.project()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(founding.Founding, "begin", cut)
        somebody.init(project, code=None)
    git = copy(somebody, tmp_path)
    assert git.run("ls-remote", git.url, "refs/heads/ledger", net=True) == b""
    steps = somebody.init(project, "--json").facts()["steps"]
    assert [step for step in steps if step.startswith("begin the ledger")] != []
    assert ledger(git).count == 1


def as_before_the_vault(somebody: Somebody) -> None:
    """The ops repo as an older set-up made it: no policy, and a ledger with nothing in it."""
    with pytest.MonkeyPatch.context() as patch:
        from factory.app import completing, founding, seeding

        patch.setattr(seeding, "OPS_BRANCHES", {name: {} for name in ("auto", "ledger", "journal")})
        patch.setattr(seeding, "_people_ids", lambda setting: {})
        patch.setattr(completing, "found", lambda *_: founding.Begun("none"))
        somebody.init(somebody.folder / "hello")


def test_an_older_deployment_is_completed_by_its_person_and_two_more_runs(somebody: Somebody, tmp_path: Path) -> None:
    project = somebody.project()
    as_before_the_vault(somebody)
    git = copy(somebody, tmp_path)
    git.fetch("main")
    seed = git.text("rev-parse", "refs/heads/main")
    assert git.read([f"{seed}:{PATH}"], 1 << 20) == [None]
    first = somebody.init(project)
    assert "the same init again begins the vault's ledger" in first.out
    (pull,) = somebody.get(f"/repos/{OPS}/pulls?state=open")
    assert (pull["title"], pull["user"]["login"]) == ("Begin the vault", "factory-bot")
    # Nothing is proposed twice, and nothing begins before it is approved.
    assert [step for step in somebody.init(project, "--json").facts()["steps"] if "ledger" in step] == []
    assert len(somebody.get(f"/repos/{OPS}/pulls?state=all")) == 1
    merged = approve_and_merge(somebody, pull)
    done = somebody.init(project, "--json").facts()
    assert f"remove the branch ledger of {OPS}, which held nothing" in done["steps"]
    told = ledger(git)
    assert told.genesis is not None
    assert (told.genesis.evidence["commit"], done["ledger"]) == (merged, told.root)
    rules = {rule["rule_name"] for rule in somebody.get(f"/repos/{OPS}/branch_protections", "sentinel-bot")}
    assert rules == {"mai[n]", "aut[o]", "ledge[r]", "journa[l]"}
    assert somebody.init(project, "--json").facts()["steps"] == []


def approve_and_merge(somebody: Somebody, pull: dict) -> str:
    """By the founder and, as the daemon does it one tick later, by factory-bot; then what the daemon's rules say."""
    from factory.app import projects
    from factory.app.deployment import Deployment
    from factory.app.opsrepo import mirror
    from factory.app.people import as_person
    from factory.daemon.rules import Rules
    from factory.forge.snapshot import Snapshot
    from factory.forge.values import ReviewState

    head, number = pull["head"]["sha"], pull["number"]
    with closing(Deployment.open(somebody.home)) as deployment:
        with as_person(deployment, "founder") as founder:
            founder.review(OPS, number, state=ReviewState.APPROVED, body="", commit=head)
        bot = deployment.forge("factory-bot")
        merged = bot.merge(OPS, number, head=head, title="Begin the vault", message="approved")
        project = RepoName("founder", "hello")
        known = projects.load(deployment.state, project)
        assert known is not None
        view = Snapshot(bot, project, OPS, somebody.folder / "snapshot.json").refresh()
        rules = Rules(deployment.state / "authority" / "founder.hello.json")
        bots = frozenset(login.lower() for login in known.account_ids)
        rules.read(mirror(deployment, OPS, refresh=True), view, known.seed, OPS, bots)
        kept = rules.kept()
    assert kept is not None
    assert kept.commit == merged
    return merged


def test_somebody_elses_ledger_is_not_taken_for_ours(somebody: Somebody, tmp_path: Path) -> None:
    """This host's mark is not on it, or the branch was rewritten: said in words, and nothing is begun over it."""
    project = somebody.project()
    somebody.init(project)
    folder = vault_folder(somebody.home / "state", str(OPS))
    mark = folder / "ledger.json"
    mark.write_text(json.dumps({"root": "f" * 40, "tip": "f" * 40, "count": 3}), encoding="utf-8")
    ran = somebody.init(project, code=7)
    assert ran.err.startswith(f"error: reading the ledger of {OPS}: ")
    assert "is not on the ledger any more" in ran.err
    assert "hint:" in ran.err
    assert ledger(copy(somebody, tmp_path)).count == 1
    shutil.rmtree(folder)
    assert somebody.init(project, "--json").facts()["ledger"] == ledger(copy(somebody, tmp_path)).root

"""The set-up on a real forge: done once, done again, put right, attacked."""

from __future__ import annotations

import os
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest

from factory.app.deployment import Deployment
from factory.app.doctor import forge
from factory.config.model import DEFAULT_ACCOUNTS
from factory.errors import ForgeRefused
from factory.forge.client import ForgejoClient
from factory.forge.settings import ONLY_MERGE
from factory.forge.setup.apply import apply
from factory.forge.setup.observed import observe, working_tokens
from factory.forge.setup.plan import plan_setup
from factory.forge.setup.steps import (
    ActionsOff,
    CreateAccount,
    MintToken,
    OnlyMerge,
    Propose,
    Protect,
    SetCollaborator,
    Unprotect,
)
from factory.forge.values import BranchProtection, RepoName, ReviewState
from factory.forge.wanted import SCOPES, wanted_setup
from tests.contract.opsrepo import BRANCHES, Done, set_up


@pytest.fixture(scope="module")
def done(site) -> Iterator[Done]:
    """A whole set-up: people and bots, two repos, rules, tokens."""
    made = set_up(site, site.suffix or "-s")
    yield made
    made.close()


def client(site, done: Done, duty: str) -> ForgejoClient:
    return done.client(duty)


def test_a_second_run_has_nothing_to_do(site, done: Done) -> None:
    assert plan_setup(observe(site.admin, done.wanted, tokens=done.credentials.tokens), done.wanted) == ()


def test_every_secret_was_handed_over_as_it_was_made(done: Done) -> None:
    assert {f"token:{login}": token for login, token in done.credentials.tokens.items()}.items() <= done.kept.items()
    assert set(done.credentials.tokens) == set(done.accounts.values())
    assert list(done.credentials.passwords) == [done.project.owner]
    assert all(token not in repr(done.credentials) for token in done.credentials.tokens.values())


def test_kept_tokens_are_checked(site, done: Done) -> None:
    some = dict(done.credentials.tokens)
    release = done.accounts["release"]
    asked = {**some, "stale": "0" * 40}
    found = working_tokens(site.url, asked, done.ops, elsewhere={release: done.project}, seeing=True)
    assert found == frozenset(some)
    assert working_tokens(site.url, asked, done.ops, elsewhere={}, seeing=True) == frozenset(some) - {release}


def test_bots_have_no_password_anybody_knows(site, done: Done) -> None:
    assert not any(kind.startswith("password") and done.project.owner not in kind for kind in done.kept)


@pytest.mark.parametrize("branch", BRANCHES)
def test_the_rules_are_in_force_on_the_ops_repo(site, done: Done, branch: str) -> None:
    rules = {rule.rule_name: rule for rule in site.admin.protections(done.ops)}
    want = {rule.rule_name: rule for rule in done.wanted.repos[1].protections}
    assert rules == want
    assert f"{branch[:-1]}[{branch[-1]}]" in rules


def test_actions_are_off(site, done: Done) -> None:
    assert site.admin.repo(done.ops).has_actions is False


def test_merge_is_the_only_way_of_merging(site, done: Done) -> None:
    assert site.admin.repo(done.ops).styles == ONLY_MERGE
    site.admin.edit_repo(done.ops, allow_squash_merge=True)
    (step,) = repaired(site, done)
    assert isinstance(step, OnlyMerge)
    assert site.admin.repo(done.ops).styles == ONLY_MERGE


# what each account can and cannot do

ATTEMPTS = [
    # duty, method, path, body, allowed
    ("factory", "POST", "/repos/{project}/statuses/main", {"state": "success", "context": "factory/ci"}, True),
    ("reviewer", "POST", "/repos/{project}/issues", {"title": "follow-up"}, True),
    ("planner", "POST", "/repos/{ops}/issues", {"title": "need"}, True),
    ("planner", "POST", "/repos/{project}/branches", {"new_branch_name": "planner", "old_ref_name": "main"}, False),
    ("dev", "POST", "/repos/{project}/branches", {"new_branch_name": "fix/1", "old_ref_name": "main"}, True),
    ("dev", "POST", "/repos/{ops}/branches", {"new_branch_name": "sneak", "old_ref_name": "main"}, False),
    ("reviewer", "POST", "/repos/{ops}/branches", {"new_branch_name": "sneak", "old_ref_name": "main"}, False),
    ("vault", "POST", "/repos/{ops}/branches", {"new_branch_name": "vault/1", "old_ref_name": "main"}, True),
    ("sentinel", "GET", "/repos/{ops}/branch_protections", None, True),
    ("sentinel", "GET", "/repos/{project}/branch_protections", None, True),
    ("sentinel", "GET", "/repos/{ops}/collaborators", None, True),
    ("sentinel", "POST", "/repos/{ops}/branch_protections", {"rule_name": "x"}, False),
    ("sentinel", "PUT", "/repos/{ops}/collaborators/x", {"permission": "admin"}, False),
    ("sentinel", "POST", "/repos/{ops}/issues", {"title": "x"}, False),
    ("sentinel", "PATCH", "/repos/{ops}", {"private": False}, False),
    ("factory", "POST", "/repos/{ops}/branch_protections", {"rule_name": "x"}, False),
    ("factory", "DELETE", "/repos/{ops}/branch_protections/mai%5Bn%5D", {}, False),
    ("factory", "PATCH", "/repos/{ops}/branch_protections/mai%5Bn%5D", {"enable_push": True}, False),
    ("factory", "PATCH", "/repos/{ops}", {"private": False}, False),
    ("factory", "POST", "/admin/users", {"username": "x", "email": "x@x.invalid", "password": "aA1-xxxxxxxx"}, False),
    ("factory", "POST", "/user/repos", {"name": "mine"}, False),
    ("factory", "GET", "/user", None, False),
    ("dispatcher", "POST", "/repos/{project}/issues", {"title": "x"}, False),
    ("dispatcher", "POST", "/repos/{ops}/issues", {"title": "x"}, False),
    ("dispatcher", "POST", "/repos/{project}/tags", {"tag_name": "d1", "message": "x"}, False),
    ("vault", "POST", "/repos/{project}/tags", {"tag_name": "v1", "message": "x"}, False),
    ("dev", "POST", "/repos/{project}/tags", {"tag_name": "v2", "message": "x"}, False),
    ("factory", "POST", "/repos/{project}/releases", {"tag_name": "v3"}, False),
    ("release", "POST", "/repos/{project}/tags", {"tag_name": "v4", "message": "x"}, True),
    ("release", "POST", "/repos/{project}/releases", {"tag_name": "v5"}, True),
    ("release", "GET", "/repos/{ops}", None, False),
    ("release", "POST", "/repos/{project}/issues", {"title": "x"}, False),
    ("release", "DELETE", "/repos/{project}/tag_protections/1", {}, False),
]


@pytest.mark.parametrize(("duty", "method", "path", "body", "allowed"), ATTEMPTS)
def test_what_each_token_can_do(
    site, done: Done, duty: str, method: str, path: str, body: object, allowed: bool
) -> None:
    token = done.credentials.tokens[done.login(duty)]
    answer = site.call(method, path.format(project=done.project, ops=done.ops), body, token=token)
    if path == "/user":
        # Before Forgejo 15 a token cannot be limited to repos, and may read its own account.
        allowed = site.admin.version().major < 15
    assert (200 <= answer.status_code < 300) is allowed, answer.text
    if not allowed:
        # 422: a tag that a rule keeps for others.
        assert answer.status_code in (403, 404, 422)


@pytest.mark.parametrize("duty", sorted(SCOPES.keys() - {"release"}))
def test_no_account_but_that_of_releases_makes_tags(site, done: Done, duty: str, tmp_path: Path) -> None:
    """In the namespace where a probe looks whether an approved release happened."""
    own, login, name = done.client(duty), done.login(duty), f"plant-{duty}"
    tip = done.client("release").ls_refs(done.project, ["refs/heads/main"])["refs/heads/main"]
    with pytest.raises(ForgeRefused):
        own.create_tag(done.project, name, commit=tip, message="Factory-Idempotency: guessed")
    with pytest.raises(ForgeRefused):
        own.create_release(done.project, name, title="t", notes="Factory-Idempotency: guessed", target=tip)
    url = site.url.replace("://", f"://{login}:{done.credentials.tokens[login]}@") + f"/{done.project}.git"
    quiet = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GIT_TERMINAL_PROMPT": "0"}

    def pushed(*specs: str) -> int:
        command = ["git", "-C", str(tmp_path / "r"), "push", "-q", url, *specs]
        return subprocess.run(command, env=quiet, capture_output=True, timeout=60).returncode

    there = site.url.replace("://", f"://x:{done.credentials.tokens[done.login('release')]}@") + f"/{done.project}.git"
    subprocess.run(["git", "clone", "-q", there, str(tmp_path / "r")], env=quiet, check=True, capture_output=True)
    assert pushed(f"{tip}:refs/tags/{name}") != 0
    done.client("release").create_tag(done.project, f"real-{duty}", commit=tip, message="made")
    assert pushed(f"+{tip}:refs/tags/real-{duty}") != 0, "moved"
    assert pushed(f":refs/tags/real-{duty}") != 0, "deleted"
    tags = done.client("release").ls_refs(done.project, ["refs/tags/"])
    assert f"refs/tags/{name}" not in tags
    assert f"refs/tags/real-{duty}" in tags


def test_doctor_says_where_tags_are_everybodys(site, done: Done) -> None:
    """On a forge that is not ours; it reads the rules as the sentinel."""
    there = cast(Deployment, Hands(done))
    project, ops = forge._read_back(there, done.wanted, done.login("sentinel"))
    assert (project.state.value, ops.state.value) == ("ok", "ok")
    (rule,) = site.admin.tag_rules(done.project)
    site.admin.send("DELETE", f"/repos/{done.project}/tag_protections/{rule.id}", doing="taking it off")
    try:
        project, _ = forge._read_back(there, done.wanted, done.login("sentinel"))
    finally:
        site.admin.set_tag_rule(done.project, rule.pattern, rule.users)
    assert project.state.value == "note"
    assert f"keep the tags of {done.project} for" in project.detail
    assert project.detail.endswith("until then an account of a role can make a tag with an action's key")


@dataclass(frozen=True)
class Hands:
    """Of a deployment only who asks the forge."""

    done: Done

    def forge(self, login: str) -> ForgejoClient:
        return self.done.client(next(duty for duty, one in self.done.accounts.items() if one == login))


def commit(site, done: Done, duty: str, path: str, branch: str, new_branch: str | None = None):
    body = {"content": b64encode(b"x\n").decode(), "branch": branch, "message": "m"}
    if new_branch:
        body["new_branch"] = new_branch
    return site.call(
        "POST", f"/repos/{done.ops}/contents/{path}", body, token=done.credentials.tokens[done.login(duty)]
    )


@pytest.mark.parametrize(
    ("duty", "branch", "path", "allowed"),
    [
        ("factory", "main", "knowledge/dev/memory.md", True),
        ("factory", "main", "pauses/all.toml", True),
        ("factory", "main", "vault/pending/a.md", True),
        ("factory", "main", "vault/policy.toml", False),
        ("factory", "main", "vault/actions/a.toml", False),
        ("factory", "main", "formulas/dev.toml", False),
        ("factory", "main", "knowledge.md", False),
        ("dispatcher", "ledger", "entry-1", True),
        ("factory", "journal", "runs/1.jsonl", True),
        ("dev", "main", "knowledge/x.md", False),
    ],
)
def test_the_direct_routes(site, done: Done, duty: str, branch: str, path: str, allowed: bool) -> None:
    assert (commit(site, done, duty, path, branch).status_code == 201) is allowed


def test_a_persons_change_goes_by_one_approval(site, done: Done) -> None:
    assert commit(site, done, "factory", "AGENTS.md", "main", "edit/agents").status_code == 201
    bot = client(site, done, "factory")
    pull = bot.create_pull(done.ops, head="edit/agents", base="main", title="Edit", body="Requested-by: someone")
    with pytest.raises(ForgeRefused, match="Does not have enough approvals"):
        bot.merge(done.ops, pull.number, head=pull.head_sha, title="t", message="m")
    # No bot approves.
    for duty in ("vault", "reviewer", "dev"):
        review = client(site, done, duty).review(
            done.ops, pull.number, state=ReviewState.APPROVED, body="", commit=pull.head_sha
        )
        assert review.official is False
    with pytest.raises(ForgeRefused, match="Does not have enough approvals"):
        bot.merge(done.ops, pull.number, head=pull.head_sha, title="t", message="m")
    with ForgejoClient(site.url, done.kept["owner"]) as person:
        assert person.review(done.ops, pull.number, state=ReviewState.APPROVED, body="", commit=pull.head_sha).official
        # Approving is a person's only act; not even the owner merges.
        with pytest.raises(ForgeRefused, match="User not allowed to merge PR"):
            person.merge(done.ops, pull.number, head=pull.head_sha, title="t", message="m")
    # The base moves by dashboard commits meanwhile; nothing changes.
    for n in range(3):
        assert commit(site, done, "factory", f"dashboard/{n}.svg", "main").status_code == 201
    assert bot.merge(done.ops, pull.number, head=pull.head_sha, title="t", message="m")


@pytest.mark.parametrize("branch", ["ledger", "journal"])
def test_nothing_is_merged_into_records(site, done: Done, branch: str) -> None:
    assert commit(site, done, "vault", f"x-{branch}", "main", f"into-{branch}").status_code == 201
    pull = client(site, done, "vault").create_pull(done.ops, head=f"into-{branch}", base=branch, title="x", body="")
    for duty in ("vault", "factory", "dispatcher"):
        with pytest.raises(ForgeRefused, match="User not allowed to merge PR"):
            client(site, done, duty).merge(done.ops, pull.number, head=pull.head_sha, title="t", message="m")


# put right


def repaired(site, done: Done) -> list[object]:
    steps = plan_setup(observe(site.admin, done.wanted, tokens=done.credentials.tokens), done.wanted)
    apply(site.admin, steps)
    assert plan_setup(observe(site.admin, done.wanted, tokens=done.credentials.tokens), done.wanted) == ()
    return list(steps)


def test_a_weakened_rule_is_put_right(site, done: Done) -> None:
    rule = done.wanted.repos[1].protections[0]
    site.admin.set_protection(done.ops, replace(rule, required_approvals=0))
    (step,) = repaired(site, done)
    assert isinstance(step, Protect)


def test_a_rule_that_wins_over_ours_is_removed(site, done: Done) -> None:
    site.admin.set_protection(done.ops, BranchProtection("main", enable_push=True))
    (step,) = repaired(site, done)
    assert step == Unprotect(done.ops, "main")


def test_a_raised_collaborator_is_put_right(site, done: Done) -> None:
    site.admin.set_collaborator(done.ops, done.login("dev"), "write")
    (step,) = repaired(site, done)
    assert step == SetCollaborator(done.ops, done.login("dev"), "read")


def test_a_lost_token_is_minted_again(site, done: Done) -> None:
    tokens = {login for login in done.credentials.tokens if login != done.login("dev")}
    (step,) = plan_setup(observe(site.admin, done.wanted, tokens=tokens), done.wanted)
    assert isinstance(step, MintToken)
    made = apply(site.admin, [step]).tokens[done.login("dev")]
    with ForgejoClient(site.url, made) as dev:
        assert dev.repo(done.project).name == done.project


def test_a_half_done_setup_is_completed(site) -> None:
    mark = f"{site.suffix}-h"
    owner, accounts = f"owner{mark}", {duty: f"{login}{mark}" for duty, login in DEFAULT_ACCOUNTS.items()}
    project, ops = RepoName(owner, "half"), RepoName(owner, "half-ops")
    wanted = wanted_setup(
        project, ops, accounts=accounts, approvers=[owner], direct_patterns="x/**", new_people=[owner], protect=True
    )
    steps = plan_setup(observe(site.admin, wanted), wanted)
    kept: dict[str, str] = {}

    def keep(kind: str, login: str, _text: str) -> None:
        kept[login] = kind

    apply(site.admin, steps[: len(steps) // 2], keep=keep)
    tokens = {login for login, kind in kept.items() if kind == "token"}
    rest = plan_setup(observe(site.admin, wanted, tokens=tokens), wanted)
    assert 0 < len(rest) < len(steps)
    assert not any(isinstance(step, CreateAccount) and step.login in kept for step in rest)
    apply(site.admin, rest, keep=keep)
    tokens = {login for login, kind in kept.items() if kind == "token"}
    assert plan_setup(observe(site.admin, wanted, tokens=tokens), wanted) == ()


def test_a_project_that_is_there_is_used_as_it_is(site) -> None:
    repo = site.repo()
    owner = repo.owner
    own_rule = BranchProtection("main", required_approvals=2)
    site.client("founder").set_protection(repo, own_rule)
    accounts = {duty: f"{login}{site.suffix}-p" for duty, login in DEFAULT_ACCOUNTS.items()}
    ops = RepoName(owner, f"{repo.name}-ops")
    wanted = wanted_setup(repo, ops, accounts=accounts, approvers=[owner], direct_patterns="x/**", protect=True)
    steps = plan_setup(observe(site.admin, wanted), wanted)
    assert any(isinstance(step, Propose) and step.repo == repo for step in steps)
    assert not any(isinstance(step, ActionsOff) and step.repo == repo for step in steps)
    tip = site.client("founder").ls_refs(repo, ["refs/heads/"])
    apply(site.admin, steps)
    assert site.client("founder").protections(repo) == [own_rule]
    assert site.client("founder").ls_refs(repo, ["refs/heads/"]) == tip


def test_without_the_admins_route_a_password_mints_the_token(site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forgejo before 16: set a password, mint, throw the password away."""
    login = site.account("old-bot")
    step = MintToken(login, ("read:issue",))
    if site.name == "embedded":
        real = site.admin.ask

        def without(method: str, path: str, **rest):
            if path.startswith("/admin/users/") and path.endswith("/tokens"):
                path = "/no-such-route"
            return real(method, path, **rest)

        monkeypatch.setattr(site.admin, "ask", without)
    token = apply(site.admin, [step]).tokens[login]
    assert site.call("GET", "/repos/issues/search", token=token).status_code == 200
    # Neither its old password nor any other we know works any more.
    assert site.call("GET", "/user", who=None, basic=(login, site.passwords[login])).status_code == 401

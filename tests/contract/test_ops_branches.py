"""The four branches of the ops repo under attack by everybody with an account (DESIGN section 6; security rules, first
section): every duty's token and the owner's try to rename, delete, force, write, make anew, merge and update each."""

from __future__ import annotations

import os
import subprocess
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from factory.config.model import DEFAULT_ACCOUNTS
from factory.forge.globs import glob_rule
from factory.forge.values import BranchProtection
from factory.ops.routes import unprotected_patterns
from tests.contract.conftest import Site, soon
from tests.contract.opsrepo import BRANCHES, Done, set_up

MAY_PUSH = {("dispatcher", "ledger"), ("factory", "journal")}
"""Who adds to a record. Adding is all they may."""


@dataclass
class Field:
    """The ops repo, a bare clone of it, and pull requests at hand: into each branch, from each, and out of each."""

    site: Site
    done: Done
    clone: Path
    orphan: str
    into: dict[str, tuple[int, str]]
    out_of: dict[str, tuple[int, str]]

    def token(self, who: str) -> str:
        return self.done.kept["owner"] if who == "owner" else self.done.credentials.tokens[self.done.login(who)]

    def call(self, who: str, method: str, path: str, body: object = None, **query: object) -> int:
        answer = self.site.call(method, f"/repos/{self.done.ops}{path}", body, token=self.token(who), **query)
        status: int = answer.status_code
        return status

    def tips(self) -> dict[str, str]:
        """Of the four, and nothing else: new branches are the writers' to make."""
        refs = self.done.client("owner").ls_refs(self.done.ops, [f"refs/heads/{branch}" for branch in BRANCHES])
        return {ref: oid for ref, oid in refs.items() if ref.removeprefix("refs/heads/") in BRANCHES}

    def push(self, who: str, spec: str) -> int:
        scheme, _, rest = self.done.url.partition("://")
        url = f"{scheme}://x:{self.token(who)}@{rest}/{self.done.ops}.git"
        return git(self.clone, "push", "-q", url, spec, check=False).returncode


def git(folder: Path, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    env = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.invalid", "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@example.invalid",
    }  # fmt: skip
    done = subprocess.run(["git", *argv], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def field(site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    done = set_up(site, f"{site.suffix}-a")
    vault, folder = done.client("vault"), tmp_path_factory.mktemp("ops")
    scheme, _, rest = done.url.partition("://")
    git(folder, "clone", "-q", "--bare", f"{scheme}://x:{done.kept['owner']}@{rest}/{done.ops}.git", "ops.git")
    clone = folder / "ops.git"
    orphan = git(clone, "commit-tree", "-m", "nothing before it", "main^{tree}").stdout.strip()
    content = b64encode(b"x\n").decode()

    def branch(name: str, source: str) -> str:
        body = {"content": content, "branch": source, "new_branch": name, "message": name}
        made = site.call(
            "POST", f"/repos/{done.ops}/contents/{name}", body, token=done.credentials.tokens[done.login("vault")]
        )
        assert made.status_code == 201, made.text
        sha: str = made.json()["commit"]["sha"]
        return sha

    into, out_of = {}, {}
    for name in BRANCHES:
        sha = branch(f"into/{name}", name)
        into[name] = (vault.create_pull(done.ops, head=f"into/{name}", base=name, title="In", body="").number, sha)
        branch(f"side/{name}", name)
        tip = vault.ls_refs(done.ops, [f"refs/heads/{name}"])[f"refs/heads/{name}"]
        out_of[name] = (vault.create_pull(done.ops, head=name, base=f"side/{name}", title="Out", body="").number, tip)
    yield Field(site, done, clone, orphan, into, out_of)
    done.close()


def rename(at: Field, who: str, branch: str) -> int:
    return at.call(who, "PATCH", f"/branches/{branch}", {"name": f"stolen-{branch}"})


def rename_onto(at: Field, who: str, branch: str) -> int:
    return at.call(who, "PATCH", f"/branches/side%2F{branch}", {"name": branch})


def delete(at: Field, who: str, branch: str) -> int:
    return at.call(who, "DELETE", f"/branches/{branch}")


def delete_by_git(at: Field, who: str, branch: str) -> int:
    return at.push(who, f":refs/heads/{branch}")


def force(at: Field, who: str, branch: str) -> int:
    return at.push(who, f"+{at.orphan}:refs/heads/{branch}")


def recreate(at: Field, who: str, branch: str) -> int:
    delete(at, who, branch)
    return at.call(who, "POST", "/branches", {"new_branch_name": branch, "old_ref_name": f"side/{branch}"})


def write(at: Field, who: str, branch: str) -> int:
    if (who, branch) in MAY_PUSH:
        return 403
    body = {"content": b64encode(b"mode = 'merge'\n").decode(), "branch": branch, "message": "m"}
    return at.call(who, "POST", "/contents/evil.toml", body)


def merge(at: Field, who: str, branch: str) -> int:
    if (who, branch) == ("vault", "auto"):
        return 403  # the one that may
    number, head = at.into[branch]
    path = f"/pulls/{number}/merge"
    kind = {"Do": "merge", "head_commit_id": head}
    assert at.call(who, "POST", path, kind) >= 400
    return at.call(who, "POST", path, {**kind, "force_merge": True})


def update(at: Field, who: str, branch: str) -> int:
    """Bringing the base of a pull request into its head, which is one of the four."""
    if (who, branch) in MAY_PUSH:
        return 403  # to them it is a push that adds
    path = f"/pulls/{at.out_of[branch][0]}/update"
    return min(at.call(who, "POST", path, {}, style=style) for style in ("merge", "rebase"))


ATTACKS: tuple[Callable[[Field, str, str], int], ...] = (
    rename, rename_onto, delete, delete_by_git, force, recreate, write, merge, update,
)  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
@pytest.mark.parametrize("who", [*DEFAULT_ACCOUNTS, "owner"])
def test_no_account_gets_past_a_rule(field: Field, who: str, attack: Callable[[Field, str, str], int]) -> None:
    before = field.tips()
    assert len(before) == 4
    for branch in BRANCHES:
        assert attack(field, who, branch) not in (0, 200, 201, 204), branch
        assert field.tips() == before, branch


@pytest.mark.parametrize("branch", BRANCHES)
def test_merging_one_of_them_away_leaves_it_there(field: Field, branch: str) -> None:
    """Merging may delete the head branch afterwards: not when a rule holds it."""
    before, vault, ops = field.tips(), field.done.client("vault"), field.done.ops
    for who in ("vault", "factory", "dispatcher", "owner"):
        base = f"before/{branch}/{who}"
        assert field.push("vault", f"main~1:refs/heads/{base}") == 0
        pull = vault.create_pull(ops, head=branch, base=base, title="Away", body="")
        body = {"Do": "merge", "head_commit_id": pull.head_sha, "delete_branch_after_merge": True}

        def merged(who: str = who, number: int = pull.number, body: object = body) -> bool:
            field.call(who, "POST", f"/pulls/{number}/merge", body)
            return vault.pull(ops, number).merged

        soon(field.site, merged, bool)  # a real forge may be checking it again: the push of its base came just before
        assert field.tips() == before


def test_without_the_rules_every_attack_succeeds(field: Field, site) -> None:
    """What the rules are for: the same attacks on branches that none of them names."""
    done = field.done
    for name in ("open", "open-too"):
        made = field.call("vault", "POST", "/branches", {"new_branch_name": name, "old_ref_name": "main"})
        assert made == 201
    assert field.call("dispatcher", "PATCH", "/branches/open", {"name": "stolen"}) == 204
    assert field.push("dispatcher", f"+{field.orphan}:refs/heads/open-too") == 0
    assert field.push("vault", ":refs/heads/open-too") == 0
    left = done.client("owner").ls_refs(done.ops, ["refs/heads/"])
    assert not {"refs/heads/open", "refs/heads/open-too"} & left.keys()


def test_the_rules_are_those_of_the_design_to_the_letter(field: Field) -> None:
    done = field.done
    vault, factory, dispatcher = (done.login(duty) for duty in ("vault", "factory", "dispatcher"))
    assert sorted(field.site.admin.protections(done.ops), key=lambda rule: rule.rule_name) == sorted(
        [
            BranchProtection(
                "mai[n]", enable_push=False, enable_merge_whitelist=True,
                merge_whitelist_usernames=tuple(sorted((factory, vault))), required_approvals=1,
                enable_approvals_whitelist=True, approvals_whitelist_usernames=(done.ops.owner,),
                block_on_rejected_reviews=True, block_on_official_review_requests=True, block_on_outdated_branch=False,
                dismiss_stale_approvals=True, ignore_stale_approvals=True, protected_file_patterns="",
                unprotected_file_patterns=unprotected_patterns(), apply_to_admins=True,
            ),
            BranchProtection(
                "aut[o]", enable_push=False, enable_merge_whitelist=True, merge_whitelist_usernames=(vault,),
                required_approvals=0, apply_to_admins=True,
            ),
            BranchProtection(
                "ledge[r]", enable_push=True, enable_push_whitelist=True, push_whitelist_usernames=(dispatcher,),
                enable_merge_whitelist=True, merge_whitelist_usernames=(), apply_to_admins=True,
            ),
            BranchProtection(
                "journa[l]", enable_push=True, enable_push_whitelist=True, push_whitelist_usernames=(factory,),
                enable_merge_whitelist=True, merge_whitelist_usernames=(), apply_to_admins=True,
            ),
        ],
        key=lambda rule: rule.rule_name,
    )  # fmt: skip
    assert [glob_rule(branch) for branch in BRANCHES] == ["mai[n]", "aut[o]", "ledge[r]", "journa[l]"]

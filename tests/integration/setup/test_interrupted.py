"""A set-up that is killed after every kind of effect, one after the other, and run again each time: in the end it is
the set-up that nothing had happened to."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from factory.config.model import DEFAULT_ACCOUNTS
from factory.forge.client import ForgejoClient
from factory.forge.values import RepoName
from tests.integration.setup.somebody import CI, Somebody

KILLED_CODE = 137
KILLED = Path(__file__).with_name("killed.py")
PROJECT, OPS = RepoName("founder", "hello"), RepoName("founder", "hello-ops")
EVERY = {
    "home", "keys", "host", "file unfinished", "file people", "file tokens", "POST /admin/users",
    "POST /admin/users/*/repos", "PUT /repos/*/*/collaborators/*", "POST /repos/*/*/labels", "PATCH /repos/*/*",
    "POST /admin/users/*/tokens", "POST /repos/*/*/branch_protections", "POST /repos/*/*/hooks", "push hello.git",
    "push hello-ops.git", "project state", "host, with the project",
}  # fmt: skip
"""What set-up does, by kind. More may come; these are killed after at least."""
HARDEST = (
    "file people", "POST /admin/users", "POST /admin/users/*/tokens", "push hello.git", "push hello-ops.git",
    "POST /repos/*/*/hooks", "project state",
)  # fmt: skip
"""Where something would be lost or made twice, if it were not looked for."""


def interrupted(who: Somebody, project: Path, kinds: Path, only: tuple[str, ...]) -> int:
    """One try, killed after the first effect of a new kind; its exit code."""
    words = ["init", str(project), "--port", str(who.port), "--web-port", str(who.web), "--ci", CI]
    env = {**os.environ, "FACTORY_HOME": str(who.home), "ONLY": "\n".join(only)}
    done = subprocess.run(
        [sys.executable, str(KILLED), str(kinds), *words], env=env, cwd=who.folder, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode in (0, KILLED_CODE), done.stderr
    return done.returncode


@pytest.mark.parametrize("only", [HARDEST, pytest.param((), marks=pytest.mark.soak)], ids=["hardest", "every"])
def test_killed_after_each_kind_of_effect_it_is_completed_by_running_it_again(
    somebody: Somebody, only: tuple[str, ...]
) -> None:
    project, kinds = somebody.project(), somebody.folder / "kinds"
    tries = 0
    while interrupted(somebody, project, kinds, only) != 0:
        tries += 1
        assert tries < 60, kinds.read_text(encoding="utf-8")
    had = kinds.read_text(encoding="utf-8").splitlines()
    assert set(had) >= set(only or EVERY), had
    assert tries == len(had)

    ran = somebody.init(project, "--dry-run")
    assert "  nothing: it is all there\n" in ran.out
    with somebody.admin() as admin:
        for repo in (PROJECT, OPS):
            twice = [name for name, n in Counter(label.name for label in admin.labels(repo)).items() if n > 1]
            assert not twice
            hooks = admin.pages(f"/repos/{repo}/hooks", doing="looking")
            assert len(hooks) == len({str(hook["config"]) for hook in hooks}) == 1
        rules = [rule.rule_name for rule in admin.protections(OPS)]
        assert sorted(rules) == ["aut[o]", "journa[l]", "ledge[r]", "mai[n]"]
        accounts = {str(user["login"]) for user in admin.pages("/admin/users", doing="looking")}
        assert accounts >= {*DEFAULT_ACCOUNTS.values(), "founder"}
    assert somebody.log("founder/hello")[-1] == "Begin hello"
    assert len(somebody.log("founder/hello")) == 2  # and the issue forms, once
    assert len(somebody.log("founder/hello-ops")) == 1
    for login in DEFAULT_ACCOUNTS.values():
        token = (somebody.home / "state" / "tokens" / login).read_text(encoding="ascii").strip()
        repo = PROJECT if login == DEFAULT_ACCOUNTS["release"] else OPS
        with ForgejoClient(somebody.url, token) as own:
            assert own.repo(repo).name == repo
    # The founder can sign in with the password that was kept before the account was made.
    password = (somebody.home / "state" / "people" / "founder").read_text(encoding="ascii").strip()
    with ForgejoClient(somebody.url, basic=("founder", password)) as founder:
        assert founder.me().login == "founder"

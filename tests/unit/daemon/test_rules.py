"""The rules in force, read from the ops repo as git has it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from factory.config.home import data_dir
from factory.daemon.rules import RulesView, read_rules
from factory.git import objects
from factory.git.values import Signature
from factory.plan.admission import account
from factory.plan.merge_gate import rules as gate_rules
from factory.testing import builders as b

WHO = Signature("Ann", "ann@example.test", 1_700_000_000)
FACTORY = 'project = "o/p"\nmode = "merge"\napprovers = ["ann"]\n'


def acting_as(role: str, login: str) -> bytes:
    """The packaged definition of a role, shadowed with another account."""
    packaged = (data_dir("agents") / f"{role}.toml").read_bytes()
    lines = [f'overrides = "{hashlib.sha256(packaged).hexdigest()}"']
    lines += [f'account = "{login}"' if line.startswith("account") else line for line in packaged.decode().splitlines()]
    return ("\n".join(lines) + "\n").encode()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    path = tmp_path / "ops.git"
    objects.init_bare(path)
    return path


def read(repo: Path, before: RulesView | None = None, **roles: str) -> RulesView:
    files = {f"agents/{role}.toml": acting_as(role, login) for role, login in roles.items()}
    tip = objects.build_commit(
        repo, parent=None, changes={"factory.toml": FACTORY.encode(), **files}, message="m", author=WHO, committer=WHO
    )
    return read_rules(repo, tip, tip, before)


def test_a_role_files_account_is_the_same_to_all_who_ask(repo: Path) -> None:
    """Who reviews, whose review counts, and whose pull requests are ours: one answer."""
    view = read(repo, reviewer="judge-bot")
    assert view.problems == ()
    assert (view.config.account("reviewer"), view.config.account("dev")) == ("judge-bot", "dev-bot")
    world = b.world(config=view.config, roles=view.roles)
    assert account(world, "reviewer") == "judge-bot"
    assert gate_rules(world, b.pull()).reviewers == {"judge-bot"}
    assert read(repo, view).config.account("reviewer") == "review-bot", "a definition that is gone says nothing"


@pytest.mark.parametrize(
    ("role", "login", "said"),
    [
        ("reviewer", "dev-bot", 'account "dev-bot" would be author (dev) and approver (reviewer) of the same work'),
        ("dev", "ann", 'approvers[0] "ann" is the account of dev, a bot'),
    ],
)
def test_a_role_file_makes_nobody_author_and_approver(repo: Path, role: str, login: str, said: str) -> None:
    view = read(repo, **{role: login})
    assert [problem.message for problem in view.problems] == [said]
    assert view.config.account(role) != login
    assert account(b.world(config=view.config, roles=view.roles), role) == view.config.account(role)

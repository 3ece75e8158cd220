"""The rules in force, read from the ops repo as git has it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from factory.config.home import data_dir
from factory.daemon.rules import Rules, RulesView, read_rules
from factory.formula.catalog import load_formulas
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
    return read_rules(repo, tip, before)


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


def test_files_are_read_again_when_another_commit_counts_and_pauses_with_every_commit(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def commit(parent: str | None, **files: bytes) -> str:
        changes = {path.replace("__", "/") + ".toml": data for path, data in files.items()}
        return objects.build_commit(repo, parent=parent, changes=changes, message="m", author=WHO, committer=WHO)

    reads = []
    monkeypatch.setattr(
        "factory.daemon.rules.load_formulas", lambda *given, **more: reads.append(1) or load_formulas(*given, **more)
    )
    rules = Rules()

    def looked(tip: str, trusted: str) -> RulesView:
        ops = SimpleNamespace(refs={"refs/heads/main": tip}, pulls=())
        view: Any = SimpleNamespace(ops=ops)
        return rules.read(repo, view, first, b.OPS, frozenset(), (trusted,))

    first = commit(None, factory=FACTORY.encode(), formulas__dev=b"no formula")
    before = looked(first, first)
    assert {problem.path for problem in before.problems} == {"formulas/dev.toml"}
    second = commit(first, pauses__dev=b'by = "ann"\nreason = "holidays"\n')
    paused = looked(second, first)
    assert ([pause.scope for pause in paused.pauses], len(reads)) == (["dev"], 1)
    assert (paused.formulas, paused.problems) == (before.formulas, before.problems)
    third = commit(second, factory=FACTORY.replace("merge", "suggest").encode())
    assert looked(third, third).config.mode.value == "suggest"
    assert len(reads) == 2

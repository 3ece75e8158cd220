"""Checks across files: each is valid alone and does not fit the others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from factory.config.check import check_factory, check_host, check_roles, filled_roles
from factory.config.factory import load_factory
from factory.config.home import packaged
from factory.config.model import RoleDefinition
from factory.config.role import load_roles

ROLES = load_roles({}).known
GOOD = """\
project = "a/b"
mode = "merge"
approvers = ["ann"]
admins = ["ann"]
[ci]
command = "make test"
[budgets]
run_usd = 2
[accounts]
dev = "robot"
[schedules]
gardener = "every 1h"
[[agents]]
name = "n"
backend = "native"
model = "m"
roles = ["dev", "reviewer"]
"""


def found(text: str, roles: dict[str, RoleDefinition] | None = None) -> list[tuple[int | None, str]]:
    load_factory(text.encode())  # it is valid alone
    got = check_factory(text.encode(), "factory.toml", roles=roles or dict(ROLES), backends={"native", "claude-code"})
    return [(p.line, p.message) for p in got]


def test_a_good_deployment_has_no_finding() -> None:
    assert found(GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ('roles = ["dev", "reviewer"]', 'roles = ["dev", "reviwer"]', 17, 'names "reviwer", which is not a role'),
        ('roles = ["dev", "reviewer"]', 'roles = ["dev"]', 13, "no agent works as reviewer"),
        ('roles = ["dev", "reviewer"]', "roles = []", 13, "has no roles"),
        ('["dev", "reviewer"]', '["dev", "reviewer", "planner"]', 17, "planner, which is not active"),
        ('backend = "native"', 'backend = "nativ"', 15, 'backend is "nativ"'),
        ('dev = "robot"', 'dvelop = "robot"', 10, "for no role or duty"),
        ('gardener = "every 1h"', 'gardner = "every 1h"', 12, "for no role"),
        ("run_usd = 2", "run_usd = 30", 8, "more than budgets.role_day_usd (20)"),
        ("run_usd = 2", "project_month_usd = 3", 8, "project_day_usd (40) is more than budgets.project_month_usd (3)"),
        ('command = "make test"', 'contexts = ["factory/ci"]', 5, "no ci.command"),
        ('command = "make test"', 'command = "x"\ncontexts = ["other"]', 7, "nothing waits for it"),
        ('approvers = ["ann"]\nadmins = ["ann"]\n', "", 2, "nobody may approve"),
        ('admins = ["ann"]\n', "", 3, "admins is empty"),
    ],
)  # fmt: skip
def test_what_does_not_fit(old: str, new: str, line: int, words: str) -> None:
    assert old in GOOD
    got = found(GOOD.replace(old, new))
    assert [at for at, message in got if words in message] == [line], got


def test_a_role_file_cannot_bring_author_and_approver_together() -> None:
    roles = {**ROLES, "reviewer": replace(ROLES["reviewer"], account="Robot")}
    assert any("author (dev) and approver (reviewer)" in message for _, message in found(GOOD, roles))


def test_a_role_files_account_is_a_bot() -> None:
    roles = {**ROLES, "dev": replace(ROLES["dev"], account="ann")}
    got = found(GOOD.replace('[accounts]\ndev = "robot"\n', ""), roles)
    assert [line for line, message in got if "a bot" in message] == [3, 4]


def test_merging_needs_a_reviewer() -> None:
    roles = {**ROLES, "reviewer": replace(ROLES["reviewer"], active=False)}
    assert any("reviewer is not active: nothing would be merged" in message for _, message in found(GOOD, roles))


def test_an_agent_hired_on_this_host_fills_its_roles() -> None:
    text = GOOD.replace('["dev", "reviewer"]', '["dev"]').encode()
    assert check_factory(text, "factory.toml", roles=ROLES, filled={"reviewer"}) == ()


def test_observing_needs_nobody() -> None:
    assert found('project = "a/b"\nmode = "observe"\nadmins = ["ann"]\n') == []


def test_host_and_factory() -> None:
    host = 'host = "h"\nsandbox = "none"\n[forge]\nurl = "http://x"\n[backends.m]\nkind = "native"\n'
    got = [(p.line, p.message) for p in check_host(host.encode(), "host.toml", GOOD.encode())]
    assert [line for line, _ in got] == [2, 5, 5]
    assert "agent n of factory.toml has no [backends.n]" in got[1][1]
    assert "belongs to no agent" in got[2][1]
    hired = host.replace('"native"', '"native"\nroles = ["dev"]')
    assert [p.line for p in check_host(hired.encode(), "host.toml", GOOD.encode())] == [2, 5]
    assert filled_roles(hired.encode()) == {"dev"}
    other = host.replace("backends.m", "backends.n").replace('"native"', '"codex"').replace('"none"', '"bubblewrap"')
    assert [p.line for p in check_host(other.encode(), "host.toml", GOOD.encode())] == [6]


def test_roles_and_formulas() -> None:
    files = {name: (f"agents/{name}.toml", text) for name, text in packaged("agents").items()}
    owners = dict.fromkeys(("dev", "fix-ci", "fix-base", "address-review", "resolve-conflict"), "dev")
    assert check_roles(ROLES, files, {**owners, "review-pr": "reviewer"}) == ()
    got = check_roles(ROLES, files, {**owners, "review-pr": "dev", "dev": ""})
    assert [(p.path, p.line, p.message) for p in got] == [
        ("agents/reviewer.toml", 6, 'formulas[0] names "review-pr", which belongs to the role dev')
    ]
    missing = check_roles(ROLES, files, owners)
    assert missing[0].message == 'formulas[0] names "review-pr", which is not a formula'

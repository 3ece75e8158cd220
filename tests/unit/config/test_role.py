"""agents/<role>.toml, packaged ones and those of an ops repo."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from factory.config.home import packaged
from factory.config.role import load_role, load_roles
from factory.errors import ConfigInvalid

GOLDEN = Path(__file__).with_name("golden")


def test_everything_wrong_is_shown_at_once() -> None:
    with pytest.raises(ConfigInvalid) as caught:
        load_role((GOLDEN / "agents.toml").read_bytes(), "agents/gardener.toml", "ops")
    error = caught.value
    shown = "".join(f"{p}\n" for p in error.problems) + f"error: {error.message}\nhint:  {error.hint}\n"
    assert shown == (GOLDEN / "agents.screen").read_text()


def test_the_roles_of_the_design_are_there() -> None:
    roles = load_roles({})
    assert roles.problems == ()
    assert set(roles.known) == {"dev", "reviewer", "gardener", "planner", "predictor", "supervisor", "architect"}
    assert {r.name for r in roles.known.values() if r.active} == {"dev", "reviewer"}
    accounts = [r.account for r in roles.known.values()]
    assert len(set(accounts)) == len(accounts)


def override(**changes: str) -> bytes:
    text = packaged("agents")["dev"].decode()
    digest = hashlib.sha256(text.encode()).hexdigest()
    return (f'overrides = "{changes.get("digest", digest)}"\n' + text).replace("dev-bot", "our-dev").encode()


def test_a_file_of_the_ops_repo_replaces_the_packaged_one_whole() -> None:
    roles = load_roles({"agents/dev.toml": override()})
    assert (roles.known["dev"].account, roles.known["dev"].origin) == ("our-dev", "ops (shadows packaged)")
    assert roles.problems == ()


def test_an_override_of_another_version_stands_but_is_told() -> None:
    roles = load_roles({"agents/dev.toml": override(digest="0" * 64)})
    assert roles.known["dev"].account == "our-dev"
    assert [(p.path, p.line) for p in roles.problems] == [("agents/dev.toml", 1)]
    assert "another version" in roles.problems[0].message


def test_a_broken_file_leaves_the_last_good_one_or_none() -> None:
    before = load_roles({}).known
    broken = {"agents/dev.toml": b"name = 1\n"}
    assert load_roles(broken, previous=before).known["dev"] is before["dev"]
    alone = load_roles(broken)
    assert "dev" not in alone.known
    assert alone.problems


def test_stray_files_are_told() -> None:
    found = load_roles({"agents/dev.tml": b"", "agents/x/dev.toml": b"", "agents/README.md": b"", "other.txt": b""})
    assert [p.path for p in found.problems] == ["agents/dev.tml", "agents/x/dev.toml"]

"""A forge that is not ours, set up with its admin's token: the whole way of an issue, with nothing prepared by hand. On
an embedded forge that stands for it, and on a real Forgejo where one is named as in ``tests/contract/conftest.py``."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from factory.config.model import DEFAULT_ACCOUNTS
from factory.forge.client import ForgejoClient
from tests.acceptance import greet
from tests.acceptance.conftest import Installed, free_port
from tests.acceptance.looking import Looker
from tests.acceptance.provider import Provider
from tests.acceptance.test_foreign_forge import PLAYS, WORDS, Foreign
from tests.acceptance.test_foreign_forge import foreign as foreign

pytestmark = pytest.mark.needs_bwrap


@pytest.fixture
def home(tmp_path: Path, stop_after: Callable[[Path], Path]) -> Path:
    return stop_after(tmp_path / "home")


def token_of_an_admin(foreign: Foreign, login: str) -> str:
    """A new site admin's token with all scopes."""
    foreign.account(login)
    foreign.do("PATCH", f"/admin/users/{login}", {"admin": True, "login_name": login, "source_id": 0})
    with ForgejoClient(foreign.url, basic=(login, WORDS)) as own:
        return own.create_token(login, name="init", scopes=("all",), as_admin=False)


def test_set_up_with_an_admins_token_an_issue_is_merged(
    installed: Installed, httpserver: HTTPServer, tmp_path: Path, home: Path, foreign: Foreign
) -> None:
    mark = secrets.token_hex(3)
    person, source, file = f"chief-{mark}", greet.make(tmp_path), tmp_path / "admin-token"
    token = token_of_an_admin(foreign, person)
    file.write_text(token + "\n", encoding="ascii")
    words: list[str | Path] = ["init", source, "--forge", foreign.url, "--admin-token-file", file, "--mode", "merge"]
    words += ["--ci", greet.CI, "--web-port", str(free_port()), "--json"]
    for duty, login in DEFAULT_ACCOUNTS.items():
        words += ["--account", f"{duty}={login}-{mark}"]

    would = installed.run(*words, "--dry-run", home=home).facts()["steps"]
    assert any(f"{person}/greet-ops" in step for step in would)
    assert foreign.admin.user(f"{DEFAULT_ACCOUNTS['dev']}-{mark}") is None, "a dry run makes nothing"
    set_up = installed.run(*words, home=home)
    made = set_up.facts()
    assert (made["login"], made["project"], made["ops"]) == (person, f"{person}/greet", f"{person}/greet-ops")
    heard = [repo for repo in (made["project"], made["ops"]) if f"test delivery of {repo}: it arrived" in set_up.err]
    line = "ALLOWED_HOST_LIST = external, loopback"
    assert len(heard) == 2 or any(line in note for note in made["notes"]), (set_up.err, made["notes"])
    assert installed.run(*words, "--dry-run", home=home).facts()["steps"] == [], "a second time there is nothing to do"

    provider, key = Provider(httpserver, PLAYS), tmp_path / "key"
    key.write_text("provider-key\n", encoding="utf-8")
    installed.run("hire", "anthropic", "--url", provider.url, "--key-file", key, home=home)
    look = Looker(made["forge"], person, WORDS, made["project"], made["ops"], tmp_path)
    assert greet.approve_what_waits(look) == 1
    filing = ["issue", "file", greet.TITLE, "--body", greet.BODY, "--start", "--token-file", str(file), "--json"]
    filed = installed.run(*filing, home=home).facts()
    installed.run("up", "--detach", home=home)
    pull = greet.wait_until_merged(look, filed["number"], 120)
    greet.assert_all_of_it_happened(look, pull, filed["number"])
    assert look.duplicates() == []
    assert provider.problems == []
    look.close()
    installed.run("down", home=home)
    held = [f for f in home.rglob("*") if f.is_file() and token.encode() in f.read_bytes()]
    assert held == [], "the admin's token is used and not kept"

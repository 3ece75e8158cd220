"""A second project and issue, by the commands a person types; the model answers from an endpoint of this test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from tests.acceptance import greet
from tests.acceptance.conftest import Installed, free_port
from tests.acceptance.looking import Looker, git
from tests.acceptance.provider import Provider, Turn

pytestmark = pytest.mark.needs_bwrap

KEY = "provider-key-5f1c0f0d8e"
# What a session can read: its environment, every process's, and every file outside of /usr. The pattern does not match
# itself, so that the command's own text is no finding; the canary shows that it finds.
SPY = r"""
printf 'provider-%s\n' key-canary >/tmp/canary
cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n' | grep -a 'provider-k[e]y'
grep -rIsl 'provider-k[e]y' / --exclude-dir=proc --exclude-dir=sys --exclude-dir=usr
cat greet.sh
echo looked around
"""
PLAYS = {
    greet.DEV: [
        Turn("I look around.", (("run", {"command": SPY}),)),
        Turn("A default does it.", (("run", {"command": greet.EDIT}),), expect="/tmp/canary\\n"),
        Turn("I propose it.", (("run", {"command": greet.PROPOSE}),), expect="Hello, world!"),
        Turn("Proposed.", expect="proposed"),
    ],
    greet.REVIEWER: [
        Turn("I read it.", (("read", {"path": "greet.sh"}),)),
        Turn(greet.VERDICT, expect="${1:-world}"),
    ],
}


@pytest.fixture
def home(tmp_path: Path, stop_after: Callable[[Path], Path]) -> Path:
    return stop_after(tmp_path / "home")


def test_an_issue_of_another_project_is_merged(
    installed: Installed, httpserver: HTTPServer, tmp_path: Path, home: Path
) -> None:
    provider = Provider(httpserver, PLAYS)
    source = greet.make(tmp_path)
    made = installed.run(
        "init", source, "--mode", "merge", "--ci", greet.CI, "--port", str(free_port()), "--web-port",
        str(free_port()), "--json", home=home,
    ).facts()  # fmt: skip
    key = tmp_path / "key"
    key.write_text(KEY + "\n", encoding="utf-8")
    hired = installed.run("hire", "anthropic", "--url", provider.url, "--key-file", key, home=home)
    assert hired.out.startswith("hired anthropic-1 (")
    filed = installed.run("issue", "file", greet.TITLE, "--body", greet.BODY, "--start", "--json", home=home).facts()
    look = Looker(made["forge"], made["login"], made["password"], made["project"], made["ops"], tmp_path)
    assert greet.approve_what_waits(look) == 1, "the pull request that shares the agent"
    installed.run("up", "--detach", home=home)

    pull = greet.wait_until_merged(look, filed["number"], 90)
    greet.assert_all_of_it_happened(look, pull, filed["number"])
    assert look.duplicates() == []
    (shared,) = look.pulls(look.ops)
    assert (shared["merged"], shared["merged_by"]["login"]) == (True, "factory-bot")
    assert provider.problems == []
    main = look.clone(look.project)
    assert "${1:-world}" in git(main, "show", "origin/main:greet.sh")
    ops = look.clone(look.ops)
    assert 'name = "anthropic-1"' in git(ops, "show", "origin/main:factory.toml")
    look.close()
    assert git(source, "rev-list", "--count", "--all") == "1", "the person's own repository is as it was"

    assert provider.asked
    for asked in provider.asked:
        headers = {name.lower(): value for name, value in asked.headers.items()}
        assert headers.pop("x-api-key") == KEY
        assert KEY not in str(headers) + asked.body, "the sandbox saw the key, and told it"
    spied = [a.body for a in provider.asked if "looked around" in a.body]
    assert spied
    installed.run("down", home=home)
    held = {f.relative_to(home).as_posix() for f in home.rglob("*") if f.is_file() and KEY.encode() in f.read_bytes()}
    assert held == {"state/gateway/keys/anthropic-1"}
    assert (home / "state/gateway/keys/anthropic-1").stat().st_mode & 0o777 == 0o600

"""The same second project with the real Claude Code CLI, in the sandbox without network, behind the gateway."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from tests.acceptance import greet
from tests.acceptance.conftest import Installed, free_port
from tests.acceptance.looking import PATH, Looker, git
from tests.acceptance.provider import Provider, Turn

pytestmark = [pytest.mark.needs_bwrap, pytest.mark.needs_claude]

KEY = "provider-key-c2b81f"


def bash(command: str) -> tuple[str, dict[str, str]]:
    return ("Bash", {"command": command, "description": "work"})


PLAYS = {
    greet.DEV: [
        Turn("I read it first.", (("Read", {"file_path": "/work/greet.sh"}),)),
        Turn("A default does it.", (bash(greet.EDIT),), expect="Greets whoever is named"),
        Turn("I propose it.", (bash(greet.PROPOSE),), expect="Hello, world!"),
        Turn("Proposed.", expect="proposed"),
    ],
    greet.REVIEWER: [
        Turn("I read it.", (("Read", {"file_path": "/work/greet.sh"}),)),
        Turn(greet.VERDICT, expect="${1:-world}"),
    ],
}


@pytest.fixture(scope="module")
def claude() -> Path:
    """The folder of the CLI. ``.ci/run`` installs it and says where."""
    found = os.environ.get("FACTORY_TEST_CLAUDE") or shutil.which("claude")
    if not found or not os.access(found, os.X_OK):
        pytest.skip("the Claude Code CLI is absent: npm install @anthropic-ai/claude-code, then FACTORY_TEST_CLAUDE")
    return Path(found).absolute().parent


def test_an_issue_is_merged_by_claude_code(
    installed: Installed, claude: Path, httpserver: HTTPServer, tmp_path: Path, stop_after: Callable[[Path], Path]
) -> None:
    home = stop_after(tmp_path / "home")
    provider = Provider(httpserver, PLAYS)
    made = installed.run(
        "init", greet.make(tmp_path), "--mode", "merge", "--ci", greet.CI, "--port", str(free_port()),
        "--web-port", str(free_port()), "--json", home=home,
    ).facts()  # fmt: skip
    key = tmp_path / "key"
    key.write_text(KEY + "\n", encoding="utf-8")
    # Hired in a shell that finds it; the factory is then started in one that does not.
    shell = replace(installed, path=f"{claude}:{PATH}")
    hired = shell.run("hire", "claude-code", "--url", provider.url, "--key-file", key, home=home)
    assert hired.out.startswith("hired cc-1 (claude-code, ")
    filed = installed.run("issue", "file", greet.TITLE, "--body", greet.BODY, "--start", "--json", home=home).facts()
    look = Looker(made["forge"], made["login"], made["password"], made["project"], made["ops"], tmp_path)
    assert greet.approve_what_waits(look) == 1
    installed.run("up", "--detach", home=home)

    pull = greet.wait_until_merged(look, filed["number"], 120)
    greet.assert_all_of_it_happened(look, pull, filed["number"])
    assert look.duplicates() == []
    assert "${1:-world}" in git(look.clone(look.project), "show", "origin/main:greet.sh")
    look.close()

    assert provider.problems == []
    sessions = [a for a in provider.asked if "You are the developer of" in a.body]
    assert len(sessions) == len(PLAYS[greet.DEV])
    for asked in provider.asked:
        headers = {name.lower(): value for name, value in asked.headers.items()}
        assert headers.pop("x-api-key") == KEY
        assert KEY not in str(headers) + asked.body

"""A forge that is not ours, where the founder is no admin: its admin prepares tokens, by the words ``init`` prints.
Then the whole way of an issue. On an embedded forge that stands for it, and on a real Forgejo where one is named as in
``tests/contract/conftest.py``."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer

from factory.config.model import DEFAULT_ACCOUNTS
from factory.forge.client import ForgejoClient
from factory.forge.values import RepoName
from factory.testing.forge_process import ForgeProcess
from tests import given_forge
from tests.acceptance import greet
from tests.acceptance.conftest import Installed, Ran, free_port
from tests.acceptance.looking import Looker
from tests.acceptance.provider import Provider, Turn

pytestmark = pytest.mark.needs_bwrap

PLAYS = {
    greet.DEV: [
        Turn("A default does it.", (("run", {"command": greet.EDIT}),)),
        Turn("I propose it.", (("run", {"command": greet.PROPOSE}),), expect="Hello, world!"),
        Turn("Proposed.", expect="proposed"),
    ],
    greet.REVIEWER: [Turn(greet.VERDICT)],
}
WORDS = "aA1-" + secrets.token_urlsafe(12)


@dataclass
class Foreign:
    """A forge and its admin, who does what a line says and nothing else."""

    url: str
    admin: ForgejoClient

    def do(self, method: str, path: str, body: object = None) -> Any:
        reply = self.admin.ask(method, path, doing=f"{method} {path}", body=body)
        assert reply.status < 300, f"{method} {path}: {reply.status} {reply.body!r}"
        return reply.json() if reply.body else None

    def account(self, login: str) -> None:
        body = {"username": login, "email": f"{login}@example.invalid", "password": WORDS}
        self.do("POST", "/admin/users", {**body, "must_change_password": False})

    def follow(self, line: str) -> None:
        for pattern, act in (
            (r"create the account (\S+): .*", self.account),
            (r"create the private repo (\S+)/(\S+), empty, with the default branch (\S+?)(?: \(.*)?", self.repo),
            (r"switch Actions off in the settings of (\S+)", self.actions_off),
            (r"leave merge commits as the only way of merging in the settings of ([^\s;]+);.*", self.only_merge),
            (r"make (\S+) a collaborator of (\S+) with the permission (\w+)", self.collaborator),
            (r"make a token for (\S+) with the scopes (.+?)(?:, limited to (.+?))?, and put it into (\S+?)(?:;.*)?",
             self.token),
            (r"(?:protect|keep) .*: (POST|PATCH) /api/v1(\S+) (\{.*\})", self.send),
        ):  # fmt: skip
            if found := re.fullmatch(pattern, line):
                act(*found.groups())  # type: ignore[operator]
                return
        raise AssertionError(f"an admin would not know what to do: {line}")

    def repo(self, owner: str, name: str, branch: str) -> None:
        self.do("POST", f"/admin/users/{owner}/repos", {"name": name, "private": True, "default_branch": branch})

    def actions_off(self, repo: str) -> None:
        self.do("PATCH", f"/repos/{repo}", {"has_actions": False})

    def only_merge(self, repo: str) -> None:
        others = ("rebase", "rebase_explicit", "squash_merge", "fast_forward_only_merge")
        names = {"allow_" + other: False for other in others}
        self.do("PATCH", f"/repos/{repo}", {**names, "allow_merge_commits": True, "allow_manual_merge": False,
                                            "autodetect_manual_merge": False})  # fmt: skip

    def collaborator(self, login: str, repo: str, permission: str) -> None:
        self.do("PUT", f"/repos/{repo}/collaborators/{login}", {"permission": permission})

    def token(self, login: str, scopes: str, repos: str | None, file: str) -> None:
        limited = tuple(RepoName.parse(one) for one in repos.split(" and ")) if repos else ()
        with ForgejoClient(self.url, basic=(login, WORDS)) as own:
            made = own.create_token(
                login, name="prepared", scopes=tuple(scopes.split(", ")), repos=limited, as_admin=False
            )
        Path(file).write_text(made + "\n", encoding="ascii")
        Path(file).chmod(0o600)

    def send(self, method: str, path: str, body: str) -> None:
        self.do(method, path.replace("[", "%5B").replace("]", "%5D"), json.loads(body))


SOAK = pytest.param("embedded", marks=pytest.mark.soak)


@pytest.fixture(params=[SOAK, *(["real"] if os.environ.get("FACTORY_TEST_FORGEJO") else [])])
def foreign(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Foreign]:
    if request.param == "real":
        url, (user, password) = given_forge.address(), given_forge.admin()
        with ForgejoClient(url, basic=(user, password)) as admin:
            yield Foreign(url, admin)
        return
    with (
        ForgeProcess.start(tmp_path / "foreign") as process,
        ForgejoClient(process.url, uds=process.admin_socket) as admin,
    ):
        yield Foreign(process.url, admin)


@pytest.fixture
def home(tmp_path: Path, stop_after: Callable[[Path], Path]) -> Path:
    return stop_after(tmp_path / "home")


def test_set_up_with_prepared_tokens_an_issue_is_merged(
    installed: Installed, httpserver: HTTPServer, tmp_path: Path, home: Path, foreign: Foreign
) -> None:
    mark = secrets.token_hex(3)
    person, source, prepared = f"boss-{mark}", greet.make(tmp_path), tmp_path / "prepared"
    prepared.mkdir(mode=0o700)
    foreign.account(person)
    words: list[str | Path] = ["init", source, "--forge", foreign.url, "--tokens-dir", prepared, "--login", person]
    words += ["--mode", "merge", "--ci", greet.CI, "--web-port", str(free_port()), "--json"]
    for duty, login in DEFAULT_ACCOUNTS.items():
        words += ["--account", f"{duty}={login}-{mark}"]

    asked: list[str] = []

    def settled() -> Ran:
        for _ in range(6):
            ran = installed.run(*words, home=home, code=None)
            if ran.code == 0:
                return ran
            assert ran.out, ran.err
            told = ran.facts()["instructions"]
            assert told, ran.err
            assert not set(told) & set(asked), "it asks twice for the same"
            asked.extend(told)
            for line in told:
                foreign.follow(line)
        raise AssertionError("it never had enough")

    made = settled().facts()
    assert any(line.startswith("protect the branch mai[n]") for line in asked)
    kept = {file.name: file.read_text() for file in (home / "state" / "tokens").iterdir()}
    assert kept == {file.name: file.read_text() for file in prepared.iterdir()}
    assert len(kept) == len(DEFAULT_ACCOUNTS)
    assert installed.run(*words, "--dry-run", home=home).facts()["steps"] == []

    provider, key = Provider(httpserver, PLAYS), tmp_path / "key"
    key.write_text("provider-key\n", encoding="utf-8")
    installed.run("hire", "anthropic", "--url", provider.url, "--key-file", key, home=home)
    look = Looker(made["forge"], person, WORDS, made["project"], made["ops"], tmp_path)
    assert greet.approve_what_waits(look) == 1
    labels = {label["name"]: label["id"] for label in look.every(f"/repos/{look.project}/labels")}
    issue = {"title": greet.TITLE, "body": greet.BODY, "labels": [labels["backlog"]]}
    number = look.post(f"/repos/{look.project}/issues", issue)["number"]
    installed.run("up", "--detach", home=home)
    pull = greet.wait_until_merged(look, number, 120)
    greet.assert_all_of_it_happened(look, pull, number)
    assert provider.problems == []
    look.close()

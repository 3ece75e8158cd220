"""One suite, several forges: the embedded one (a real process), the fake (its protocol part only), and a real Forgejo
where the environment names one (``tests/given_forge.py``)."""

from __future__ import annotations

import itertools
import os
import secrets
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
import pytest

from factory.forge.client import ForgejoClient
from factory.forge.protocol import Forge
from factory.forge.retry import MERGES, Backoff
from factory.forge.values import BranchProtection, RepoName
from factory.testing.fake_forge import FakeForge
from tests import given_forge

T = TypeVar("T")
SCOPES = ("write:repository", "write:issue", "write:user", "write:organization", "write:misc", "write:notification")
LABELS = ("backlog", "priority", "blocked")
_count = itertools.count(1)
RUN = secrets.token_hex(3)


def fresh(prefix: str) -> str:
    """A name nobody used yet on this forge."""
    return f"{prefix}-{RUN}-{next(_count)}"


def soon(where: Site | Lab, read: Callable[[], T], wanted: Callable[[T], object]) -> T:
    """What ``read`` returns once it is as wanted.

    A real Forgejo does much after it has answered (queues, even "immediate" ones, hand on to goroutines). Ours is done
    before: there the first look counts.
    """
    until = time.monotonic() + (20.0 if where.name == "real" else 0.0)
    while not wanted(seen := read()) and time.monotonic() < until:
        time.sleep(0.05)
    assert wanted(seen), seen
    return seen


@dataclass
class Site:
    """A forge spoken to over HTTP, with a handful of accounts made once."""

    name: str
    url: str
    admin: ForgejoClient
    tokens: dict[str, str] = field(default_factory=dict)
    passwords: dict[str, str] = field(default_factory=dict)
    clients: dict[str, ForgejoClient] = field(default_factory=dict)
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=20, trust_env=False))
    suffix: str = ""
    access_log: Callable[[], list[dict[str, Any]]] = list

    def login(self, who: str) -> str:
        """The account's real name on this forge (a real Forgejo keeps accounts of earlier runs)."""
        return f"{who}{self.suffix}"

    def account(self, who: str) -> str:
        """Make the account on first mention; returns its login."""
        login = self.login(who)
        if login not in self.tokens:
            password = f"aA1-{secrets.token_urlsafe(12)}"
            if self.admin.user(login) is None:
                self.admin.create_user(login, email=f"{login}@example.invalid", password=password)
            else:
                self.admin.set_password(login, password)
            with ForgejoClient(self.url, basic=(login, password)) as own:
                self.tokens[login] = own.create_token(login, name=fresh("t"), scopes=SCOPES, as_admin=False)
            self.passwords[login] = password
        return login

    def token(self, who: str, *scopes: str, repos: tuple[RepoName, ...] = ()) -> str:
        """A further token with exactly these scopes."""
        login = self.account(who)
        with ForgejoClient(self.url, basic=(login, self.passwords[login])) as own:
            return own.create_token(login, name=fresh("t"), scopes=scopes, repos=repos, as_admin=False)

    def client(self, who: str) -> ForgejoClient:
        login = self.account(who)
        if login not in self.clients:
            merges = Backoff(0.05, 1.5, 0.5, 5) if self.name == "embedded" else MERGES
            self.clients[login] = ForgejoClient(self.url, self.tokens[login], merges=merges)
        return self.clients[login]

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        who: str | None = "founder",
        token: str | None = None,
        basic: tuple[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        **query: object,
    ) -> httpx.Response:
        """One raw request below ``/api/v1``, as ``who`` (None: nobody)."""
        sent = dict(headers or {})
        if basic:
            sent["Authorization"] = "Basic " + b64encode(":".join(basic).encode()).decode()
        elif token or who:
            sent["Authorization"] = f"token {token or self.tokens[self.account(who or '')]}"
        params: dict[str, Any] = dict(query)
        url = f"{self.url}/api/v1{path}"
        if content is not None:
            return self.http.request(method, url, content=content, headers=sent, params=params)
        if body is None:
            return self.http.request(method, url, headers=sent, params=params)
        return self.http.request(method, url, json=body, headers=sent, params=params)

    def repo(
        self, *, labels: tuple[str, ...] = LABELS, private: bool = True, empty: bool = False, **rights: str
    ) -> RepoName:
        """A new repo of founder's with one commit; ``rights`` are account -> permission (underscores for dashes)."""
        name = RepoName(self.account("founder"), fresh("r"))
        made = self.call(
            "POST",
            "/user/repos",
            {"name": name.name, "private": private, "auto_init": not empty, "default_branch": "main"},
        )
        assert made.status_code == 201, made.text
        for who, permission in (rights or {"dev": "write", "rev": "write", "reader": "read"}).items():
            login = self.account(who.replace("_", "-"))
            added = self.call("PUT", f"/repos/{name}/collaborators/{login}", {"permission": permission})
            assert added.status_code == 204, added.text
        for label in labels:
            assert self.call("POST", f"/repos/{name}/labels", {"name": label, "color": "#cccccc"}).status_code == 201
        return name

    def commit(
        self,
        repo: RepoName,
        branch: str,
        files: Mapping[str, str | None],
        *,
        who: str = "founder",
        message: str = "Edit",
    ) -> str:
        """One commit on a branch (made from the default branch when new); returns its id."""
        there = self.call("GET", f"/repos/{repo}/branches/{branch}", who=who).status_code == 200
        source = branch if there else "main"
        changes = []
        for path, text in files.items():
            known = self.call("GET", f"/repos/{repo}/contents/{path}", who=who, ref=source)
            change: dict[str, object] = {"path": path, "operation": "create" if known.status_code == 404 else "update"}
            if text is None:
                change["operation"] = "delete"
            else:
                change["content"] = b64encode(text.encode()).decode()
            if known.status_code == 200:
                change["sha"] = known.json()["sha"]
            changes.append(change)
        body: dict[str, object] = {"files": changes, "branch": source, "message": message}
        if not there:
            body["new_branch"] = branch
        made = self.call("POST", f"/repos/{repo}/contents", body, who=who)
        assert made.status_code == 201, made.text
        sha: str = made.json()["commit"]["sha"]
        return sha

    def pull(
        self, repo: RepoName, branch: str = "fix/1", files: Mapping[str, str | None] | None = None, *, who: str = "dev",
        title: str = "Fix", base: str = "main",
    ) -> tuple[int, str]:  # fmt: skip
        """A branch with a commit and its pull request: (number, head)."""
        sha = self.commit(repo, branch, files or {"fix.txt": "fixed\n"}, who=who)
        made = self.call(
            "POST", f"/repos/{repo}/pulls", {"head": branch, "base": base, "title": title, "body": ""}, who=who
        )
        assert made.status_code == 201, made.text
        return made.json()["number"], sha

    def close(self) -> None:
        for client in (self.admin, *self.clients.values()):
            client.close()
        self.http.close()


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    from factory.testing.forge_process import ForgeProcess

    with ForgeProcess.start(tmp_path_factory.mktemp("forge")) as process:
        site = Site("embedded", process.url, ForgejoClient(process.url, uds=process.admin_socket))
        site.access_log = process.access_log
        yield site
        site.close()


@pytest.fixture(scope="session")
def real() -> Iterator[Site]:
    url, (user, password) = given_forge.address(), given_forge.admin()
    site = Site("real", url, ForgejoClient(url, basic=(user, password)), suffix=f"-{RUN}")
    yield site
    site.close()


SITES = ["embedded", *(["real"] if os.environ.get("FACTORY_TEST_FORGEJO") else [])]


@pytest.fixture(scope="session", params=SITES)
def site(request: pytest.FixtureRequest) -> Site:
    """Every forge that speaks HTTP."""
    found: Site = request.getfixturevalue(request.param)
    return found


# the protocol part, on the fake too


@dataclass
class Lab:
    """What a test of the protocol arranges, whichever forge it runs on."""

    name: str
    as_user: Callable[[str], Forge]
    make_repo: Callable[[], RepoName]
    commit: Callable[..., str]
    protect: Callable[[RepoName, BranchProtection], None]
    login: Callable[[str], str]


def _fake_lab() -> Lab:
    forge = FakeForge("founder")
    for who in ("dev", "rev", "reader", "outsider"):
        forge.as_user(who)

    def make_repo() -> RepoName:
        name = RepoName("founder", fresh("r"))
        forge.add_repo(name, permissions={"dev": "write", "rev": "write", "reader": "read"}, labels=LABELS)
        return name

    def commit(repo: RepoName, branch: str, files: Mapping[str, str | None], who: str = "founder") -> str:
        forge.advance(0)
        return forge.as_user(who).commit(repo, branch, files)

    return Lab("fake", forge.as_user, make_repo, commit, forge.protect, lambda who: who)


def _site_lab(site: Site) -> Lab:
    for who in ("dev", "rev", "reader", "outsider"):
        site.account(who)

    def commit(repo: RepoName, branch: str, files: Mapping[str, str | None], who: str = "founder") -> str:
        return site.commit(repo, branch, files, who=who)

    def protect(repo: RepoName, rule: BranchProtection) -> None:
        site.client("founder").set_protection(repo, rule)

    return Lab(site.name, site.client, site.repo, commit, protect, site.login)


@pytest.fixture(scope="session", params=["fake", *SITES])
def lab(request: pytest.FixtureRequest) -> Lab:
    """Every forge that speaks the Forge protocol."""
    return _fake_lab() if request.param == "fake" else _site_lab(request.getfixturevalue(request.param))

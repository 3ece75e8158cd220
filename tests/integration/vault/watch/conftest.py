"""A deployment as `factory init` makes it, with the forge running and nothing else; shared by the tests of a file."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from factory.app import beats
from factory.app.deployment import Deployment, free_port
from factory.app.opsrepo import mirror
from factory.app.people import as_person
from factory.app.places import sentinel_door, vault_folder
from factory.app.services import ensure_watch, folder, stop
from factory.app.setup import Request, admin_of, set_up
from factory.config.model import Mode
from factory.forge.client import ForgejoClient
from factory.forge.values import RepoName, ReviewState
from factory.git import objects
from factory.git.hardened import Git
from factory.process import service
from factory.vault.action import Tier
from factory.vault.chain import Chain
from factory.vault.ledger import ALL, Entry, Ledger
from factory.vault.ledger import read as read_entry
from factory.vault.people.reading import LedgerReader
from factory.vault.people.request import Wish, draft
from factory.vault.people.rules import rules_at
from factory.vault.watch.asking import AskedSentinel
from tests.integration.cli.person import project_in
from tests.integration.vault.attacks.blind import Blind
from tests.integration.vault.attacks.inside import Life
from tests.integration.vault.attacks.program import Program, close_nursery
from tests.integration.vault.attacks.served import Served


@dataclass(frozen=True)
class Asked:
    """A request on the forge."""

    id: str
    number: int
    head: str
    base: str


def until(look: Callable[[], Any], seconds: float = 120) -> Any:
    """What it comes to, once that is true."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)
    return found


@dataclass(frozen=True)
class Known:
    """This host, as who wakes its dispatcher knows it."""

    ops: RepoName
    state: Path
    folder: Path


@dataclass
class House:
    """What the tests hold in their hands."""

    deployment: Deployment
    project: RepoName
    ops: RepoName
    admin: ForgejoClient

    @property
    def state(self) -> Path:
        return self.deployment.state

    @property
    def folder(self) -> Path:
        return vault_folder(self.state, str(self.ops))

    def sentinel(self, **more: float) -> AskedSentinel:
        """As the dispatcher asks it; each question is a fresh look."""
        return AskedSentinel(self.folder, sentinel_door(self.state), self.ops, **{"fresh_s": 0.0, **more})

    def pid(self, name: str) -> int | None:
        return service.status(name, folder(self.state)).pid

    # ---- asking, approving, reading ------------------------------------------------------------------------------

    def bot(self, login: str) -> ForgejoClient:
        return self.deployment.forge(login)

    def ask(self, tier: Tier = Tier.LOW, *, ago: timedelta = timedelta(0), formula: str = "rent-a-human",
            params: Mapping[str, str] | None = None) -> Asked:  # fmt: skip
        """A request as vault-bot proposes it, for a thing that only a person can do; drawn up so long ago. Or for
        another formula with these parameters."""
        copy = mirror(self.deployment, self.ops, refresh=True)
        rules = rules_at(copy, objects.read_ref(copy, "refs/heads/main") or "")
        told = params or {"what": f"Call number {secrets.token_hex(4)}", "why": "nobody else can", "steps": "dial"}
        at = datetime.now(UTC) - ago
        wish = Wish(formula, told, "person:founder", secrets.token_hex(8), at, blast_radius=tier)
        made = draft(wish, rules)
        body = {"content": b64encode(made.text.encode()).decode(), "message": made.message, "branch": made.base,
                "new_branch": made.branch}  # fmt: skip
        vault = self.bot("vault-bot")
        sent = vault.send("POST", f"/repos/{self.ops}/contents/{made.action.path}", doing="test", body=body)
        pull = vault.create_pull(self.ops, head=made.branch, base=made.base, title=made.title, body=made.body)
        return Asked(made.action.id, pull.number, sent["commit"]["sha"], made.base)

    def approve(self, asked: Asked) -> None:
        with as_person(self.deployment, "founder") as founder:
            founder.review(self.ops, asked.number, state=ReviewState.APPROVED, body="", commit=asked.head)

    def merge(self, asked: Asked) -> str:
        return self.bot("vault-bot").merge(self.ops, asked.number, head=asked.head, title="Merge", message="approved")

    def kinds(self, id: str) -> list[str]:
        """The action's entries on the forge's ledger, in order."""
        copy = mirror(self.deployment, self.ops, refresh=True)
        if objects.find_entry(copy, "refs/heads/ledger", f"e/{id}") is None:
            return []
        rows = objects.list_tree(copy, "refs/heads/ledger", f"e/{id}")
        return [row.path.rsplit("-", 1)[1].removesuffix(".toml") for row in sorted(rows, key=lambda row: row.path)]

    def entry(self, id: str, kind: str) -> Entry:
        """Its last entry of that kind."""
        copy = mirror(self.deployment, self.ops, refresh=True)
        rows = objects.list_tree(copy, "refs/heads/ledger", f"e/{id}")
        path = max(row.path for row in rows if row.path.endswith(f"-{kind}.toml"))
        return read_entry(path, objects.read_file(copy, "refs/heads/ledger", path) or b"")

    @contextmanager
    def hand(self, *, ahead: timedelta = timedelta(0)) -> Iterator[Served]:
        """A dispatcher that the test wakes: the service's own program, with its runs, in a process that a nursery
        forked and that knows what is switched off (``attacks/inside.py``). ``ahead``: its clock."""
        place = Path(tempfile.mkdtemp(prefix="hand-"))
        clock = place / "clock"
        clock.write_text(f"{ahead.total_seconds()} 0 0" if ahead else "")
        life = Life(self.deployment.home, place / "serve.sock", place / "serve.log", clock=clock if ahead else None)
        program, host = Program("serve", life), Known(self.ops, self.state, self.folder)
        try:
            yield Served(host, program, lambda: None, self.ledger)
        finally:
            program.end()
            shutil.rmtree(place)

    def ledger(self) -> Ledger:
        """As it stands on the forge now."""
        copy, reader = mirror(self.deployment, self.ops, refresh=True), LedgerReader()
        reader.read(copy, objects.read_ref(copy, "refs/heads/ledger"))
        return reader.ledger

    def write(self, kind: str, words: str) -> None:
        """An entry about the whole vault, by whoever holds the dispatcher's token."""
        remote = self.deployment.remote("dispatcher-bot", self.ops)
        place = Path(tempfile.mkdtemp(prefix="writer-"))
        chain = Chain(Git(place / "repo.git", remote.url, remote.token), place / "mark", lambda data: "")
        chain.sync()
        now = datetime.now(UTC).replace(microsecond=0)
        assert chain.append([Entry(kind, ALL, secrets.token_hex(16), "test/1", now, evidence={"words": words})])
        shutil.rmtree(place)

    def fired(self, hand: Served, asked: Asked) -> list[str]:
        """Turn until nothing changes any more; the action's entries."""

        def settled() -> bool:
            tip = self.ledger().tip
            hand.turn()
            now = self.ledger()
            return now.tip == tip and now.state(asked.id).kind != "STARTED"

        until(settled)
        return self.kinds(asked.id)

    def beat(self, name: str = "dispatcher") -> dict[str, Any]:
        return beats.read(self.state, name)

    def log(self, name: str) -> str:
        return (folder(self.state) / f"{name}.log").read_text(encoding="utf-8")


@pytest.fixture(scope="session", autouse=True)
def no_nursery_is_left() -> Iterator[None]:
    yield
    close_nursery()


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    root = Path(tempfile.mkdtemp(prefix="factory-vault-"))
    home = root / "home"
    try:
        done = set_up(
            Request(
                source=str(project_in(root / "hello")), home=home, name="tally", mode=Mode.MERGE,
                forge_port=free_port(), web_port=free_port(), ci_command="true", poll_seconds=0.5,
            ),
            now=datetime.now(UTC), said=lambda line: None,
        )  # fmt: skip
        deployment = Deployment.open(home)
        with admin_of(deployment.host, None) as admin:
            yield House(deployment, done.project, done.ops, admin)
        for client in deployment.clients():
            client.close()
    finally:
        if (home / "state" / "host.toml").exists():
            stop(Deployment.open(home))
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def served(house: House) -> House:
    """With sentinel and dispatcher running, each a process of its own."""
    _watching(house)
    ensure_watch(house.deployment.host, "dispatcher")
    return house


@pytest.fixture
def watched(house: House) -> House:
    """With the sentinel running, as a process of its own."""
    _watching(house)
    return house


def _watching(house: House) -> None:
    if ensure_watch(house.deployment.host, "sentinel"):
        # What is opened from then on was opened under settings that it had seen already.
        seen = house.sentinel().settings()
        until(lambda: datetime.now(UTC) >= seen.since)


@pytest.fixture
def off(monkeypatch: pytest.MonkeyPatch) -> Blind:
    return Blind(monkeypatch)


@pytest.fixture
def serving(watched: House) -> Iterator[Served]:
    seen = watched.sentinel().settings()
    until(lambda: datetime.now(UTC) >= seen.since)  # what is opened from then on was opened while it watched
    with watched.hand() as made:
        yield made

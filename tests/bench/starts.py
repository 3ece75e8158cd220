"""From the merge of an approved request to its STARTED on the ledger, seen from outside: forge, daemon, dispatcher and
sentinel are processes of their own."""

from __future__ import annotations

import re
import secrets
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pygit2

from factory.app import beats
from factory.app.deployment import Deployment, free_port
from factory.app.editing import share
from factory.app.opsrepo import mirror
from factory.app.people import as_person
from factory.app.places import vault_folder
from factory.app.services import ensure_daemon, ensure_watch, forge_home, stop
from factory.app.setup import Request, admin_of, set_up
from factory.config.model import Mode
from factory.errors import FactoryError
from factory.forge.values import ReviewState
from factory.git import objects
from factory.ops.edit import whole
from factory.vault.action import Tier
from factory.vault.canonical import sha256
from factory.vault.policy import PATH
from factory.vault.watch import record
from tests.bench.table import Row
from tests.integration.cli.person import project_in
from tests.integration.vault.watch.conftest import House, until

AT_ONCE, ONE_BY_ONE = 100, 10
POLL_S = 2.0
PLAIN_POLL_S = 60.0
LIMIT_S = 300.0
MARK = b"""\
schema = 1
name = "mark"
version = 1
role = "vault"
description = "Does nothing that takes time, at a place of its own."
[limits]
minutes = 5
[vault]
class = "A"
lane = ["place"]
undo = "nothing to undo"
effects = ["file_pending"]
[vault.params]
place = { type = "name", description = "where" }
"""


def measure(root: Path) -> list[Row]:
    """For one action and for a hundred: approved and merged by the daemon, with the forge's webhooks and without; and
    merged by hand where no daemon is."""
    rows: list[Row] = []
    for hook in (True, False):
        with house(root / ("hook" if hook else "poll"), hook=hook) as built:
            watch = Starts(built)
            single = [watch.all_the_way(built, 1) for _ in range(ONE_BY_ONE)]
            many = watch.all_the_way(built, AT_ONCE)
            cost = watch.cost(built)
        how = "with a webhook" if hook else f"polling every {POLL_S:g} s"
        limit = "1" if hook else f"{POLL_S + 2:g}"
        one = statistics.median(seconds for merged, _ in single for seconds in merged)
        rows.append((f"vault: merge to start {how}, one action: median s (limit {limit})", f"{one:.2f}"))
        for what, seconds in zip(("merge", "approval"), many, strict=True):
            words = f" (limit of the median {limit})" if what == "merge" else ""
            rows.append((f"vault: {what} to start {how}, {AT_ONCE} approved at once: first / median / last s{words}",
                         _three(seconds)))  # fmt: skip
        rows.append((
            f"vault: the dispatcher's requests and git commands to the forge per start {how}, {AT_ONCE} at once",
            f"{cost[0]:.1f} / {cost[1]:.1f}",
        ))  # fmt: skip
    with house(root / "hand", hook=False, daemon=False) as built:
        watch = Starts(built)
        one = statistics.median(s for _ in range(ONE_BY_ONE) for s in watch.by_hand(built, 1))
        many_by_hand = watch.by_hand(built, AT_ONCE)
    how = f"polling every {POLL_S:g} s, merged by hand, no daemon"
    rows += [
        (f"vault: merge to start {how}, one action: median s (limit {POLL_S + 2:g})", f"{one:.2f}"),
        (
            f"vault: merge to start {how}, {AT_ONCE} one after the other: first / median / last s "
            f"(limit of the median {POLL_S + 2:g})",
            _three(many_by_hand),
        ),
        (
            f"vault: the same by a plain loop every {PLAIN_POLL_S:g} s, at best (half its period)",
            f"{PLAIN_POLL_S / 2:.0f}",
        ),
    ]
    return rows


def _three(seconds: list[float]) -> str:
    return f"{min(seconds):.2f} / {statistics.median(seconds):.2f} / {max(seconds):.2f}"


@contextmanager
def house(root: Path, *, hook: bool, daemon: bool = True) -> Iterator[House]:
    """A deployment that is up; its forge sends webhooks, or does not. Without the ``daemon`` nobody merges and nobody
    wakes the dispatcher."""
    root.mkdir()
    home = root / "home"
    try:
        done = set_up(
            Request(
                source=str(project_in(root / "hello")), home=home, name="tally", mode=Mode.MERGE,
                forge_port=free_port(), web_port=free_port(), ci_command="true",
                poll_seconds=30 if hook else POLL_S,
            ),
            now=datetime.now(UTC), said=lambda line: None,
        )  # fmt: skip
        deployment = Deployment.open(home)
        with admin_of(deployment.host, None) as admin:
            for repo in () if hook else (done.project, done.ops):
                for one in admin.hooks(repo):
                    admin.delete_hook(repo, one.id)
            if daemon:
                ensure_daemon(deployment.host)
            for name in ("sentinel", "dispatcher"):
                ensure_watch(deployment.host, name)
            # What is opened before the sentinel watches is refused.
            seen = until(lambda: record.read(vault_folder(deployment.state, str(done.ops))))
            until(lambda: datetime.now(UTC) >= seen.since)
            built = House(deployment, done.project, done.ops, admin)
            widen(built)
            yield built
        for client in deployment.clients():
            client.close()
    finally:
        if (home / "state" / "host.toml").exists():
            stop(Deployment.open(home))


def widen(house: House) -> None:
    """Let so many start in a day, each on a target of its own, by a policy that an admin approved: what is measured is
    neither a budget nor one lane."""
    copy = mirror(house.deployment, house.ops, refresh=True)
    text = (objects.read_file(copy, "refs/heads/main", PATH) or b"").decode()
    budgets = {"per_requester_day": 1000, "pending": 1000, "medium": 1000, "version": 2}
    for key, wanted in budgets.items():
        text, found = re.subn(rf"(?m)^{key} = \d+$", f"{key} = {wanted}", text, count=1)
        assert found == 1, key
    text += f'\n[formulas."mark@1"]\ntier = "medium"\ndigest = "{sha256(MARK)}"\n'
    changes = [whole(PATH, text.encode()), whole("formulas/mark.toml", MARK)]
    made = share(house.deployment, house.ops, changes, "Let more start", "founder")
    with as_person(house.deployment, "founder") as founder:
        founder.review(house.ops, made["number"], state=ReviewState.APPROVED, body="", commit=made["commit"])
    try:
        house.bot("factory-bot").merge(house.ops, made["number"], head=made["commit"], title="t", message="m")
    except FactoryError:
        until(lambda: house.bot("factory-bot").pull(house.ops, made["number"]).merged)  # the daemon was faster
    until(lambda: "TRUST" in house.kinds("_"))


class Starts:
    """Watches the forge's own ledger branch."""

    def __init__(self, house: House) -> None:
        ops = house.ops
        self.repo = pygit2.Repository(str(forge_home(house.state) / "repos" / ops.owner / f"{ops.name}.git"))
        self._before: dict[str, Any] = {}
        self._count = 0

    def by_hand(self, house: House, count: int) -> list[float]:
        """From the answer to each merge to its STARTED; who approves merges."""
        asked = [house.ask(Tier.MEDIUM, formula="mark", params={"place": secrets.token_hex(8)}) for _ in range(count)]
        for one in asked:
            house.approve(one)
        self.wait({one.id for one in asked}, "SEEN")
        seen, self._before, self._count = self.tip, beats.read(house.state, "dispatcher"), count
        merged: dict[str, float] = {}
        started: dict[str, float] = {}
        for one in asked:
            house.merge(one)
            merged[one.id] = time.monotonic()
            seen = self.look(seen, "STARTED", started)
        deadline = time.monotonic() + LIMIT_S
        while started.keys() < merged.keys():
            assert time.monotonic() < deadline, f"only {len(started)} of {count} started"
            seen = self.look(seen, "STARTED", started)
            time.sleep(0.005)
        return [max(0.0, started[id] - merged[id]) for id in merged]

    def all_the_way(self, house: House, count: int) -> tuple[list[float], list[float]]:
        """From each merge, and from each approval, to its STARTED; the daemon merges, as it does for people."""
        asked = [house.ask(Tier.MEDIUM, formula="mark", params={"place": secrets.token_hex(8)}) for _ in range(count)]
        self.wait({one.id for one in asked}, "SEEN")
        self._before, self._count = beats.read(house.state, "dispatcher"), count
        tips = {name: str(self.repo.references[f"refs/heads/{name}"].target) for name in ("main", "ledger")}
        approved: dict[str, float] = {}
        merged: dict[str, float] = {}
        started: dict[str, float] = {}

        def look() -> None:
            tips["main"] = self.merges(tips["main"], merged)
            tips["ledger"] = self.look(tips["ledger"], "STARTED", started)

        for one in asked:
            house.approve(one)
            approved[one.id] = time.monotonic()
            look()
        deadline = time.monotonic() + LIMIT_S
        while started.keys() < approved.keys():
            assert time.monotonic() < deadline, f"only {len(started)} of {count} started"
            look()
            time.sleep(0.005)
        return ([max(0.0, started[id] - merged[id]) for id in approved],
                [max(0.0, started[id] - approved[id]) for id in approved])  # fmt: skip

    def merges(self, seen: str, found: dict[str, float]) -> str:
        """Note the actions that came onto ``main`` since ``seen``; the new tip."""
        tip = str(self.repo.references["refs/heads/main"].target)
        if tip == seen:
            return seen
        now = time.monotonic()
        before, after = (self.repo[oid].peel(pygit2.Tree) for oid in (seen, tip))
        for delta in before.diff_to_tree(after).deltas:
            path = Path(delta.new_file.path)
            if str(path.parent) == "vault/actions":
                found.setdefault(path.stem, now)
        return tip

    def cost(self, house: House) -> tuple[float, ...]:
        """Requests and git commands that spoke to the forge, per action of the last round, up to now."""
        now = beats.read(house.state, "dispatcher")
        return tuple((now[what] - self._before[what]) / self._count for what in ("requests", "git"))

    @property
    def tip(self) -> str:
        return str(self.repo.references["refs/heads/ledger"].target)

    def look(self, seen: str, kind: str, found: dict[str, float]) -> str:
        """Note what of a kind came onto the ledger since ``seen``; the new tip."""
        tip = self.tip
        if tip == seen:
            return seen
        now = time.monotonic()
        walk = self.repo.walk(tip)
        walk.hide(seen)
        for commit in walk:
            path = commit.message.split("\n")[0]
            if path.endswith(f"-{kind}.toml"):
                found.setdefault(path.split("/")[1], now)
        return tip

    def wait(self, ids: set[str], kind: str) -> None:
        """Until all have an entry of that kind."""
        deadline, found, seen = time.monotonic() + LIMIT_S, dict[str, float](), ""
        root = next(iter(reversed(list(self.repo.walk(self.tip)))))
        seen = str(root.id)
        while not ids <= found.keys():
            assert time.monotonic() < deadline, f"{len(ids - found.keys())} have no {kind}"
            seen = self.look(seen, kind, found)
            time.sleep(0.01)

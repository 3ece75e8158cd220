"""One account's view of a fake forge: what its groups of calls stand on."""

from __future__ import annotations

from datetime import datetime

from factory.errors import ForgeRefused
from factory.forge.values import (
    ItemState,
    RepoName,
)
from factory.testing.fake_world import RANKS, FakeItem, FakeRepo, FakeWorld


def refused(doing: str, status: int, detail: str) -> ForgeRefused:
    return ForgeRefused(f"{doing}: the forge answered {status}: {detail}", status=status, detail=detail)


class FakeAccount:
    """What the call groups stand on. Shared state is in ``world``."""

    def __init__(self, login: str = "founder", *, world: FakeWorld | None = None) -> None:
        self.world = world or FakeWorld()
        self.url = self.world.url
        self.login = login
        self.requests = 0
        self.faults: list[Exception] = []
        """Raised one by one by the next calls, before they do anything."""
        self.world.user(login)

    @property
    def server_time(self) -> datetime | None:
        return self.world.second

    def _ask(self, repo: RepoName, need: str = "read", doing: str = "") -> FakeRepo:
        self.requests += 1
        if self.faults:
            raise self.faults.pop(0)
        kept = self.world.repo(repo, self.login)
        if self.world.rank(kept, self.login) < RANKS.index(need):
            raise refused(doing or f"writing to {repo}", 403, "")
        return kept

    def _new(self, repo: FakeRepo, title: str, body: str) -> FakeItem:
        repo.counter += 1
        number = repo.counter
        now = self.world.second
        item = FakeItem(number, title, body, self.world.user(self.login), now, now)
        repo.items[number] = item
        return item

    def _edit(self, repo: FakeRepo, item: FakeItem, title: str | None, body: str | None, state: str | None) -> None:
        if item.author.login != self.login and self.world.rank(repo, self.login) < 2:
            raise refused(f"editing {repo.name}#{item.number}", 403, "")
        if state == "closed" and self.world.open_blockers(item):
            detail = "cannot close this issue because it still has open dependencies"
            raise refused(f"editing {repo.name}#{item.number}", 412, detail)
        if title and title != item.title:
            item.title = title
            self.world.event(item, "change_title", self.login, detail=title)
        if body is not None and body != item.body:
            item.body, item.updated_at = body, self.world.second
        if state is not None:
            self.world.set_state(repo, item, ItemState.CLOSED if state == "closed" else ItemState.OPEN, self.login)

    def set_ref(self, repo: RepoName, ref: str, sha: str | None) -> None:
        """Move, create or (None) delete any ref, as a push would."""
        kept = self.world.repos[repo]
        old = kept.refs.get(ref)
        if sha is None:
            kept.refs.pop(ref, None)
        else:
            kept.refs[ref] = sha
        if ref.startswith("refs/heads/"):
            self.world.moved(kept, ref.removeprefix("refs/heads/"), self.login, old)

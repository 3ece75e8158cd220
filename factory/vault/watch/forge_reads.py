"""The forge as the vault's trusted part asks it: pull requests, people, the clock, with the dispatcher's own token.

What anybody could write is not read for a permission: who merged and when, a commit's names and dates, labels, texts.
The addresses in commits name contributors, and those only lose a right by it. All that goes wrong is ``Unclear``.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

from factory.errors import FactoryError, NotFound
from factory.forge.client import ForgejoClient
from factory.forge.values import RepoName, TimelineEvent, User
from factory.forge.values import Review as ForgeReview
from factory.vault.approval import Review
from factory.vault.ports import PullFact, Repo, Unclear
from factory.vault.watch.ahead import Ahead

T = TypeVar("T")
SECOND = timedelta(seconds=1)
FRESH_S = 1.0
"""As of the sentinel's answer: a burst of requests asks once a second."""
PULLS = "refs/pull/"
_MOVED = frozenset({"change_target_branch", "reopen"})


class ForgeReads:
    """``ports.Forge`` on one ops repo.

    ``writers`` tells who may write as the sentinel sees it, by account id; None where there is no sentinel: then what
    the dispatcher's own token is told counts alone. ``clock`` is monotonic.

    What all requests share (which heads there are, who may write, the time) is asked once a second in a burst of them;
    what is said of one request, each time.
    """

    def __init__(
        self, client: ForgejoClient, ops: RepoName, writers: Callable[[], frozenset[int]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._client, self._ops, self._writers = client, ops, writers
        self._heads = _Brief(clock, self._read_heads)
        self._listed = _Brief(clock, lambda: _ids(client.writers(self._ops)))
        self._time = _Brief(clock, self._read_time)
        self._ahead = Ahead(self._asked)
        self.told = Told()

    def follow(self, ops: RepoName) -> None:
        """The repo is called so from now on."""
        self._ops = ops

    def refs(self, *prefixes: str) -> Mapping[str, str]:
        self._ahead.forget()
        with unclear():
            found = self._client.ls_refs(self._ops, prefixes)
        self.told.hear(prefixes, found)
        return found

    def repo(self) -> Repo:
        """The ops repo as it is called now: an old name is followed, so that a renamed one shows."""
        with unclear():
            found = self._client.repo(self._ops)
        return Repo(self._client.url, found.id, found.name.owner, found.name.name)

    def ahead(self, heads: Iterable[str]) -> None:
        self._ahead.begin([head for head in heads if head])

    def pulls(self, head: str) -> tuple[PullFact, ...]:
        return self._ahead.of(head)

    def _asked(self, head: str) -> tuple[PullFact, ...]:
        found = []
        for number in self._numbers(head):
            try:
                with unclear():
                    found.append(self._pull(number, head))
            except _Gone:
                self.repo()  # the repo itself must answer, else nothing is known
        return tuple(found)

    def _numbers(self, head: str) -> tuple[int, ...]:
        """Of the pull requests with that head. One that an answer of a moment ago does not name may be new."""
        with unclear():
            return self._heads.now().get(head) or self._heads.anew().get(head, ())

    def _read_heads(self) -> Mapping[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {}
        for name, oid in self._client.ls_refs(self._ops, (PULLS,)).items():
            number, _, kind = name.removeprefix(PULLS).partition("/")
            if kind == "head" and number.isdecimal():
                found[oid] = tuple(sorted({*found.get(oid, ()), int(number)}))
        return found

    def _pull(self, number: int, head: str) -> PullFact:
        """Several answers, read one after the other: the pull request last, so that a push between them shows in it."""
        client, ops = self._client, self._ops
        try:
            reviews = client.reviews(ops, number)
            events = client.timeline(ops, number)
            commits = client.pull_commits(ops, number)
            pull = client.pull(ops, number)
        except NotFound:
            raise _Gone from None
        pushes = [event for event in events if event.kind == "pull_push"]
        people = [event.author for event in pushes]
        for commit in commits:
            people += [commit.author, commit.committer]
        # Of a merged one the forge tells where its branch stands now; its recorded head stands still.
        head = head if pull.merged else pull.head_sha
        if not _named({head, *(commit.sha for commit in commits)}, pushes):
            people += [review.author for review in reviews]
        # Times are whole seconds: a review of that same second may have come before it.
        moves = [event.created_at + SECOND for event in events if event.kind in _MOVED or _forced(event)]
        return PullFact(
            number=pull.number, poster=pull.author.id, base=pull.base_ref, head_sha=head,
            head_repo=pull.head_repo_id, flow=pull.flow, opened=pull.created_at, merged=pull.merged,
            contributors=_ids(people), pushed=max([pull.created_at, *(event.created_at for event in pushes)]),
            moved=max(moves, default=None), reviews=tuple(map(_review, reviews)),
        )  # fmt: skip

    def now(self) -> datetime:
        """The clock of the forge's ``Date`` header, in whole seconds, asked for within the last second."""
        with unclear():
            return self._time.now()

    def _read_time(self) -> datetime:
        self._client.version()
        told = self._client.server_time
        if told is None:
            raise Unclear("asking the forge for the time: its answer has no Date")
        return told.astimezone(UTC)

    def humans(self, ids: frozenset[int]) -> frozenset[int]:
        """Active accounts with the right to write, by id: a name that was given to somebody else finds nobody.

        A narrow token may not ask what others may do; that the forge offers them as assignees says it in one request,
        but of an organisation it also lists teams that only read. So the sentinel must have seen their right, too.
        """
        with unclear():
            listed = self._listed.now()
        if self._writers is not None:
            listed &= self._writers()
        return ids & listed


class Told:
    """The newest answer about refs, for who is to have what was told and need not ask again."""

    def __init__(self) -> None:
        self._prefixes: tuple[str, ...] = ()
        self._refs: Mapping[str, str] = {}

    def hear(self, prefixes: tuple[str, ...], refs: Mapping[str, str]) -> None:
        self._prefixes, self._refs = prefixes, refs

    def forget(self) -> None:
        """From here on it may be otherwise."""
        self._prefixes, self._refs = (), {}

    def of(self, names: Sequence[str]) -> dict[str, str] | None:
        """Those refs as they were told, without those that are not there; None where not all were asked for."""
        if not all(name.startswith(self._prefixes or ("-",)) for name in names):
            return None
        return {name: self._refs[name] for name in names if name in self._refs}


class _Brief(Generic[T]):
    """An answer that is taken for another one until it is ``FRESH_S`` old."""

    def __init__(self, clock: Callable[[], float], ask: Callable[[], T]) -> None:
        self._clock, self._ask = clock, ask
        self._last: tuple[float, T] | None = None
        self._lock = threading.RLock()

    def now(self) -> T:
        with self._lock:
            last = self._last
            return last[1] if last is not None and self._clock() - last[0] < FRESH_S else self.anew()

    def anew(self) -> T:
        with self._lock:
            began = self._clock()
            self._last = (began, self._ask())
            return self._last[1]


class _Gone(Exception):
    """There is no such pull request (any more)."""


def _review(review: ForgeReview) -> Review:
    return Review(
        id=review.id, user=review.author.id, state=review.state.value, dismissed=review.dismissed, stale=review.stale,
        official=review.official, commit=review.commit, at=review.submitted_at,
    )  # fmt: skip


def _ids(users: list[User]) -> frozenset[int]:
    """Account ids; an unknown or deleted account has none."""
    return frozenset(user.id for user in users if user.id > 0)


def _named(commits: set[str], pushes: list[TimelineEvent]) -> bool:
    """Whether a push names each commit. Of what was pushed while it was closed, before it got this target, or a moment
    before it was merged, the forge does not say (yet) who did: then any reviewer may have. (The head is among them: in
    the moment between a merge and its mark the forge lists no commits at all.)"""
    named = " ".join(event.detail for event in pushes)
    return all(f'"{commit}"' in named for commit in commits)


def _forced(event: TimelineEvent) -> bool:
    """Whether it is a push that replaced history; one that cannot be read counts as that."""
    if event.kind != "pull_push":
        return False
    try:
        told = json.loads(event.detail)
    except ValueError:
        return True
    return not isinstance(told, dict) or told.get("is_force_push") is not False


@contextmanager
def unclear() -> Iterator[None]:
    """Whatever goes wrong with the forge means that nothing is known."""
    try:
        yield
    except FactoryError as error:
        raise Unclear(error.message) from error

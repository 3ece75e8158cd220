"""One observation of a forge: what changed since the last one, or everything. Used by ``snapshot.py`` only."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from datetime import datetime, timedelta

from factory.errors import NotFound
from factory.forge import subjects
from factory.forge.protocol import Forge
from factory.forge.searches import Searches
from factory.forge.snapshot_file import RepoState, SnapshotState
from factory.forge.values import Issue, ItemState, Pull, RepoName
from factory.forge.view import Key, RepoView, is_open, undecided

PREFIXES = ("refs/heads/", "refs/factory/")
OVERLAP = timedelta(seconds=10)
"""How late a change may become visible after the second it is stamped with (a slow transaction)."""
QUIET = timedelta(seconds=60)
"""Nothing newer for so long: what lies before the watermark is complete."""
LAG = timedelta(seconds=2)
"""A subject read this soon after its stamp may have changed again under the same stamp."""
RELISTS = (timedelta(seconds=3), timedelta(seconds=15))


class Doubt(Exception):
    """The forge does not continue the history that the kept state knows."""


def repo_view(kept: RepoState) -> RepoView:
    """The kept state of a repo as a frozen value."""
    return RepoView(
        kept.repo,
        dict(kept.refs),
        kept.tip_statuses,
        tuple(kept.issues[n] for n in sorted(kept.issues)),
        tuple(kept.pulls[n] for n in sorted(kept.pulls)),
    )


def spell(key: Key) -> str:
    return f"{key[0]}#{key[1]}"


def unspell(name: str) -> Key:
    repo, _, number = name.rpartition("#")
    return RepoName.parse(repo), int(number)


class Look:
    """Works on a copy of the state, so that an error half-way leaves the old one whole."""

    def __init__(
        self, forge: Forge, state: SnapshotState, now: Callable[[], datetime], searches: Searches, asker: object
    ) -> None:
        self.forge, self._now, self._searches, self._asker = forge, now, searches, asker
        self.state = copy(state)
        self.state.repos = {
            name: RepoState(kept.repo, kept.refs, kept.tip_statuses, dict(kept.issues), dict(kept.pulls))
            for name, kept in state.repos.items()
        }
        self.state.watermarks, self.state.seen = dict(state.watermarks), dict(state.seen)
        self.state.hot, self.state.relist = dict(state.hot), list(state.relist)
        self._ours = {name.lower(): RepoName.parse(name) for name in self.state.repos}
        self.changed: set[Key] = set()
        self._read_now: set[Key] = set()
        self.moved = False
        """Whether anything else worth keeping changed."""

    def everything(self, keep: timedelta) -> None:
        """Read all open subjects, and those closed within ``keep``."""
        started = self._now()
        for owner in self._owners():
            items, newest = self.forge.changed_since(owner, started - keep)
            if newest is not None:
                self.state.watermarks[owner] = newest
            for repo, item in items:
                name = self._ours.get(str(repo).lower(), repo)
                self.state.seen[spell((name, item.number))] = item.updated_at
                if item.state is ItemState.CLOSED:
                    self._take(name, item, started)
        self.state.looked_at = started
        for name in self._ours.values():
            kept = self.state.repos[str(name)]
            kept.refs = self.forge.ls_refs(name, PREFIXES)
            if name == self.state.project:
                for issue in self.forge.issues(name):
                    self._take(name, issue, started)
            for pull in self.forge.pulls(name):
                self._take(name, pull, started)
        self._prune()
        self._read_tip()

    def changes(self, touched: frozenset[Key], contexts: frozenset[str]) -> None:
        """Read what changed since the state's last look. Raises Doubt."""
        found: dict[Key, Issue | Pull] = {}
        searched_at: datetime | None = None
        for owner in self._owners():
            items, at = self._search(owner)
            found |= items
            searched_at = min(searched_at or at, at)
        assert searched_at is not None
        if self.state.looked_at is not None and searched_at < self.state.looked_at - timedelta(seconds=1):
            raise Doubt("the forge's clock went back")
        self.state.looked_at = searched_at
        heads, bases = self._refs()
        again = {key for key, item in found.items() if self._differs(key, item)}
        settled = {unspell(name) for name, stamp in self.state.hot.items() if searched_at >= stamp + LAG}
        for key in sorted(again | touched | settled | heads):
            if key[1] > 0:
                self._read(key, found.get(key) if key in again else None, searched_at)
        self.state.seen |= {spell(key): item.updated_at for key, item in found.items()}
        self._prune()
        self._relist(bases)
        self._dependants(again | touched | settled | self._read_now)
        tip = (self.state.project, 0) in touched or self.state.project in bases
        self._checks(contexts, tip=tip)

    # what changed
    def _owners(self) -> list[str]:
        owners = {self.state.project.owner, self.state.ops.owner}
        for kept in self.state.repos.values():
            owners |= {d.repo.owner for view in kept.issues.values() for d in view.dependencies}
        return sorted({owner.lower(): owner for owner in sorted(owners)}.values())

    def _search(self, owner: str) -> tuple[dict[Key, Issue | Pull], datetime]:
        watermark = self.state.watermarks.get(owner)
        last = self.state.looked_at or self._now()
        quiet = watermark is not None and last - watermark > QUIET and not self.state.hot
        # Never from the future: a forge whose clock was ahead for a while stamped so.
        since = min(watermark or last, last) - (timedelta() if quiet else OVERLAP)
        said = self._searches.changed_since(
            self.forge,
            owner,
            since,
            settled=watermark if quiet else None,
            asker=self._asker,
            now=self._now,
        )
        newest = said.newest
        found = {(self._ours.get(str(repo).lower(), repo), item.number): item for repo, item in said.items}
        if watermark is not None and (newest is None or newest < watermark):
            raise Doubt("the forge lost its newest changes: was it restored?")
        for name, stamp in self.state.seen.items():
            key = unspell(name)
            if key[0].owner.lower() != owner.lower() or stamp < since:
                continue
            if key not in found:
                # Ended early, it shows all that is newer than the watermark, but not all of the watermark's own second.
                if said.complete:
                    raise Doubt(f"{name} vanished: was it deleted, or the forge restored?")
            elif found[key].updated_at < stamp:
                raise Doubt(f"{name} is older than it was: was the forge restored?")
        if newest is not None and newest != watermark:
            self.state.watermarks[owner] = newest
            self.moved = True
        return found, said.at

    def _differs(self, key: Key, item: Issue | Pull) -> bool:
        """Whether a search result says something new, by its stamp or (in the same second) by what it shows."""
        if self.state.seen.get(spell(key)) != item.updated_at:
            return True
        kept = self.state.repos.get(str(key[0]))
        if kept is None:
            return False
        if isinstance(item, Pull):
            pull = kept.pulls.get(key[1])
            return pull is not None and _shown(pull.pull) != _shown(item)
        issue = kept.issues.get(key[1])
        return issue is not None and _shown(issue.issue) != _shown(item)

    def _prune(self) -> None:
        """Keep of ``seen`` only what the next search can show again."""
        newest = {owner.lower(): at for owner, at in self.state.watermarks.items()}
        self.state.seen = {
            name: stamp
            for name, stamp in self.state.seen.items()
            if stamp >= newest.get(name.partition("/")[0].lower(), stamp) - OVERLAP
        }

    def _refs(self) -> tuple[set[Key], set[RepoName]]:
        """Read all refs: the pull requests whose head moved, the repos in which a base moved."""
        heads: set[Key] = set()
        bases: set[RepoName] = set()
        for repo in self._ours.values():
            kept = self.state.repos[str(repo)]
            old, kept.refs = kept.refs, self.forge.ls_refs(repo, PREFIXES)
            if old == kept.refs:
                continue
            self.moved = True
            if kept.repo.empty or f"refs/heads/{kept.repo.default_branch}" not in kept.refs:
                kept.repo = self.forge.repo(repo)
            moved = {ref for ref in old.keys() | kept.refs.keys() if old.get(ref) != kept.refs.get(ref)}
            pulls = {number: view.pull for number, view in kept.pulls.items() if is_open(view)}
            heads |= {(repo, n) for n, p in pulls.items() if p.head_repo == repo and _branch(p.head_ref) in moved}
            if moved & {_branch(kept.repo.default_branch), *(_branch(pull.base_ref) for pull in pulls.values())}:
                bases.add(repo)
        return heads, bases

    # one subject
    def _read(self, key: Key, item: Issue | Pull | None, read_at: datetime) -> None:
        """Read a subject again; ``item`` is what a search at ``read_at`` said of it, if one did."""
        repo, number = key
        kept = self.state.repos.get(str(repo))
        if kept is None:
            self._heat(key, item.updated_at if item else None, read_at)
            return
        try:
            if item is None:
                read_at = self._now()
                known = True if number in kept.pulls else False if number in kept.issues else None
                item = subjects.read_any(self.forge, repo, number, pull=known)
            self._take(repo, item, read_at)
        except NotFound:
            kept.issues.pop(number, None)
            kept.pulls.pop(number, None)
            self.state.hot.pop(spell(key), None)
            self.changed.add(key)

    def _take(self, repo: RepoName, item: Issue | Pull, read_at: datetime) -> None:
        """Read what belongs to an item that was itself read at ``read_at``, and keep it all."""
        kept = self.state.repos.get(str(repo))
        if kept is None or (isinstance(item, Issue) and repo != self.state.project):
            return
        key = (repo, item.number)
        if isinstance(item, Pull):
            # What a search or list shows of a pull request is not the whole of it.
            read_at = self._now()
            item = self.forge.pull(repo, item.number)
            kept.pulls[item.number] = subjects.read_pull(self.forge, repo, item, kept.pulls.get(item.number))
            if item.state is ItemState.OPEN and not item.mergeable and not item.draft:
                self._relist_later()
        else:
            kept.issues[item.number] = subjects.read_issue(self.forge, repo, item)
        self._heat(key, item.updated_at, read_at)
        self.changed.add(key)
        self._read_now.add(key)

    def _heat(self, key: Key, stamp: datetime | None, read_at: datetime) -> None:
        if stamp is not None and stamp + LAG > read_at:
            self.state.hot[spell(key)] = stamp
            self.moved = True
        else:
            self.moved |= self.state.hot.pop(spell(key), None) is not None

    # what changes without being updated
    def _relist_later(self) -> None:
        now = self._now()
        self.state.relist = sorted(now + wait for wait in RELISTS)
        self.moved = True

    def _relist(self, bases: set[RepoName]) -> None:
        """Base and mergeability of open pull requests, which change without any of them being updated."""
        now = self._now()
        repos = set(bases)
        if any(at <= now for at in self.state.relist):
            self.state.relist = [at for at in self.state.relist if at > now]
            self.moved = True
            repos |= set(self._ours.values())
        for repo in sorted(repos):
            kept = self.state.repos[str(repo)]
            if not any(is_open(view) for view in kept.pulls.values()):
                continue
            listed = {pull.number: pull for pull in self.forge.pulls(repo)}
            for number in sorted(listed.keys() | {n for n, view in kept.pulls.items() if is_open(view)}):
                known, pull = kept.pulls.get(number), listed.get(number)
                if known is None or pull is None or subjects.diff_range(known.pull) != subjects.diff_range(pull):
                    if (repo, number) not in self._read_now:
                        self._read((repo, number), None, now)
                    continue
                based = replace(known.pull, base_sha=pull.base_sha, mergeable=pull.mergeable)
                if based != known.pull:
                    kept.pulls[number] = replace(known, pull=based)
                    self.changed.add((repo, number))
        if any(is_open(view) for repo in bases for view in self.state.repos[str(repo)].pulls.values()):
            self._relist_later()

    def _dependants(self, again: set[Key]) -> None:
        """A dependency that was closed moves nothing on the issue that waits for it."""
        for repo in self._ours.values():
            kept = self.state.repos[str(repo)]
            for number, view in list(kept.issues.items()):
                if (repo, number) in self._read_now or not is_open(view):
                    continue
                if any((self._ours.get(str(d.repo).lower(), d.repo), d.number) in again for d in view.dependencies):
                    found = tuple(self.forge.dependencies(repo, number))
                    if found != view.dependencies:
                        kept.issues[number] = replace(view, dependencies=found)
                        self.changed.add((repo, number))

    def _read_tip(self) -> None:
        kept = self.state.repos[str(self.state.project)]
        tip = repo_view(kept).tip
        statuses = tuple(self.forge.statuses(self.state.project, tip)) if tip else ()
        if statuses != kept.tip_statuses:
            kept.tip_statuses = statuses
            self.changed.add((self.state.project, 0))

    def _checks(self, contexts: frozenset[str], *, tip: bool) -> None:
        """Statuses, which move nothing at all."""
        kept = self.state.repos[str(self.state.project)]
        if tip or undecided(kept.tip_statuses, contexts):
            self._read_tip()
        for number, view in list(kept.pulls.items()):
            key = (self.state.project, number)
            if key in self._read_now or not is_open(view) or not undecided(view.statuses, contexts):
                continue
            statuses = tuple(self.forge.statuses(self.state.project, view.pull.head_sha))
            if statuses != view.statuses:
                kept.pulls[number] = replace(view, statuses=statuses)
                self.changed.add(key)


def _shown(item: Issue | Pull) -> tuple[object, ...]:
    """What a search result and a full reading agree on."""
    more = item.merged if isinstance(item, Pull) else item.comments
    return item.title, item.body, item.state, item.labels, more


def _branch(name: str) -> str:
    return f"refs/heads/{name}"

"""An incremental picture of one project and its ops repo.

When nothing changed it costs one search per owner and one ``ls-refs`` per repo; what changed costs its own reads.
What does not move an item's ``updated_at`` is caught otherwise: statuses by ``touched`` and ``contexts``, a closed
dependency by whoever depends on it, a moved base by listing the open pull requests once (and again a little later,
because a forge computes mergeability late). Edited comments and reviews are *not* caught: whoever merges or fires
reads them again first. Nor is a branch made anew under the name of a closed pull request's head, which a forge then
shows there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from factory.errors import ForgeRefused
from factory.forge import snapshot_file
from factory.forge.look import Doubt, Look, repo_view
from factory.forge.protocol import Forge
from factory.forge.searches import Searches
from factory.forge.snapshot_file import RepoState, SnapshotState
from factory.forge.values import RepoName
from factory.forge.view import ForgeView, Key, is_open, updated_at


class Snapshot:
    """Call ``refresh`` once per tick. Not safe for several threads.

    ``state_file`` survives restarts; unreadable or of another forge, it is ignored. ``keep_days``: how long closed
    subjects stay in view. ``clock`` is used only where the forge does not tell its own time. ``searches`` are shared
    with the other projects that are looked at in the same turn.
    """

    def __init__(
        self,
        forge: Forge,
        project: RepoName,
        ops: RepoName,
        state_file: Path,
        *,
        keep_days: float = 7,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        searches: Searches | None = None,
    ) -> None:
        self._searches = searches
        self._forge, self._project, self._ops, self._file = forge, project, ops, state_file
        self._keep, self._clock = timedelta(days=keep_days), clock
        self._state, self._why = snapshot_file.load(state_file, url=forge.url, project=project, ops=ops)

    def rescan(self, why: str = "it was asked for") -> None:
        """Make the next refresh read everything."""
        self._state, self._why = None, why

    @property
    def settled(self) -> bool:
        """False while a subject was read in the very second it changed in: look again within two seconds to be sure
        of it (the next refresh does it by itself)."""
        return self._state is not None and not self._state.hot

    def refresh(self, touched: Iterable[Key] = (), *, contexts: Collection[str] = ()) -> ForgeView:
        """Look again. ``touched`` are subjects to read in any case (number 0: the default branch's tip); ``contexts``
        are required checks that others post: heads still waiting for one are asked.

        Raises ForgeError; the picture is then as before. ForgeRefused with status 301 means a repo was renamed.
        """
        before = self._forge.requests
        state, changed, why = self._look(frozenset(touched), frozenset(contexts))
        self._state = state
        return ForgeView(
            project=repo_view(state.repos[str(self._project)]),
            ops=repo_view(state.repos[str(self._ops)]),
            as_of=state.looked_at,
            changed=changed,
            rescanned=why,
            requests=self._forge.requests - before,
        )

    def _look(
        self, touched: frozenset[Key], contexts: frozenset[str]
    ) -> tuple[SnapshotState, frozenset[Key], str | None]:
        why, searches = self._why, self._searches or Searches()
        if self._state is not None:
            try:
                look = Look(self._forge, self._state, self._now, searches, self._file)
                look.changes(touched, contexts)
                searches.looked(self._file)
                self._forget(look.state)
                if look.changed or look.moved:
                    snapshot_file.save(self._file, look.state)
                return look.state, frozenset(look.changed), None
            except Doubt as doubt:
                why = str(doubt)
        look = Look(self._forge, self._empty(), self._now, searches, self._file)
        look.everything(self._keep)
        searches.looked(self._file)
        self._forget(look.state)
        snapshot_file.save(self._file, look.state)
        return look.state, frozenset(look.changed), why

    def _now(self) -> datetime:
        return self._forge.server_time or self._clock()

    def _empty(self) -> SnapshotState:
        repos = {}
        for name in (self._project, self._ops):
            repo = self._forge.repo(name)
            if str(repo.name).lower() != str(name).lower():
                raise ForgeRefused(
                    f"looking at {name}: it is called {repo.name} now",
                    status=301,
                    detail="renamed",
                    hint="if you renamed it, name the new one in the factory's configuration",
                )
            repos[str(name)] = RepoState(repo)
        return SnapshotState(self._forge.url, self._project, self._ops, repos)

    def _forget(self, state: SnapshotState) -> None:
        oldest = (state.looked_at or self._now()) - self._keep
        for kept in state.repos.values():
            kept.issues = {n: v for n, v in kept.issues.items() if is_open(v) or updated_at(v) >= oldest}
            kept.pulls = {n: v for n, v in kept.pulls.items() if is_open(v) or updated_at(v) >= oldest}

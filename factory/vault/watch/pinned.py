"""Whether the ops repo is still the one that the ledger began in: found by its id, whatever has its name now.

A repo that was renamed or moved is asked under its new name, so that its own ledger gets the FREEZE. Where the forge no
longer shows it and another one stands under its name, nothing of that one is read: the vault is frozen on this host,
and on the ledger as soon as that can be reached. Not part of the trusted part, which compares the repo by itself before
it writes anything: all this can do is freeze.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from factory.errors import ForgeUnavailable, NotFound
from factory.forge import decode
from factory.forge.client import ForgejoClient
from factory.forge.values import RepoName
from factory.vault.canonical import Refused, plain
from factory.vault.chain import BRANCH
from factory.vault.ports import Unclear
from factory.vault.watch import frozen, record
from factory.vault.watch.around import Around
from factory.vault.watch.forge_reads import ForgeReads, unclear

LEDGER = f"refs/heads/{BRANCH}"


@dataclass
class Pinned(Around):
    """``ops`` and ``id``: the repo as set-up made it. ``folder``: where the sentinel writes what it saw, and where a
    freeze is kept. ``move`` tells git where the repo is now."""

    forge: ForgeReads
    client: ForgejoClient
    ops: RepoName
    id: int
    move: Callable[[RepoName], None]

    def __post_init__(self) -> None:
        self._at = self.ops

    def refs(self, *prefixes: str) -> Mapping[str, str]:
        """As asked, of the pinned repo and of no other. It is looked for when the sentinel saw another one, when it
        cannot be had by its name, and when its ledger is not where it was; else an idle turn is one request. Raises
        Unclear, and what the ledger raises."""
        looked = self._at != self.ops or bool(frozen.words(self.folder)) or self._seen_changed()
        if looked:
            self.look()
        try:
            found = self.forge.refs(*prefixes)
        except Unclear as trouble:
            if looked or isinstance(trouble.__cause__, ForgeUnavailable):
                raise
            self.look()
            return self.forge.refs(*prefixes)
        if not looked and LEDGER in prefixes and found.get(LEDGER, "") != self.chain().ledger.tip:
            self.look()
            found = self.forge.refs(*prefixes)
        return found

    # ---- is it the one? ----------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Find it by its id, and freeze where it is not what it was. Raises Unclear: it is not to be had."""
        there = self._by_id()
        if there is None:
            raise Unclear(self._gone())
        if there != self._at:
            self.forge.follow(there)
            self.move(there)
            self._at = there
        if there != self.ops:
            self._freeze(self._words(f"the ops repo is now {there}"))
        if kept := frozen.words(self.folder):
            self._freeze(kept)

    def _seen_changed(self) -> bool:
        """Whether the sentinel saw another id or name when it looked last."""
        seen = record.read(self.folder)
        return seen is not None and (seen.facts["repo"]["id"], seen.facts["repo"]["name"]) != (self.id, str(self.ops))

    def _by_id(self) -> RepoName | None:
        """How it is called now; None: the forge shows our account no repo with this id."""
        with unclear():
            try:
                told = self.client.get(f"/repositories/{self.id}", doing=f"looking for {self.ops} by its id {self.id}")
                return decode.repo(decode.record(told)).name
            except NotFound:
                return None

    def _gone(self) -> str:
        """Why nothing can be done, now that the forge does not show it; kept, where another one has its name."""
        with unclear():
            try:
                other = self.client.repo(self.ops)
            except NotFound:
                return f"{self.ops} (id {self.id}) is not there any more, or not shown to the dispatcher's account"
        if other.id == self.id:
            return f"the forge shows {self.ops} by its name and not by its id {self.id}"
        why = self._words(f"another repo is called {self.ops} now (id {other.id}), and the ledger is out of reach")
        frozen.keep(self.folder, why, self.clock())
        return frozen.told(self.folder)

    def _words(self, what: str) -> str:
        return plain(f"{what}; it was {self.ops}, id {self.id}, on {self.client.url}")

    def _freeze(self, why: str) -> None:
        """On the ledger; kept on this host while that takes nothing. Raises Unclear, Refused."""
        chain = self.chain()
        try:
            if not chain.ledger.frozen:
                chain.sync()
            if not chain.ledger.frozen:
                self.freeze({"words": plain(why)})
        except (Unclear, Refused):
            frozen.keep(self.folder, why, self.clock())
            raise
        if chain.ledger.frozen == plain(why):  # for another reason: whoever unfreezes it is told of this one then
            frozen.clear(self.folder)

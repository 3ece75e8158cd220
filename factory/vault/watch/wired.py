"""The trusted part's git, speaking to its forge through the forge client: one request where git needs four.

What is fetched is taken in by git's own ``unpack-objects`` or ``index-pack``, with the checks that ``git fetch`` makes
of it: each object, and that what it links to is here. What is not small or not known goes the way of ``Git``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from factory.errors import FactoryError
from factory.forge.client import ForgejoClient
from factory.forge.values import RepoName
from factory.git.hardened import GitTrouble
from factory.git.values import ZERO
from factory.vault.watch.forge_reads import Told
from factory.vault.watch.metered import MeteredGit

LOOSE_LIMIT = 100
"""Packs of fewer objects become loose objects, as git's own fetch.unpackLimit has it."""
HEADER = 12
"""Bytes of a pack before its first object: ``PACK``, version, count."""


class WiredGit(MeteredGit):
    """``Git`` on ``ops``, as ``client`` reaches it. The repo must be nobody else's: its refs are remembered.

    ``told``: what a moment ago was told of refs is not asked again.
    """

    def __init__(
        self, repo: Path, url: str, token: str, client: ForgejoClient, ops: RepoName, told: Told | None = None
    ) -> None:
        self._client, self.ops, self._told = client, ops, told or Told()
        self._bases: dict[str, str] = {}
        """Commit that was made here -> what its first draft stands on."""
        self._pushed = ""
        super().__init__(repo, url, token)
        self._here = self._tips("refs/heads/")

    def fetch(self, *branches: str) -> None:
        """Those branches as the remote has them now, or had them when it was last asked. Raises GitTrouble."""
        refs = [f"refs/heads/{name}" for name in branches]
        if not all(ref in self._here for ref in refs):
            self._by_git(*branches)  # the first time it may be much
            return
        doing = f"git fetch {' '.join(branches)}"
        there = self._told.of(refs)
        if there is None:
            with _trouble(doing):
                there = self._client.ls_refs(self.ops, refs)
        if missing := [ref for ref in refs if ref not in there]:
            raise GitTrouble(f"{doing}: could not find remote ref {missing[0]}")
        tips = {ref: there[ref] for ref in refs if there[ref] != self._here[ref]}
        known = {*self._here.values(), self._pushed} - {""}
        wants = sorted(set(tips.values()) - known)
        if wants:
            try:
                pack = self._client.fetch_pack(self.ops, wants, sorted(known))
            except FactoryError:
                self._by_git(*branches)  # what is too large for one answer, and a forge that answers git alone
                return
            small = int.from_bytes(pack[8:HEADER]) < LOOSE_LIMIT
            self.run(*(("unpack-objects",) if small else ("index-pack", "--stdin", "--fix-thin")), "--strict",
                     *(("-q",) * small), data=pack)  # fmt: skip
        if tips:
            self.run("update-ref", "--stdin", data="".join(f"update {r} {tip}\n" for r, tip in tips.items()).encode())
            self._here |= tips

    def _by_git(self, *branches: str) -> None:
        super().fetch(*branches)
        self._here |= self._tips(*(f"refs/heads/{name}" for name in branches))

    def _tips(self, *patterns: str) -> dict[str, str]:
        rows = self.text("for-each-ref", "--format=%(objectname) %(refname)", *patterns).splitlines()
        return {ref: oid for oid, ref in (row.split(" ", 1) for row in rows)}

    def append(self, parent: str, files: Sequence[tuple[str, bytes]], note: str) -> list[str]:
        """See Git; what the last draft stands on is what its push compares with."""
        made = super().append(parent, files, note)
        self._bases = {made[-1]: parent}
        return made

    def push(self, commit: str, branch: str) -> bool:
        """See Git: True, the server said yes; False, it said no. Raises GitTrouble: nothing is known."""
        if commit not in self._bases:
            return super().push(commit, branch)
        old = self._bases[commit]
        revs = f"{commit}\n" + (f"^{old}\n" if old else "")
        pack = self.run("pack-objects", "--revs", "--stdout", "--thin", "--delta-base-offset", "-q", data=revs.encode())
        self._told.forget()
        with _trouble("git push"):
            why = self._client.push_pack(self.ops, f"refs/heads/{branch}", old or ZERO, commit, pack)
        if why:
            return False
        self._pushed = commit
        self.pushed(commit)
        return True


@contextmanager
def _trouble(doing: str) -> Iterator[None]:
    try:
        yield
    except FactoryError as error:
        raise GitTrouble(f"{doing}: {error.message}") from None

"""What git's smart HTTP is asked without a git process: refs, a pack of what is new, one ref moved forward.

A git that fetches or pushes is four to six processes and three to four requests, the first of which the server refuses.
Who knows what it has and what it wants needs one request, and hands no credential to a child.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from factory import __version__
from factory.errors import ForgeError
from factory.forge import pktline
from factory.forge.calls import Calls, Reply
from factory.forge.values import RepoName

AGENT = f"ops-factory/{__version__}"


class PackCalls(Calls):
    """Refs and packs of one repo."""

    @abstractmethod
    def rpc(self, repo: RepoName, service: str, *, doing: str, content: bytes) -> Reply:
        """See ForgejoClient."""

    def ls_refs(self, repo: RepoName, prefixes: Sequence[str]) -> dict[str, str]:
        doing = f"listing the refs of {repo}"
        reply = self.rpc(repo, "git-upload-pack", doing=doing, content=pktline.ls_refs_request(prefixes, AGENT))
        try:
            refs = pktline.parse_ls_refs(reply.body)
        except ValueError as error:
            raise self._strange(doing, error) from error
        # A prefix is a hint to the server, which may return more.
        return {ref: oid for ref, oid in refs.items() if not prefixes or ref.startswith(tuple(prefixes))}

    def fetch_pack(self, repo: RepoName, wants: Sequence[str], haves: Sequence[str]) -> bytes:
        """A thin pack with all that the objects ``wants`` hold and ``haves`` do not; ids are 40 hex digits.

        Raises ForgeError, also when the pack is larger than the client takes, as ``ask`` does.
        """
        doing = f"fetching from {repo}"
        reply = self.rpc(repo, "git-upload-pack", doing=doing, content=pktline.fetch_request(wants, haves, AGENT))
        try:
            return pktline.parse_fetch(reply.body)
        except ValueError as error:
            raise self._strange(doing, error) from error

    def push_pack(self, repo: RepoName, ref: str, old: str, new: str, pack: bytes) -> str:
        """Move ``ref`` from ``old`` (40 zeros: from not being there) to ``new``, whose objects are in the pack: the
        server compares and swaps. Empty when it did, else why it did not.

        Raises as ``ask`` does: nothing is known then.
        """
        doing = f"pushing {new[:12]} to {ref} of {repo}"
        content = pktline.push_request(ref, old, new, pack, AGENT)
        reply = self.rpc(repo, "git-receive-pack", doing=doing, content=content)
        try:
            return pktline.parse_report(reply.body, ref)
        except ValueError as error:
            raise self._strange(doing, error) from error

    def _strange(self, doing: str, error: ValueError) -> ForgeError:
        words = self.redacted(str(error))
        return ForgeError(f"{doing}: the answer is not git protocol v2: {words}", hint="is this address a Forgejo?")

    @abstractmethod
    def redacted(self, text: str) -> str:
        """The text without this client's credentials."""

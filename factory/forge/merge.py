"""Merging a pull request: one write that carries its own compare-and-swap, repeated until its outcome is known.

Source of the order of checks, codes and texts: Forgejo 11 to 16, ``POST /repos/{o}/{r}/pulls/{i}/merge``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from factory.errors import ForgeError, ForgeRefused, ForgeUnavailable
from factory.forge.calls import Reply, at
from factory.forge.heads import merged_head
from factory.forge.pulls import PullCalls
from factory.forge.retry import MERGES, Backoff, MergeAnswer, merge_answer
from factory.forge.values import Dependency, Pull, RepoName

PATIENCE = 4
"""Tries after which a pull request that stays unmergeable counts as conflicting, and a lost answer as lost."""


class MergeCalls(PullCalls):
    """``merge`` and what it leans on."""

    merges: Backoff = MERGES

    @abstractmethod
    def wait(self, seconds: float) -> None:
        """Let time pass between two tries."""

    @abstractmethod
    def ls_refs(self, repo: RepoName, prefixes: Sequence[str]) -> dict[str, str]:
        """See Forge."""

    @abstractmethod
    def dependencies(self, repo: RepoName, number: int) -> list[Dependency]:
        """See IssueCalls."""

    def merge(self, repo: RepoName, number: int, *, head: str, title: str, message: str, style: str = "merge") -> str:
        doing = f"merging {repo}#{number} at {head[:12]}"
        body = {"Do": style, "MergeTitleField": title, "MergeMessageField": message, "head_commit_id": head}
        unmergeable = lost = 0
        last: Reply | ForgeUnavailable | None = None
        for wait in (0.0, *self.merges.waits()):
            if wait:
                self.wait(wait)
            try:
                reply = self.ask("POST", at(repo, "pulls", number, "merge"), doing=doing, body=body)
                answer, last = merge_answer(reply.status, reply.message), reply
            except ForgeUnavailable as error:
                answer, last = MergeAnswer.UNCLEAR, error
            if answer is MergeAnswer.NO:
                assert isinstance(last, Reply)
                raise self._no(last, doing)
            # Whatever it said, only the pull request itself tells whether it is merged.
            pull = self.pull(repo, number)
            if pull.merged:
                return self._merged(repo, pull, head, doing, sure=answer is MergeAnswer.DONE)
            self._still_possible(pull, head, doing)
            if answer is MergeAnswer.UNCLEAR:
                lost += 1
                if lost >= PATIENCE or (isinstance(last, Reply) and last.status == 403):
                    break
            if answer is MergeAnswer.AGAIN and not pull.mergeable:
                unmergeable += 1
                if unmergeable > PATIENCE:
                    raise ForgeRefused(
                        f"{doing}: it stays unmergeable, so it conflicts with its base", status=405, detail="conflict"
                    )
        raise self._gave_up(last, doing, repo, number)

    def _merged(self, repo: RepoName, pull: Pull, head: str, doing: str, *, sure: bool) -> str:
        """``sure``: the forge said yes to exactly this head."""
        merged = head if sure else merged_head(self, repo, pull)
        if merged != head or not pull.merge_commit:
            raise ForgeRefused(
                f"{doing}: it was merged at {merged[:12]} instead", status=409, detail="merged at another head"
            )
        return pull.merge_commit

    def _still_possible(self, pull: Pull, head: str, doing: str) -> None:
        if pull.state == "closed":
            raise ForgeRefused(f"{doing}: it was closed", status=404, detail="closed")
        if pull.head_sha != head:
            raise ForgeRefused(f"{doing}: its head is {pull.head_sha[:12]} now", status=409, detail="head out of date")
        if pull.merge_base == pull.head_sha:
            # The forge answers "try again later" for ever.
            raise ForgeRefused(f"{doing}: the base contains its head already", status=405, detail="nothing to merge")

    def _no(self, reply: Reply, doing: str) -> ForgeError:
        if reply.status == 409 and not reply.message:
            # A raw struct of the forge: the merge itself conflicted.
            return ForgeRefused(f"{doing}: it conflicts with its base", status=409, detail="conflict")
        return self.refusal(reply, doing)

    def _gave_up(self, last: Reply | ForgeUnavailable | None, doing: str, repo: RepoName, number: int) -> ForgeError:
        if isinstance(last, ForgeUnavailable):
            return ForgeUnavailable(f"{last.message}; it is not merged so far", hint=last.hint)
        if isinstance(last, Reply) and last.status >= 500:
            waiting = [f"{d.repo}#{d.number}" for d in self.dependencies(repo, number) if d.state == "open"]
            if waiting:
                # To anybody but a site admin the forge says this as an empty 500.
                return ForgeRefused(
                    f"{doing}: it depends on {', '.join(waiting)}, still open", status=500, detail="open dependency"
                )
        if isinstance(last, Reply):
            return self.refusal(last, doing)
        return ForgeUnavailable(f"{doing}: no usable answer")

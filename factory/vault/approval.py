"""Whether the reviews of a pull request approve exactly this content: rule R4, as one pure decision.

Part of the trusted part. The forge's ``state`` alone says nothing: a dismissed approval still reads APPROVED, and
``official`` survives a change of the target branch (vault-security.md, findings 3 to 6).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Review:
    """A review as the forge tells it; people are account ids."""

    id: int
    user: int
    state: str
    """APPROVED, REQUEST_CHANGES, or anything else, which does not count."""
    dismissed: bool
    stale: bool
    official: bool
    commit: str
    at: datetime


@dataclass(frozen=True)
class Bench:
    """Who may approve, who may not because it is their own work, whose rejection blocks."""

    listed: frozenset[int]
    barred: frozenset[int]
    rejecters: frozenset[int]
    need: int = 1


@dataclass(frozen=True)
class Verdict:
    """``people`` whose approval counts; ``code`` empty: enough of them."""

    people: tuple[int, ...]
    code: str = ""
    words: str = ""


def judge(reviews: Iterable[Review], head: str, pushed: datetime, bench: Bench) -> Verdict:
    """Who approved ``head``, last pushed at ``pushed``. A person's last word counts; for a refusal, the code is that of
    the approval that came nearest."""
    given = sorted(reviews, key=lambda review: (review.at, review.id))
    last = {review.user: review for review in given if review.state in ("APPROVED", "REQUEST_CHANGES")}
    approved: list[int] = []
    faults: list[tuple[int, str, str]] = []
    for user, review in sorted(last.items()):
        if review.state == "REQUEST_CHANGES":
            if user in bench.rejecters and not review.dismissed:
                return Verdict((), "changes-requested", f"account {user} asks for changes")
            continue
        fault = _fault(review, head, pushed, bench)
        if fault is None:
            approved.append(user)
        else:
            faults.append(fault)
    if len(approved) >= bench.need and approved:
        return Verdict(tuple(approved))
    if approved:
        return Verdict(tuple(approved), "more-approvals", f"{bench.need} different people must approve")
    if not faults:
        return Verdict((), "no-approval", "nobody approved it")
    _, code, words = max(faults)
    return Verdict((), code, words)


def _fault(review: Review, head: str, pushed: datetime, bench: Bench) -> tuple[int, str, str] | None:
    """Why an approval does not count, with how near it came; None: it counts."""
    who = f"the approval of account {review.user}"
    faults = (
        (review.user not in bench.listed, "approver-not-listed", f"account {review.user} is not listed for this tier"),
        (review.user in bench.barred, "approver-barred", f"account {review.user} posted or wrote what it approves"),
        (review.dismissed, "approval-dismissed", f"{who} was dismissed"),
        (review.commit != head, "head-moved",
         f"{who} is for {review.commit[:12] or 'no commit'}, merged was {head[:12]}"),
        (review.stale, "approval-stale", f"{who} is stale"),
        (not review.official, "approval-unofficial", f"{who} is not official"),
        (review.at < pushed, "approved-before-push", f"{who} is older than the last push"),
    )  # fmt: skip
    return next(((number, code, words) for number, (there, code, words) in enumerate(faults) if there), None)

"""Whether the reviews of a pull request approve exactly this content: rule R4, as one pure decision.

Part of the trusted part. The forge's ``state`` alone says nothing: a dismissed approval still reads APPROVED, and
``official`` survives a change of the target branch (vault-security.md, findings 3 to 6).
"""

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
    against = [user for user, review in last.items() if review.state == "REQUEST_CHANGES" and not review.dismissed]
    if blocking := bench.rejecters.intersection(against):
        return Verdict((), "changes-requested", f"account {min(blocking)} asks for changes")
    faults = {user: _fault(review, head, pushed, bench) for user, review in last.items() if review.state == "APPROVED"}
    approved = tuple(sorted(user for user, fault in faults.items() if fault is None))
    if approved and len(approved) < bench.need:
        return Verdict(approved, "more-approvals", f"{bench.need} different people must approve")
    if approved:
        return Verdict(approved)
    if not faults:
        return Verdict((), "no-approval", "nobody approved it")
    return Verdict((), *max(filter(None, faults.values()))[1:])


def _fault(review: Review, head: str, pushed: datetime, bench: Bench) -> tuple[int, str, str] | None:
    """Why an approval does not count, with how near it came; None: it counts."""
    who = f"the approval of account {review.user}"
    needed = [
        (review.user in bench.listed, "approver-not-listed", f"account {review.user} is not listed for this tier"),
        (review.user not in bench.barred, "approver-barred", f"account {review.user} posted or wrote what it approves"),
        (not review.dismissed, "approval-dismissed", f"{who} was dismissed"),
        (review.commit == head, "head-moved", f"{who} is for {review.commit[:12] or 'no commit'}, not {head[:12]}"),
        (not review.stale, "approval-stale", f"{who} is stale"),
        (review.official, "approval-unofficial", f"{who} is not official"),
        (review.at >= pushed, "approved-before-push", f"{who} is older than the last push"),
    ]
    return next(((near, code, words) for near, (fine, code, words) in enumerate(needed) if not fine), None)

"""What the reviews of a pull request say about one head, and whether a series of them converges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from factory.forge.values import Review, ReviewState
from factory.runs.model import RunRecord

_DECIDES = frozenset({ReviewState.APPROVED, ReviewState.REQUEST_CHANGES})
MAX_ROUNDS = 5


def latest(reviews: Iterable[Review]) -> Mapping[str, Review]:
    """Login (lower case) -> that user's newest approval or rejection, dismissed ones included."""
    return _newest(reviews, _DECIDES)


def asked(reviews: Iterable[Review]) -> frozenset[str]:
    """Logins (lower case) whose review is requested and not given since."""
    newest = _newest(reviews, _DECIDES | {ReviewState.REQUEST_REVIEW})
    return frozenset(login for login, r in newest.items() if r.state is ReviewState.REQUEST_REVIEW and not r.dismissed)


def _newest(reviews: Iterable[Review], states: frozenset[ReviewState]) -> dict[str, Review]:
    found: dict[str, Review] = {}
    for review in sorted(reviews, key=lambda r: (r.submitted_at, r.id)):
        if review.state in states:
            found[review.author.login.lower()] = review
    return found


def approvals(reviews: Iterable[Review], head: str, author: str) -> frozenset[str]:
    """Logins (lower case) that approve exactly ``head`` now: their newest decision is an official, undismissed
    approval of that commit; never the author."""
    return frozenset(
        login
        for login, review in latest(reviews).items()
        if review.state is ReviewState.APPROVED
        and review.official
        and not review.dismissed
        and review.commit == head
        and login != author.lower()
    )


def rejections(reviews: Iterable[Review]) -> Mapping[str, Review]:
    """Login (lower case) -> undismissed rejection that is that user's newest decision, of whatever commit."""
    return {
        login: review
        for login, review in latest(reviews).items()
        if review.state is ReviewState.REQUEST_CHANGES and not review.dismissed
    }


def judged(reviews: Iterable[Review], login: str, head: str) -> Review | None:
    """The newest undismissed review (comments included) of this account at this head."""
    mine = [
        r
        for r in reviews
        if r.author.login.lower() == login.lower()
        and r.commit == head
        and not r.dismissed
        and r.state in _DECIDES | {ReviewState.COMMENT}
    ]
    return max(mine, key=lambda r: (r.submitted_at, r.id), default=None)


def findings(record: RunRecord) -> frozenset[str]:
    """Digests of the findings of one review run."""
    return frozenset(filter(None, (record.fact("findings") or "").split(",")))


def diverges(rounds: Sequence[RunRecord]) -> str | None:
    """Why a person should look at a series of rejecting review runs (oldest first), or None while it converges.

    Three signs (DESIGN section 10): findings do not shrink, a finding that was gone returns, the scope grows.
    """
    if len(rounds) < 2:
        return None
    sets = [findings(r) for r in rounds]
    last, before = sets[-1], sets[-2]
    if before and before <= last:
        return f"none of the {len(before)} findings of the last round was resolved"
    earlier = frozenset().union(*sets[:-2]) - before
    returned = earlier & last
    if returned:
        return f"{len(returned)} finding(s) that were resolved have returned"
    if len(sets) >= 3 and len(sets[-1]) >= len(sets[-2]) >= len(sets[-3]) > 0:
        return f"findings do not shrink ({len(sets[-3])}, {len(sets[-2])}, {len(sets[-1])})"
    first, now = _files(rounds[0]), _files(rounds[-1])
    if first and now > max(2 * first, first + 5):
        return f"the scope grew from {first} to {now} files"
    if len(rounds) >= MAX_ROUNDS:
        return f"{len(rounds)} rounds of changes are enough"
    return None


def _files(record: RunRecord) -> int:
    text = record.fact("files") or ""
    return int(text) if text.isdecimal() else 0

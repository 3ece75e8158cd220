"""What to do after a run that did not succeed: one rule per cause, as data, and one pure decision.

A lost run, and one that failed for reasons of the machine, are tried again in the same *round* (it was not the work's
fault, and scripted turns repeat); where the work itself failed, the next try is a new round with what went wrong as
its input. ``quota`` stops every start on that backend until its reset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from factory.runs.model import Cause, RunRecord, RunState


@dataclass(frozen=True)
class RetryRule:
    """What happens after a run ended with one cause."""

    tries: int
    """Ends with this cause in a row, the first included, after which it stops."""
    backoff: tuple[int, ...]
    """Seconds to wait after the first, second, ... of them; the last one repeats."""
    same_round: bool
    stops_backend: bool = False
    """No start on this agent's backend before the wait is over."""
    then: str = ""
    """What a person is told when it stops."""


_MINUTE = 60

RULES: Mapping[Cause, RetryRule] = {
    Cause.LOST: RetryRule(5, (0, 30, 120, 300), True, then="the host keeps losing this run; see its log"),
    Cause.GIT: RetryRule(4, (15, 60, 300), True, then="git keeps failing; see the run's log"),
    Cause.FORGE: RetryRule(8, (15, 60, 300, 900), True, then="the forge keeps failing; run `factory doctor`"),
    Cause.SANDBOX: RetryRule(2, (30,), True, then="no sandbox could be started; run `factory doctor`"),
    Cause.BACKEND: RetryRule(3, (30, 300), True, then="the backend keeps failing; run `factory agents`"),
    Cause.QUOTA: RetryRule(48, (15 * _MINUTE,), True, stops_backend=True, then="the quota did not come back in time"),
    Cause.INACTIVITY: RetryRule(2, (60,), False, then="the session went silent twice"),
    Cause.MAX_DURATION: RetryRule(2, (60,), False, then="it did not finish in time; split the issue or raise minutes"),
    Cause.MAX_TURNS: RetryRule(2, (60,), False, then="it did not finish in its turns; split the issue or raise turns"),
    Cause.INVALID_OUTPUT: RetryRule(2, (60,), False, then="its answers do not fit what the formula asks for"),
    Cause.NO_CHANGES: RetryRule(2, (60,), False, then="it ended without a change and without a refusal"),
    Cause.GATE: RetryRule(3, (0,), False, then="its work does not pass the checks before the push"),
    Cause.BUDGET: RetryRule(1, (), False, then="it used up its budget; raise it or split the issue"),
    Cause.REFUSED: RetryRule(1, (), False, then="it refused, and said why; change the issue to start it again"),
    Cause.CANCELLED: RetryRule(1, (), False, then="a person cancelled it; the comment `/retry` starts it again"),
    Cause.BUG: RetryRule(1, (), False, then="the factory has a bug here; see the run's log"),
}


@dataclass(frozen=True)
class Retry:
    """Try again, not before ``at``."""

    at: datetime
    same_round: bool
    attempt: int
    """Number of the try to come; the failed first one was 1."""
    backend_until: datetime | None = None
    """No start on this backend before then."""


@dataclass(frozen=True)
class GiveUp:
    """Stop, and tell a person why."""

    reason: str
    attempts: int


def retry_decision(
    cause: Cause, history: Sequence[RunRecord], now: datetime, *, reset: datetime | None = None
) -> Retry | GiveUp:
    """What follows a run that ended with ``cause``.

    ``history``: the runs of the same formula and subject, oldest first, the ended one last. A success, or an end with
    another cause that was the work's own fault, starts the count anew; infrastructure causes between do not hide it.
    ``reset``: when the backend said its quota returns. The decision depends on the time of the last end and on nothing
    that changes from tick to tick, so asking again gives the same answer."""
    rule = RULES[cause]
    count = _in_a_row(cause, history)
    ended = max((r.finished_at or r.started_at for r in history), default=now)
    if count >= rule.tries:
        times = "once" if count == 1 else f"{count} times in a row"
        return GiveUp(f"ended {times} with {cause}: {rule.then}", count)
    wait = rule.backoff[min(count - 1, len(rule.backoff) - 1)] if rule.backoff else 0
    at = ended + timedelta(seconds=wait)
    if cause is Cause.QUOTA and reset is not None:
        at = max(ended, reset)
    return Retry(at, rule.same_round, count + 1, at if rule.stops_backend else None)


def _in_a_row(cause: Cause, history: Sequence[RunRecord]) -> int:
    """How many ends with this cause close the history, at least 1 (the one that is asked about)."""
    count = 0
    for record in reversed(history):
        if not record.state.is_terminal:
            continue
        ended = Cause.LOST if record.state is RunState.LOST else record.cause
        if ended is cause:
            count += 1
        elif ended is None or not RULES[ended].same_round:
            break
    return max(count, 1)

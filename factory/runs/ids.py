"""Names of runs: they sort by time and say nothing else. Pure."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime

RUN_ID = re.compile(r"r\d{8}T\d{9}-[0-9a-f]{8}")


def run_id(now: datetime, intent: str) -> str:
    """``r<UTC yyyymmddThhmmssmmm>-<8 hex>``: the moment, and the digest of what is intended (formula, subject, round).

    The same intent at the same millisecond is the same run: deciding twice cannot make two. ``now`` must be aware."""
    if now.tzinfo is None:
        raise ValueError(f"a run id needs a time with its zone, not {now}")
    moment = now.astimezone(UTC)
    digest = hashlib.sha256(intent.encode()).hexdigest()[:8]
    return f"r{moment:%Y%m%dT%H%M%S}{moment.microsecond // 1000:03d}-{digest}"


def run_time(run: str) -> datetime:
    """The moment in a run's name. Raises ValueError when it is not a run id."""
    if RUN_ID.fullmatch(run) is None:
        raise ValueError(f"{run!r} is not a run id")
    return datetime.strptime(run[1:19] + "000", "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC)

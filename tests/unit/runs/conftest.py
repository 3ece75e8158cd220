"""Run records for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from factory.runs.model import RunRecord, RunState, Subject

Record = Callable[..., RunRecord]


@pytest.fixture
def now() -> datetime:
    return datetime(2026, 11, 21, 9, 15, tzinfo=UTC)


@pytest.fixture
def record(now: datetime) -> Record:
    """Make a running record, with changes."""
    running = RunRecord(
        run="r20261121T091500000-00000001",
        formula="dev",
        role="dev",
        agent="cc-1",
        account="dev-bot",
        subject=Subject("ada/shop", "issue", "3"),
        issue=3,
        round=1,
        state=RunState.RUNNING,
        host="h1",
        epoch=1,
        started_at=now,
        reserved_usd=2.0,
    )

    def make(**changes: Any) -> RunRecord:
        return replace(running, **changes)

    return make

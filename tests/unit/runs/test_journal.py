from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.errors import UsageError
from factory.runs.codec import Malformed
from factory.runs.entry import (
    MAX_LINE,
    Entry,
    decode_entry,
    effect_recorded,
    encode_entry,
    finished,
    fold,
    lost,
    ops_commit,
    started,
)
from factory.runs.journal import host_slug, segment_path
from factory.runs.model import Cause, RunRecord, RunState, Subject, Usage

Record = Callable[..., RunRecord]
DONE = {"state": RunState.SUCCEEDED, "usage": Usage(1, 1, 0, 1, 0.5)}


def test_every_kind_survives_its_line(record: Record, now: datetime) -> None:
    for entry in (
        started(record(), now),
        finished(record(**DONE), now),
        effect_recorded(
            now, "h1", key="r1.1", what="opened pull request 5", subject="pull/5", run="r1", facts={"pull": "5"}
        ),
        ops_commit(now, "h1", commit="a" * 40, paths=["README.md"], why="dashboard"),
    ):
        line = encode_entry(entry)
        assert "\n" not in line
        assert decode_entry(line) == entry


@given(st.text(), st.text(), st.dictionaries(st.text(), st.text() | st.integers() | st.none()))
def test_an_unknown_kind_is_kept(kind: str, host: str, data: dict[str, object]) -> None:
    entry = Entry(f"x{kind}", datetime(2026, 1, 1, tzinfo=UTC), host, data)
    assert decode_entry(encode_entry(entry)) == entry
    assert fold([entry]) == ()


@given(st.text(max_size=200))
def test_garbage_is_an_error_of_ours(line: str) -> None:
    try:
        decode_entry(line)
    except Malformed:
        return
    assert "kind" in json.loads(line)


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "{}",
        '{"kind": "started", "at": "2026-01-01T00:00:00Z", "host": "h", "data": {"run": {}}}',
        '{"kind": "started", "at": "2026-01-01T00:00:00Z", "host": "h"}',
        '{"kind": "x", "at": "soon", "host": "h"}',
        '{"kind": "x", "kind": "y"}',
        "x" * (MAX_LINE + 1),
    ],
)
def test_a_line_that_does_not_hold_its_promise_is_refused(line: str) -> None:
    with pytest.raises(Malformed):
        decode_entry(line)


def test_an_entry_has_a_size(now: datetime) -> None:
    with pytest.raises(Malformed):
        encode_entry(Entry("x", now, "h", {"a": "y" * MAX_LINE}))


def test_an_end_is_no_start(record: Record, now: datetime) -> None:
    with pytest.raises(UsageError):
        started(record(**DONE), now)
    with pytest.raises(UsageError):
        finished(record(), now)


def test_fold_tells_the_last_state(record: Record, now: datetime) -> None:
    run = record()
    done = record(**DONE, finished_at=now)
    assert fold([started(run, now)]) == (run,)
    assert fold([started(run, now), finished(done, now)]) == (done,)
    assert fold([finished(done, now)]) == (done,), "a reader of the last days lacks the start"
    assert fold([finished(done, now), started(run, now)]) == (done,), "a late start does not revive it"


def test_reading_twice_changes_nothing_and_parts_give_the_whole(record: Record, now: datetime) -> None:
    entries = [
        started(record(), now),
        effect_recorded(now, "h1", key="k", what="w", subject="s", run=record().run, facts={"pull": "5"}),
        finished(record(**DONE, facts=(("verdict", "ok"),)), now),
        started(record(run="r2", started_at=now + timedelta(1)), now),
    ]
    whole = fold(entries)
    assert fold([*entries, *entries]) == whole
    for cut in range(len(entries)):
        assert fold(entries[cut:], fold(entries[:cut])) == whole
    assert whole[0].fact("pull") == "5"
    assert whole[0].fact("verdict") == "ok"


def test_the_highest_epoch_speaks(record: Record, now: datetime) -> None:
    zombie = finished(record(**DONE), now)
    second = record(host="h2", epoch=2)
    assert fold([started(record(), now), started(second, now), zombie])[0].state is RunState.RUNNING
    end = finished(record(host="h2", epoch=2, state=RunState.FAILED, cause=Cause.GATE), now)
    assert fold([started(second, now), end, zombie])[0].state is RunState.FAILED


def test_the_first_end_stands_but_money_was_spent(record: Record, now: datetime) -> None:
    gone = lost(record(), now, "the process is dead")
    assert (gone.cause, gone.usage.known) == (Cause.LOST, False)
    (run,) = fold([finished(gone, now), finished(record(**DONE), now)])
    assert run.state is RunState.LOST
    assert (run.usage.cost_usd, run.usage.known) == (0.5, True)
    # Nothing is something to know; and what is known is not forgotten.
    nothing = record(state=RunState.FAILED, cause=Cause.BUG, usage=Usage())
    (run,) = fold([finished(gone, now), finished(nothing, now)])
    assert (run.state, run.usage) == (RunState.LOST, Usage())
    (run,) = fold([finished(nothing, now), finished(gone, now)])
    assert (run.state, run.usage) == (RunState.FAILED, Usage())


def test_runs_come_oldest_first(record: Record, now: datetime) -> None:
    entries = [started(record(run=f"r{i}", started_at=now - timedelta(hours=i)), now) for i in range(5)]
    assert [run.run for run in fold(entries)] == ["r4", "r3", "r2", "r1", "r0"]


def test_a_segment_is_named_by_day_host_and_number(now: datetime) -> None:
    assert segment_path("Build-Host.local", 7, now) == "runs/2026/11/21/build-host.local-000007.jsonl"
    late = datetime.fromisoformat("2026-11-21T23:00:00-05:00")
    assert segment_path("h", 1, late).startswith("runs/2026/11/22/")


@given(st.text())
def test_any_host_has_a_name_that_fits(host: str) -> None:
    slug = host_slug(host)
    assert segment_path(host, 1, datetime(2026, 1, 1, tzinfo=UTC)) == f"runs/2026/01/01/{slug}-000001.jsonl"


def test_subjects_are_keys() -> None:
    assert Subject("ada/shop", "issue", "3").key == "ada.shop.issue.3"

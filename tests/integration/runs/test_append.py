from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from factory.errors import RefMoved, UsageError
from factory.git import objects
from factory.git.transport import RefUpdate, Remote, push
from factory.git.values import Signature
from factory.runs.append import append, fetch_journal
from factory.runs.journal import (
    REF,
    Entry,
    entries_since,
    finished,
    fold,
    segment_commit,
    segment_path,
    started,
)
from factory.runs.model import RunRecord, RunState, Subject

NOW = datetime(2026, 11, 21, 9, 15, tzinfo=UTC)
LEASE = "refs/factory/leases/ada.shop.issue.3"
Mirror = Callable[..., Path]


def record(number: int, **changes: object) -> RunRecord:
    at = NOW + timedelta(seconds=number)
    return RunRecord(
        run=f"r{number:04d}",
        formula="dev",
        role="dev",
        agent="cc-1",
        account="dev-bot",
        subject=Subject("ada/shop", "issue", str(number)),
        issue=number,
        round=1,
        state=changes.get("state", RunState.RUNNING),
        host="h1",
        epoch=1,
        started_at=at,  # type: ignore[arg-type]
    )


def start(number: int) -> Entry:
    return started(record(number), NOW + timedelta(seconds=number))


def add(mirror: Path, tip: str | None, changes: dict[str, bytes | None], bot: Signature) -> str:
    return objects.build_commit(mirror, parent=tip, changes=changes, message="m", author=bot, committer=bot)


def test_entries_come_back_from_another_host(remote: Remote, mirror: Mirror, bot: Signature) -> None:
    one, two = mirror("h1"), mirror("h2")
    first = append(remote, one, [start(1), start(2)], host="h1", now=NOW, author=bot)
    assert fetch_journal(remote, two) == first.commit
    assert [entry.data for entry in entries_since(two, None, first.commit).entries] == [start(1).data, start(2).data]
    end = finished(record(1, state=RunState.SUCCEEDED), NOW)
    second = append(remote, two, [end], host="h2", now=NOW, author=bot)
    fetch_journal(remote, one)
    reading = entries_since(one, first.commit, second.commit)
    assert reading.entries == (end,)
    assert reading.problems == ()
    assert (reading.entries[0].segment, reading.entries[0].line) == ("runs/2026/11/21/h2-000001.jsonl", 1)
    everything = entries_since(one, None, second.commit).entries
    assert [run.state for run in fold(everything)] == [RunState.SUCCEEDED, RunState.RUNNING]


def test_twenty_hosts_at_once_lose_nothing(remote: Remote, origin: Path, mirror: Mirror, bot: Signature) -> None:
    mirrors = [mirror(f"h{host}") for host in range(4)]

    def one(number: int) -> str:
        host = number % 4
        return append(remote, mirrors[host], [start(number)], host=f"h{host}", now=NOW, author=bot).commit

    with ThreadPoolExecutor(20) as pool:
        commits = list(pool.map(one, range(20)))
    tip = objects.read_ref(origin, REF)
    assert tip is not None
    reading = entries_since(origin, None, tip)
    assert len(set(commits)) == 20
    assert reading.problems == ()
    assert sorted(run.run for run in fold(reading.entries)) == [f"r{n:04d}" for n in range(20)]
    assert len(objects.list_tree(origin, tip, recursive=True)) == 20


def test_a_lease_lands_with_the_entry_or_not_at_all(
    remote: Remote, origin: Path, mirror: Mirror, bot: Signature
) -> None:
    one, two = mirror("h1"), mirror("h2")
    append(remote, two, [start(0)], host="h2", now=NOW, author=bot)
    lease = objects.build_commit(one, parent=None, changes={}, message="lease h1", author=bot, committer=bot)
    append(remote, one, [start(1)], host="h1", now=NOW, author=bot, also=[RefUpdate(LEASE, lease, None)])
    assert objects.read_ref(origin, LEASE) == lease
    before = objects.read_ref(origin, REF)
    rival = objects.build_commit(two, parent=None, changes={}, message="lease h2", author=bot, committer=bot)
    with pytest.raises(RefMoved):
        append(remote, two, [start(2)], host="h2", now=NOW, author=bot, also=[RefUpdate(LEASE, rival, None)])
    assert objects.read_ref(origin, LEASE) == lease
    assert objects.read_ref(origin, REF) == before


def test_reading_in_steps_equals_reading_at_once(mirror: Mirror, bot: Signature) -> None:
    here = mirror()
    tips: list[str | None] = [None]
    for number in range(12):
        now = NOW + timedelta(days=number // 5)
        tips.append(segment_commit(here, tips[-1], [start(number)], f"h{number % 3}", number + 1, now, bot))
    whole = entries_since(here, None, str(tips[-1])).entries
    assert len(whole) == 12
    stepped: list[Entry] = []
    for old, new in itertools.pairwise(tips):
        stepped.extend(entries_since(here, old, str(new)).entries)
    assert tuple(stepped) == whole
    assert entries_since(here, tips[4], str(tips[-1])).entries == whole[4:]
    assert entries_since(here, tips[-1], str(tips[-1])).entries == ()
    assert len(entries_since(here, None, str(tips[-1]), since=(NOW + timedelta(days=2)).date()).entries) == 2


def test_a_broken_line_is_a_finding_with_its_place(mirror: Mirror, bot: Signature) -> None:
    here = mirror()
    first = segment_commit(here, None, [start(1)], "h1", 1, NOW, bot)
    text = objects.read_file(here, first, segment_path("h1", 1, NOW))
    assert text is not None
    unknown = b'{"kind": "someday", "at": "2026-11-21T09:15:00Z", "host": "h9", "data": {"x": 1}}\n'
    broken = add(here, first, {"runs/2026/11/21/h2-000001.jsonl": b"\n{oops\n" + text + b"\xff\n" + unknown}, bot)
    for old in (None, first):
        reading = entries_since(here, old, broken)
        assert [(p.path, p.line) for p in reading.problems] == [
            ("runs/2026/11/21/h2-000001.jsonl", 2),
            ("runs/2026/11/21/h2-000001.jsonl", 4),
        ]
        assert "someday" in [entry.kind for entry in reading.entries]
        assert [run.run for run in fold(reading.entries)] == ["r0001"]


def test_tampering_is_found(mirror: Mirror, bot: Signature) -> None:
    here = mirror()
    path = segment_path("h1", 1, NOW)
    first = segment_commit(here, None, [start(1)], "h1", 1, NOW, bot)
    second = segment_commit(here, first, [start(2)], "h1", 2, NOW, bot)

    def words(old: str | None, new: str) -> str:
        return "; ".join(map(str, entries_since(here, old, new).problems))

    assert "modified it; segments are only added" in words(second, add(here, second, {path: b""}, bot))
    assert "deleted it" in words(second, add(here, second, {path: None}, bot))
    assert "not a segment" in words(second, add(here, second, {"README.md": b"x"}, bot))
    assert "not a segment" in words(None, add(here, second, {"README.md": b"x"}, bot))
    tree = objects.build_tree(here, second, {})
    merge = objects.commit_tree(here, tree=tree, parents=(second, first), message="m", author=bot, committer=bot)
    assert "is a merge" in words(second, merge)
    assert "is a merge" in words(None, merge)
    rewritten = segment_commit(here, None, [start(9)], "h1", 1, NOW, bot)
    reading = entries_since(here, second, rewritten)
    assert "was rewritten" in str(reading.problems[0])
    assert [run.run for run in fold(reading.entries)] == ["r0009"]


def test_a_segment_is_never_written_twice(mirror: Mirror, bot: Signature) -> None:
    here = mirror()
    first = segment_commit(here, None, [start(1)], "h1", 1, NOW, bot)
    with pytest.raises(UsageError, match="never changed"):
        segment_commit(here, first, [start(2)], "h1", 1, NOW, bot)
    with pytest.raises(UsageError):
        segment_commit(here, first, [], "h1", 2, NOW, bot)


def test_a_mirror_that_was_deleted_is_made_good(remote: Remote, mirror: Mirror, bot: Signature) -> None:
    append(remote, mirror("h1"), [start(1)], host="h1", now=NOW, author=bot)
    fresh = mirror("h1-again")
    done = append(remote, fresh, [start(2)], host="h1", now=NOW, author=bot)
    assert len(entries_since(fresh, None, done.commit).entries) == 2


def test_an_append_whose_answer_was_lost_tells_it_twice_and_means_it_once(
    remote: Remote, mirror: Mirror, bot: Signature
) -> None:
    one = mirror("h1")
    tip = append(remote, one, [start(1)], host="h1", now=NOW, author=bot).commit
    landed = segment_commit(one, tip, [start(2)], "h1", 2, NOW, bot)
    push(one, remote, [RefUpdate(REF, landed, tip)])
    done = append(remote, one, [start(2)], host="h1", now=NOW, author=bot)
    assert len(fold(entries_since(one, None, done.commit).entries)) == 2

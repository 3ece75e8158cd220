"""Effects on their way survive whatever happens to their process and their files."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from factory.effects.spool import DECIDED, SENT, Entry, Spool
from factory.plan.effect import Effect, effect_id
from factory.plan.operations import PostComment
from factory.runs.model import Subject
from factory.testing import builders as b

SUBJECT = Subject(str(b.PROJECT), "issue", "1")


def effect(key: str = "k", subject: Subject = SUBJECT) -> Effect:
    operation = PostComment(str(b.PROJECT), "dev-bot", 1, "Hello\nwörld")
    return Effect(effect_id(subject, "test", key), subject, "test", "why", (operation, operation))


def sent(spool: Spool, one: Effect) -> Entry:
    return spool.save(replace(spool.put(one, b.NOW), state=SENT))


def test_decided_is_dropped_and_sent_is_kept(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.put(effect("decided"), b.NOW)
    kept = sent(spool, effect("sent"))
    again = Spool(tmp_path)
    assert again.load() == ()
    assert again.entries() == (kept,)
    assert [p.suffix for p in tmp_path.iterdir()] == [".json"]


def test_all_of_an_entry_comes_back(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    entry = replace(
        sent(spool, effect()), done=({"pull": "5"},), tries=3, not_before=b.NOW + timedelta(seconds=9),
        trouble="forge", abandoning="moved",
    )  # fmt: skip
    spool.save(entry)
    again = Spool(tmp_path)
    again.load()
    assert again.entries() == (entry,)
    assert again.entries()[0].facts == {"pull": "5"}


def test_its_subject_is_locked_until_it_is_removed(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    entry = spool.put(effect(), b.NOW)
    assert spool.locked() == {SUBJECT}
    spool.remove(entry)
    assert spool.locked() == frozenset()
    spool.remove(entry)  # again: fine


def test_deciding_the_same_again_changes_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    entry = sent(spool, effect())
    assert spool.put(effect(), b.NOW + timedelta(hours=1)) == entry


def test_in_the_order_they_were_decided(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    late = spool.put(effect("a"), b.NOW + timedelta(seconds=1))
    early = spool.put(effect("b"), b.NOW)
    assert spool.entries() == (early, late)


def broken(kind: str, good: bytes) -> bytes:
    data = json.loads(good)
    body = data["factory.spool/v1"]
    match kind:
        case "cut":
            return good[: len(good) // 2]
        case "empty":
            return b""
        case "zeros":
            return b"\0" * len(good)
        case "other version":
            return json.dumps({"factory.spool/v2": body}).encode()
        case "unknown state":
            body["rest"]["state"] = "finished"
        case "more done than there is":
            body["rest"]["done"] = [{}, {}, {}]
        case "unknown operation":
            body["effect"]["factory.effect/v1"]["operations"] = [{"boom": {}}]
        case "another effect's":
            body["effect"]["factory.effect/v1"]["id"] = "0" * 24
        case "no rest":
            del body["rest"]
        case "not utf-8":
            return good.replace(b"why", b"\xff\xfe\xfd")
    return json.dumps(data).encode()


@pytest.mark.parametrize(
    "kind",
    [
        "cut", "empty", "zeros", "other version", "unknown state", "more done than there is", "unknown operation",
        "another effect's", "no rest", "not utf-8",
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_set_aside_and_told(tmp_path: Path, kind: str) -> None:
    spool = Spool(tmp_path)
    bad, good = sent(spool, effect("bad")), sent(spool, effect("good", Subject("a/b", "issue", "2")))
    path = tmp_path / f"{bad.effect.id}.json"
    content = broken(kind, path.read_bytes())
    path.write_bytes(content)
    again = Spool(tmp_path)
    (problem,) = again.load()
    assert "quarantine" in problem.path
    assert Path(problem.path).read_bytes() == content
    assert again.entries() == (good,)
    assert again.load() == ()


def test_two_of_the_same_name_are_both_kept_aside(tmp_path: Path) -> None:
    for _ in range(2):
        spool = Spool(tmp_path)
        entry = sent(spool, effect())
        (tmp_path / f"{entry.effect.id}.json").write_bytes(b"x")
        assert len(Spool(tmp_path).load()) == 1
    assert len(list((tmp_path / "quarantine").iterdir())) == 2


def test_a_write_that_never_became_an_entry_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "abc.part").write_bytes(b"half")
    assert Spool(tmp_path).load() == ()
    assert list(tmp_path.iterdir()) == []


def test_a_cut_write_leaves_the_old_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path)
    entry = sent(spool, effect())

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        spool.save(replace(entry, tries=9))
    monkeypatch.undo()
    again = Spool(tmp_path)
    again.load()
    assert again.entries() == (entry,)


def test_files_are_private(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    entry = spool.put(effect(), b.NOW)
    assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "spool" / f"{entry.effect.id}.json").stat().st_mode & 0o777 == 0o600
    assert entry.state == DECIDED


def test_a_deleted_status_comment_is_remembered(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    assert not spool.was_confirmed(SUBJECT)
    spool.confirm_status(SUBJECT, there=True)
    assert spool.was_confirmed(SUBJECT)
    assert spool.muted() == frozenset()
    spool.confirm_status(SUBJECT, there=False)
    assert Spool(tmp_path).muted() == {SUBJECT}
    (tmp_path / "status-comments").write_text("garbage")
    assert Spool(tmp_path).muted() == frozenset()

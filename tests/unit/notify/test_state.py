"""What is told now follows from what needs somebody, what was told already, and the time."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from factory.notify.state import (
    LISTED,
    RETRY,
    RETRY_MOST,
    STEADY,
    Batch,
    State,
    arrived,
    begun,
    due,
    failed,
    fresh,
    noted,
)
from factory.runs.codec import compact, decode, encode, parse_json
from tests.unit.notify.things import NOW, PROJECT, item, later, screen, state


def sent(before: State, now: datetime = NOW) -> tuple[State, Batch]:
    batch = due(before, now)
    assert batch is not None
    return arrived(begun(before, batch), batch, now), batch


def test_what_is_new_is_told_once() -> None:
    one = noted(state(), PROJECT, [item(1)], NOW)
    one, batch = sent(one)
    assert [i.key for i in batch.items] == [item(1).key]
    for minutes in range(1, 600, 7):
        again = noted(one, PROJECT, [item(1)], later(minutes=minutes))
        assert again is one, "without news nothing changes, so nothing is written"
        assert due(again, later(minutes=minutes)) is None
    assert fresh([one], [item(1), item(2)]) == (item(2),)
    assert fresh([one, state()], [item(1)]) == (item(1),), "another channel has not told it"


def test_three_are_told_one_by_one_and_more_in_one_list() -> None:
    few = noted(state(), PROJECT, [item(n) for n in range(3)], NOW)
    keys = []
    while due(few, NOW) is not None:
        few, batch = sent(few)
        keys.append(batch.keys)
    assert keys == [(item(0).key,), (item(1).key,), (item(2).key,)]
    many = noted(state(), PROJECT, [item(n) for n in range(50)], NOW)
    many, batch = sent(many)
    assert (len(batch.items), batch.more, len(batch.keys)) == (LISTED, 30, 50)
    assert due(many, NOW) is None


def test_what_was_cleared_before_it_could_be_told_is_not_told() -> None:
    away = failed(noted(state(), PROJECT, [item(1), item(2)], NOW), "no network", NOW)
    after = noted(away, PROJECT, [item(2)], later(minutes=5))
    batch = due(after, later(minutes=5))
    assert batch is not None
    assert batch.keys == (item(2).key,)


def test_one_look_that_misses_it_does_not_make_it_new() -> None:
    told, _ = sent(noted(state(), PROJECT, [item(1)], NOW))
    missed = noted(told, PROJECT, [], later(seconds=30))
    back = noted(missed, PROJECT, [item(1)], later(seconds=60))
    assert due(back, later(seconds=60)) is None
    assert back.told == told.told


def test_what_needs_somebody_anew_is_told_anew() -> None:
    told, _ = sent(noted(state(), PROJECT, [item(1)], NOW))
    gone = noted(told, PROJECT, [], later(minutes=1))
    gone = noted(gone, PROJECT, [], later(minutes=1) + STEADY)
    assert gone.told == ()
    back = noted(gone, PROJECT, [item(1)], later(minutes=9))
    batch, first = due(back, later(minutes=9)), due(noted(state(), PROJECT, [item(1)], NOW), NOW)
    assert batch is not None
    assert first is not None
    assert batch.keys == first.keys
    assert batch.id != first.id, "a channel would take it for the message of before"


def test_a_project_says_nothing_of_another() -> None:
    both = noted(noted(state(), PROJECT, [item(1)], NOW), "founder/world", [item(2, project="founder/world")], NOW)
    after = noted(both, PROJECT, [], later(hours=1))
    assert [told.key for told in after.told if told.gone is None] == [item(2).key]


def test_what_failed_is_tried_again_ever_later_and_nothing_is_lost() -> None:
    there, now, waits = noted(state(), PROJECT, [item(1)], NOW), NOW, []
    for _ in range(12):
        batch = due(there, now)
        assert batch is not None
        assert not batch.again
        there = failed(begun(there, batch), "refused", now)
        assert due(there, now) is None
        assert there.not_before is not None
        waits.append(there.not_before - now)
        now = there.not_before
    assert waits[0] == RETRY
    assert waits[1] == 2 * RETRY
    assert waits[-1] == RETRY_MOST
    there, _ = sent(there, now)
    assert (there.trouble, there.tries, there.waiting, there.last) == ("", 0, (), now)


def test_a_channels_own_wish_to_wait_counts() -> None:
    there = failed(noted(state(), PROJECT, [item(1)], NOW), "slower", NOW, wait=timedelta(minutes=10))
    assert there.not_before == later(minutes=10)


def test_what_may_have_arrived_is_sent_again_as_it_was_and_says_so() -> None:
    there = noted(state(), PROJECT, [item(1)], NOW)
    first = due(there, NOW)
    assert first is not None
    cut_off = begun(there, first)  # and then the process was killed
    cut_off = noted(cut_off, PROJECT, [item(n) for n in range(1, 9)], later(minutes=1))
    second = due(cut_off, later(minutes=1))
    assert second is not None
    assert (second.keys, second.again, second.id) == (first.keys, True, first.id)
    rest, _ = sent(cut_off, later(minutes=1))
    third = due(rest, later(minutes=1))
    assert third is not None
    assert not third.again
    assert len(third.keys) == 7
    perhaps = failed(begun(there, first), "timed out", NOW, perhaps=True)
    batch = due(perhaps, later(hours=2))
    assert batch is not None
    assert batch.again


def test_facts_that_a_channel_refuses_are_left_out_the_next_time() -> None:
    there = failed(noted(state(), PROJECT, [item(1, screen=screen())], NOW), "400", NOW, refused=True)
    away = failed(there, "no network", later(hours=1))
    for one in (there, away):
        batch = due(one, later(hours=3))
        assert batch is not None
        assert batch.brief
    after, _ = sent(there, later(hours=2))
    assert not after.brief


def test_a_state_is_read_back_as_it_was() -> None:
    there = failed(noted(state(), PROJECT, [item(1, screen=screen()), item(2, since=None)], NOW), "no", NOW)
    there = noted(replace(there, begun=(item(1).key,), last=NOW), PROJECT, [item(1)], later(minutes=1))
    assert decode(State, parse_json(compact(encode(there)))) == there


@given(st.lists(st.tuples(st.sets(st.integers(0, 6)), st.sampled_from(["arrives", "fails", "perhaps", "killed"])),
                max_size=25))  # fmt: skip
def test_whatever_happens_each_thing_is_told_and_only_doubt_repeats_it(story: list[tuple[set[int], str]]) -> None:
    """Looks ten minutes apart; whatever was there at the end and could be sent was told; what was told twice while it
    stayed there said so."""
    there, now = state(), NOW
    told: dict[str, int] = {}
    for numbers, ending in story:
        now += timedelta(minutes=10)
        items = [item(n) for n in sorted(numbers)]
        for _ in range(2):  # the second look, after STEADY, forgets what is gone
            there, now = noted(there, PROJECT, items, now), now + STEADY
        here = {one.key for one in items}
        told = {key: count for key, count in told.items() if key in here}
        while (batch := due(there, now)) is not None:
            there = begun(there, batch)
            if ending == "killed":
                break
            if ending in ("fails", "perhaps"):
                there = failed(there, "no", now, perhaps=ending == "perhaps")
                break
            there = arrived(there, batch, now)
            for key in batch.keys:
                assert key not in told, "it was told already"
                told[key] = 1
        assert set(batch.keys if batch else ()) <= here
    now += RETRY_MOST * 2
    while (batch := due(there, now)) is not None:
        there = arrived(begun(there, batch), batch, now)
        told |= dict.fromkeys(batch.keys, 1)
    assert {one.key for one in there.told if one.gone is None} <= set(told)

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.runs.codec import SCHEMAS, Malformed, compact, decode, dumps, encode, loads, parse_json
from factory.runs.model import Cause, RunRecord, RunState, Subject, Usage
from factory.runs.spec import SessionResult, SessionSpec

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30)
MONEY = st.floats(min_value=0, max_value=1e6, allow_nan=False)
TIMES = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-7))]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
st.register_type_strategy(str, TEXT)
st.register_type_strategy(float, MONEY)
st.register_type_strategy(datetime, TIMES)
st.register_type_strategy(object, JSON)

RECORD = RunRecord(
    run="r20261121T091500000-00000000",
    formula="dev",
    role="dev",
    agent="cc-1",
    account="dev-bot",
    subject=Subject("ada/shop", "issue", "3"),
    issue=3,
    round=1,
    state=RunState.FAILED,
    host="h",
    epoch=2,
    started_at=datetime(2026, 11, 21, 9, 15, tzinfo=UTC),
    cause=Cause.MAX_TURNS,
    usage=Usage(1, 2, 3, 4, 0.5, True),
    facts=(("verdict", "approve"),),
)


@pytest.mark.parametrize("kind", list(SCHEMAS))
def test_what_is_written_is_read_back(kind: type) -> None:
    @given(st.builds(kind))
    def back(value: object) -> None:
        assert loads(kind, dumps(value)) == value
        assert dumps(loads(kind, dumps(value))) == dumps(value)

    back()


def test_equal_values_give_equal_bytes() -> None:
    text = dumps(RECORD)
    assert text.isascii()
    assert "\n" not in text
    assert list(json.loads(text)) == ["factory.run/v1"]


def change(path: list[str], value: object) -> str:
    data = json.loads(dumps(RECORD))
    inner = data["factory.run/v1"]
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        (["round"], "1", "$.round"),
        (["round"], True, "$.round"),
        (["round"], 1.0, "$.round"),
        (["state"], "exploded", "$.state"),
        (["state"], None, "$.state"),
        (["started_at"], "2026-11-21T09:15:00", "$.started_at"),
        (["started_at"], "yesterday", "$.started_at"),
        (["started_at"], 5, "$.started_at"),
        (["subject"], "ada/shop", "$.subject"),
        (["subject", "id"], 3, "$.subject.id"),
        (["usage", "requests"], None, "$.usage.requests"),
        (["facts"], [["a"]], "$.facts[0]"),
        (["facts"], [["a", 1]], "$.facts[0][1]"),
        (["facts"], {"a": "b"}, "$.facts"),
        (["cause"], "tired", "$.cause"),
        (["surprise"], 1, "surprise"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(path: list[str], value: object, place: str) -> None:
    with pytest.raises(Malformed) as caught:
        loads(RunRecord, change(path, value))
    assert place in str(caught.value)


def test_a_missing_field_is_named_and_one_with_a_default_may_be_absent() -> None:
    data = json.loads(dumps(RECORD))
    del data["factory.run/v1"]["detail"]
    assert loads(RunRecord, json.dumps(data)) == RECORD
    del data["factory.run/v1"]["host"]
    with pytest.raises(Malformed, match="host is missing"):
        loads(RunRecord, json.dumps(data))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        '{"factory.run/v2": {}}',
        '{"factory.run/v1": {}, "more": 1}',
        '{"a": 1, "a": 2}',
        "NaN",
        '{"factory.run/v1": NaN}',
        "[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_what_is_no_document_is_refused(text: str | bytes) -> None:
    with pytest.raises(Malformed):
        loads(RunRecord, text)


def test_a_specification_is_no_result() -> None:
    with pytest.raises(Malformed, match="session-result"):
        loads(SessionResult, compact({SCHEMAS[SessionSpec]: {}}))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), datetime(2026, 1, 1), {1: "a"}, object(), b"bytes"])  # noqa: DTZ001
def test_what_could_not_be_read_back_is_not_written(value: object) -> None:
    with pytest.raises(Malformed):
        encode({"x": value})


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Everything:
    names: frozenset[str] = frozenset()
    colours: dict[str, Colour] = field(default_factory=dict)
    maybe: int | None = None
    either: int | str = 0
    pairs: tuple[tuple[int, str], ...] = ()
    nested: tuple[Subject, ...] = ()
    anything: object = None


@given(st.builds(Everything, anything=JSON))
def test_the_other_shapes_survive_too(value: Everything) -> None:
    assert decode(Everything, parse_json(compact(encode(value)))) == value


def test_sets_are_written_in_one_order() -> None:
    assert encode(frozenset({"b", "a", "c"})) == ["a", "b", "c"]


def test_times_keep_their_moment() -> None:
    east = datetime(2026, 11, 21, 9, 15, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
    assert encode(east) == "2026-11-21T07:15:00.123456Z"
    assert decode(datetime, encode(east)) == east

"""What a session may ask for: shapes, sizes, grants, limits."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.session.inside import outbox

GRANTS: dict[str, Any] = {
    "pull_request": True,
    "refuse": True,
    "comments": {"max": 2},
    "labels": ["blocked", "ready"],
    "issues": {"max": 1, "labels": ["tech-debt"]},
    "vault": ["release"],
}
PULL = {"kind": "pull", "title": "Fix it", "body": "why"}
COMMENT = {"kind": "comment", "body": "text"}
LABEL = {"kind": "label", "add": ["blocked"], "remove": ["ready"]}
ISSUE = {"kind": "issue", "title": "Later", "body": "why", "labels": ["tech-debt"]}
REFUSE = {"kind": "refuse", "reason": "unclear", "body": "what is missing"}
VAULT = {"kind": "vault", "formula": "release", "parameters": {"version": "1.0"}}
ALL = (PULL, COMMENT, LABEL, ISSUE, REFUSE, VAULT)


@pytest.mark.parametrize("line", ALL, ids=lambda line: line["kind"])
def test_granted_is_fine_and_not_granted_is_not(line: dict[str, Any]) -> None:
    assert outbox.check_line(line, GRANTS, {}) == []
    (problem, *_rest) = outbox.check_line(line, {}, {})
    assert "granted" in problem


@pytest.mark.parametrize("line", ALL, ids=lambda line: line["kind"])
def test_each_field_is_needed_typed_and_known(line: dict[str, Any]) -> None:
    for name in line.keys() - {"kind"}:
        missing = {key: value for key, value in line.items() if key != name}
        assert outbox.check_line(missing, GRANTS, {}) == [f"{line['kind']}: field '{name}' is missing"]
        assert outbox.check_line({**line, name: 7}, GRANTS, {})[0].startswith(f"{line['kind']}: {name} is not")
    assert outbox.check_line({**line, "extra": "x"}, GRANTS, {}) == [f"{line['kind']}: unknown field 'extra'"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ({"kind": "merge"}, "unknown kind 'merge'"),
        ({}, "unknown kind None"),
        ({"kind": ["pull"]}, "unknown kind"),
        ({**PULL, "title": "  "}, "title is empty"),
        ({**PULL, "title": "x" * 201}, "title has 201 characters"),
        ({**PULL, "title": "a\nb"}, "not one line"),
        ({**PULL, "title": "a\x7fb"}, "not one line"),
        ({**COMMENT, "body": ""}, "body is empty"),
        ({**COMMENT, "body": "é" * 30_001}, "body has 60002 bytes"),
        ({**COMMENT, "body": "a\0b"}, "NUL"),
        ({**COMMENT, "body": "\ud800"}, "broken characters"),
        ({**REFUSE, "reason": "lazy"}, "unknown reason 'lazy'"),
        ({**LABEL, "add": [], "remove": []}, "nothing to add or remove"),
        ({**LABEL, "add": ["approved"]}, "'approved' is not granted; granted: blocked, ready"),
        ({**LABEL, "remove": ["blocked"]}, "both added and removed"),
        ({**LABEL, "add": ["x" * 51]}, "longer than 50"),
        ({**LABEL, "add": ["blocked"] * 21}, "22 labels"),
        ({**ISSUE, "labels": ["backlog"]}, "'backlog' is not granted; granted: tech-debt"),
        ({**VAULT, "formula": "wipe"}, "'wipe' is not granted; granted: release"),
        ({**VAULT, "parameters": {"a": 1}}, "not an object of texts"),
        ({**VAULT, "parameters": {"a": "x" * 5000}}, "longer than 4096"),
        ({**VAULT, "parameters": {str(n): "" for n in range(33)}}, "33 parameters"),
    ],
)
def test_what_is_wrong_is_named(line: dict[str, Any], expected: str) -> None:
    assert any(expected in problem for problem in outbox.check_line(line, GRANTS, {}))


@pytest.mark.parametrize(("line", "limit"), [(PULL, 1), (COMMENT, 2), (ISSUE, 1), (REFUSE, 1), (VAULT, 1)])
def test_limits_count_what_came_before(line: dict[str, Any], limit: int) -> None:
    counts: dict[str, int] = {}
    for _ in range(limit):
        assert outbox.check_line(line, GRANTS, counts) == []
        outbox.count(line, counts)
    assert outbox.check_line(line, GRANTS, counts) != []


def test_a_session_posts_or_refuses() -> None:
    assert "either posts or refuses" in outbox.check_line(REFUSE, GRANTS, {"pull": 1})[0]
    assert "either posts or refuses" in outbox.check_line(PULL, GRANTS, {"refuse": 1})[0]


@pytest.mark.parametrize("grant", [None, 1, "yes", {}, [], {"max": True}, {"max": "3"}, {"max": -1}, {"max": 0}])
def test_a_grant_of_another_shape_grants_nothing(grant: object) -> None:
    assert outbox.check_line(COMMENT, {"comments": grant}, {}) != []
    if grant != 1:
        assert outbox.check_line(PULL, {"pull_request": grant}, {}) != []


def test_reading_reports_all_problems_and_keeps_what_is_valid() -> None:
    lines = [json.dumps(one).encode() for one in (COMMENT, PULL, PULL, COMMENT, COMMENT)]
    data = b"\n".join([*lines, b"garbage", b"[1]", b'{"kind": "pull"', b""])
    valid, problems = outbox.read(data, GRANTS)
    assert valid == [COMMENT, PULL, COMMENT]
    assert [problem.split(":")[0] for problem in problems] == ["line 3", "line 5", "line 6", "line 7", "line 8"]


def test_a_line_that_was_being_written_does_not_count() -> None:
    data = json.dumps(COMMENT).encode() + b"\n" + json.dumps(PULL).encode()
    assert outbox.read(data, GRANTS) == ([COMMENT], [])
    assert outbox.read(b"", GRANTS) == ([], [])


def test_sizes_are_bounded() -> None:
    assert outbox.read(b"x" * (outbox.MAX_FILE + 1), GRANTS)[1][0].startswith("the outbox has")
    assert "more than 200" in outbox.read(b"{}\n" * 201, GRANTS)[1][0]
    assert "at most" in outbox.read(b'{"kind":"' + b"x" * outbox.MAX_LINE + b'"}\n', GRANTS)[1][0]
    assert outbox.read(b"[" * 100_000 + b"\n", GRANTS)[1] != []


@given(st.binary(max_size=300))
def test_garbage_is_a_problem_never_an_error(data: bytes) -> None:
    lines, _problems = outbox.read(data + b"\n", GRANTS)
    assert lines == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(ALL), st.data())
def test_any_value_in_any_field_is_judged(line: dict[str, Any], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(line)))
    changed = {**line, name: data.draw(JSON)}
    if not outbox.check_line(changed, GRANTS, {}):
        text = json.dumps(changed).encode() + b"\n"
        assert outbox.read(text, GRANTS) == ([changed], [])


@given(st.text())
def test_cleaned_text_is_what_a_line_may_hold(text: str) -> None:
    cleaned = outbox.clean(text)
    assert outbox.clean(cleaned) == cleaned
    assert "\0" not in cleaned


def test_what_is_left_is_told_for_granted_kinds() -> None:
    assert outbox.left(GRANTS, {"comment": 1, "pull": 1}) == {"pull": 0, "comment": 1, "issue": 1, "refuse": 1}
    assert outbox.left({}, {}) == {}

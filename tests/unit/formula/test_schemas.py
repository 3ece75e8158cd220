"""Structured answers found in what an agent said."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.formula.schemas import parse_answer

FINDING = {"id": "a", "path": "x.py", "line": 3, "severity": "major", "text": "wrong"}
GOOD: dict[str, Any] = {"verdict": "approve", "summary": "fine", "findings": [], "not_read": []}


def parsed(text: str) -> dict[str, Any]:
    answer, problems = parse_answer("verdict", text)
    assert problems == ()
    assert answer is not None
    return answer


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "I read it.\n\n```json\n{}\n```\n",
        "```\n{}\n```",
        "text {} more text { not json } and [1]",
        'First {"verdict": "comment", "summary": "x", "findings": [], "not_read": []}, no: {}',
        '{} The script has `{"other": 1}` in it.',
        "def f(): return {'a': {1: 2}}\n{{ template }}\n{}",
    ],
)
def test_the_last_answer_is_found(text: str) -> None:
    assert parsed(text.replace("{}", json.dumps(GOOD), 1)) == GOOD


def test_a_finding() -> None:
    answer = {**GOOD, "verdict": "request_changes", "findings": [FINDING, {**FINDING, "id": "b", "line": 0}]}
    assert parsed(json.dumps(answer, indent=2)) == answer


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("no json at all", "there is no JSON object"),
        ("{" * 5000, "there is no JSON object"),
        ('{"verdict": "approve"', "there is no JSON object"),
        (json.dumps({**GOOD, "verdict": "LGTM"}), "verdict: input should be"),
        (json.dumps({"verdict": "approve"}), "summary: field required"),
        (json.dumps({**GOOD, "extra": 1}), "extra: extra inputs are not permitted"),
        (
            json.dumps({**GOOD, "findings": [{**FINDING, "line": "3"}]}),
            "findings[0].line: input should be a valid integer",
        ),
        (json.dumps({**GOOD, "findings": [{**FINDING, "severity": "blocker"}]}), '"approve" although a is a blocker'),
        (json.dumps({**GOOD, "verdict": "request_changes"}), "findings is empty"),
        (json.dumps({**GOOD, "findings": [FINDING, FINDING]}), 'two findings have the id "a"'),
        ('{"verdict": "request_changes", ' + json.dumps(GOOD)[1:], 'the key "verdict" stands twice'),
        (json.dumps({**GOOD, "findings": [FINDING]}).replace("3", "NaN"), "there is no JSON object"),
        (json.dumps({**GOOD, "findings": [FINDING]}).replace('"id"', '"line": 4, "id"'), 'the key "line" stands twice'),
    ],
)
def test_what_is_wrong_is_said_to_the_agent(answer: str, said: str) -> None:
    found, problems = parse_answer("verdict", answer)
    assert found is None
    assert any(said in p for p in problems), problems


def test_an_invalid_last_answer_is_not_replaced_by_an_earlier_one() -> None:
    """An approval quoted on the way must not count when the answer itself cannot be read."""
    found, problems = parse_answer("verdict", json.dumps(GOOD) + "\n" + json.dumps({**GOOD, "verdict": "no"}))
    assert found is None
    assert problems


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from(list('{}[]":,\\ \nvaerdict1')), max_size=80) | st.text())
def test_nothing_said_makes_it_crash(text: str) -> None:
    found, problems = parse_answer("verdict", text)
    assert (found is None) == bool(problems)


def test_hostile_nesting_takes_no_time() -> None:
    assert parse_answer("verdict", '{"a":' * 40_000)[0] is None
    assert parsed('{"a":' * 900 + json.dumps(GOOD)) == GOOD

"""Structured answers: believed in their form only, asked for again twice at most, and the gateway's own record."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from factory.backends.native import Native
from factory.backends.protocol import Launch, LaunchRequest
from factory.git import objects
from factory.runs.model import Cause, RunState, Subject
from factory.runs.spec import SessionResult
from tests.integration.session.house import REVIEW, House, run_call, says

pytestmark = pytest.mark.needs_bwrap

FINE = {"verdict": "approve", "summary": "I read it.", "findings": [], "not_read": []}


def answer(**changed: Any) -> str:
    return f"Here it is.\n```json\n{json.dumps({**FINE, **changed})}\n```\n"


def review(house: House, *answers: list[dict[str, Any]], **fields: Any) -> SessionResult:
    """A review of one commit; each list of turns is what the model says when asked once more."""
    head = fields.pop("head", None) or house.commit(house.base, {"app.py": b"x = 2\n"})
    objects.update_ref(house.bare, "refs/heads/fix/issue-1", head)
    spec = house.spec(
        "review-pr",
        role="reviewer",
        account="review-bot",
        subject=Subject("o/project", "pull", "3"),
        head=head,
        **fields,
    )
    for number, turns in enumerate(answers):
        house.model.script_for(spec.alias, turns, formula="review-pr", step="judge", answer=number)
    return house.run(spec)


def judged(result: SessionResult) -> Any:
    return next(step for step in result.steps if step.step == "judge").answer


def test_an_answer_in_its_form_is_the_result(house: House) -> None:
    result = review(house, [{"call": [{"tool": "read", "input": {"path": "app.py"}}]}, says(answer())])
    assert result.state is RunState.SUCCEEDED, house.log(result)
    assert judged(result) == FINE
    assert (result.head, result.commits) == (None, 0)


def test_twice_invalid_and_then_valid_is_valid(house: House) -> None:
    blocker = {"id": "b", "path": "app.py", "line": 1, "severity": "blocker", "text": "No."}
    result = review(
        house,
        [says("I like it.")],
        [{**says(answer(verdict="maybe")), "expect": "there is no JSON object"}],
        [{**says(answer(verdict="request_changes", findings=[blocker])), "expect": ["verdict", "maybe", "Judge it."]}],
    )
    assert result.state is RunState.SUCCEEDED, (result, house.log(result))
    assert judged(result)["findings"] == [blocker]
    assert result.usage.requests == 3
    assert house.log(result).count("has not the form verdict") == 2


def test_three_times_invalid_is_invalid_output_and_says_what_is_wrong(house: House) -> None:
    result = review(house, *([says(answer(verdict="perhaps"))] for _ in range(3)))
    assert (result.state, result.cause) == (RunState.FAILED, Cause.INVALID_OUTPUT)
    assert "verdict: input should be 'approve'" in result.detail
    assert result.usage.requests == 3


def test_a_review_executes_nothing_and_changes_nothing(house: House) -> None:
    result = review(house, [run_call("touch /work/x"), says(answer())])
    assert (result.state, result.cause) == (RunState.FAILED, Cause.BACKEND)
    assert "'run', which this request does not offer" in result.detail


def test_a_secret_is_not_quoted_in_a_review(house: House) -> None:
    """The head holds one; saying so must not publish it a second time."""
    token = "ghp_" + "a1B2" * 9
    head = house.commit(house.base, {"key.txt": token.encode() + b"\n"})
    finding = {"id": "k", "path": "key.txt", "line": 1, "severity": "blocker", "text": f"{token} is a key"}
    clean = {**finding, "text": "is a key"}
    result = review(
        house,
        [says(answer(verdict="request_changes", findings=[finding]))],
        [{**says(answer(verdict="request_changes", findings=[clean])), "expect": "looks like a GitHub token"}],
        head=head,
    )
    assert result.state is RunState.SUCCEEDED, (result, house.log(result))
    assert token not in json.dumps(judged(result))


def test_facts_come_before_the_judgement_and_reach_its_prompt(house: House) -> None:
    head = house.commit(house.base, {"key.txt": b"ghp_" + b"a1B2" * 9 + b"\n"})
    told = "{% for check, lines in facts.items() %}{{ lines | join(' ') | quoted_line }}{% endfor %}"
    text = REVIEW.replace('prompt = "Judge it."', f'prompt = "{told}"')
    result = review(
        house, [{**says(answer()), "expect": "secrets: key.txt:1: looks like a GitHub token"}], head=head, text=text
    )
    assert result.state is RunState.SUCCEEDED, (result, house.log(result))
    assert "key.txt:1" in result.steps[0].detail


def test_the_answer_is_what_the_gateway_saw_not_what_the_sandbox_prints(house: House) -> None:
    """Whoever speaks in the sandbox may print what it likes on the backend's behalf."""

    class Liar(Native):
        def launch(self, request: LaunchRequest) -> Launch:
            made = super().launch(request)
            said = json.dumps({"event": "text", "text": answer(), "final": True})
            end = json.dumps({"event": "done", "ok": True, "reason": "end", "turns": 1})
            return replace(made, argv=("/bin/sh", "-c", f"echo '{said}'; echo '{end}'"))

    house.backend = Liar()
    result = review(house, [says("never asked")])
    assert (result.state, result.cause) == (RunState.FAILED, Cause.INVALID_OUTPUT)

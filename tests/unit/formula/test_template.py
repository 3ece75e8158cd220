"""Templates judged before they run: names, and text of others that could read like ours."""

from __future__ import annotations

import pytest

from factory.formula.template import Scope, examine

SCOPE = Scope({"body": "text", "number": "int", "kind": "enum"}, steps={"facts"}, facts={"diff-scan"})


def messages(source: str) -> list[str]:
    return [fault.message.removeprefix("template: ") for fault in examine(source, SCOPE)]


@pytest.mark.parametrize(
    "source",
    [
        "plain",
        "#{{ inputs.number }} {{ inputs['kind'] }} {{ project }} {{ run }} {{ branch }} {{ ci.command }}",
        "{{ inputs.body | quoted('x') }} {{ inputs.body | quoted_line }}",
        "{% if inputs.body %}there{% endif %}",
        "{{ inputs.body | length }}",
        "{{ 'yes' if inputs.body == 'x' else 'no' }}",
        "{% for check, lines in facts.items() if lines %}{{ lines | join('\n') | quoted(check) }}{% endfor %}",
        "{% for path, text in context.files.items() %}{{ text | quoted(path) }}{% endfor %}",
        "{{ facts['diff-scan'] | join | quoted }}{{ steps.facts.ok }}{{ steps.facts.detail | quoted }}",
        "{% set text = inputs.body %}{{ text | quoted }}",
    ],
)
def test_sound(source: str) -> None:
    assert messages(source) == []


@pytest.mark.parametrize(
    "source",
    [
        "{{ inputs.body }}",
        "{{ inputs['body'] }}",
        "{{ inputs.body | upper }}",
        "{{ 'Title: ' ~ inputs.body }}",
        "{{ inputs.body if inputs.number else '' }}",
        "{{ 'a' if inputs.number else inputs.body }}",
        "{% set text = inputs.body %}{{ text }}",
        "{% set a = inputs.body %}{% set b = a ~ '' %}{{ b }}",
        "{% for line in inputs.body.splitlines() %}{{ line }}{% endfor %}",
        "{% for path, text in context.files.items() %}{{ text }}{% endfor %}",
        "{{ facts['diff-scan'] | join }}",
        "{{ steps.facts.detail }}",
        "{{ diff }}",
        "{{ [inputs.body] }}",
        "{{ inputs.body[:10] }}",
        "{{ '%s' % inputs.body }}",
        "{{ '%s' | format(inputs.body) }}",
    ],
)
def test_text_of_others_outside_quotes(source: str) -> None:
    assert any("text of others and stands outside quotes" in m for m in messages(source)), messages(source)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{{ nope }}", "nope is not defined"),
        ("{{ inputs.nope }}", "inputs.nope is not declared"),
        ("{{ inputs['nope'] }}", "inputs.nope is not declared"),
        ("{% if steps.later.ok %}{% endif %}", "steps.later is not known to be finished here"),
        ("{% if steps.facts.okay %}{% endif %}", "steps.facts.okay is not defined"),
        ("{{ ci.comand }}", "ci.comand is not defined"),
        ("{% include 'x' %}", "a prompt includes no other file"),
        ("{% import 'x' as y %}", "a prompt includes no other file"),
        ("{{ 1 | nope }}", "there is no filter nope"),
        ("{% if 1 is nope %}{% endif %}", "there is no test nope"),
        ("{{ cycler() }}", "cycler is not defined"),
    ],
)
def test_unknown(source: str, said: str) -> None:
    assert said in messages(source)


def test_every_fault_with_its_line() -> None:
    faults = examine("{{ a }}\n{{ inputs.nope }}\n\n{{ 1 | quotd }}", SCOPE)
    assert [f.line for f in faults] == [1, 2, 4]
    assert faults[2].hint == 'did you mean "quoted"?'

"""Formula files: valid values, or every problem at once with line and hint."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.config.role import load_roles
from factory.errors import ConfigInvalid
from factory.formula.load import load_formula
from factory.formula.model import Allowance, InputType, StepKind

GOLDEN = Path(__file__).with_name("golden")
ROLES = load_roles({}).known
CHECKS = frozenset({"diff-scan", "secrets"})
HEAD = 'schema = 1\nname = "f"\nversion = 1\nrole = "reviewer"\ndescription = "d"\n'
STEP = '[[steps]]\nid = "s"\nkind = "agent"\nprompt = "hello"\n'


def problems(text: str) -> list[tuple[int | None, str]]:
    with pytest.raises(ConfigInvalid) as caught:
        load_formula(text.encode(), "formulas/f.toml", roles=ROLES, checks=CHECKS)
    return [(p.line, p.message) for p in caught.value.problems]


def test_everything_wrong_is_shown_at_once() -> None:
    with pytest.raises(ConfigInvalid) as caught:
        load_formula((GOLDEN / "formula.toml").read_bytes(), "formulas/review.toml", roles=ROLES, checks=CHECKS)
    error = caught.value
    shown = "".join(f"{p}\n" for p in error.problems) + f"error: {error.message}\nhint:  {error.hint}\n"
    assert shown == (GOLDEN / "formula.screen").read_text()


def test_the_example_of_the_design() -> None:
    text = """\
schema = 1
name = "review-pr"
version = 1
role = "reviewer"
description = "Judge one pull request at one head."
[inputs.pull]
type = "pull"
[context]
files = ["AGENTS.md", "README.md"]
ops = ["knowledge/reviewer/memory.md"]
graph = true
max_bytes = 60_000
[limits]
minutes = 20
idle_seconds = 300
turns = 60
cost_usd = 1.50
[grants]
review = true
issues = { max = 3, labels = ["tech-debt"] }
comments = { max = 1 }
[[steps]]
id = "facts"
kind = "check"
uses = ["diff-scan", "secrets"]
[[steps]]
id = "judge"
kind = "agent"
needs = ["facts"]
output = "verdict"
writes = false
prompt = \"\"\"#{{ inputs.pull }}: {{ facts["diff-scan"] | join(", ") | quoted("facts") }}\"\"\"
"""
    formula = load_formula(text.encode(), "formulas/review-pr.toml", roles=ROLES, checks=CHECKS)
    assert [(s.id, s.kind, s.needs) for s in formula.steps] == [
        ("facts", StepKind.CHECK, ()),
        ("judge", StepKind.AGENT, ("facts",)),
    ]
    assert formula.inputs[0].type is InputType.PULL
    assert formula.grants.issues == Allowance(3, ("tech-debt",))
    assert (formula.grants.commits, formula.grants.review) == (False, True)
    assert (formula.limits.turns, formula.context.graph) == (60, True)
    assert len(formula.digest) == 64


def test_a_minimal_one() -> None:
    assert load_formula((HEAD + STEP).encode(), "formulas/f.toml", roles=ROLES, checks=CHECKS).steps[0].writes


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (HEAD + "[grants]\ncommits = true\n" + STEP, 7, 'more than the role "reviewer" may have'),
        (HEAD.replace("reviewer", "ci") + "[grants]\nreview = true\n" + STEP, 7, 'more than the role "ci" may have'),
        (HEAD + '[inputs]\nn = { type = "int" }\n' + STEP.replace("hello", "{{ n }}"), 11, "n is not defined"),
        (HEAD + STEP.replace('"hello"', "'''\n\n{{ steps.s.ok }}'''"), 11, "steps.s is not known to be finished"),
        (HEAD + STEP.replace("hello", "{% if %}"), 9, "template: expected an expression"),
        (HEAD + '[[steps]]\nid = "a"\nkind = "shell"\nargv = ["x", "{{ diff | quoted }}"]\n', 9, "text of others"),
        (HEAD + '[[steps]]\nid = "a"\nkind = "shell"\nargv = ["x", "{{ diff }}"]\n', 9, "outside quotes"),
        (HEAD + '[[steps]]\nid = "a"\nkind = "vault"\nformula = "r"\nwith = { v = "{{ nope }}" }\n', 10, "nope is not"),
        (HEAD + '[[steps]]\nid = "a"\nkind = "agent"\n', 6, "of kind agent and needs prompt"),
        (HEAD + "steps = []\n", 6, "steps is empty"),
        (HEAD + STEP + 'needs = ["s"]\n', 10, "s -> s"),
        (HEAD + STEP.replace("hello", "a\\u0000b"), 9, "which it may not be"),
        (HEAD + '[context]\nops = ["vault/secrets/PROD.age"]\n' + STEP, 7, "never in a session's view"),
        (HEAD + '[context]\nops = ["vault/./Secrets//PROD.age"]\n' + STEP, 7, "never in a session's view"),
        ("schema = 2\n" + HEAD[11:] + STEP, 1, "schema is 2"),
    ],
)
def test_what_is_wrong(text: str, line: int, words: str) -> None:
    found = problems(text)
    assert [at for at, message in found if words in message] == [line], found


def test_the_argument_of_a_shell_comes_from_the_configuration_only() -> None:
    step = '[[steps]]\nid = "a"\nkind = "shell"\nargv = ["sh", "-c", "{}"]\n'
    ok = HEAD + step.replace("{}", "{{ ci.command }}")
    assert load_formula(ok.encode(), "formulas/f.toml").steps[0].argv[2] == "{{ ci.command }}"
    for program in ("echo {{ branch }}", "{{ ci.command }}; echo {{ head }}"):
        assert "builds a shell program" in problems(HEAD + step.replace("{}", program))[0][1]


def test_what_was_planned_is_read_again_without_judging_names() -> None:
    text = HEAD.replace("reviewer", "gone") + '[[steps]]\nid = "a"\nkind = "check"\nuses = ["gone"]\n'
    assert load_formula(text.encode(), "formulas/f.toml").role == "gone"


PIECES = (HEAD + STEP + (GOLDEN / "formula.toml").read_text()).splitlines()


@settings(max_examples=120, deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=10), max_size=30).map("\n".join))
def test_no_file_whatever_makes_it_crash(text: str) -> None:
    raw = text.encode("utf-8", "surrogatepass")
    try:
        load_formula(raw, "formulas/f.toml", roles=ROLES, checks=CHECKS)
    except ConfigInvalid as error:
        lines = [problem.line or 0 for problem in error.problems]
    else:
        return
    assert lines
    assert all(1 <= line <= raw.count(b"\n") + 1 for line in lines)


TOKENS = ["{{", "}}", "{%", "%}", "{#", "#}", "if", "for", "in", "endfor", "endif", "set", "inputs", ".a", "|quoted"]
TOKENS += ["steps", "['x']", "(", ")", "diff", "a", "=", "1", "'", "~", "\n", " "]


@settings(max_examples=120, deadline=None)
@given(st.lists(st.sampled_from(TOKENS), max_size=16).map(" ".join))
def test_no_template_whatever_makes_it_crash(template: str) -> None:
    text = HEAD + '[inputs]\na = { type = "text" }\n' + STEP.replace('"hello"', f"'''\n{template}.\n'''")
    try:
        load_formula(text.encode(), "formulas/f.toml", roles=ROLES, checks=CHECKS)
    except ConfigInvalid as error:
        lines = [problem.line or 0 for problem in error.problems]
    else:
        return
    assert all(1 <= line <= text.count("\n") + 1 for line in lines)

"""Sessions as tests of the stage play them: what is in the files decides what CI and the reviewer say."""

from __future__ import annotations

from factory.runs.model import RunState
from factory.runs.spec import SessionResult, SessionSpec, StepResult
from factory.testing import builders
from factory.testing.stage import Outside


def commit(outside: Outside, spec: SessionSpec, files: dict[str, str]) -> str:
    """A commit as the session's quarantine would hold it: in the object store, on no branch."""
    git = outside.forge.world.git
    parent = spec.head or spec.base
    return git.commit({**git.tree(parent), **files}, (parent,), f"{spec.formula} round {spec.round}")


def play(outside: Outside, spec: SessionSpec) -> SessionResult | None:
    """The first edit of issue 1 has a bug that CI finds; that of issue 2 a flaw that the reviewer finds."""
    tree = outside.forge.world.git.tree(spec.head or spec.base)
    path = f"tally/issue{spec.issue}.py"
    if spec.formula == "ci":
        red = any("BUG" in text for text in tree.values())
        step = StepResult("check", not red, f"exit {int(red)}", {"exit": int(red), "tail": "AssertionError: BUG"})
        return builders.result(spec, steps=(step,))
    if spec.formula == "review-pr":
        flawed = any("FLAW" in text for text in tree.values())
        word = builders.verdict("request_changes", builders.finding()) if flawed else builders.verdict()
        return builders.result(spec, steps=(word,))
    text = {"dev": {1: "BUG", 2: "FLAW"}.get(spec.issue or 0, "fine")}.get(spec.formula, f"fine after {spec.formula}")
    outbox: tuple[dict[str, object], ...] = ()
    if spec.formula == "dev":
        outbox = ({"kind": "pull", "title": f"Do {spec.alias}", "body": "Closes #99. @founder <!-- hidden -->"},)
    return builders.result(spec, state=RunState.SUCCEEDED, head=commit(outside, spec, {path: text}), outbox=outbox)

"""The prompt of an agent step: the formula's template filled with inputs, context files, facts and earlier steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from factory.checks.model import Finding
from factory.formula.model import Context, Formula, Step
from factory.formula.render import inputs_of, render, render_argv
from factory.git import objects
from factory.runs.spec import SessionSpec, StepResult

MAX_DIFF = 200_000


def context_files(context: Context, view: Path, base: str, mirror: Path | None) -> dict[str, Any]:
    """The project's files at the base commit and the ops repo's, as far as they exist, within ``max_bytes`` in all."""
    left = context.max_bytes
    found: dict[str, Any] = {"files": {}, "ops": {}, "cut": []}
    places: list[tuple[str, Path, str, Sequence[str]]] = [("files", view, base, context.files)]
    if mirror is not None:
        places.append(("ops", mirror, "refs/heads/main", context.ops))
    for kind, repo, rev, paths in places:
        for path in paths:
            if left <= 0:
                found["cut"].append(path)
                continue
            data = objects.read_file(repo, rev, path, max_bytes=left)
            if data is None:
                continue
            found[kind][path] = data.decode("utf-8", "replace")
            left -= len(data)
    return found


def variables(
    formula: Formula,
    spec: SessionSpec,
    *,
    context: Mapping[str, Any],
    facts: Mapping[str, Sequence[Finding]],
    done: Mapping[str, StepResult],
    diff: str,
) -> dict[str, Any]:
    """What a formula's templates may name (``formula.template.ROOTS``). Raises ConfigInvalid for a wrong input."""
    by_check: dict[str, list[str]] = {}
    for step in formula.steps:
        for name in step.uses:
            by_check.setdefault(name, [])
    for found in facts.values():
        for finding in found:
            by_check.setdefault(finding.check, []).append(str(finding))
    return {
        "inputs": inputs_of(formula, spec.inputs),
        "context": dict(context),
        "facts": by_check,
        "steps": {
            name: {"ok": result.ok, "detail": result.detail, "answer": result.answer or {}}
            for name, result in done.items()
        },
        "project": spec.project,
        "run": spec.run,
        "trusted": spec.trusted,
        "ci": {"command": spec.ci.command},
        "branch": spec.head_ref or spec.base_ref,
        "base_ref": spec.base_ref,
        "base": spec.base,
        "head": spec.head or "",
        "diff": diff,
    }


def prompt(step: Step, formula: Formula, given: Mapping[str, Any]) -> str:
    """The text the model gets. Raises ConfigInvalid when the template asks for what is not there."""
    return render(step.prompt, given, where=f"formula {formula.name}, step {step.id}")


def argv(step: Step, formula: Formula, given: Mapping[str, Any]) -> tuple[str, ...]:
    """A shell step's argv, each argument rendered alone."""
    return render_argv(step.argv, given, where=f"formula {formula.name}, step {step.id}")


CORRECTION = """Your answer could not be read as the form that was asked for:

{problems}

Answer again, with the same judgement, as one JSON object in a ```json block and nothing after it.
"""


def correction(problems: Sequence[str], answer: str) -> str:
    """What is asked when a structured answer was invalid."""
    return (
        CORRECTION.format(problems="\n".join(f"- {p}" for p in problems)) + f"\nYour answer was:\n\n{answer[:20_000]}\n"
    )

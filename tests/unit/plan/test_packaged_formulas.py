"""What the plan gives a run is what the packaged formulas ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory.forge.values import CheckState, ReviewState
from factory.formula.load import load_formula
from factory.plan.model import World
from factory.plan.operations import StartRun
from factory.roles.turn import decide
from factory.runs.model import Subject
from factory.testing import builders as b

FOLDER = Path(__file__).parents[3] / "formulas"
LOADED = [load_formula(path.read_bytes(), path.name) for path in sorted(FOLDER.glob("*.toml"))]
FORMULAS = {formula.name: formula for formula in LOADED if formula.vault is None}
"""Those that the plan starts; a vault formula is started by the dispatcher."""

RED = b.run(
    "ci", Subject(str(b.PROJECT), "commit", b.HEAD), head=b.HEAD, detail="AssertionError",
    facts={"ci": "failure", "on": "pull/5"},
)  # fmt: skip
RED_BASE = b.run(
    "ci", Subject(str(b.PROJECT), "commit", b.BASE), head=b.BASE, detail="AssertionError",
    facts={"ci": "failure", "on": "base"},
)  # fmt: skip

CASES = {
    "dev": b.world([b.ready()]),
    "review-pr": b.world([b.ready()], [b.pull()]),
    "fix-ci": b.world([b.ready()], [b.pull(statuses=[b.status(CheckState.FAILURE)])], [RED]),
    "address-review": b.world([b.ready()], [b.pull(reviews=[b.review(ReviewState.REQUEST_CHANGES)])]),
    "resolve-conflict": b.world([b.ready()], [b.pull(mergeable=False, merge_base=b.sha("old"))]),
    "fix-base": b.world(runs=[RED_BASE], base_state=CheckState.FAILURE),
    "ci": b.world([b.ready()], [b.pull(statuses=[])]),
}


def start(world: World, formula: str) -> StartRun:
    plan = decide(world, b.NOW)
    effect = next(e for e in plan.effects if e.kind == f"start:{formula}")
    operation = effect.operations[-1]
    assert isinstance(operation, StartRun)
    return operation


def test_every_packaged_formula_has_its_case() -> None:
    assert set(CASES) == set(FORMULAS)


@pytest.mark.parametrize("name", CASES)
def test_required_inputs_are_given(name: str) -> None:
    spec = start(CASES[name], name).spec
    required = {i.name for i in FORMULAS[name].inputs if i.required}
    assert required
    assert required <= set(spec.inputs)
    assert all(spec.inputs[needed].strip() for needed in required)


@pytest.mark.parametrize("name", CASES)
def test_inputs_that_formulas_know_are_text_they_declare(name: str) -> None:
    """What only the plan remembers (``want``, ``from``...) is named in one place, and no formula may declare it."""
    declared = {i.name for i in FORMULAS[name].inputs}
    assert not declared & {"want", "from", "on"}


@pytest.mark.parametrize("name", CASES)
def test_the_test_builders_grant_what_the_packaged_formulas_grant(name: str) -> None:
    packaged, built = FORMULAS[name].grants, b.FORMULAS[name].grants
    assert (packaged.commits, packaged.pull_request, packaged.review, packaged.statuses) == (
        built.commits, built.pull_request, built.review, built.statuses,
    )  # fmt: skip
    assert packaged.issues == built.issues
    assert (FORMULAS[name].role, [s.kind for s in FORMULAS[name].steps if s.kind != "check"]) == (
        b.FORMULAS[name].role, [s.kind for s in b.FORMULAS[name].steps],
    )  # fmt: skip

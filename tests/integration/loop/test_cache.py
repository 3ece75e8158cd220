"""``cache/`` may be deleted at any moment: nothing decided is lost, and the end is the same."""

from __future__ import annotations

import shutil
from functools import partial

import pytest

from tests.integration.loop.house import COMMAS, Build, House

pytestmark = [pytest.mark.needs_bwrap, pytest.mark.xdist_group("loop")]


def at_work(house: House, formula: str) -> bool:
    """Whether a session of that formula is in its sandbox now."""
    runs = [run.run for run in house.runs(formula)]
    cache = house.home / "cache" / "runs"
    return any(house.executor.adopt(run) and list((cache / run).glob("*/in/spec.json")) for run in runs)


def test_the_cache_may_go_at_any_moment(build: Build) -> None:
    house = build()
    number = house.file(COMMAS.title, COMMAS.body)
    for formula in ("dev", "review-pr"):
        # Under a running session, and between its end and what follows from it.
        house.until(f"{formula} is at work", partial(at_work, house, formula))
        shutil.rmtree(house.home / "cache", ignore_errors=True)
        house.until("its session has ended", lambda: not house.executor.alive())
        shutil.rmtree(house.home / "cache", ignore_errors=True)
    house.until("it is merged", lambda: house.merged(number))
    ends = [(run.formula, run.state.value, str(run.cause or "")) for run in house.runs() if run.formula != "ci"]
    assert {end for end in ends if end[1] != "succeeded"} <= {
        ("dev", "failed", "lost"),
        ("review-pr", "failed", "lost"),
    }
    assert [end[0] for end in ends if end[1] == "succeeded"] == ["dev", "review-pr"]
    assert len(house.founder.pulls(house.project, state="all")) == 1

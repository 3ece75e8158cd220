"""``cache/`` may be deleted at any moment: nothing decided is lost, and the end is the same."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from factory.runs.codec import loads
from factory.runs.spec import SessionSpec
from factory.session.folders import RunFolders
from tests.integration.loop.house import COMMAS, Build, House

pytestmark = pytest.mark.needs_bwrap


def in_its_sandbox(home: Path, formula: str) -> str | None:
    """The run of that formula whose sandbox is being entered or is at work."""
    with suppress(FileNotFoundError):  # a run's folder went between two looks: the next look sees what is there
        for told in (home / "cache" / "runs").glob("*/*/in/spec.json"):
            run = told.relative_to(home / "cache" / "runs").parts[0]
            if loads(SessionSpec, RunFolders(home, run).spec.read_bytes()).formula == formula:
                return run
    return None


@contextmanager
def deleted_under(house: House, formula: str) -> Iterator[list[str]]:
    """As soon as a session of that formula is in its sandbox, the whole cache goes. Yields the runs it happened to."""
    hit: list[str] = []
    ended = threading.Event()

    def watch() -> None:
        # A thread of its own: a session on an idle machine may be done before the next tick looks.
        while not ended.wait(0.005):
            if run := in_its_sandbox(house.home, formula):
                shutil.rmtree(house.home / "cache", ignore_errors=True)
                hit.append(run)
                return

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield hit
    finally:
        ended.set()
        watching.join()


def test_the_cache_may_go_at_any_moment(build: Build) -> None:
    house = build()
    number = house.file(COMMAS.title, COMMAS.body)
    for formula in ("dev", "review-pr"):
        # Under a running session, and between its end and what follows from it.
        with deleted_under(house, formula) as hit:
            house.until(f"the cache goes under {formula}", lambda hit=hit: hit, disturbed=True)
        house.until("its session has ended", lambda: not house.executor.alive(), disturbed=True)
        shutil.rmtree(house.home / "cache", ignore_errors=True)
    house.until("it is merged", lambda: house.merged(number), disturbed=True)
    ends = [(run.formula, run.state.value, str(run.cause or "")) for run in house.runs() if run.formula != "ci"]
    assert {end for end in ends if end[1] != "succeeded"} <= {
        ("dev", "failed", "lost"),
        ("review-pr", "failed", "lost"),
    }
    assert [end[0] for end in ends if end[1] == "succeeded"] == ["dev", "review-pr"]
    assert len(house.founder.pulls(house.project, state="all")) == 1

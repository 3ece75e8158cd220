"""Two hosts serve one ops repo at the same time: nothing is done twice, and one goes on where the other died."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from factory.app.deployment import Deployment, free_port
from factory.app.hiring import Wish, hire
from factory.app.services import ensure_daemon, ensure_gateway, folder, stop, stop_one
from factory.config.host import write_host
from factory.config.surroundings import inherited
from factory.daemon.executor import LocalExecutor
from factory.demo.example import SCRIPT
from factory.errors import FactoryError
from factory.git import objects
from factory.git.transport import fetch
from factory.plan.recovery import SILENCE
from factory.process import service
from factory.runs.journal import REF, entries_since, fold
from factory.runs.model import RunRecord
from tests.integration.loop.house import COMMAS, MEDIAN, Build, House

pytestmark = pytest.mark.needs_bwrap

KEPT = ("tokens", "keys", "people", "projects")
"""What a second host must be given; all else it finds in the forge and the ops repo."""


@pytest.fixture(scope="module")
def one(build: Build) -> House:
    return build(poll_seconds=1.0)


@pytest.fixture(scope="module")
def two(one: House) -> Iterator[House]:
    """Another home, with another name, and the forge elsewhere. The keys are the same: that of the markers, which is
    made at first use, above all."""
    one.tick()
    assert (one.home / "state" / "keys" / "markers").exists()
    home = one.home.parent / "other"
    state = home / "state"
    state.mkdir(parents=True, mode=0o700)
    for name in KEPT:
        shutil.copytree(one.home / "state" / name, state / name)
    known = one.deployment.host
    write_host(
        replace(known, home=home, host="two", embedded=False, forge_port=None, web_port=free_port(), backends={})
    )
    with ExitStack() as ends:
        deployment = Deployment.open(home)
        ends.callback(deployment.close)
        ends.callback(stop, deployment)
        ensure_gateway(deployment.host)
        hire(deployment, Wish("native", name="scripted", replay=SCRIPT, slots=4))
        executor = LocalExecutor(home, [sys.executable, "-m", "factory", "session", "exec"], inherited(home))
        assert deployment.host.host != known.host
        yield House(deployment, one.project, one.ops, one.founder, one.admin, executor)


def at_once(first: House, second: House) -> bool:
    """One turn of both: both look, then both do what they decided on; whether anything changed. Whoever does it second
    acts on a picture in which nothing is begun yet."""
    observer = second.ticker.observer
    look = observer.look
    progressed = False
    try:
        seen = look(second.now(), frozenset(second.ticker._touched))
        progressed = first.tick().progressed
        observer.look = lambda now, touched=(): seen  # type: ignore[method-assign]
        progressed = second.tick().progressed or progressed
    except FactoryError as error:
        second.said.append(f"trouble: {error.message}")
    finally:
        observer.look = look  # type: ignore[method-assign]
    return progressed


def journal(house: House, folder: Path) -> list[RunRecord]:
    """All runs, as a copy of the ops repo made now tells them."""
    repo = folder / f"journal-{time.monotonic_ns()}.git"
    objects.init_bare(repo)
    fetch(repo, house.deployment.remote("factory-bot", house.ops), [f"+{REF}:{REF}", "+refs/factory/*:refs/factory/*"])
    tip = objects.read_ref(repo, REF)
    assert tip is not None
    return list(fold(entries_since(repo, None, tip).entries))


def assert_nothing_twice(house: House, folder: Path) -> None:
    """Issues, pull requests, comments, reviews, statuses, runs and merges."""
    founder, project = house.founder, house.project
    pulls = founder.pulls(project, state="all")
    assert Counter(p.head_ref for p in pulls).most_common(1)[0][1] == 1
    twice: list[object] = []
    for number in [i.number for i in founder.issues(project, state="all")] + [p.number for p in pulls]:
        said = [(c.author.login, c.body) for c in founder.comments(project, number)]
        twice += [(number, key) for key, count in Counter(said).items() if count > 1]
        assert sum(login == "factory-bot" for login, _ in said) <= 1, f"status comments on #{number}: {said}"
    for pull in pulls:
        reviews = [(r.author.login, r.commit) for r in founder.reviews(project, pull.number)]
        twice += [(pull.number, key) for key, count in Counter(reviews).items() if count > 1]
        states = [(s.context, s.state) for s in founder.statuses(project, pull.head_sha)]
        twice += [(pull.head_sha, key) for key, count in Counter(states).items() if count > 1]
    runs = journal(house, folder)
    done = [(run.formula, str(run.subject), run.head) for run in runs if run.state.value == "succeeded"]
    twice += [key for key, count in Counter(done).items() if count > 1]
    assert twice == []


def test_what_both_decide_at_once_is_done_once(one: House, two: House, tmp_path: Path) -> None:
    """An issue with a red CI, its fix, its review and the merge."""
    number = one.file(MEDIAN.title, MEDIAN.body)
    until, pair = time.monotonic() + 90, (one, two)

    def over() -> bool:
        return one.merged(number) and not [r for house in pair for r in house.runs() if not r.state.is_terminal]

    progressed = True
    while progressed or not over():
        assert time.monotonic() < until, "\n".join([*one.said[-20:], "--", *two.said[-20:], *one.why()])
        progressed = at_once(*pair)
        begun = sorted((run for house in pair for run in house.runs()), key=lambda run: run.run)
        if begun and begun[-1].host == pair[0].deployment.host.host:
            pair = (pair[1], pair[0])  # who began the newest comes second until the other began one
        if not progressed:
            one._wake.sleep(0.2, [*one.executor.filenos(), *two.executor.filenos()])
    runs = journal(one, tmp_path)
    assert {run.state.value for run in runs} == {"succeeded"}, runs
    per = Counter((run.formula, run.subject.id if run.formula == "ci" else "") for run in runs)
    assert max(count for (formula, _), count in per.items() if formula == "ci") == 1
    assert {formula: count for (formula, _), count in per.items() if formula != "ci"} == {
        "dev": 1, "fix-ci": 1, "review-pr": 1,
    }  # fmt: skip
    assert {run.host for run in runs} == {one.deployment.host.host, "two"}, "both were at work"
    refused = [line for house in (one, two) for line in house.said if "is held by" in line]
    assert refused, "they never met: this test shows nothing"
    assert_nothing_twice(one, tmp_path)


def test_the_other_goes_on_where_a_killed_host_left_it(one: House, two: House, tmp_path: Path) -> None:
    number = one.file(COMMAS.title, COMMAS.body)
    ensure_daemon(one.deployment.host)
    try:
        _kill_all_of(one, number)
        held = [f for f in two.tick(3).world.leases if f.host == one.deployment.host.host]
        assert [f.key for f in held], "its lease is there"
        assert two.rule("issue", number) is not None
        assert not [run for run in two.runs("dev") if run.issue == number and run.host == "two"]
        two.ahead = SILENCE - timedelta(minutes=1)
        two.tick(2)
        assert not [run for run in two.runs("dev") if run.issue == number and run.host == "two"], "not before the time"
        two.ahead = SILENCE + timedelta(minutes=1)
        two.until("the other has merged it", lambda: two.merged(number))
        mine = [run for run in journal(one, tmp_path) if run.issue == number and run.formula == "dev"]
        assert [(run.host, run.state.value) for run in mine] == [
            (one.deployment.host.host, "lost"), ("two", "succeeded"),
        ]  # fmt: skip
        ensure_daemon(one.deployment.host)  # it returns, and finds its work done
        beat = one.home / "state" / "daemon.json"
        deadline = time.monotonic() + 30
        while (told := json.loads(beat.read_bytes()))["ticks"] < 4:
            assert time.monotonic() < deadline, told
            time.sleep(0.1)
        assert told["trouble"] == ""
    finally:
        for name in ("daemon", "dispatcher", "sentinel"):
            stop_one(one.deployment, name)
    assert_nothing_twice(one, tmp_path)


def _kill_all_of(house: House, number: int) -> None:
    """kill -9 of a host's daemon and, at the same moment, of its session of this issue."""
    deadline = time.monotonic() + 60
    while True:
        assert time.monotonic() < deadline, "its session did not begin"
        for process in (house.home / "state" / "runs").glob("*/process.json"):
            spec = house.executor.spec(process.parent.name)
            if spec is not None and (spec.formula, spec.issue) == ("dev", number):
                daemon = service.status("daemon", folder(house.deployment.state)).pid
                assert daemon is not None
                session = psutil.Process(json.loads(process.read_bytes())["pid"])
                for pid in (daemon, session.pid, *(child.pid for child in session.children(recursive=True))):
                    os.kill(pid, signal.SIGKILL)
                return
        time.sleep(0.02)

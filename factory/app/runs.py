"""Runs as people ask about them: from the journal, from what this host keeps of them, and how one is cancelled."""

from __future__ import annotations

import json
import select
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from factory.app.choosing import project_of
from factory.app.deployment import Deployment
from factory.app.opsrepo import mirror
from factory.app.places import control_socket
from factory.app.services import running
from factory.config.home import write_private
from factory.config.surroundings import inherited
from factory.daemon.executor import LocalExecutor
from factory.errors import FactoryError, ForgeError, UsageError
from factory.gateway.control import GatewayControl
from factory.gateway.values import GatewayRefused
from factory.git import objects
from factory.process.lock import hold, is_held, try_hold
from factory.process.spawn import adopt
from factory.runs.codec import dumps
from factory.runs.journal import REF, entries_since, fold
from factory.runs.model import UNKNOWN_USAGE, Cause, RunRecord, RunState, Usage
from factory.runs.spec import SessionResult
from factory.session.folders import RunFolders

SHOWN_DAYS = 35
CANCEL_S = 1.4
"""After this the session is ended by force, so that its tree is gone within two seconds (DESIGN section 10)."""
FOLLOW_S = 0.2


@dataclass(frozen=True)
class Journal:
    """The runs a journal tells of, oldest first. ``stale``: why it is only as this host last saw it; None: fresh."""

    runs: tuple[RunRecord, ...]
    stale: str | None
    problems: tuple[str, ...] = ()


def journal(deployment: Deployment, project: str | None = None, *, days: int = SHOWN_DAYS) -> Journal:
    """The journal of a project's ops repo. A living daemon keeps this host's copy fresh; else it is fetched here."""
    _, ops = project_of(deployment, project)
    alive = any(service.name == "daemon" and service.pid is not None for service in running(deployment))
    stale = None
    try:
        copy = mirror(deployment, ops, refresh=not alive)
    except ForgeError as error:
        copy = mirror(deployment, ops)
        stale = f"{ops} as this host last saw it ({error.message})"
    tip = objects.read_ref(copy, REF)
    if tip is None:
        return Journal((), stale)
    since = (datetime.now(UTC) - timedelta(days=days)).date()
    reading = entries_since(copy, None, tip, since=since)
    return Journal(fold(reading.entries), stale, tuple(str(problem) for problem in reading.problems))


def list_runs(
    deployment: Deployment, *, project: str | None = None, live: bool = False, limit: int = 50
) -> dict[str, Any]:
    """The newest runs first."""
    read = journal(deployment, project)
    found = [run for run in reversed(read.runs) if not (live and run.state.is_terminal)]
    return {
        "runs": [{**run_facts(run), "alive": is_alive(deployment, run)} for run in found[:limit]],
        "of": len(found),
        "stale": read.stale,
        "problems": list(read.problems),
    }


def find_run(deployment: Deployment, text: str, project: str | None = None) -> RunRecord:
    """The run with this id, or the only one whose id begins or ends so. Raises UsageError."""
    runs = journal(deployment, project).runs
    exact = [run for run in runs if run.run == text]
    found = exact or [run for run in runs if text and (run.run.startswith(text) or run.run.endswith(text))]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(f"looking for the run {text!r}: the journal knows no such run", hint="factory runs list")
    some = ", ".join(run.run for run in found[-3:])
    raise UsageError(
        f"looking for the run {text!r}: {len(found)} runs are meant: {some} ...", hint="give more of its id"
    )


def show_run(deployment: Deployment, text: str, *, project: str | None = None) -> dict[str, Any]:
    """One run: its record, and what this host keeps of its session."""
    run = find_run(deployment, text, project)
    folders = RunFolders(deployment.home, run.run)
    executor = _executor(deployment)
    spec, result = executor.spec(run.run), executor.result(run.run)
    return {
        **run_facts(run),
        "alive": is_alive(deployment, run),
        "log": str(folders.log) if folders.log.exists() else None,
        "log_url": f"{deployment.web_url}/runs/{run.run}/log",
        "branch": spec.head_ref if spec is not None else None,
        "formula_digest": spec.formula_digest if spec is not None else None,
        "cancel_asked_by": folders.cancel.read_text(encoding="utf-8") if folders.cancel.exists() else None,
        "steps": [
            {"step": step.step, "ok": step.ok, "detail": step.detail} for step in (result.steps if result else ())
        ],
        "seconds": result.seconds if result else None,
        "commits": result.commits if result else None,
    }


def log_lines(deployment: Deployment, text: str, *, follow: bool = False, project: str | None = None) -> Iterator[str]:
    """The lines of a run's log as they are; with ``follow`` until the run ended. Raises UsageError: no log here."""
    run = find_run(deployment, text, project)
    log = RunFolders(deployment.home, run.run).log
    if not log.exists() and not (follow and is_alive(deployment, run)):
        where = f"it ran on host {run.host}" if run.host != deployment.host.host else "its log is gone with the cache"
        raise UsageError(
            f"reading the log of {run.run}: there is none here; {where}", hint=f"factory runs show {run.run}"
        )
    return _lines(log, (lambda: is_alive(deployment, run)) if follow else (lambda: False))


def _lines(log: Path, goes_on: Callable[[], bool]) -> Iterator[str]:
    offset, rest = 0, b""
    while True:
        more = goes_on()  # asked before reading: what was written before the end is then read for sure
        if log.exists():
            with log.open("rb") as file:
                file.seek(offset)
                data = file.read()
            offset += len(data)
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                yield line.decode("utf-8", "replace")
        if not more:
            if rest:
                yield rest.decode("utf-8", "replace")
            return
        time.sleep(FOLLOW_S)


def cancel_run(deployment: Deployment, text: str, by: str, *, project: str | None = None) -> dict[str, Any]:
    """End a run's session and everything it started, within two seconds; the daemon and the forge are not needed.

    Raises UsageError (no such run, it has ended, it is another host's), FactoryError when something outlives it.
    """
    began = time.monotonic()
    run = _here(deployment, text) or _elsewhere(deployment, text, project)
    folders = RunFolders(deployment.home, run)
    executor = _executor(deployment)
    if executor.result(run) is not None:
        raise UsageError(f"cancelling {run}: it has ended already", hint=f"factory runs show {run}")
    was_alive = is_held(folders.lock)
    executor.cancel(run, by)
    forced = False
    for fileno in executor.filenos():
        forced = _end(folders, fileno, began) or forced
    seconds = round(time.monotonic() - began, 2)
    _leave_result(deployment, run, folders, by)
    if is_held(folders.lock):
        raise FactoryError(
            f"cancelling {run}: something of its session still holds {folders.lock}", hint="factory doctor"
        )
    return {"run": run, "was_alive": was_alive, "seconds": seconds, "forced": forced}


def end_all(deployment: Deployment, by: str) -> None:
    """End every session of this host; when no daemon runs that could start another, nothing writes to the home after.

    Raises FactoryError when something outlives it.
    """
    place, executor = deployment.state / "runs", _executor(deployment)
    for run in sorted(folder.name for folder in place.iterdir()) if place.is_dir() else ():
        folders = RunFolders(deployment.home, run)
        if not executor.adopt(run):
            continue
        if executor.result(run) is None:
            cancel_run(deployment, run, by)
        hold(folders.lock, timeout_s=CANCEL_S).release()  # it wrote its result, and is about to end


def _here(deployment: Deployment, text: str) -> str | None:
    """The unfinished run of this host that is meant, by its folder alone. Raises UsageError when several are."""
    place = deployment.state / "runs"
    all_runs = sorted(folder.name for folder in place.iterdir()) if place.is_dir() else []
    if text in all_runs:
        return text
    going = [run for run in all_runs if not RunFolders(deployment.home, run).result.exists()]
    found = [run for run in going if text and (run.startswith(text) or run.endswith(text))]
    if len(found) > 1:
        raise UsageError(f"cancelling {text!r}: {len(found)} runs are meant", hint="factory runs list --live")
    return found[0] if found else None


def _elsewhere(deployment: Deployment, text: str, project: str | None) -> str:
    """Says why a run that this host does not know cannot be cancelled here."""
    run = find_run(deployment, text, project)
    if run.state.is_terminal:
        raise UsageError(f"cancelling {run.run}: it has {run.state.value} already", hint=f"factory runs show {run.run}")
    if run.host != deployment.host.host:
        raise UsageError(f"cancelling {run.run}: it runs on host {run.host}", hint="cancel it there")
    return run.run


def _end(folders: RunFolders, pidfd: int, began: float) -> bool:
    """Wait for the session; end its tree by force when its time is over. True when that was needed."""
    if select.select([pidfd], [], [], max(0.0, began + CANCEL_S - time.monotonic()))[0]:
        return False
    told = json.loads(folders.process.read_bytes())
    process = adopt(int(told["pid"]), float(told["created"]))
    if process is None:
        return False
    with process:
        process.kill_tree(grace_s=0.0)
    return True


def _leave_result(deployment: Deployment, run: str, folders: RunFolders, by: str) -> None:
    """Say for the session that it was cancelled: without a result its run would count as lost, and start again."""
    lock = try_hold(folders.lock)
    if lock is None:
        return
    with lock:
        if folders.result.exists():
            return
        told = SessionResult(
            run, RunState.CANCELLED, Cause.CANCELLED, f"cancelled by {by}", (), _spent(deployment, run)
        )  # fmt: skip
        write_private(folders.result, dumps(told).encode())


def _spent(deployment: Deployment, run: str) -> Usage:
    """As the gateway counted."""
    try:
        seen = GatewayControl(control_socket(deployment.state)).hurried().usage(run)
    except GatewayRefused:
        return Usage()  # it never asked the gateway for anything
    except FactoryError:
        return UNKNOWN_USAGE
    return Usage(seen.requests, seen.input_tokens, seen.cached_tokens, seen.output_tokens, seen.cost_usd, seen.scripted)


def _executor(deployment: Deployment) -> LocalExecutor:
    return LocalExecutor(deployment.home, (), inherited(deployment.home))


def is_alive(deployment: Deployment, run: RunRecord) -> bool:
    """Whether its session lives on this host: only a living one holds the run's lock."""
    lock = RunFolders(deployment.home, run.run).lock
    return not run.state.is_terminal and run.host == deployment.host.host and lock.exists() and is_held(lock)


def run_facts(run: RunRecord) -> dict[str, Any]:
    """A record for JSON and text."""
    ended = run.finished_at
    return {
        "run": run.run,
        "formula": run.formula,
        "role": run.role,
        "agent": run.agent,
        "subject": {"repo": run.subject.repo, "kind": run.subject.kind, "id": run.subject.id},
        "issue": run.issue,
        "round": run.round,
        "state": run.state.value,
        "cause": run.cause.value if run.cause else None,
        "detail": run.detail,
        "host": run.host,
        "started_at": run.started_at.isoformat(),
        "finished_at": ended.isoformat() if ended else None,
        "seconds": round((ended - run.started_at).total_seconds(), 1) if ended else None,
        "head": run.head,
        "cost_usd": round(run.usage.cost_usd, 4),
        "cost_known": run.usage.known,
        "reserved_usd": round(run.reserved_usd, 4),
        "scripted": run.usage.scripted,
        "requests": run.usage.requests,
        "tokens": {
            "input": run.usage.input_tokens,
            "cached": run.usage.cached_tokens,
            "output": run.usage.output_tokens,
        },
        "facts": dict(run.facts),
    }

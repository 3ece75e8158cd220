"""One run's session, from what it was told to what it left. The only writer of its run folder.

It never raises for what can go wrong in a run: every ending is a :class:`SessionResult`, its cause of the closed list.
"""

from __future__ import annotations

import contextlib
import os
import time
import traceback

from factory.config.home import write_private
from factory.errors import Conflict, FactoryError, ForgeError, GitFailed, SandboxUnavailable
from factory.formula.model import Formula
from factory.git.view import borrow, open_view
from factory.process.spawn import StartFailed
from factory.runs.codec import dumps
from factory.runs.model import UNKNOWN_USAGE, Cause, RunState, Usage
from factory.runs.spec import SessionResult, SessionSpec
from factory.session.checkout import prepare_view, view_path
from factory.session.folders import RunFolders
from factory.session.going import Failed, Going
from factory.session.ports import SessionPorts
from factory.session.runlog import RunLog
from factory.session.steps import Progress, Steps
from factory.session.stopped import Interrupted, Stopped
from factory.session.told import leftovers
from factory.session.untrusted import remove_tree

_STANDS_ALONE = frozenset({Cause.CANCELLED, Cause.BUDGET, Cause.QUOTA, Cause.MAX_TURNS, Cause.LOST, Cause.BUG})
"""Causes that say what they say even when the run's folders were deleted meanwhile."""


def execute(
    spec: SessionSpec, formula: Formula, ports: SessionPorts, *, stopped: Stopped, lock_fd: int | None = None
) -> SessionResult:
    """Run every step of the formula and write ``result.json``; what it returns is what is written."""
    folders = RunFolders(ports.home, spec.run)
    # What the sandbox's user reads here must be readable whatever our own user prefers; the home keeps others out.
    umask = os.umask(0o022)
    log = RunLog(folders.log, ports.known_secrets())
    try:
        going = Going(spec, formula, ports, log, stopped, lock_fd)
        progress = Progress()
        log.line(
            f"run {spec.run}: {formula.name} on {spec.subject}, round {spec.round}, by {spec.agent or 'code alone'}"
        )
        remove_tree(folders.cache)  # of an earlier process of this run, killed
        cause, detail = _judged(going, *_attempt(going, progress))
        result = _result(going, progress, cause, detail)
        write_private(folders.result, dumps(result).encode())
        _close(going, progress, cause)
    finally:
        log.close()
        os.umask(umask)
    return result


def _attempt(going: Going, progress: Progress) -> tuple[Cause | None, str]:
    """All steps and what leaves after them; the cause and the words when it did not succeed."""
    try:
        with going.stopped.interrupting():
            spec, home = going.spec, going.ports.home
            # Borrowed before anything is fetched into it, until the last object was read: nothing is pruned meanwhile.
            with borrow(open_view(view_path(home, spec.project))):
                view = prepare_view(home, spec, going.ports.project_remote)
                going.standing.on(view.objects, view.path / "HEAD")
                steps = Steps(going, progress, view)
                steps.walk()
                steps.leave()
    except Interrupted:
        going.stopped.sweep()
        return Cause.CANCELLED, "stopped on request"
    except Failed as failed:
        return failed.cause, failed.detail
    except (SandboxUnavailable, StartFailed, Conflict) as error:
        return Cause.SANDBOX, error.message
    except GitFailed as error:
        return Cause.GIT, error.message
    except ForgeError as error:
        return Cause.FORGE, error.message
    except OSError as error:
        # No room, no descriptors, cache/ deleted under a running session: the machine's failure, not the work's.
        return Cause.SANDBOX, f"{error.strerror or error}: {error.filename}"
    except FactoryError as error:
        return Cause.BUG, error.message
    except Exception as error:
        going.log.line(traceback.format_exc())
        return Cause.BUG, f"{type(error).__name__}: {error}"
    return None, ""


def _judged(going: Going, cause: Cause | None, detail: str) -> tuple[Cause | None, str]:
    """The cause, unless the ground went from under the run: then whatever it said was said of something else."""
    if cause is None or cause in _STANDS_ALONE:
        return cause, detail
    return going.ground_lost() or (cause, detail)


def _result(going: Going, progress: Progress, cause: Cause | None, detail: str) -> SessionResult:
    state = RunState.SUCCEEDED
    if cause is not None:
        state = RunState.CANCELLED if cause is Cause.CANCELLED else RunState.FAILED
        going.log.line(f"{state.value}: {cause.value}: {detail}")
    result = SessionResult(
        run=going.spec.run,
        state=state,
        cause=cause,
        detail=detail[:4000],
        steps=tuple(progress.done.values()),
        usage=_usage(going, progress, cause),
        head=progress.head if cause is None else None,
        commits=progress.commits,
        leftovers=leftovers(progress.box),
        outbox=progress.outbox if cause is None else (),
        seconds=round(time.monotonic() - going.began, 3),
    )
    going.log.line(f"ended: {state.value}, {result.usage.requests} model calls, {result.commits} commits")
    return result


def _close(going: Going, progress: Progress, cause: Cause | None) -> None:
    """What follows a result that is already written; a session killed in here has ended all the same."""
    if progress.checkpoints is not None:
        progress.checkpoints.end(progress.box, cause, has_head=progress.head is not None)
    if progress.registered and going.ports.gateway is not None:
        with contextlib.suppress(FactoryError):  # the gateway is away, and nobody holds the token any more
            going.ports.gateway.revoke(going.spec.run, at_once=cause is Cause.CANCELLED)
    remove_tree(going.folders.cache)


def _usage(going: Going, progress: Progress, cause: Cause | None) -> Usage:
    if not progress.registered or going.ports.gateway is None:
        return Usage()
    try:
        # Whoever cancelled ends by force what has not ended in two seconds.
        return going.ports.gateway.usage(going.spec.run, at_once=cause is Cause.CANCELLED)
    except FactoryError:
        progress.registered = False  # nor will it hear that the run has ended: nobody waits for it twice
        return UNKNOWN_USAGE

"""One run's session, from what it was told to what it left. The only writer of its run folder.

It never raises for what can go wrong in a run: every ending is a :class:`SessionResult`, its cause of the closed list.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from factory.checks.model import Finding
from factory.config.home import write_private
from factory.errors import FactoryError, ForgeError, GitFailed, SandboxUnavailable
from factory.formula.graph import order
from factory.formula.model import Formula, Step, StepKind
from factory.git import objects
from factory.git.transport import RefUpdate, push
from factory.git.values import Signature
from factory.git.view import View, borrow
from factory.process.spawn import StartFailed
from factory.runs.codec import dumps
from factory.runs.model import Cause, RunState, Usage
from factory.runs.spec import SessionResult, SessionSpec, StepResult
from factory.sandbox.protocol import Bind
from factory.session import environment
from factory.session.agent import run_agent
from factory.session.box import Box
from factory.session.checkout import WIP, Checkout, prepare_clone, prepare_view
from factory.session.facts import change, check_step
from factory.session.folders import RunFolders
from factory.session.going import Going
from factory.session.leave import take
from factory.session.outbox import read_outbox
from factory.session.ports import SessionPorts
from factory.session.prompt import MAX_DIFF, argv, context_files, prompt, variables
from factory.session.runlog import RunLog
from factory.session.shell import run_shell
from factory.session.untrusted import Unreadable, read_plain
from factory.session.watch import Stopped


class _Failed(Exception):
    def __init__(self, cause: Cause, detail: str) -> None:
        super().__init__(detail)
        self.cause = cause
        self.detail = detail


@dataclass
class _Progress:
    """What accumulates while the steps run."""

    done: dict[str, StepResult] = field(default_factory=dict)
    facts: dict[str, tuple[Finding, ...]] = field(default_factory=dict)
    box: Box | None = None
    """The last box in which an agent could commit."""
    registered: bool = False
    checkpoint_seen: bytes = b""
    checkpoint_head: str | None = None
    head: str | None = None
    commits: int = 0
    outbox: tuple[dict[str, object], ...] = ()


def execute(
    spec: SessionSpec, formula: Formula, ports: SessionPorts, *, stopped: Stopped, lock_fd: int | None = None
) -> SessionResult:
    """Run every step of the formula and write ``result.json``; what it returns is what is written."""
    folders = RunFolders(ports.home, spec.run)
    log = RunLog(folders.log, ports.known_secrets())
    going = Going(spec, formula, ports, log, stopped, lock_fd)
    progress = _Progress()
    log.line(f"run {spec.run}: {formula.name} on {spec.subject}, round {spec.round}, by {spec.agent or 'code alone'}")
    cause, detail = _attempt(going, progress)
    state = RunState.SUCCEEDED
    if cause is not None:
        state = RunState.CANCELLED if cause is Cause.CANCELLED else RunState.FAILED
        log.line(f"{state.value}: {cause.value}: {detail}")
    result = SessionResult(
        run=spec.run,
        state=state,
        cause=cause,
        detail=detail[:4000],
        steps=tuple(progress.done.values()),
        usage=_usage(going, progress),
        head=progress.head,
        commits=progress.commits,
        leftovers=_leftovers(progress.box),
        outbox=progress.outbox if cause is None else (),
        seconds=round(time.monotonic() - going.began, 3),
    )
    log.line(f"ended: {state.value}, {result.usage.requests} model calls, {result.commits} commits")
    log.close()
    write_private(folders.result, dumps(result).encode())
    if progress.registered and ports.gateway is not None:
        ports.gateway.revoke(spec.run)
    shutil.rmtree(folders.cache, ignore_errors=True)
    return result


def _attempt(going: Going, progress: _Progress) -> tuple[Cause | None, str]:
    """All steps and what leaves after them; the cause and the words when it did not succeed."""
    try:
        _steps(going, progress)
        _leave(going, progress)
    except _Failed as failed:
        return failed.cause, failed.detail
    except environment.SetupFailed as failed:
        return failed.cause, failed.message
    except (SandboxUnavailable, StartFailed) as error:
        return Cause.SANDBOX, error.message
    except GitFailed as error:
        return Cause.GIT, error.message
    except ForgeError as error:
        return Cause.FORGE, error.message
    except FactoryError as error:
        return Cause.GATE, error.message
    except OSError as error:
        # cache/ may be deleted under a running session: an infrastructure failure, tried again in the same round.
        return Cause.SANDBOX, f"{error.strerror}: {error.filename}"
    return None, ""


def identity_of(spec: SessionSpec) -> Signature:
    """Author and committer of what a role commits: its account, an address that reaches nobody."""
    return Signature(spec.account, f"{spec.account}@factory.invalid", int(datetime.now(UTC).timestamp()), 0)


def _steps(going: Going, progress: _Progress) -> None:
    spec, formula = going.spec, going.formula
    view = prepare_view(going.ports.home, spec, going.ports.project_remote)
    with borrow(view):
        commit = spec.resume or spec.head or spec.base
        binds: tuple[Bind, ...] = ()
        if any(s.kind is StepKind.SHELL or (s.kind is StepKind.AGENT and s.writes) for s in formula.steps):
            binds = environment.binds(
                environment.need(view.path, spec, commit),
                going,
                lambda dest, at: prepare_clone(view, dest, replace(spec, head=at, resume=None), identity_of(spec)),
            )
        for step in order(formula.steps):
            going.log.line(f"step {step.id} ({step.kind.value})")
            match step.kind:
                case StepKind.CHECK:
                    about = change(view.path, spec.base, commit, spec)
                    progress.done[step.id], progress.facts[step.id] = check_step(step.id, step.uses, about)
                case StepKind.SHELL:
                    _shell(going, progress, step, view, binds)
                case StepKind.AGENT:
                    _agent(going, progress, step, view, binds)
                case _:
                    raise _Failed(
                        Cause.GATE, f"step {step.id}: a session does not perform steps of kind {step.kind.value}"
                    )


def _given(going: Going, progress: _Progress, view: View) -> dict[str, object]:
    spec = going.spec
    diff = ""
    if spec.head is not None:
        origin = objects.merge_base(view.path, spec.base, spec.head) or spec.base
        diff = objects.diff_text(view.path, origin, spec.head, MAX_DIFF)
    context = context_files(going.formula.context, view.path, spec.base, going.ports.mirror)
    return variables(going.formula, spec, context=context, facts=progress.facts, done=progress.done, diff=diff)


def _clone(going: Going, view: View, name: str) -> Checkout:
    return prepare_clone(view, going.folders.cache / f"clone-{name}", going.spec, identity_of(going.spec))


def _shell(going: Going, progress: _Progress, step: Step, view: View, binds: tuple[Bind, ...]) -> None:
    words = argv(step, going.formula, _given(going, progress, view))
    result, cause = run_shell(going, step.id, words, checkout=_clone(going, view, step.id), binds=binds)
    progress.done[step.id] = result
    if cause is not None:
        raise _Failed(cause, result.detail)


def _agent(going: Going, progress: _Progress, step: Step, view: View, binds: tuple[Bind, ...]) -> None:
    spec, ports, limits = going.spec, going.ports, going.formula.limits
    if ports.gateway is None or ports.backend is None:
        raise _Failed(Cause.BACKEND, f"this host has no backend for the agent {spec.agent!r}")
    text = prompt(step, going.formula, _given(going, progress, view))
    use = ports.gateway.register(
        run=spec.run, agent=spec.agent, model=spec.model, formula=spec.formula, step=step.id, alias=spec.alias,
        round=spec.round, max_cost_usd=limits.cost_usd, max_turns=limits.turns,
    )  # fmt: skip
    progress.registered = True
    going.log.hide(use.token)
    end = run_agent(
        going,
        step,
        text,
        backend=ports.backend,
        gateway=ports.gateway,
        use=use,
        checkout=lambda attempt: _clone(going, view, f"{step.id}-{attempt}"),
        on_checkpoint=lambda box: _checkpoint(going, progress, box),
        binds=binds if step.writes else (),
    )
    progress.done[step.id] = end.result
    if step.writes and end.boxes:
        progress.box = end.boxes[-1]
    if end.cause is not None:
        raise _Failed(end.cause, end.result.detail)


def _leave(going: Going, progress: _Progress) -> None:
    """Take out what may leave. Raises _Failed when something may not, or when nothing was done and nothing said."""
    box, formula = progress.box, going.formula
    if box is None:
        return
    outbox, problems = read_outbox(box.out / "outbox.jsonl", formula.grants)
    if problems:
        raise _Failed(Cause.GATE, "what it asked for was not granted: " + "; ".join(problems))
    if formula.grants.commits:
        left = take(box, going.folders.quarantine, going.spec, identity_of(going.spec))
        if left.refusals:
            raise _Failed(Cause.GATE, "what it committed may not leave: " + "; ".join(left.refusals))
        progress.head, progress.commits = left.head, left.commits
        refused = any(line.get("kind") == "refuse" for line in outbox)
        if left.head is None and not refused:
            raise _Failed(Cause.NO_CHANGES, "it ended without a commit and without a refusal")
    progress.outbox = outbox


def _checkpoint(going: Going, progress: _Progress, box: Box) -> None:
    """Save what the session committed so far under ``refs/factory/wip/<run>``; failing to do so ends nothing."""
    try:
        told = read_plain(box.out / "head.json", 4096)
    except Unreadable as error:
        going.log.line(f"no checkpoint this time: {error}")
        return
    if told is None or told == progress.checkpoint_seen:
        return
    progress.checkpoint_seen = told
    ref = f"{WIP}{going.spec.run}"
    quarantine = going.folders.cache / "checkpoint.git"
    try:
        left = take(box, quarantine, going.spec, identity_of(going.spec))
        if left.head is None:
            return
        push(quarantine, going.ports.project_remote, [RefUpdate(ref, left.head, progress.checkpoint_head)])
        progress.checkpoint_head = left.head
        going.log.line(f"checkpoint: {left.commits} commits saved as {ref}")
    except FactoryError as error:
        going.log.line(f"no checkpoint this time: {error.message}")


def _usage(going: Going, progress: _Progress) -> Usage:
    if not progress.registered or going.ports.gateway is None:
        return Usage()
    try:
        return going.ports.gateway.usage(going.spec.run)
    except FactoryError:
        # Missing usage counts as the reservation (DESIGN section 10); the budget sees to that.
        return Usage()


def _leftovers(box: Box | None) -> tuple[str, ...]:
    """Uncommitted paths as the first process inside listed them: capped data, nothing more."""
    if box is None:
        return ()
    try:
        names = json.loads(read_plain(box.out / "exit.json", 200_000) or b"{}").get("leftovers", [])
        return tuple(str(name)[:300] for name in names[:50])
    except (Unreadable, ValueError, AttributeError, TypeError):
        return ()

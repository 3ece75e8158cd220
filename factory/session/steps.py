"""The steps of a run's formula, one after the other, and what may leave after them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from factory.checks.model import Finding
from factory.formula.graph import order
from factory.formula.model import Step, StepKind
from factory.git import objects
from factory.git.values import Signature
from factory.git.view import View
from factory.runs.model import Cause
from factory.runs.spec import SessionSpec, StepResult
from factory.sandbox.protocol import Bind
from factory.session import environment
from factory.session.agent import Means, asking_gateway, run_agent
from factory.session.box import Box
from factory.session.checkout import Checkout, leave_out, prepare_clone, resumes_at
from factory.session.checkpoint import Checkpoints
from factory.session.facts import change, check_step
from factory.session.going import Failed, Going
from factory.session.leave import take
from factory.session.outbox import read_outbox
from factory.session.prompt import MAX_DIFF, argv, context_files, prompt, variables
from factory.session.shell import run_shell
from factory.session.told import pack_error


@dataclass
class Progress:
    """What accumulates while the steps run."""

    done: dict[str, StepResult] = field(default_factory=dict)
    facts: dict[str, tuple[Finding, ...]] = field(default_factory=dict)
    box: Box | None = None
    """The last box in which an agent could commit."""
    checkpoints: Checkpoints | None = None
    registered: bool = False
    """Whether the gateway knows the run."""
    head: str | None = None
    commits: int = 0
    outbox: tuple[dict[str, object], ...] = ()


def identity_of(spec: SessionSpec) -> Signature:
    """Author and committer of what a role commits: its account, an address that reaches nobody."""
    return Signature(spec.account, f"{spec.account}@factory.invalid", int(datetime.now(UTC).timestamp()), 0)


class Steps:
    """One walk through the steps, on one view."""

    def __init__(self, going: Going, progress: Progress, view: View) -> None:
        self._going = going
        self._progress = progress
        self._view = view
        spec = going.spec
        resume = resumes_at(view, spec)
        if spec.resume is not None:
            going.log.line(f"going on from {resume}" if resume else f"the checkpoint {spec.resume} is of no use: anew")
        self._commit = resume or spec.head or spec.base
        self._binds: tuple[Bind, ...] = ()
        self._identity = identity_of(spec)
        self._checkpoints = progress.checkpoints = Checkpoints(going, view, self._identity)

    def walk(self) -> None:
        """Run every step. Raises Failed and what lies below it."""
        formula, done = self._going.formula, self._progress.done
        if any(s.kind is StepKind.SHELL or (s.kind is StepKind.AGENT and s.writes) for s in formula.steps):
            self._binds = self._environment()
        for step in order(formula.steps):
            self._going.log.line(f"step {step.id} ({step.kind.value})")
            match step.kind:
                case StepKind.CHECK:
                    about = change(self._view.path, self._going.spec.base, self._commit, self._going.spec)
                    done[step.id], self._progress.facts[step.id] = check_step(step.id, step.uses, about)
                case StepKind.SHELL:
                    self._shell(step)
                case StepKind.AGENT:
                    self._agent(step)
                case _:
                    raise Failed(
                        Cause.GATE, f"step {step.id}: a session does not perform steps of kind {step.kind.value}"
                    )

    def _environment(self) -> tuple[Bind, ...]:
        spec = self._going.spec

        def clone(dest: Path, at: str) -> Checkout:
            return prepare_clone(self._view, dest, replace(spec, head=at, resume=None), self._identity)

        try:
            return environment.binds(environment.need(self._view.path, spec, self._commit), self._going, clone)
        except environment.SetupFailed as failed:
            self._progress.done[failed.result.step] = failed.result
            raise

    def _given(self) -> dict[str, object]:
        going, spec, view = self._going, self._going.spec, self._view.path
        diff = ""
        if spec.head is not None:
            origin = objects.merge_base(view, spec.base, spec.head) or spec.base
            diff = objects.diff_text(view, origin, spec.head, MAX_DIFF)
        context = context_files(going.formula.context, view, spec.base, going.ports.mirror)
        facts, done = self._progress.facts, self._progress.done
        return variables(going.formula, spec, context=context, facts=facts, done=done, diff=diff)

    def _clone(self, name: str) -> Checkout:
        going = self._going
        made = prepare_clone(self._view, going.folders.cache / f"clone-{name}", going.spec, self._identity)
        if self._binds:
            leave_out(made, going.spec.environment.cache)
        return made

    def _shell(self, step: Step) -> None:
        words = argv(step, self._going.formula, self._given())
        result, cause = run_shell(self._going, step.id, words, checkout=self._clone(step.id), binds=self._binds)
        self._progress.done[step.id] = result
        if cause is not None:
            raise Failed(cause, result.detail)

    def _agent(self, step: Step) -> None:
        going, progress = self._going, self._progress
        spec, ports, limits = going.spec, going.ports, going.formula.limits
        if ports.gateway is None or ports.backend is None:
            raise Failed(Cause.BACKEND, f"this host has no backend for the agent {spec.agent!r}")
        text = prompt(step, going.formula, self._given())
        with asking_gateway():
            use = ports.gateway.register(
                run=spec.run, agent=spec.agent, model=spec.model, formula=spec.formula, step=step.id,
                alias=spec.alias, round=spec.round, max_cost_usd=limits.cost_usd, max_turns=limits.turns,
            )  # fmt: skip
        progress.registered = True
        going.log.hide(use.token)
        means = Means(
            backend=ports.backend,
            gateway=ports.gateway,
            use=use,
            checkout=lambda attempt: self._clone(f"{step.id}-{attempt}"),
            binds=self._binds if step.writes else (),
            on_start=self._began if step.writes else _nobody,
            on_checkpoint=self._checkpoints.pulse,
        )
        progress.done[step.id], cause = run_agent(going, step, text, means)
        if cause is not None:
            raise Failed(cause, progress.done[step.id].detail)

    def _began(self, box: Box) -> None:
        self._progress.box = box

    def leave(self) -> None:
        """Take out what may leave. Raises Failed when something may not, or when nothing was done and nothing said."""
        progress, going = self._progress, self._going
        box, grants = progress.box, going.formula.grants
        if box is None:
            return
        outbox, problems = read_outbox(box.out / "outbox.jsonl", grants)
        if problems:
            raise Failed(Cause.GATE, "what it asked for was not granted: " + "; ".join(problems))
        if grants.commits:
            self._checkpoints.settle()
            left = take(box, going.folders.quarantine, going.spec, self._identity)
            if left.refusals:
                unpacked = pack_error(box)
                why = [*left.refusals, *([f"it could not be packed: {unpacked}"] if unpacked else [])]
                raise Failed(Cause.GATE, "what it committed may not leave: " + "; ".join(why))
            refused = any(line.get("kind") == "refuse" for line in outbox)
            if left.head is None and not refused:
                raise Failed(Cause.NO_CHANGES, "it ended without a commit and without a refusal")
            progress.head, progress.commits = left.head, left.commits
        progress.outbox = outbox


def _nobody(_box: Box) -> None:
    """For steps whose boxes nothing leaves from."""

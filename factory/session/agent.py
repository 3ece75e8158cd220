"""One agent step: a backend in a sandbox, watched, its answer judged, asked again when its form was wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from factory.backends.protocol import Backend, BackendOutcome, Event, LaunchRequest, Refusal, Text, ToolCall
from factory.checks.secrets import find_secrets
from factory.errors import FactoryError
from factory.formula.model import Step
from factory.formula.schemas import parse_answer
from factory.runs.model import Cause
from factory.runs.spec import StepResult
from factory.sandbox.protocol import Bind
from factory.session import box as boxes
from factory.session.checkout import Checkout
from factory.session.going import Failed, Going, start
from factory.session.outbox import grants_json
from factory.session.ports import GatewayUse, ModelGateway
from factory.session.progress import Progress
from factory.session.prompt import correction
from factory.session.relay import Relay
from factory.session.shell import sandbox_failure
from factory.session.watch import Ended, Stop

CORRECTIONS = 2
"""How often an invalid structured answer goes back (DESIGN section 8)."""
HEARD = 50
"""Last lines of stderr that are kept to judge an end by."""
_SAID_BY_BACKENDS = frozenset(
    {Cause.BACKEND, Cause.QUOTA, Cause.MAX_TURNS, Cause.BUDGET, Cause.REFUSED, Cause.INACTIVITY, Cause.INVALID_OUTPUT}
)
"""Causes a backend may give for its own end: its words come out of the sandbox, the others are ours to know."""


@dataclass(frozen=True)
class Means:
    """What an agent step works with. ``checkout(attempt)`` gives a working copy for each start."""

    backend: Backend
    gateway: ModelGateway
    use: GatewayUse
    checkout: Callable[[int], Checkout]
    binds: Sequence[Bind]
    on_start: Callable[[boxes.Box], None]
    """Told the box of each start, before it."""
    on_checkpoint: Callable[[boxes.Box], None]
    """Called now and then while it works; must return at once."""


@contextmanager
def asking_gateway() -> Iterator[None]:
    """The gateway away or unwilling is the backend's failure, not the work's. Raises Failed."""
    try:
        yield
    except FactoryError as error:
        raise Failed(Cause.BACKEND, error.message) from error


def run_agent(going: Going, step: Step, text: str, means: Means) -> tuple[StepResult, Cause | None]:
    """Run the step to its end: its result, and the cause when it did not succeed.

    Raises Failed, SandboxUnavailable, StartFailed, Interrupted.
    """
    run, gateway = going.spec.run, means.gateway
    asked = text
    problems: tuple[str, ...] = ()
    for attempt in range(1 + CORRECTIONS):
        box = going.box(step.id, attempt, means.checkout(attempt))
        means.on_start(box)
        trouble = _once(going, step, asked, box, means)
        if trouble is not None:
            cause, detail = trouble
            return StepResult(step.id, ok=False, detail=detail), cause
        with asking_gateway():
            said = gateway.answer(run) or ""
        if step.output is None:
            return StepResult(step.id, ok=True, detail=said[:4000]), None
        answer, problems = _judged(step.output, said)
        if answer is not None:
            return StepResult(step.id, ok=True, answer=answer), None
        going.log.line(f"the answer has not the form {step.output}: {'; '.join(problems)}")
        if attempt < CORRECTIONS:
            with asking_gateway():
                gateway.correct(run, attempt + 1)
            asked = f"{correction(problems, said)}\n---\n\n{text}"
    return StepResult(step.id, ok=False, detail="; ".join(problems)[:2000]), Cause.INVALID_OUTPUT


def _judged(schema: str, said: str) -> tuple[dict[str, object] | None, tuple[str, ...]]:
    answer, problems = parse_answer(schema, said)
    if answer is None:
        return None, problems
    found = dict.fromkeys(kind for _, kind in find_secrets(json.dumps(answer, ensure_ascii=False)))
    if found:
        # It would be posted: what a reviewer quotes everybody reads.
        return None, tuple(
            f"it quotes what looks like {kind}: name the place and leave the value out" for kind in found
        )
    return dict(answer), ()


def _once(going: Going, step: Step, text: str, box: boxes.Box, means: Means) -> Stop | None:
    """One start of the backend; why it did not succeed, or None."""
    events: list[Event] = []
    heard: list[str] = []
    ended = _start(going, step, text, box, means, events, heard)
    if ended.cause is not None:
        return ended.cause, ended.detail
    failure = sandbox_failure(box, ended.returncode, heard)
    if failure is not None:
        return Cause.SANDBOX, failure
    outcome = means.backend.outcome(ended.returncode, events)
    with asking_gateway():
        seen = means.gateway.trouble(going.spec.run)
    if seen is not None:
        return seen
    return None if outcome.ok else (_cause(outcome), outcome.detail)


def _cause(outcome: BackendOutcome) -> Cause:
    return next((cause for cause in _SAID_BY_BACKENDS if cause.value == outcome.cause), Cause.BACKEND)


def _start(
    going: Going, step: Step, text: str, box: boxes.Box, means: Means, events: list[Event], heard: list[str]
) -> Ended:
    spec, formula = going.spec, going.formula
    launch = means.backend.launch(
        LaunchRequest(
            run=spec.run,
            model=spec.model,
            token=means.use.token,
            gateway_port=boxes.GATEWAY.port,
            prompt_path=f"{boxes.IN}/prompt.md",
            system="",
            may_edit=step.writes,
            max_turns=formula.limits.turns,
            max_cost_usd=formula.limits.cost_usd,
            home=boxes.HOME,
            python=going.ports.sandbox.python(),
            inside_pyz=f"{boxes.IN}/inside.pyz",
            tool_paths=going.ports.tool_paths,
            is_root_inside=False,
        )
    )
    commits = step.writes and formula.grants.commits
    boxes.tell(
        box,
        run=spec.run,
        argv=launch.argv,
        env=launch.env,
        home_files=launch.home_files,
        cwd=boxes.WORK,
        doors=(boxes.GATEWAY,),
        work=(box.checkout.ref, box.checkout.base) if commits else None,
        checkpoint_s=going.ports.checkpoint_s,
        grants=grants_json(formula.grants),
        prompt=text,
    )
    tools = tuple(Bind(Path(source), target) for source, target in launch.extra_binds)
    parser, progress = means.backend.parser(), Progress()

    def on_line(line: bytes, is_stderr: bool) -> Stop | None:
        if is_stderr:
            said = line.decode("utf-8", "replace")[:2000]
            going.log.line("stderr: " + said)
            heard.append(said)
            del heard[:-HEARD]
            return None
        for event in parser.feed(line):
            events.append(event)
            shown = _shown(event)
            if shown:
                going.log.line(shown)
            stuck = progress.feed(event)
            if stuck is not None:
                return Cause.INACTIVITY, stuck
        return None

    def on_pulse() -> Stop | None:
        if commits:
            means.on_checkpoint(box)
        return None

    with Relay(box.socket(boxes.GATEWAY), means.use.socket):
        return start(
            going,
            boxes.confinement(
                box,
                python=going.ports.sandbox.python(),
                writable=step.writes,
                doors=(boxes.GATEWAY,),
                binds=(*going.ports.tool_mounts, *tools, *means.binds),
            ),
            on_line=on_line,
            on_pulse=on_pulse,
        )


def _shown(event: Event) -> str:
    """How an event reads in the run's log; empty: not worth a line."""
    match event:
        case Text(text=text):
            return f"says: {text[:2000]}"
        case ToolCall(name=name, arguments=arguments):
            return f"calls {name}: {str(dict(arguments))[:2000]}"
        case Refusal(text=text):
            return f"is refused: {text[:2000]}"
    return ""

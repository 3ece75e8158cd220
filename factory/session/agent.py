"""One agent step: a backend in a sandbox, watched, its answer judged, asked again when its form was wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from factory.backends.protocol import Backend, Event, LaunchRequest, Refusal, Text, ToolCall
from factory.formula.model import Step
from factory.formula.schemas import parse_answer
from factory.runs.model import Cause
from factory.runs.spec import StepResult
from factory.sandbox.protocol import Bind
from factory.session import box as boxes
from factory.session.checkout import Checkout
from factory.session.going import Going, start
from factory.session.outbox import grants_json
from factory.session.ports import GatewayUse, ModelGateway
from factory.session.prompt import correction
from factory.session.relay import Relay
from factory.session.shell import SANDBOX_FAILED
from factory.session.watch import Ended

CORRECTIONS = 2
"""How often an invalid structured answer goes back (DESIGN section 8)."""
CHECKPOINT_S = 60.0


@dataclass
class AgentEnd:
    """How an agent step ended: its result, and the cause when it did not succeed."""

    result: StepResult
    cause: Cause | None = None
    boxes: list[boxes.Box] = field(default_factory=list)


def run_agent(
    going: Going,
    step: Step,
    text: str,
    *,
    backend: Backend,
    gateway: ModelGateway,
    use: GatewayUse,
    checkout: Callable[[int], Checkout],
    on_checkpoint: Callable[[boxes.Box], None],
    binds: Sequence[Bind] = (),
) -> AgentEnd:
    """Run the step to its end. ``checkout(attempt)`` gives a working copy for each start."""
    run = going.spec.run
    end = AgentEnd(StepResult(step.id, ok=False))
    for attempt in range(1 + CORRECTIONS):
        box = going.box(step.id, attempt, checkout(attempt))
        end.boxes.append(box)
        events: list[Event] = []
        ended = _start(going, step, text, box, events, backend, use, on_checkpoint, binds)
        if ended.cause is not None:
            end.result, end.cause = StepResult(step.id, ok=False, detail=ended.detail), ended.cause
            return end
        if ended.returncode == SANDBOX_FAILED and not events:
            end.result, end.cause = StepResult(step.id, ok=False, detail="the sandbox did not start"), Cause.SANDBOX
            return end
        outcome = backend.outcome(ended.returncode, events)
        seen = gateway.trouble(run)
        if not outcome.ok or seen is not None:
            cause, detail = seen or (Cause(outcome.cause or "backend"), outcome.detail)
            end.result, end.cause = StepResult(step.id, ok=False, detail=detail), cause
            return end
        said = gateway.answer(run) or ""
        if step.output is None:
            end.result = StepResult(step.id, ok=True, detail=said[:4000])
            return end
        answer, problems = parse_answer(step.output, said)
        if answer is not None:
            end.result, end.cause = StepResult(step.id, ok=True, answer=dict(answer)), None
            return end
        going.log.line(f"the answer has not the form {step.output}: {'; '.join(problems)}")
        end.result = StepResult(step.id, ok=False, detail="; ".join(problems)[:2000])
        end.cause = Cause.INVALID_OUTPUT
        if attempt < CORRECTIONS:
            gateway.correct(run, attempt + 1)
            text = f"{correction(problems, said)}\n---\n\n{text}"
    return end


def _start(
    going: Going,
    step: Step,
    text: str,
    box: boxes.Box,
    events: list[Event],
    backend: Backend,
    use: GatewayUse,
    on_checkpoint: Callable[[boxes.Box], None],
    binds: Sequence[Bind],
) -> Ended:
    spec, formula = going.spec, going.formula
    launch = backend.launch(
        LaunchRequest(
            run=spec.run,
            model=spec.model,
            token=use.token,
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
        checkpoint_s=CHECKPOINT_S,
        grants=grants_json(formula.grants),
        prompt=text,
    )
    tools = tuple(Bind(Path(source), target) for source, target in launch.extra_binds)
    parser = backend.parser()

    def on_line(line: bytes, is_stderr: bool) -> str | None:
        if is_stderr:
            going.log.line("stderr: " + line.decode("utf-8", "replace")[:2000])
            return None
        for event in parser.feed(line):
            events.append(event)
            shown = _shown(event)
            if shown:
                going.log.line(shown)
        return None

    with Relay(box.socket(boxes.GATEWAY), use.socket):
        return start(
            going,
            boxes.confinement(
                box,
                python=going.ports.sandbox.python(),
                writable=step.writes,
                doors=(boxes.GATEWAY,),
                binds=(*going.ports.tool_mounts, *tools, *binds),
            ),
            on_line=on_line,
            on_pulse=lambda: on_checkpoint(box),
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

"""One shell step: an argv in a sandbox with no outbox and no gateway. Project code runs nowhere else.

Only set-up has a way out, to the hosts that ``[environment] egress`` names.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from factory.runs.model import Cause
from factory.runs.spec import StepResult
from factory.sandbox.egress import EgressProxy
from factory.sandbox.protocol import Bind
from factory.session import box as boxes
from factory.session.checkout import Checkout
from factory.session.going import Going, start

PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")
TAIL_LINES = 80
TAIL_BYTES = 6000
SANDBOX_FAILED = 125
"""Exit code of a sandbox that could not be built or hit a bound (sandbox/protocol.py)."""


def run_shell(
    going: Going,
    name: str,
    argv: Sequence[str],
    *,
    checkout: Checkout,
    binds: Sequence[Bind] = (),
    egress: Sequence[str] = (),
) -> tuple[StepResult, Cause | None]:
    """Run ``argv`` at the checkout. ``answer`` of the result holds ``exit``, and ``tail``: the end of what it printed.

    A failing command is a result (``ok`` False, no cause); a cause means that the run could not tell.
    """
    box = going.box(name, 0, checkout)
    folder = going.spec.environment.directory
    doors = (boxes.EGRESS,) if egress else ()
    boxes.tell(
        box,
        run=going.spec.run,
        argv=argv,
        env=dict.fromkeys(PROXY_VARIABLES, f"http://127.0.0.1:{boxes.EGRESS.port}") if egress else {},
        home_files={},
        cwd=boxes.WORK if folder in ("", ".") else f"{boxes.WORK}/{folder}",
        doors=doors,
        work=None,
        checkpoint_s=0,
        grants={},
        prompt=None,
    )
    last: deque[str] = deque(maxlen=TAIL_LINES)

    def on_line(line: bytes, _is_stderr: bool) -> str | None:
        text = line.decode("utf-8", "replace")
        last.append(text[:2000])
        going.log.raw(text[:10_000])
        return None

    told = boxes.confinement(
        box,
        python=going.ports.sandbox.python(),
        writable=True,
        doors=doors,
        binds=(*going.ports.tool_mounts, *binds),
    )
    out: AbstractContextManager[object] = nullcontext()
    if egress:
        out = EgressProxy(box.socket(boxes.EGRESS), egress, going.log.line)
    with out:
        ended = start(going, told, on_line=on_line)
    tail = "\n".join(last)[-TAIL_BYTES:]
    if ended.cause is not None:
        return StepResult(name, ok=False, detail=ended.detail, answer={"tail": tail}), ended.cause
    code = ended.returncode
    going.log.line(f"exit {code} after {ended.seconds:.1f} s")
    if code == SANDBOX_FAILED or code is None:
        return StepResult(name, ok=False, detail=tail[-1000:], answer={"tail": tail}), Cause.SANDBOX
    detail = f"exit {code} after {ended.seconds:.0f} s"
    return StepResult(name, ok=code == 0, detail=detail, answer={"exit": code, "tail": tail}), None

"""One shell step: an argv in a sandbox with no outbox and no gateway. Project code runs nowhere else.

Only set-up has a way out, to the hosts that ``[environment] egress`` names.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from urllib.parse import urlsplit

from factory.runs.model import Cause
from factory.runs.spec import StepResult
from factory.sandbox.egress import EgressProxy
from factory.sandbox.protocol import Bind
from factory.session import box as boxes
from factory.session.checkout import Checkout
from factory.session.going import Going, start
from factory.session.told import told
from factory.session.watch import Stop

PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")
TAIL_LINES = 80
TAIL_BYTES = 6000
SANDBOX_FAILED = 125
"""Exit code of a sandbox that could not be built or hit a bound (sandbox/protocol.py)."""
_STARTER = "factory sandbox: "
"""How the sandbox's starter begins what it says on stderr."""


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

    A failing command is a result (``ok`` False, no cause), and so is one that prints without end; a cause means that
    the run could not tell. Raises SandboxUnavailable, StartFailed, Interrupted.
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

    def on_line(line: bytes, _is_stderr: bool) -> Stop | None:
        text = line.decode("utf-8", "replace")
        last.append(text[:2000])
        going.log.raw(text[:10_000])
        return None

    confined = boxes.confinement(
        box,
        python=going.ports.sandbox.python(),
        writable=True,
        doors=doors,
        binds=(*going.ports.tool_mounts, *binds),
    )
    proxy = None
    if egress:
        forge = urlsplit(going.ports.project_remote.url).hostname or ""
        proxy = EgressProxy(box.socket(boxes.EGRESS), egress, going.log.line, never=(forge,))
    out: AbstractContextManager[object] = nullcontext() if proxy is None else proxy
    with out:
        ended = start(going, confined, on_line=on_line)
    tail = "\n".join(last)[-TAIL_BYTES:]
    if ended.cause is not None:
        result = StepResult(name, ok=False, detail=ended.detail, answer={"tail": tail})
        return result, None if ended.cause is Cause.BACKEND else ended.cause
    code = ended.returncode
    going.log.line(f"exit {code} after {ended.seconds:.1f} s")
    failure = sandbox_failure(box, code, last)
    stop = going.ground_lost() or (None if failure is None else (Cause.SANDBOX, failure))
    if stop is not None:
        return StepResult(name, ok=False, detail=stop[1], answer={"tail": tail}), stop[0]
    detail = f"exit {code} after {ended.seconds:.0f} s"
    if code != 0 and proxy is not None:
        detail += _egress_words(proxy)
        if proxy.failures:
            # Nobody can tell whether it would have worked: what it needed did not come.
            return StepResult(name, ok=False, detail=detail, answer={"tail": tail}), Cause.SANDBOX
    return StepResult(name, ok=code == 0, detail=detail, answer={"exit": code, "tail": tail}), None


def _egress_words(proxy: EgressProxy) -> str:
    words = f"; connections that failed: {proxy.failures}" if proxy.failures else ""
    return words + (f"; no way out: {'; '.join(dict.fromkeys(proxy.refused))[:500]}" if proxy.refused else "")


def sandbox_failure(box: boxes.Box, code: int | None, said: Sequence[str]) -> str | None:
    """Why the sandbox, and not what ran in it, brought this end; None when it did not.

    A program may end with 125 too; then the first process inside lived to write it down.
    """
    if code is not None and (code != SANDBOX_FAILED or told(box).get("returncode") == code):
        return None
    why = next((line.removeprefix(_STARTER) for line in reversed(said) if line.startswith(_STARTER)), "")
    return f"the sandbox ended it: {why}" if why else "the sandbox did not start, or ended without a word"

"""A run that is going: what every step of it needs, and the one way to start a sandbox for it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field

from factory.formula.model import Formula
from factory.runs.model import Cause
from factory.runs.spec import SessionSpec
from factory.sandbox.protocol import Confinement
from factory.session import box as boxes
from factory.session.checkout import Checkout
from factory.session.folders import RunFolders
from factory.session.ports import SessionPorts
from factory.session.runlog import RunLog
from factory.session.standing import Standing
from factory.session.stopped import Stopped
from factory.session.watch import Bounds, Ended, OnLine, OnPulse, Stop, watch

PULSE_S = 5.0


class Failed(Exception):
    """The run ends here without success."""

    def __init__(self, cause: Cause, detail: str) -> None:
        super().__init__(detail)
        self.cause = cause
        self.detail = detail


@dataclass(frozen=True)
class Going:
    """One run in progress."""

    spec: SessionSpec
    formula: Formula
    ports: SessionPorts
    log: RunLog
    stopped: Stopped
    lock_fd: int | None
    """The run's lock; its sandboxes keep it."""
    began: float = field(default_factory=time.monotonic)
    standing: Standing = field(default_factory=Standing)

    @property
    def folders(self) -> RunFolders:
        return RunFolders(self.ports.home, self.spec.run)

    def seconds_left(self) -> float:
        """Of the formula's wall clock, which counts over all steps."""
        return max(0.0, self.formula.limits.minutes * 60 - (time.monotonic() - self.began))

    def box(self, step: str, attempt: int, checkout: Checkout) -> boxes.Box:
        """Fresh folders for one start of one step."""
        made = boxes.make(self.folders.round(step, attempt), checkout, self.ports.pyz)
        self.standing.on(made.inside, made.inside / "inside.pyz", made.out, checkout.clone)
        return made

    def ground_lost(self) -> Stop | None:
        """Why to stop when what the run stands on was deleted under it. That is a lost run: tried again at once."""
        lost = self.standing.lost()
        if lost is None:
            return None
        return Cause.LOST, f"{lost} was deleted while the run stood on it; nothing it says after that counts"


def _nothing() -> Stop | None:
    return None


def start(going: Going, confinement: Confinement, *, on_line: OnLine, on_pulse: OnPulse = _nothing) -> Ended:
    """Start a sandbox and watch it to its end, within the run's limits. Raises SandboxUnavailable, StartFailed,
    Interrupted."""
    with going.stopped.patient():
        return _start(going, confinement, on_line, on_pulse)


def _start(going: Going, confinement: Confinement, on_line: OnLine, on_pulse: OnPulse) -> Ended:
    limits = going.formula.limits
    out_read, out_write = os.pipe2(os.O_CLOEXEC)
    err_read, err_write = os.pipe2(os.O_CLOEXEC)
    try:
        child = going.ports.sandbox.start(confinement, stdout=out_write, stderr=err_write, lock_fd=going.lock_fd)
    except BaseException:
        os.close(out_read)
        os.close(err_read)
        raise
    finally:
        os.close(out_write)
        os.close(err_write)
    with child:
        return watch(
            child,
            stdout=out_read,
            stderr=err_read,
            bounds=Bounds(limits.idle_seconds, going.seconds_left(), limits.output_bytes),
            stopped=going.stopped,
            on_line=on_line,
            on_pulse=lambda: going.ground_lost() or on_pulse(),
            pulse_s=min(PULSE_S, going.ports.checkpoint_s),
        )

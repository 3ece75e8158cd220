"""How a command ends when it is interrupted, wherever that meets it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

BODIES = {
    "code": "os.kill(os.getpid(), 2); [None for _ in range(10**6)]",
    "a text that is executed, as dataclasses do": "exec('os.kill(os.getpid(), 2); [None for _ in range(10**6)]')",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_an_interrupt_ends_with_130(tmp_path: Path, body: str) -> None:
    program = f"import os\nfrom factory.cli.endings import ended\nwith ended([]):\n    {body}\n"
    (tmp_path / "interrupted.py").write_text(program)
    root = str(Path(__file__).parents[3])
    done = subprocess.run(
        [sys.executable, "-m", "interrupted"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": root},
        capture_output=True, text=True, check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a suite in the background ignores it
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, "interrupted\n")

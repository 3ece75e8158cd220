"""How long the command line takes to begin."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.table import Row


def measure(_root: Path) -> list[Row]:
    """Milliseconds of ``factory --version`` over an empty interpreter."""
    bare = median_of([sys.executable, "-c", "pass"])
    ours = median_of([str(Path(sys.executable).with_name("factory")), "--version"])
    return [("factory --version, ms over `python -c pass` (limit 80)", f"{(ours - bare) * 1000:.0f}")]


def median_of(command: list[str], times: int = 15) -> float:
    """Median wall seconds of a command."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)

"""How often a long form runs, and its line in docs/reference/reliability.md.

A test that has a long form takes its count from :func:`counts`: a small one in every run, the full one under
``make soak`` (``FACTORY_SOAK=1``; ``FACTORY_SOAK=0.2`` runs a fifth). Where ``FACTORY_SOAK`` is set, :func:`record`
writes what was found into the page, one line per subject, together with commit, machine, seed and date.
"""

from __future__ import annotations

import fcntl
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "reliability.md"
SHARE = float(os.environ.get("FACTORY_SOAK") or 0)
"""Of the full counts; 0 where the suite runs as usual."""
HEAD = "| What | Done | Of | Result | Seed | Commit | Machine | Date |\n|---|---|---|---|---|---|---|---|\n"
ABOUT = """# Reliability

What `make soak` found, the newest run per line, written by the tests themselves (`tests/soak_report.py`). *Of* is the
full count; a run with less says so in *Done*. A commit with `+` had changes in the tree. The same tests run with small
counts in `make test`.

"""


def counts(normal: int, full: int) -> Any:
    """Parameters for ``pytest.mark.parametrize``: the small count of every run and the long form, marked ``soak``."""
    long = max(normal, round(full * (SHARE or 1)))
    return [pytest.param(normal, id="short"), pytest.param(long, id="long", marks=pytest.mark.soak)]


def record(what: str, *, done: int, full: int, result: str, seed: int | str = "-", more: str = "") -> None:
    """Write one line; the last run of a subject stays. Nothing happens outside of a soak run."""
    if not SHARE:
        return
    cells = (
        what, f"{done:,}", f"{full:,}", result, str(seed), commit(), machine() + (f", {more}" if more else ""),
        datetime.now(UTC).strftime("%Y-%m-%d"),
    )  # fmt: skip
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    with open(PAGE, "a+", encoding="utf-8") as page:
        fcntl.flock(page, fcntl.LOCK_EX)
        page.seek(0)
        text = rewritten(page.read(), cells)
        page.seek(0)
        page.truncate()
        page.write(text)


def rewritten(page: str, cells: tuple[str, ...]) -> str:
    """The page with this line in place of the older one about the same; what stands below the table is kept."""
    lines = page.splitlines(keepends=True)
    rows = {line.split(" | ")[0]: line for line in lines if line.startswith("| ") and not HEAD.startswith(line)}
    row = "| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells) + " |\n"
    rows[row.split(" | ")[0]] = row
    last = max((number for number, line in enumerate(lines) if line.startswith("|")), default=len(lines))
    return ABOUT + HEAD + "".join(rows[name] for name in sorted(rows)) + "".join(lines[last + 1 :])


def commit() -> str:
    found = _git("rev-parse", "--short=12", "HEAD")
    return found + ("+" if _git("status", "--porcelain", "--", "factory", "tests") else "")


def machine() -> str:
    system = f"{platform.system()} {platform.release().split('-')[0]}"
    git = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout.split()[2]
    return f"{os.cpu_count()} cores, {system}, Python {platform.python_version()}, git {git}"


def _git(*argv: str) -> str:
    done = subprocess.run(["git", *argv], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or ("unknown" if done.returncode else "")

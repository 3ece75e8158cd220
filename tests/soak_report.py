"""How often a long form runs, and its line in docs/reference/reliability.md.

A test that has a long form takes its count from :func:`counts`: a small one in every run, the full one under
``make soak`` (``FACTORY_SOAK=1``; ``FACTORY_SOAK=0.2`` runs a fifth). Where ``FACTORY_SOAK`` is set, :func:`record`
writes what was found into the page, one line per subject, together with commit, machine, seed and date.

A long form can be run in parts, one after the other and with a machine of one's own only now and then:
``FACTORY_SOAK_PART=3/20`` is the third of twenty. Each has seeds of its own; the line counts the parts of one commit
together.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import subprocess
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "reliability.md"
SHARE = float(os.environ.get("FACTORY_SOAK") or 0)
"""Of the full counts; 0 where the suite runs as usual."""
PART, PARTS = (int(n) for n in (os.environ.get("FACTORY_SOAK_PART") or "1/1").split("/"))
TALLIES = ROOT / "build" / "soak.json"
"""What the parts of each subject found so far."""
HEAD = "| What | Done | Of | Result | Seed | Commit | Machine | Date |\n|---|---|---|---|---|---|---|---|\n"
ABOUT = """# Reliability

What `make soak` found, the newest run per line, written by the tests themselves (`tests/soak_report.py`). *Of* is the
full count; a run with less says so in *Done*. A commit with `+` had changes in the tree. The same tests run with small
counts in `make test`.

"""


def counts(normal: int, full: int) -> Any:
    """Parameters for ``pytest.mark.parametrize``: the small count of every run and the long form, marked ``soak``."""
    long = max(normal, round(full * (SHARE or 1) / PARTS))
    return [pytest.param(normal, id="short"), pytest.param(long, id="long", marks=pytest.mark.soak)]


def seed_of_part(seed: int) -> int:
    """The seed itself for the first part; far away from it for the others."""
    return seed + 1_000_000 * (PART - 1)


def record(
    what: str,
    *,
    done: int,
    full: int,
    result: str,
    seed: int | str = "-",
    more: str = "",
    tally: Mapping[str, int | Collection[str]] | None = None,
) -> None:
    """Write one line; the last run of a subject stays. Nothing happens outside of a soak run.

    ``result`` may name the numbers of ``tally`` in braces; over the parts of a long form numbers add up, and of
    collections the distinct members are counted.
    """
    if not SHARE:
        return
    if tally is not None:
        sums = together(what, {"done": done, **tally})
        done, result = int(sums.pop("done")), result.format(**sums)
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


def together(what: str, tally: Mapping[str, int | Collection[str]]) -> dict[str, int]:
    """The numbers of this part with those of the parts before it at the same commit."""
    stored = json.loads(TALLIES.read_text()) if TALLIES.exists() and PART > 1 else {}
    before = stored.get(what, {})
    if PART > 1 and (before.get("commit"), before.get("part")) != (commit(), PART - 1):
        raise AssertionError(f"part {PART} of {what!r} does not follow part {PART - 1} at the same commit")
    now: dict[str, Any] = {"commit": commit(), "part": PART}
    for name, value in tally.items():
        old = before.get(name, 0 if isinstance(value, int) else [])
        now[name] = old + value if isinstance(value, int) else sorted({*old, *value})
    TALLIES.parent.mkdir(exist_ok=True)
    TALLIES.write_text(json.dumps({**stored, what: now}))
    return {name: now[name] if isinstance(now[name], int) else len(now[name]) for name in tally}


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

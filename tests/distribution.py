"""Which tests share a worker: those of a file, so that what a file makes once is made once, and of a few folders.

pytest-xdist's own groups are not used: they hang on a private field of pytest's items, and where that is gone
(pytest 9.2 with xdist 3.8) every test goes its own way and nothing says so. Here a unit that was torn apart fails the
run.
"""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

TOGETHER = {
    "tests/acceptance/": "acceptance",
    "tests/integration/loop/": "loop",
    "tests/unit/architecture/": "architecture",
}
"""Folders of which one test at a time runs: each takes a machine's worth of processes, or they read the whole package
into syntax trees, which one worker does once."""
APART = frozenset({"tests/acceptance/test_kills.py"})
"""Of those folders, but long enough to be a unit of its own."""


def unit_of(nodeid: str) -> str:
    """The name of the unit of work that a test belongs to."""
    file = nodeid.partition("::")[0]
    folders = [name for folder, name in TOGETHER.items() if file.startswith(folder) and file not in APART]
    return folders[0] if folders else file


class ByUnit(LoadScopeScheduling):
    """Gives whole units to workers, in the order of collection: the long ones come first there."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByUnit:
    """Take the place of ``--dist``, whatever it says."""
    config.option.loadscopereorder = False
    return ByUnit(config, log)


_workers: dict[str, set[str]] = {}
"""Unit -> the workers that ran it."""


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note who ran what; in the process that started the workers."""
    if worker := getattr(report, "worker_id", None):
        _workers.setdefault(unit_of(report.nodeid), set()).add(worker)


def torn() -> list[str]:
    """Units that ran on more than one worker. None, unless a worker died."""
    return [f"{unit}: {', '.join(sorted(workers))}" for unit, workers in _workers.items() if len(workers) > 1]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A torn unit fails the run."""
    if torn() and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say which."""
    if torn():
        terminalreporter.section("units that ran on several workers: see tests/distribution.py")
        for line in torn():
            terminalreporter.write_line(line)

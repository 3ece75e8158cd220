"""What holds for every test.

Nothing of the machine's owner is read: HOME is an empty folder, git knows no configuration but what a test gives it, no
``FACTORY_*``, proxy or model key variable comes in. What Python compiles is kept, also where the owner's environment
says otherwise. No socket of the test process leaves loopback (the processes a test starts are the product's; what they
reach is the subject of tests of its own). Under
``FACTORY_CI=1`` the skips are exactly the stated ones. What a test starts ends with it, at the latest with the suite,
however that ends. Hypothesis has no wall-clock deadline, because two cores are shared, and no database.
"""

from __future__ import annotations

import atexit
import gc
import ipaddress
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import settings

from tests.orphans import Watcher, end_all, running_for

pytest_plugins = ("tests.distribution",)

settings.register_profile("factory", deadline=None, database=None)
settings.load_profile("factory")

# --- the surroundings -------------------------------------------------------------------------------------------------

OURS = ("FACTORY_TEST_", "FACTORY_CI", "FACTORY_SOAK")
"""Switches of the suite itself; they come in from outside."""
FOREIGN = ("FACTORY_", "XDG_", "GIT_", "SSH_", "ANTHROPIC_", "OPENAI_", "CLAUDE", "CODEX_", "AWS_", "GOOGLE_")
PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")


def foreign(name: str) -> bool:
    """Whether a variable is the owner's and not the suite's."""
    if name.startswith(OURS):
        return False
    return name.startswith(FOREIGN) or name.lower() in PROXIES


def empty_surroundings() -> None:
    """Leave nothing of the owner's in this process's environment, nor in what it starts."""
    for name in [name for name in os.environ if foreign(name)]:
        del os.environ[name]
    # Without its compiled files every process of a test would compile the factory again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    home = tempfile.mkdtemp(prefix="factory-tests-home-")
    maker = os.getpid()
    atexit.register(lambda: shutil.rmtree(home, ignore_errors=True) if os.getpid() == maker else None)
    os.environ.update(HOME=home, GIT_CONFIG_NOSYSTEM="1", GIT_CONFIG_GLOBAL=os.devnull, GIT_TERMINAL_PROMPT="0")


# --- nothing is left running ------------------------------------------------------------------------------------------

LEAVING_S = 5.0
"""What was told to end may take so long."""

_watcher = Watcher()
_folders: list[str] = []


def watched(folder: str) -> None:
    """Whatever runs for this folder is the suite's, and ends with it."""
    _folders.append(folder)
    _watcher.add(folder)


def _note_folder(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "tempfile.mkdtemp" and os.getpid() == _pid:
        watched(os.fsdecode(arguments[0]))


_pid = os.getpid()
sys.addaudithook(_note_folder)
atexit.register(_watcher.quiet)


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail where a test leaves a process behind, and end that; a suite that is killed has a watcher that does."""
    watched(str(tmp_path_factory.getbasetemp()))
    yield
    until = time.monotonic() + LEAVING_S
    while (left := running_for(_folders, os.getsid(0))) and time.monotonic() < until:
        time.sleep(0.1)
    if left:
        end_all(_folders, os.getsid(0))
        pytest.fail("left running: " + "; ".join(sorted(set(left.values()))), pytrace=False)


# At import: before any test module reads the environment, and before pytest-xdist starts its workers.
empty_surroundings()


# --- what is collected stays ------------------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Thousands of items are made, none of which goes away before the end: Python's collector need not look through
    them again and again, now or later. The process that hands them to workers makes none."""
    if not session.config.pluginmanager.hasplugin("dsession"):
        gc.disable()


def pytest_collection_finish() -> None:
    """From here on what a test leaves is collected as ever."""
    gc.collect()
    gc.freeze()
    gc.enable()


# --- loopback only ----------------------------------------------------------------------------------------------------

GIVEN_FORGE = urlsplit(os.environ.get("FACTORY_TEST_FORGEJO", "")).hostname or "localhost"
"""The one host outside that may be named: see tests/contract/conftest.py."""

_elsewhere: list[str] = []
"""Where this process tried to go since the last look. Code under test may well catch the error; this stays."""


class NotLoopback(RuntimeError):
    """A test wanted to reach something that is not on this machine."""


def is_loopback(host: object) -> bool:
    """Whether an address or name can only mean this machine, or the real forge that the contract suite was given."""
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
    if name in (None, "", "localhost", GIVEN_FORGE):
        return True
    try:
        return ipaddress.ip_address(str(name).partition("%")[0]).is_loopback
    except ValueError:
        return False


def is_numeric(host: object) -> bool:
    """Whether a host needs no resolver."""
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


def _guard(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.sendto"):
        sock, address = arguments[0], arguments[-1]
        if sock.family in (socket.AF_INET, socket.AF_INET6) and address and not is_loopback(address[0]):
            _refuse(f"{event} {address!r}")
    elif event == "socket.getaddrinfo" and not is_loopback(arguments[0]) and not is_numeric(arguments[0]):
        _refuse(f"{event} {arguments[0]!r}")


def _refuse(what: str) -> None:
    _elsewhere.append(what)
    raise NotLoopback(f"{what}: tests reach nothing but loopback")


# An audit hook sees every socket of the process, whoever made it, and cannot be taken off again.
sys.addaudithook(_guard)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Fail a test that tried to leave loopback, also where the code under test caught the refusal."""
    report: Any = yield
    if _elsewhere:
        report.outcome = "failed"
        report.longrepr = f"left loopback: {'; '.join(_elsewhere)}"
    _elsewhere.clear()
    return report


# --- the stated skips -------------------------------------------------------------------------------------------------

ROOT_ONLY = ("needs root", "only root")
"""Beginnings of the reasons that count where the suite runs as an ordinary user. As root nothing is skipped."""

_unstated: list[str] = []


def is_stated(reason: str) -> bool:
    """Whether a skip is one that CI expects here."""
    return os.geteuid() != 0 and reason.startswith(ROOT_ONLY)


def _judge(where: str, longrepr: object) -> None:
    reason = str(longrepr[2] if isinstance(longrepr, tuple) else longrepr).removeprefix("Skipped: ")
    if not is_stated(reason):
        _unstated.append(f"{where}: {reason}")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note a skip that nobody stated."""
    if report.skipped:
        _judge(report.nodeid, getattr(report, "wasxfail", report.longrepr))


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Note a module skipped as a whole."""
    if report.skipped:
        _judge(report.nodeid, report.longrepr)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Under CI a skip that is not stated fails the run."""
    worker = hasattr(session.config, "workerinput")
    if os.environ.get("FACTORY_CI") and _unstated and not worker and session.exitstatus in (0, 5):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say which skips fail the run, and where to state them."""
    if os.environ.get("FACTORY_CI") and _unstated:
        terminalreporter.section("skips that are not stated in tests/conftest.py")
        for line in _unstated:
            terminalreporter.write_line(line)

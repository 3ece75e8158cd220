"""Each mutant against the unit tests: a process forked for it,
in which the module is the changed one from the start."""

from __future__ import annotations

import ast
import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import Phase, settings

from tests.mutants.mutate import Mutant, mutants

ROOT = Path(__file__).resolve().parents[2]
TESTS = "tests/unit/vault"
FILES = {
    "action": ("test_action.py", "test_formulas.py", "test_policy.py", "test_ledger.py"),
    "policy": ("test_policy.py", "test_formulas.py"),
    "approval": ("test_approval.py",),
    "ledger": ("test_ledger.py",),
}
"""Module of ``factory/vault`` -> the tests that must catch its mutants, its own first."""
LEAST = 95
"""Per cent of each module's mutants that must be killed."""
SLOW_S = 60.0
"""A mutant that runs longer hangs: killed."""


@dataclass(frozen=True)
class Result:
    """What became of one mutant."""

    module: str
    key: str
    line: int
    killed: bool


class _Quick:
    """Fewer examples, the same each time: a mutant that only luck finds is not killed."""

    def pytest_configure(self) -> None:
        settings.register_profile(
            "mutants", max_examples=40, derandomize=True, deadline=None, database=None, phases=[Phase.explicit,
            Phase.generate]
        )
        settings.load_profile("mutants")


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds one module of the product as it was changed."""

    def __init__(self, name: str, tree: ast.Module) -> None:
        self._name, self._tree = name, tree

    def find_spec(self, fullname: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.util.spec_from_loader(fullname, self) if fullname == self._name else None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._tree, self._name, "exec"), module.__dict__)


def source(module: str) -> str:
    return (ROOT / "factory" / "vault" / f"{module}.py").read_text(encoding="utf-8")


def run(module: str, keys: Sequence[str], *, jobs: int = 2, until: float = float("inf")) -> Iterator[Result]:
    """Results of these mutants as they come; none is begun after the monotonic time ``until``. Raises RuntimeError when
    the tests fail without any change."""
    loaded = [name for name in sys.modules if name.startswith("factory.vault")]
    if loaded:
        raise RuntimeError(f"{loaded[0]} is loaded already: a change of it would not be seen")
    wanted = set(keys)
    waiting: list[Mutant | None] = [mutant for mutant in mutants(source(module)) if mutant.key in wanted]
    waiting = [None, *waiting] if waiting else []
    running: dict[int, tuple[Mutant | None, float]] = {}
    while waiting or running:
        while waiting and len(running) < jobs and time.monotonic() < until:
            mutant = waiting.pop(0)
            running[_fork(module, mutant)] = (mutant, time.monotonic())
        if not running:
            return
        for pid, (mutant, began) in list(running.items()):
            code = _ended(pid, began)
            if code is None:
                continue
            del running[pid]
            if mutant is not None:
                yield Result(module, mutant.key, mutant.line, code != 0)
            elif code != 0:
                raise RuntimeError(f"the tests of {module} fail without any change: {', '.join(FILES[module])}")
        time.sleep(0.005)


def _fork(module: str, mutant: Mutant | None) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 3
    try:
        os.setpgid(0, 0)
        quiet = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(quiet, fd)
        if mutant is not None:
            sys.meta_path.insert(0, _Changed(f"factory.vault.{module}", mutant.tree))
        words = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(ROOT), "-c",
        str(ROOT / "pyproject.toml")]
        words += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # hypothesis is loaded once for all
        code = int(pytest.main([*words, *(str(ROOT / TESTS / name) for name in FILES[module])], plugins=[_Quick()]))
    finally:
        os._exit(code)


def _ended(pid: int, began: float) -> int | None:
    """The exit code, None while it runs."""
    done, status = os.waitpid(pid, os.WNOHANG)
    if done:
        return os.waitstatus_to_exitcode(status)
    if time.monotonic() - began > SLOW_S:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return -signal.SIGKILL
    return None

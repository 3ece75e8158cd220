"""Each mutant against the unit tests: a process forked for it, in which the module is the changed one from the start.

What all of these processes need is loaded once, before they are forked; of the product and the tests, nothing is.
"""

from __future__ import annotations

import ast
import gc
import importlib.abc
import importlib.machinery
import importlib.util
import os
import resource
import signal
import sys
import time
import tomllib  # noqa: F401 - loaded once for all
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import _hypothesis_pytestplugin  # noqa: F401 - loaded once for all
import pytest
from hypothesis import Phase, settings

from tests.mutants.mutate import mutants

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
CPU_S, MEMORY = 30, 4 << 30
"""A mutant that takes more hangs: killed. All the tests of one module take 3 s."""
FAILED = {pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED, -signal.SIGXCPU, -signal.SIGKILL}
"""How a process ends whose mutant was found: by a test, while the tests were loaded, or by a limit."""


@dataclass(frozen=True)
class Result:
    """What became of one mutant."""

    module: str
    key: str
    killed: bool


class _Quick:
    """Fewer examples, the same each time: a mutant that only luck finds is not killed."""

    def pytest_configure(self) -> None:
        settings.register_profile("mutants", max_examples=40, derandomize=True, deadline=None, database=None,
                                  phases=[Phase.explicit, Phase.generate])  # fmt: skip
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


def run(
    module: str, keys: Sequence[str], *, jobs: int = 2, until: float = float("inf"), base: bool = True
) -> Iterator[Result]:
    """Results of these mutants as they come; none is begun after the monotonic time ``until``. ``base``: the module is
    run without any change, too. Raises RuntimeError when the tests fail so, or a process did not come to run them."""
    loaded = [name for name in sys.modules if name.startswith("factory.vault")]
    if loaded:
        raise RuntimeError(f"{loaded[0]} is loaded already: a change of it would not be seen")
    text, waiting = source(module), ["", *keys] if keys and base else list(keys)
    running: dict[int, str] = {}
    gc.freeze()
    while waiting or running:
        while waiting and len(running) < jobs and time.monotonic() < until:
            key = waiting.pop(0)
            running[_fork(module, text, key)] = key
        if not running:
            return
        pid, status = os.wait()
        key, code = running.pop(pid), os.waitstatus_to_exitcode(status)
        if code and code not in FAILED:
            raise RuntimeError(f"the tests of {module} did not run, exit code {code}: {key or 'without any change'}")
        if key:
            yield Result(module, key, code != 0)
        elif code:
            raise RuntimeError(f"the tests of {module} fail without any change: {', '.join(FILES[module])}")


def _fork(module: str, text: str, key: str) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = int(pytest.ExitCode.INTERNAL_ERROR)
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 1))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        quiet = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(quiet, fd)
        (tree,) = (mutant.tree for mutant in mutants(text, {key})) if key else (ast.parse(text),)
        sys.meta_path.insert(0, _Changed(f"factory.vault.{module}", tree))
        # No plugin but one, and no conftest: loading them takes longer than most mutants live.
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        words = ["-x", "-p", "_hypothesis_pytestplugin", "--noconftest", "--rootdir", str(ROOT),
                 "-c", str(ROOT / "pyproject.toml"), "-W", "ignore::pytest.PytestAssertRewriteWarning"]  # fmt: skip
        for name in FILES[module]:
            code = int(pytest.main([*words, str(ROOT / TESTS / name)], plugins=[_Quick()]))
            if code:
                break
    finally:
        os._exit(code)

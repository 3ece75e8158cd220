"""Decisions are pure: no clock, no environment, no chance, no I/O. The same World gives the same Plan, bit for bit."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

import pytest

from tests.unit.architecture.source import HOUSE, Module, planted

PURE = (
    "factory/plan/", "factory/roles/", "factory/checks/", "factory/formula/model.py", "factory/formula/graph.py",
    "factory/notify/item.py", "factory/notify/state.py", "factory/notify/words.py", "factory/notify/dialects.py",
)  # fmt: skip
IMPORTS = frozenset({
    "__future__", "collections", "collections.abc", "dataclasses", "datetime", "enum", "fnmatch", "functools",
    "hashlib", "itertools", "json", "math", "operator", "pathlib.PurePosixPath", "re", "string", "types", "typing",
    "unicodedata",
})  # fmt: skip
"""What a pure module may import besides ``factory``. A list of what is allowed: new ways out need no new rule."""
NAMES = frozenset({"open", "input", "print", "exec", "eval", "compile", "__import__", "globals", "breakpoint"})
CLOCKS = frozenset({"now", "utcnow", "today"})


def impure(modules: Sequence[Module]) -> list[str]:
    """What a pure module may not do."""
    found = []
    for module in modules:
        for name, line in module.imports():
            top = name.split(".")[0]
            if top == "factory" or name in IMPORTS or name.rpartition(".")[0] in IMPORTS:
                continue
            if name == "pathlib" and "from pathlib import PurePosixPath" in module.lines[line - 1]:
                continue
            found.append(f"{module.path}:{line} imports {name}")
        for name, call in module.calls():
            owner, _, verb = name.rpartition(".")
            clock = verb in CLOCKS and owner.rpartition(".")[2] in {"datetime", "date"}
            if (not owner and verb in NAMES) or clock:
                found.append(f"{module.path}:{call.lineno} calls {name}")
    return found


def test_deciding_is_pure() -> None:
    pure = [m for m in HOUSE if m.below(*PURE)]
    assert len(pure) > 30, "the pure packages were not found"
    assert impure(pure) == []


@pytest.mark.parametrize(
    "text",
    [
        "from datetime import UTC, datetime\nx = datetime.now(UTC)",
        "import datetime\nx = datetime.date.today()",
        "import time",
        "import random",
        "from os import environ",
        "from pathlib import Path",
        "from pathlib import PurePosixPath, Path",
        "x = open('a')",
        "import socket as s",
        "from secrets import token_hex",
    ],
)
def test_the_check_sees_a_way_out(text: str) -> None:
    assert impure(planted(text)) != []


LOOK = """
import importlib, json, pkgutil, sys
for package in ("factory.plan", "factory.roles", "factory.checks"):
    found = importlib.import_module(package)
    for module in pkgutil.iter_modules(found.__path__):
        importlib.import_module(f"{package}.{module.name}")
import factory.formula.model, factory.formula.graph, factory.notify.state, factory.notify.dialects
print(json.dumps(sorted(sys.modules)))
"""


def test_nothing_below_the_decisions_brings_a_way_out() -> None:
    """Also not by detour: what all pure modules load, together with everything they import."""
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(json.loads(done.stdout))
    assert "factory.plan.decide" in loaded
    assert loaded & {"httpx", "http.client", "subprocess", "sqlite3", "asyncio", "psutil", "tempfile"} == set()

"""One door per outside thing. Every exception is named here with its reason; one that is not used any more must go."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from tests.unit.architecture.source import HOUSE, Module, planted

Finder = Callable[[Module], Iterator[int]]

STDLIB_INSIDE = "runs in the sandbox, with the standard library only and nothing of the package around it"
STARTER = "the sandbox's own first process: standard library only, started by process/ and outside of its reach"


def importing(*names: str) -> Finder:
    """Lines that import one of these modules or something of them."""

    def find(module: Module) -> Iterator[int]:
        for name, line in module.imports():
            if any(name == n or name.startswith(n + ".") for n in names):
                yield line

    return find


def environment(module: Module) -> Iterator[int]:
    for node in module.nodes:
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv", "putenv", "unsetenv"}:
            yield node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module == "os":
            yield from (node.lineno for a in node.names if a.name in {"environ", "environb", "getenv"})


STARTS = {"fork", "forkpty", "posix_spawn", "posix_spawnp", "system", "popen", "startfile"}


def processes(module: Module) -> Iterator[int]:
    """Lines that start a process by any way the standard library has."""
    yield from importing("subprocess", "multiprocessing", "pty")(module)
    for name, call in module.calls():
        owner, _, verb = name.rpartition(".")
        made = owner == "os" and (verb in STARTS or verb.startswith(("exec", "spawn")))
        if made or verb in {"create_subprocess_exec", "create_subprocess_shell", "ProcessPoolExecutor"}:
            yield call.lineno


def git_program(module: Module) -> Iterator[int]:
    """Lines that name the git program: first of an argument list, or looked up on the path."""
    for node in module.nodes:
        if isinstance(node, ast.List | ast.Tuple):
            words = node.elts
        elif isinstance(node, ast.Call) and _callee(node) in LOOKS_UP:
            words = node.args
        else:
            continue
        if words and _is_git(words[0]):
            yield node.lineno


LOOKS_UP = frozenset({"which", "run", "Popen", "create_subprocess_exec"})


def _callee(node: ast.Call) -> str:
    return ast.unparse(node.func).rpartition(".")[2]


def _is_git(node: ast.AST) -> bool:
    value = node.value if isinstance(node, ast.Constant) else None
    return isinstance(value, str) and value.rpartition("/")[2] == "git"


@dataclass(frozen=True)
class Door:
    """``find`` gives the lines that use a thing, ``at`` the places that may, ``except_`` other files with a reason."""

    find: Finder
    at: tuple[str, ...]
    planted: str
    except_: dict[str, str] = field(default_factory=dict)


DOORS = {
    "httpx": Door(
        importing("httpx", "requests", "aiohttp", "urllib.request"),
        ("factory/forge/client.py", "factory/gateway/", "factory/notify/"),
        "from httpx import Client",
    ),
    "http.client": Door(
        importing("http.client"),
        # The broker speaks HTTP over connections it made to addresses it checked itself; httpx would make its own.
        ("factory/gateway/", "factory/vault/run/"),
        "import http.client",
        {
            "factory/devforge/webhooks.py": "the embedded forge delivers its hooks, as any forge does, in a thread",
            "factory/session/inside/native.py": STDLIB_INSIDE,
        },
    ),
    "pygit2": Door(importing("pygit2"), ("factory/git/objects/",), "import pygit2"),
    "sqlite3": Door(importing("sqlite3"), ("factory/devforge/",), "import sqlite3"),
    "processes": Door(
        processes,
        ("factory/git/", "factory/process/"),
        "import os\nos.execvp('true', ['true'])",
        {
            "factory/devforge/githttp.py": "git's HTTP backend: a stream from and to an ASGI request",
            "factory/sandbox/starter/bare.py": STARTER,
            "factory/sandbox/starter/main.py": STARTER,
            "factory/sandbox/starter/user.py": STARTER,
            "factory/sandbox/probe/excess.py": STDLIB_INSIDE,
            "factory/sandbox/probe/rights.py": STDLIB_INSIDE,
            "factory/sandbox/inside/launch.py": STDLIB_INSIDE,
            "factory/vault/run/inside/command.py": STDLIB_INSIDE,
        },
    ),
    "the git program": Door(
        git_program,
        ("factory/git/",),
        "run(['git', 'status'])",
        {
            "factory/devforge/githttp.py": "the embedded forge serves git over HTTP",
            "factory/session/inside/pack.py": "packs what the agent left, inside, so that the host need not open it",
        },
    ),
    "os.environ": Door(
        environment,
        ("factory/config/", "factory/cli/", "factory/session/inside/", "factory/vault/run/inside/"),
        "import os\nos.getenv('HOME')",
        {"factory/sandbox/probe/reading.py": "an attacker in the sandbox that looks for secrets in its environment"},
    ),
}


def through_the_wall(door: Door, modules: Sequence[Module]) -> list[str]:
    """Uses of the thing elsewhere than at its door."""
    return [
        f"{m.path}:{line}"
        for m in modules
        if not m.below(*door.at) and m.path not in door.except_
        for line in sorted(set(door.find(m)))
    ]


@pytest.mark.parametrize("name", DOORS)
def test_it_is_used_at_its_door_only(name: str) -> None:
    assert through_the_wall(DOORS[name], HOUSE) == []


@pytest.mark.parametrize("name", DOORS)
def test_no_exception_outlives_its_use(name: str) -> None:
    using = {m.path for m in HOUSE if any(True for _ in DOORS[name].find(m))}
    assert set(DOORS[name].except_) - using == set()


@pytest.mark.parametrize("name", DOORS)
def test_the_check_sees_a_hole(name: str) -> None:
    assert through_the_wall(DOORS[name], planted(DOORS[name].planted)) != []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("processes", "import asyncio\nasyncio.create_subprocess_exec('x')"),
        ("processes", "from subprocess import run"),
        ("processes", "import os\nos.posix_spawn('/bin/true', [], {})"),
        ("os.environ", "from os import environ"),
        ("the git program", "import shutil\nshutil.which('git')"),
        ("the git program", "argv = ('/usr/bin/git', 'status')"),
        ("httpx", "import urllib.request"),
    ],
)
def test_other_ways_through_are_seen(name: str, text: str) -> None:
    assert through_the_wall(DOORS[name], planted(text)) != []

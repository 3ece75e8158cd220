"""Small rules: who may print, what may be swallowed, which times are naive, what has a docstring."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

import pytest

from tests.unit.architecture.source import HOUSE, Module, planted

PRINTING = {
    "factory/devforge/__main__.py": "why a forge of its own process did not start, on its stderr",
    "factory/devforge/listen.py": "the one line by which its starter learns the address",
    "factory/gateway/runs.py": "its own process; stderr is its log",
    "factory/gateway/server.py": "its own process; the line its starter reads, and stderr as its log",
    "factory/sandbox/starter/main.py": "a program of its own; stderr is where its starter reads",
    "factory/sandbox/probe/": "a program of its own; its answers are its stdout",
    "factory/sandbox/inside/": "programs in the sandbox; their stdout and stderr are what the host reads",
    "factory/vault/run/inside/": "programs in the sandbox; their stdout and stderr are what the host reads",
    "factory/session/inside/": "programs in the sandbox; their stdout and stderr are what the host reads",
}
"""Where print() is the interface, and with whom. People are spoken to in cli/ only."""
BROAD = frozenset({"Exception", "BaseException", "<everything>"})


def printing(modules: Sequence[Module]) -> list[str]:
    return [
        f"{m.path}:{call.lineno}"
        for m in modules
        if not m.below("factory/cli/", *PRINTING)
        for name, call in m.calls()
        if name == "print"
    ]


def swallowing(modules: Sequence[Module]) -> list[str]:
    """``except`` clauses that do nothing: broad ones always, narrow ones where no comment says why."""
    found = []
    for module in modules:
        for node in module.nodes:
            if isinstance(node, ast.ExceptHandler) and all(map(_does_nothing, node.body)):
                until = node.body[-1].end_lineno or node.lineno
                comment = any("#" in line for line in module.lines[node.lineno - 1 : until])
                if BROAD & set(_caught(node.type)) or not comment:
                    found.append(f"{module.path}:{node.lineno}")
        for name, call in module.calls():
            if name.endswith("suppress") and BROAD & {ast.unparse(a) for a in call.args}:
                found.append(f"{module.path}:{call.lineno}")
    return found


def _does_nothing(node: ast.stmt) -> bool:
    return isinstance(node, ast.Pass) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and node.value.value is Ellipsis
    )


def _caught(node: ast.expr | None) -> Iterator[str]:
    if node is None:
        yield "<everything>"
    elif isinstance(node, ast.Tuple):
        yield from (ast.unparse(one) for one in node.elts)
    else:
        yield ast.unparse(node)


def naive(modules: Sequence[Module]) -> list[str]:
    """Calls that make a time without a zone."""
    found = []
    for module in modules:
        for name, call in module.calls():
            owner, _, verb = name.rpartition(".")
            if owner.rpartition(".")[2] not in {"datetime", "date"}:
                continue
            given = {k.arg for k in call.keywords}
            bare = (
                verb in {"utcnow", "utcfromtimestamp", "today"}
                or (verb == "now" and not call.args and "tz" not in given)
                or (verb == "fromtimestamp" and len(call.args) < 2 and "tz" not in given)
            )
            if bare:
                found.append(f"{module.path}:{call.lineno} {name}")
    return found


def test_only_the_command_line_prints() -> None:
    assert printing(HOUSE) == []


def test_nothing_is_swallowed() -> None:
    assert swallowing(HOUSE) == []


def test_times_have_a_zone() -> None:
    assert naive(HOUSE) == []


@pytest.mark.parametrize(
    "text",
    [
        "try:\n    x()\nexcept Exception:\n    pass  # never mind",
        "try:\n    x()\nexcept:\n    ...",
        "try:\n    x()\nexcept (KeyError, BaseException):\n    pass",
        "try:\n    x()\nexcept KeyError:\n    pass",
        "with contextlib.suppress(Exception):\n    x()",
    ],
)
def test_the_check_sees_what_is_swallowed(text: str) -> None:
    assert swallowing(planted(text)) != []
    assert swallowing(planted("try:\n    x()\nexcept KeyError:\n    pass  # it left by itself")) == []


@pytest.mark.parametrize(
    "text", ["datetime.now()", "datetime.datetime.utcnow()", "date.today()", "datetime.fromtimestamp(1)"]
)
def test_the_check_sees_a_naive_time(text: str) -> None:
    assert naive(planted(text)) != []
    assert naive(planted("datetime.now(UTC), datetime.fromtimestamp(1, UTC), datetime.now(tz=UTC)")) == []


def test_the_check_sees_a_print() -> None:
    assert printing(planted("print(1)")) != []


# Docstrings. A function of a few lines says what it does; a route says it by its decorator; a method that does what a
# protocol's method of that name promises is described there.
SHORT = 12
"""Lines, with its signature, up to which a public function may stand without a docstring."""
ROUTES = ("ROUTER.add(", "page(")


def promised(modules: Sequence[Module]) -> set[str]:
    """Names of methods that a Protocol of the house has."""
    return {
        item.name
        for m in modules
        for node in m.nodes
        if isinstance(node, ast.ClassDef) and any("Protocol" in ast.unparse(b) for b in node.bases)
        for item in node.body
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def undocumented(modules: Sequence[Module], protocols: set[str]) -> Iterator[tuple[Module, str, int]]:
    """Public modules, classes and long functions without a docstring: the module, the name, the line."""
    for module in modules:
        if module.text.strip() and not ast.get_docstring(module.tree):
            yield module, "the module", 1
        yield from _below(module, module.tree, protocols, "")


def _below(
    module: Module, parent: ast.Module | ast.ClassDef, protocols: set[str], within: str
) -> Iterator[tuple[Module, str, int]]:
    for node in parent.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
            continue
        name = within + node.name
        if not ast.get_docstring(node) and not _spared(node, protocols, bool(within)):
            yield module, name, node.lineno
        if isinstance(node, ast.ClassDef):
            yield from _below(module, node, protocols, name + ".")


def _spared(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, protocols: set[str], method: bool) -> bool:
    if isinstance(node, ast.ClassDef):
        return False
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    route = any(ast.unparse(d).startswith(ROUTES) for d in node.decorator_list)
    return lines <= SHORT or route or (method and node.name in protocols)


def test_everything_public_says_what_it_is() -> None:
    assert [f"{m.path}:{line} {name}" for m, name, line in undocumented(HOUSE, promised(HOUSE))] == []


def test_the_check_sees_what_is_not_said() -> None:
    long = "def f():\n" + "    x()\n" * SHORT
    text = f"class A:\n    y = 1\n{long}\ndef _g():\n    pass\n"
    assert [name for _, name, _ in undocumented(planted(text), set())] == ["the module", "A", "f"]

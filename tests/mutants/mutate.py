"""Small changes of a Python module, one at a time, as syntax trees.

Left alone: docstrings, annotations, decorators, imports, texts for people (with a space in them, or in an f-string).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.Div: ast.Mult, ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}  # fmt: skip
NAMES = {"any": "all", "all": "any", "min": "max", "max": "min", "startswith": "endswith", "endswith": "startswith",
         "fullmatch": "match", "sorted": "list"}  # fmt: skip
ASIDE = ("annotation", "returns", "decorator_list", "type_params", "keywords")
PLACES = ("lineno", "col_offset", "end_lineno", "end_col_offset")
BOUNDS = re.compile(r"(\{(?:\d+,)?)(\d+)\}")


@dataclass(frozen=True)
class Mutant:
    """One change. ``key`` stays the same while the line does: where it is, what the line says, what becomes of it."""

    key: str
    line: int
    tree: ast.Module


@dataclass(frozen=True)
class _Spot:
    """A node that can be changed, found again in a copy by its number in the walk."""

    number: int
    where: str
    line: int


def mutants(source: str, wanted: Collection[str] | None = None) -> Iterator[Mutant]:
    """The mutants of a module, in order; of all or of those with these keys."""
    for key, spot, change in _keyed(source):
        if wanted is None or key in wanted:
            made = ast.parse(source)
            list(_changes(_node(made, spot.number)))[change][1]()
            yield Mutant(key, spot.line, ast.fix_missing_locations(made))


def keys(source: str) -> list[str]:
    """The keys of all mutants of a module, in order."""
    return [key for key, _, _ in _keyed(source)]


def _keyed(source: str) -> Iterator[tuple[str, _Spot, int]]:
    """(key, where, which of the changes there)."""
    tree, lines = ast.parse(source), source.splitlines()
    nodes, seen = list(ast.walk(tree)), dict[str, int]()
    for spot in _spots(tree):
        for change, (words, _) in enumerate(_changes(nodes[spot.number])):
            key = f"{spot.where}: {lines[spot.line - 1].strip()} | {words}"
            seen[key] = seen.get(key, 0) + 1
            yield (key if seen[key] == 1 else f"{key} ({seen[key]})"), spot, change


def _node(tree: ast.Module, number: int) -> ast.AST:
    return next(node for n, node in enumerate(ast.walk(tree)) if n == number)


def _spots(tree: ast.Module) -> Iterator[_Spot]:
    numbers = {id(node): number for number, node in enumerate(ast.walk(tree))}

    def below(node: ast.AST, where: str, above: int) -> Iterator[_Spot]:
        for name, value in ast.iter_fields(node):
            if name in ASIDE and not isinstance(node, ast.Call):
                continue
            for child in value if isinstance(value, list) else [value]:
                if not isinstance(child, ast.AST) or isinstance(child, ast.JoinedStr | ast.Import | ast.ImportFrom):
                    continue
                inside = f"{where}.{child.name}" if isinstance(child, ast.FunctionDef | ast.ClassDef) else where
                if _is_docstring(child):
                    continue
                line = getattr(child, "lineno", above)  # a comprehension has no line of its own
                if any(True for _ in _changes(child)):
                    yield _Spot(numbers[id(child)], inside.lstrip(".") or "module", line)
                yield from below(child, inside, line)

    yield from sorted(below(tree, "", 1), key=lambda spot: (spot.line, spot.number))


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _changes(node: Any) -> Iterator[tuple[str, Any]]:
    """(words, how to make it) of everything that can be done to one node."""

    def put(name: str, value: Any) -> Any:
        return lambda: setattr(node, name, value)

    match node:
        case ast.Compare():
            for at, op in enumerate(node.ops):
                new = SWAPS[type(op)]
                yield _swap(op), lambda at=at, new=new: node.ops.__setitem__(at, new())
        case ast.BoolOp():
            yield _swap(node.op), put("op", SWAPS[type(node.op)]())
            for at in range(len(node.values)):
                yield f"without its operand {at + 1}", lambda at=at: _drop(node, "values", at)
        case ast.BinOp() | ast.AugAssign() if type(node.op) in SWAPS:
            yield _swap(node.op), put("op", SWAPS[type(node.op)]())
        case ast.UnaryOp(op=ast.Not()):
            yield "not is dropped", lambda: _become(node, ast.Call(ast.Name("bool", ast.Load()), [node.operand], []))
        case ast.Constant(value=bool()):
            yield f"{node.value} becomes {not node.value}", put("value", not node.value)
        case ast.Constant(value=int()):
            yield f"{node.value} becomes {node.value + 1}", put("value", node.value + 1)
        case ast.Constant(value=str()) if node.value:
            if " " not in node.value:
                yield "the text becomes another", put("value", f"X{node.value}")
            for found in BOUNDS.finditer(node.value):
                more = f"{found[1]}{int(found[2]) + 1}}}"
                yield f"{found[0]} becomes {more}", put("value", _spliced(node.value, found, more))
        case ast.Return() if node.value is not None and not _is_none(node.value):
            yield "returns None", put("value", ast.Constant(None))
        case ast.Raise():
            yield "raises nothing", lambda: _become(node, ast.Pass())
        case ast.Continue():
            yield "continue becomes break", lambda: _become(node, ast.Break())
        case ast.Expr(value=ast.Call()):
            yield "is not called", lambda: _become(node, ast.Pass())
        case ast.If() | ast.IfExp():
            yield "the condition is turned", lambda: setattr(node, "test", ast.UnaryOp(ast.Not(), node.test))
        case ast.comprehension() if node.ifs:
            for at in range(len(node.ifs)):
                yield f"without its condition {at + 1}", lambda at=at: node.ifs.pop(at)
        case ast.Dict() if node.keys:
            for at in range(len(node.keys)):
                yield f"without its item {at + 1}", lambda at=at: (node.keys.pop(at), node.values.pop(at))
        case ast.List() | ast.Set() if len(node.elts) > 1:
            for at in range(len(node.elts)):
                yield f"without its element {at + 1}", lambda at=at: node.elts.pop(at)
        case ast.Tuple(ctx=ast.Load()) if len(node.elts) > 1 and all(isinstance(e, ast.Constant) for e in node.elts):
            for at in range(len(node.elts)):
                yield f"without its element {at + 1}", lambda at=at: node.elts.pop(at)
        case ast.Name(ctx=ast.Load(), id=name) if name in NAMES:
            yield f"{name} becomes {NAMES[name]}", put("id", NAMES[name])
        case ast.Attribute(ctx=ast.Load(), attr=name) if name in NAMES:
            yield f"{name} becomes {NAMES[name]}", put("attr", NAMES[name])


def _swap(op: ast.AST) -> str:
    return f"{type(op).__name__} becomes {SWAPS[type(op)].__name__}"


def _spliced(text: str, found: re.Match[str], new: str) -> str:
    return text[: found.start()] + new + text[found.end() :]


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _drop(node: ast.BoolOp, name: str, at: int) -> None:
    getattr(node, name).pop(at)
    if len(node.values) == 1:
        _become(node, node.values[0])


def _become(node: ast.AST, other: ast.AST) -> None:
    """Make the node into another one, in its place."""
    node.__class__ = other.__class__  # type: ignore[assignment]
    old = {name: getattr(node, name) for name in PLACES if hasattr(node, name)}
    node.__dict__.clear()
    node.__dict__.update({**old, **other.__dict__})

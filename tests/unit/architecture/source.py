"""The package as syntax trees: what the rules of the house are judged on."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Module:
    """One file of the package: ``path`` from the root of the checkout, and its text."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @property
    def package(self) -> str:
        """The part of the house: ``plan`` for factory/plan/decide.py, ``errors`` for factory/errors.py."""
        return self.path.split("/")[1].removesuffix(".py")

    @property
    def is_init(self) -> bool:
        return self.path.endswith("/__init__.py")

    def below(self, *places: str) -> bool:
        """Whether it is one of these files, or in one of these folders (which end with a slash)."""
        return any(self.path.startswith(place) if place.endswith("/") else self.path == place for place in places)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    def imports(self) -> Iterator[tuple[str, int]]:
        """Every module or name it imports, dotted, and the line. ``from a import b`` gives ``a`` and ``a.b``."""
        for node in self.nodes:
            if isinstance(node, ast.Import):
                yield from ((alias.name, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = "." * node.level + (node.module or "")
                yield base, node.lineno
                yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)

    def calls(self) -> Iterator[tuple[str, ast.Call]]:
        """Every call: its callee as written, and the node."""
        for node in self.nodes:
            if isinstance(node, ast.Call):
                yield ast.unparse(node.func), node


def house() -> list[Module]:
    """All modules of the package, in order."""
    return [
        Module(file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8"))
        for file in sorted((ROOT / "factory").rglob("*.py"))
        if "_data" not in file.parts
    ]


HOUSE = house()


def planted(text: str, path: str = "factory/plan/planted.py") -> list[Module]:
    """A module that breaks a rule, to see that the rule's check sees it."""
    return [Module(path, text)]

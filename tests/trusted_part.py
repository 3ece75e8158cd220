"""What the vault's trusted part is: all that is imported when a bare interpreter imports what decides and starts."""

from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
import tokenize
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOOR = "factory.vault.dispatch"
OURS = (
    "factory", "factory.git", "factory.git.hardened", "factory.vault", "factory.vault.action", "factory.vault.approval",
    "factory.vault.authority", "factory.vault.canonical", "factory.vault.chain", "factory.vault.dispatch",
    "factory.vault.formulas", "factory.vault.gather", "factory.vault.ledger",
    "factory.vault.policy", "factory.vault.verify",
)  # fmt: skip
"""A module more is a module more to trust: it is added here on purpose or not at all."""
LIMIT = 1500
"""Lines of code, over all that is imported: as much as can be read in one sitting."""
_PROBE = """
import importlib, json, sys
sys.path.insert(0, sys.argv[1])
importlib.import_module(sys.argv[2])
print(json.dumps({name: getattr(module, "__file__", None) for name, module in sys.modules.items()}))
"""


def imported(door: str = DOOR, root: Path = ROOT) -> dict[str, str | None]:
    """Every module that is there after ``python -I -S`` imported ``door``, with its file.

    Raises CalledProcessError when that cannot be done.
    """
    argv = [sys.executable, "-I", "-S", "-c", _PROBE, str(root), door]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


@dataclass(frozen=True)
class Size:
    """``lines``: as the files have them; ``code``: without blank lines, comments and docstrings."""

    modules: int
    lines: int
    code: int


def size() -> Size:
    files = [Path(file) for name, file in imported().items() if name in OURS and file is not None]
    texts = [file.read_text(encoding="utf-8") for file in files]
    return Size(len(files), sum(len(text.splitlines()) for text in texts), sum(map(code_lines, texts)))


def code_lines(text: str) -> int:
    """Lines that hold code."""
    quiet = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    held: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in quiet:
            held.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        # A text that stands alone documents what is above it.
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            held.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(held)

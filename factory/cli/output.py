"""Printing: versioned JSON first, text rendered from the same values. stdout is data, stderr is people."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

json_option = click.option("--json", "as_json", is_flag=True, help="Print the facts as versioned JSON.")
token_option = click.option(
    "--token-file", type=click.Path(path_type=Path), help="Act as this token's owner; it is not stored."
)
project_option = click.option("--project", help="owner/name, where this host serves several projects.")


def emit(kind: str, facts: Any, *, as_json: bool, text: Callable[[Any], str]) -> None:
    """Print ``{"factory.<kind>/v1": facts}`` or its text, on stdout."""
    if as_json:
        click.echo(json.dumps({f"factory.{kind}/v1": facts}, indent=2, default=str, ensure_ascii=False))
    else:
        click.echo("\n".join(inert(line) for line in text(facts).split("\n")))


def say(line: str) -> None:
    """One line for the person, on stderr."""
    click.echo(line, err=True)


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns aligned with spaces; empty cells as a dash."""
    cells = [[str(c) if c not in (None, "") else "-" for c in row] for row in rows]
    widths = [max(len(h), *(len(r[i]) for r in cells)) if cells else len(h) for i, h in enumerate(headers)]
    lines = ["  ".join(h.ljust(w) for h, w in zip(headers, widths, strict=True)).rstrip()]
    lines += ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join(lines)


def money(usd: float, scripted: bool = False) -> str:
    """Dollars and cents; scripted turns cost nobody anything, and the figure says so."""
    return f"${usd:.2f}" + (" (scripted)" if scripted else "")


def moment(iso: str) -> str:
    """An ISO time as people read it: UTC, whole seconds."""
    from datetime import UTC, datetime

    return f"{datetime.fromisoformat(iso).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def inert(text: str) -> str:
    """Text of others without anything a terminal would obey: control characters become visible."""
    return "".join(c if c.isprintable() or c == "\t" else f"\\x{ord(c):02x}" for c in text)


def is_terminal() -> bool:
    """Whether a person watches stderr."""
    return sys.stderr.isatty()

"""``factory check``: every file of the configuration; all problems at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from factory.cli import here
from factory.cli.output import emit, json_option, say


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path, exists=True))
@json_option
def check(paths: tuple[Path, ...], as_json: bool) -> None:
    """Check the whole deployment, or PATHS: files, or folders that are working copies of an ops repo.

    Shows all problems at once, each with file, line and hint. Exit code 1 when there are any.
    """
    from factory.app.configuration import Checked, check_all, check_paths
    from factory.errors import ConfigInvalid

    try:
        done = check_paths(paths) if paths else check_all(here.deployment())
    except ConfigInvalid as error:
        if not error.problems:
            raise
        done = Checked((), error.problems)  # host.toml itself is broken: that is what is wrong here
    report("check", done.places, done.problems, done.notes, as_json=as_json)


def report(kind: str, places: Any, problems: Any, notes: Any, *, as_json: bool) -> None:
    """Print findings and leave with 1 when there are any."""
    facts = {
        "checked": list(places),
        "problems": [{"path": p.path, "line": p.line, "message": p.message, "hint": p.hint} for p in problems],
        "notes": list(notes),
    }

    def text(_: object) -> str:
        files = len({p.path for p in problems})
        count = f"{len(problems)} problem{'s' * (len(problems) != 1)} in {files} file{'s' * (files != 1)}"
        return "\n".join([*map(str, problems), count if problems else f"all is well: {', '.join(places)}"])

    for note in notes:
        say(f"note: {note}")
    emit(kind, facts, as_json=as_json, text=text)
    if problems:
        raise click.exceptions.Exit(1)

"""``factory edit``: change a file of the ops repo; a pull request where one is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from factory.cli import here
from factory.cli.output import emit, json_option, project_option, say


@click.command()
@click.argument("path")
@click.option("--file", "new", type=click.Path(path_type=Path, allow_dash=True), help="The new content; - is stdin.")
@project_option
@json_option
def edit(path: str, new: Path | None, project: str | None, as_json: bool) -> None:
    """Change PATH of the ops repo in $EDITOR, or to what --file holds.

    It is checked whole before anything is written. What only a person may decide (factory.toml, formulas/, agents/ and
    the like) becomes a pull request by factory-bot, which you approve on the forge; it takes effect after that.
    """
    from factory.app.editing import change_file, open_file
    from factory.errors import FactoryError

    deployment = here.deployment()
    opened = open_file(deployment, path, project=project)
    text = _read(new) if new is not None else _edited(path, opened.text or b"")
    try:
        facts = change_file(deployment, opened, text)
    except FactoryError as error:
        if new is None:
            kept = _keep(path, text)
            error.hint = f"your text is kept in {kept}; mend it, then: factory edit {path} --file {kept}"
        raise
    emit("edit", facts, as_json=as_json, text=told)
    if facts["route"] == "person":
        say("it takes effect after you approve it there")


def told(facts: Any) -> str:
    """What became of a change."""
    if facts["route"] == "none":
        return f"{facts['path']}: nothing to change"
    if facts["route"] == "direct":
        return f"{facts['path']} is changed: {facts['url']}"
    return f"{facts['path']} is proposed: {facts['url']}"


def _read(file: Path) -> bytes:
    import sys

    from factory.errors import UsageError

    if str(file) == "-":
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"reading the new content from {file}: {error.strerror}") from error


def _edited(path: str, text: bytes) -> bytes:
    """What the person made of it in their editor."""
    import os
    import tempfile

    from factory.errors import UsageError

    handle, name = tempfile.mkstemp(prefix="factory-edit-", suffix=f"-{path.rpartition('/')[2]}")
    with os.fdopen(handle, "wb") as out:
        out.write(text)
    try:
        click.edit(filename=name)
    except click.ClickException as error:
        raise UsageError(
            f"editing {path}: {error.message}",
            hint=f"set EDITOR, or give the new content: factory edit {path} --file FILE",
        ) from error
    result = Path(name).read_bytes()
    Path(name).unlink()
    return result


def _keep(path: str, text: bytes) -> Path:
    import os
    import tempfile

    handle, name = tempfile.mkstemp(prefix="factory-edit-", suffix=f"-{path.rpartition('/')[2]}")
    with os.fdopen(handle, "wb") as out:
        out.write(text)
    return Path(name)

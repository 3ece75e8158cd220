"""How a command ends: exit codes, one clear line for people, a crash log for a bug."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click

from factory import __version__
from factory.errors import ConfigInvalid, FactoryError


@contextmanager
def ended(argv: list[str]) -> Iterator[None]:
    """Run the body; leave with 0 done, the error's own code, 3 for a bug, 130 when interrupted."""
    try:
        yield
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        # CPython takes an interrupt that passed through an ``exec`` of a text (a dataclass being made) for unhandled;
        # under ``python -m`` it then ends by the signal, whatever the exit code is. The next ``exec`` clears that.
        exec("")  # noqa: S102
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except FactoryError as error:
        show(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output left (`factory ... | head`): not an error, and nothing more can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception:
        click.echo(f"error: factory stopped on a bug of its own; the details are in {crash_log(argv)}", err=True)
        click.echo("hint:  file it with that log attached; nothing decided is lost, run the command again", err=True)
        sys.exit(3)


def show(error: FactoryError) -> None:
    """The error as a person reads it, on stderr."""
    if isinstance(error, ConfigInvalid) and error.problems:
        for problem in error.problems:
            click.echo(str(problem), err=True)
    click.echo(f"error: {error.message}", err=True)
    if error.hint:
        click.echo(f"hint:  {error.hint}", err=True)


def crash_log(argv: list[str]) -> Path:
    """Write what is needed to understand a bug and return the path."""
    handle, name = tempfile.mkstemp(prefix=f"factory-crash-{datetime.now(UTC):%Y%m%dT%H%M%S}-", suffix=".md")
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        out.write(f"# factory {__version__} crashed\n\n- command: `factory {' '.join(argv)}`\n")
        out.write(
            f"- python: {platform.python_version()} on {platform.platform()}\n\n```\n{traceback.format_exc()}```\n"
        )
    return Path(name)

"""What a step is given and what it gives back."""

from __future__ import annotations

import json
import os
import sys
from typing import Any, NoReturn

from factory.vault.run.inside import layout


def read() -> dict[str, Any]:
    """The parameters and facts of the action, from descriptor 3."""
    with os.fdopen(os.dup(layout.GIVEN_FD), "rb") as source:
        os.lseek(source.fileno(), 0, os.SEEK_SET)
        value = json.load(source)
    if not isinstance(value, dict):
        fail("what is on descriptor 3 is no table")
    return value


def result(**fields: object) -> None:
    """Give these fields back, instead of earlier ones."""
    with open(layout.RESULT, "w", encoding="utf-8") as sink:
        json.dump(fields, sink)


def say(text: str) -> None:
    """A line for the log."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def fail(why: str) -> NoReturn:
    """End the step; ``why`` is in the log."""
    sys.stderr.write(f"{why}\n")
    sys.exit(1)

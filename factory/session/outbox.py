"""What a session asked for, read without trust and judged by the same rules that ``emit`` used inside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from factory.checks.secrets import find_secrets
from factory.formula.model import Grants
from factory.session.inside import outbox as rules
from factory.session.untrusted import Unreadable, read_plain


def grants_json(grants: Grants) -> dict[str, object]:
    """The grants in the form ``emit`` and :func:`read_outbox` check against; what is not granted is absent."""
    told: dict[str, object] = {}
    if grants.pull_request:
        told["pull_request"] = True
    if grants.refuse:
        told["refuse"] = True
    if grants.labels:
        told["labels"] = list(grants.labels)
    if grants.comments is not None:
        told["comments"] = {"max": grants.comments.max}
    if grants.issues is not None:
        told["issues"] = {"max": grants.issues.max, "labels": list(grants.issues.labels)}
    if grants.vault:
        told["vault"] = list(grants.vault)
    return told


def read_outbox(file: Path, grants: Grants) -> tuple[tuple[dict[str, object], ...], tuple[str, ...]]:
    """The lines that hold, and every problem of those that do not. No file is an empty outbox."""
    try:
        data = read_plain(file, rules.MAX_FILE)
    except Unreadable as error:
        return (), (str(error),)
    if data is None:
        return (), ()
    lines, problems = rules.read(data, grants_json(grants))
    for number, line in enumerate(lines, 1):
        # It would be posted for everybody to read.
        found = dict.fromkeys(kind for text in _texts(line) for _, kind in find_secrets(text))
        problems += [f"request {number} ({line.get('kind')}) holds what looks like {kind}" for kind in found]
    return tuple(lines), tuple(problems)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from (str(key), *_texts(inner))
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)

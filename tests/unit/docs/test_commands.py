"""Every command that a page shows can be typed: it exists, and so do its options."""

from __future__ import annotations

import re
import shlex

import click
import pytest

from factory.cli.main import cli
from tests.unit.docs.pages import PAGES, Page

SHOWN = sorted({(page.path, command) for page in PAGES for command in page.commands()})
PLACEHOLDER = re.compile(r"[A-Z][A-Z_/0-9]*|<[^>]*>|.*[|…].*|\.\.\.|\[.*\]")
"""Words that stand for something: NUMBER, <name>, all|project, [options]."""


def wrong(line: str) -> str | None:
    """Why this command line would be refused before it does anything; None when it would not."""
    words = shlex.split(line, comments=True)[1:]
    for stop in ("|", ">", ">>", "&&", ";", "2>&1"):
        words = words[: words.index(stop)] if stop in words else words
    context, command = click.Context(cli, info_name="factory"), cli
    try:
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            if PLACEHOLDER.fullmatch(words[0]):
                return None
            _, found, words = command.resolve_command(context, words)
            assert found is not None
            context, command = click.Context(found, parent=context, info_name=found.name), found  # type: ignore[assignment]
        if isinstance(command, click.Group):
            words = [word for word in words if word not in ("-h", "--help", "--version")]
            return f"options of a group: {words}" if words else None
        return _arguments(command, context, words)
    except click.UsageError as error:
        return error.format_message()


def _arguments(command: click.Command, context: click.Context, words: list[str]) -> str | None:
    words = [word for word in words if word not in ("[options]", "...")]
    given, _, _ = command.make_parser(context).parse_args(list(words))
    for parameter in command.params:
        value = given.get(parameter.name or "")
        if isinstance(parameter.type, click.Choice | click.types.IntParamType | click.types.FloatParamType):
            for word in value if isinstance(value, list | tuple) else [value]:
                if isinstance(word, str) and not PLACEHOLDER.fullmatch(word):
                    parameter.type.convert(word, parameter, context)
    return None


@pytest.mark.parametrize(("page", "line"), SHOWN, ids=[f"{page}: {line}" for page, line in SHOWN])
def test_a_shown_command_would_be_taken(page: str, line: str) -> None:
    assert wrong(line) is None, f"{page} shows {line!r}"


def test_there_are_commands_to_judge() -> None:
    assert {"README.md", "docs/tutorial.md"} <= {page for page, _ in SHOWN}


@pytest.mark.parametrize(
    "line",
    [
        "factory fly",
        "factory up --detached",
        "factory explain issues 1",
        "factory explain issue twelve",
        "factory issue lists",
        "factory hire x --slots many",
        "factory runs --live",
    ],
)
def test_the_check_sees_a_wrong_one(line: str) -> None:
    assert wrong(line) is not None


def test_commands_are_found_wherever_they_stand() -> None:
    page = Page("x.md", (
        "Say `factory status` or\n\n    FACTORY_HOME=/x .venv/bin/factory up \\\n      --detach  # now\n\n"
        "```console\n$ factory agents\nfactory is up\n```\n\n```toml\nfactory = 1\n```\n"
    ))  # fmt: skip
    assert [" ".join(c.split()) for c in page.commands()] == [
        "factory up --detach # now",
        "factory agents",
        "factory status",
    ]

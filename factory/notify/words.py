"""What a message says: plain lines in which nothing that others wrote can act. Pure.

Chat programs make links of whatever looks like an address, also of ``name.tld`` and inside quotations, and mentions of
``@name``. So nothing here looks like either, before a dialect quotes it in its own way. The one address in a message is
that of a page on the configured forge, where a person signs in to act; opening it decides nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from factory.notify.item import Item, Screen
from factory.notify.state import Batch
from factory.ops.markdown import plain

TITLE = 120
LINE, WORDS = 300, 500
"""Characters of one line of facts, and of the asker's words."""
MOST_BYTES = 3000
"""Of a message's text in UTF-8: the smallest channel takes 4,096 with its title."""
CUT = "(cut: the whole of it is on the page)"
AGAIN = "Perhaps you were told this before: the factory could not learn whether it arrived."
_PLACE = re.compile(r"https?://[A-Za-z0-9.\[\]:-]+(?:/[A-Za-z0-9._~/=%+,;-]*)?")
_NAME_DOT = re.compile(r"(?<=\w)[.。．｡](?=[^\W\d_]{2})")
_NUMBER_DOT = re.compile(r"(?<=\d)\.(?=\d+(?:\.\d+)*)")
_QUAD = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])")


@dataclass(frozen=True)
class Message:
    """What a dialect sends. ``title`` and ``lines`` are inert; ``url`` is ours."""

    id: str
    title: str
    lines: tuple[str, ...]
    url: str

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def inert(text: str, limit: int = LINE) -> str:
    """One line, capped, without hidden characters, in which no chat program finds an address or a mention."""
    line = plain(text, limit).replace("://", "[:]//")
    line = _QUAD.sub(lambda quad: _NUMBER_DOT.sub("[.]", quad[0]), line)
    line = _NAME_DOT.sub("[.]", line)
    return re.sub(r"@(?![0-9])|(?<![a-z0-9])@", "＠", line)


def message(batch: Batch, forge_url: str) -> Message:
    """What is told of these items. Links lead below ``forge_url``, or to it."""
    head = [AGAIN] if batch.again else []
    if len(batch.keys) == 1:
        (item,) = batch.items
        return Message(
            batch.id, _title(item), tuple(_capped([*head, *_lines(item, batch.brief)])), link(item.url, forge_url)
        )  # fmt: skip
    boards = {item.board for item in batch.items}
    lines = head + [f"- {_title(item)}" for item in batch.items]
    lines += [f"- and {batch.more} more"] if batch.more else []
    url = link(min(boards), forge_url) if len(boards) == 1 else forge_url
    return Message(batch.id, f"{len(batch.keys)} things need you", tuple(_capped(lines)), url)


def trial(host: str, channel: str, forge_url: str, now: datetime) -> Message:
    """What ``factory notify test`` sends."""
    line = f"This is how {inert(host)} will tell you, on {inert(channel)}, that something needs you."
    return Message(f"test-{int(now.timestamp())}", "A test of the factory", (line,), forge_url)


def link(url: str, forge_url: str) -> str:
    """The address, if it is a page of the forge and holds nothing but a path; else the forge's own."""
    base = forge_url.rstrip("/")
    return url if _PLACE.fullmatch(url) and url.startswith(f"{base}/") else base


def _title(item: Item) -> str:
    return inert(f"{item.act}: {item.title}", TITLE)


def _lines(item: Item, brief: bool) -> Iterator[str]:
    if item.screen is not None and not brief:
        yield from _facts(item.screen)
    if item.project:
        yield f"Project: {inert(item.project)}"
    if item.since is not None and item.since.year > 1:
        yield f"Since: {item.since.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    if item.why:
        yield f"Why: {inert(item.why)}"
    if item.frees:
        yield f"When you did it: {inert(item.frees)}"
    if item.screen is not None and not brief:
        yield f"What {inert(item.screen.asker, 60)} says (nobody checked it):"
        yield f"> {inert(item.screen.words, WORDS) or '(nothing)'}"


def _facts(screen: Screen) -> Iterator[str]:
    """Each label once; further lines of it are indented."""
    for label, told in screen.rows:
        first, *rest = (inert(line) for line in told)
        yield f"{label}: {first}"
        yield from (f"  {line}" for line in rest)


def _capped(lines: list[str]) -> Iterator[str]:
    """As many as fit; that some do not is said. What comes last, the asker's words, goes first."""
    left = MOST_BYTES - len(CUT) - 1
    for number, line in enumerate(lines):
        size = len(line.encode("utf-8", "replace")) + 1
        if size > left + (len(CUT) + 1 if number == len(lines) - 1 else 0):
            yield CUT
            return
        left -= size
        yield line

"""What of a message acts where it is read: each channel's own rules for links, mentions, images and markup.

Written from what the channels document, and stricter where they are vague: what a program might make a link is one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

BARE = re.compile(r"(?i)(?:[a-z][a-z0-9+.-]*://\S+|\bwww\.\S+|[\w-]+(?:\.[^\W\d_]{2,})+(?:/\S*)?|\b\d+(?:\.\d+){3}\S*)")
"""What programs make links of by themselves."""
MENTION = re.compile(r"(?<![\w`/])@[^\W\d]\w*")


def acting(kind: str, body: dict[str, Any]) -> set[str]:
    """Everything in it that leads or calls somewhere, or looks other than it is written."""
    return set(READERS[kind](body))


def _ntfy(body: dict[str, Any]) -> Iterator[str]:
    yield body["click"]
    for text in (body["title"], body["message"]):
        yield from BARE.findall(text)
    if body.get("markdown"):
        yield "markup"
    yield from body.get("actions", ())


def _slack(body: dict[str, Any]) -> Iterator[str]:
    text = body["text"]
    for inner in re.findall(r"<([^<>]*)>", text):  # also inside code
        yield inner.partition("|")[0]
    rest = re.sub(r"<[^<>]*>", "", text)
    yield from BARE.findall(rest)
    outside = "".join(rest.split("```")[::2])
    if re.search(r"[*_~`]\S", outside):
        yield "markup"
    if body.get("link_names") or body.get("parse") == "full":
        yield from MENTION.findall(text)


def _mattermost(body: dict[str, Any]) -> Iterator[str]:
    text = re.sub(r"<!(channel|here|all|everyone)[^>]*>", r"@\1", body["text"])  # Slack's, read before Markdown
    text = re.sub(r"<([^\n<|>]+)\|([^|\n>]+)>", r"[\2](\1)", text)
    outside = "".join(text.split("```")[::2])
    for image, url in re.findall(r"(!?)\[[^\]]*\]\(([^)\s]*)\)", outside):
        yield f"{image}{url}"
    rest = re.sub(r"!?\[[^\]]*\]\([^)\s]*\)", "", outside)
    yield from BARE.findall(rest)
    yield from MENTION.findall(rest)
    if re.search(r"[*_~`#]\S", rest):
        yield "markup"


def _telegram(body: dict[str, Any]) -> Iterator[str]:
    if "parse_mode" in body:
        yield "markup"
    units = bytearray(body["text"].encode("utf-16-le", "surrogatepass"))
    for entity in body.get("entities", ()):
        if entity["type"] != "pre":
            yield entity["type"]
        begin, end = 2 * entity["offset"], 2 * (entity["offset"] + entity["length"])
        units[begin:end] = b" \x00" * ((end - begin) // 2)  # nothing is looked for in code
    rest = units.decode("utf-16-le", "surrogatepass")
    for pattern in (BARE, MENTION, re.compile(r"(?<!\S)/\w+"), re.compile(r"(?<!\S)#\w+")):
        yield from pattern.findall(rest)


READERS = {"ntfy": _ntfy, "slack": _slack, "mattermost": _mattermost, "telegram": _telegram}

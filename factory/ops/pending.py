"""``vault/pending/<id>.md``: something only a person can do, read from its file, and checked off. Pure.

Sections (what, why, what to do, what the factory does then, what it unblocks, since when it waits) are headings or
labels at a line's beginning, as agents, people and the vault's ``rent-a-human`` write them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime

FOLDER = "vault/pending/"
_TITLE = re.compile(r"#\s+(?:Request:\s*)?(.+)")
_SECTION = re.compile(
    r"(?im)^(?:##\s+(what|why|human action|factory will then|unblocks|waiting since|deadline|done)\s*$"
    r"|(what|why|factory will then|unblocks|waiting since|deadline):[ \t]*)"
)
_OPTION = re.compile(r"[-*]?\s*\*\*([A-Z])\.\s*(?:\*\*\s*)?(.+?)(?:\*\*)?")
_STEP = re.compile(r"(?:\d+\.|[-*])\s+(?:\[[ xX]\]\s*)?(.+)")
_VERIFY = re.compile(r"(?i)verify(?: with)?:\s*(?:\n\s*)*`?([^`\n]+)`?")
_WHEN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ|\d{4}-\d\d-\d\d")


@dataclass(frozen=True)
class Pending:
    """One such request. Texts are as they stand in the file: untrusted where an agent asked."""

    title: str
    what: str = ""
    why: str = ""
    steps: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    """Words of option A, B and so on."""
    verify: str = ""
    then: str = ""
    unblocks: str = ""
    since: datetime | None = None
    deadline: date | None = None
    done: str = ""
    """Who did it when, and which option; empty: it waits."""

    @property
    def letters(self) -> tuple[str, ...]:
        return tuple(chr(ord("A") + number) for number in range(len(self.options)))


def parse(data: bytes) -> Pending | None:
    """The request in a file; None where it has no title, so is none. What is not known is skipped."""
    text = data.decode("utf-8", "replace").replace("\r\n", "\n")
    title = next((found[1].strip() for line in text.split("\n") if (found := _TITLE.fullmatch(line.strip()))), "")
    if not title:
        return None
    named: dict[str, str] = {}
    marks = list(_SECTION.finditer(text))
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    for mark, end in zip(marks, ends, strict=bool(marks)):
        named.setdefault((mark[1] or mark[2]).lower(), text[mark.end() : end].strip())
    action = named.get("human action", "")
    lines = [line.strip() for line in action.split("\n")]
    when, day = _WHEN.search(named.get("waiting since", "")), _WHEN.search(named.get("deadline", ""))
    verify = _VERIFY.search(action)
    steps = [found[1] for line in lines if not _OPTION.fullmatch(line) and (found := _STEP.fullmatch(line))]
    return Pending(
        _plain(title), _plain(named.get("what", "")), _plain(named.get("why", "")), tuple(map(_plain, steps)),
        tuple(_plain(found[2]) for line in lines if (found := _OPTION.fullmatch(line))),
        verify[1].strip() if verify else "", _plain(named.get("factory will then", "")),
        _plain(named.get("unblocks", "")), _moment(when[0]) if when else None, _day(day[0]) if day else None,
        named.get("done", ""),
    )  # fmt: skip


def _plain(text: str) -> str:
    """Without quotation marks of lines and without Markdown's escapes."""
    lines = (re.sub(r"^>\s?", "", line) for line in text.split("\n"))
    return re.sub(r"\\([\\`*_{}\[\]<>#+!|~@&])", r"\1", "\n".join(lines)).strip()


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _day(text: str) -> date | None:
    found = _moment(text)
    return found.date() if found is not None else None


def finished(data: bytes, by: str, at: datetime, choice: str = "") -> bytes:
    """The file with its last section: every byte a person wrote stays. Raises ValueError for a file that is no request,
    is done already, or has no such option."""
    there = parse(data)
    if there is None:
        raise ValueError("it is no request: it has no title")
    if there.done:
        raise ValueError(f"it is done already: {there.done.splitlines()[0]}")
    if choice and choice not in there.letters:
        raise ValueError(f"it has no option {choice}; options: {', '.join(there.letters) or 'none'}")
    if there.options and not choice:
        raise ValueError(f"which option? {', '.join(there.letters)}")
    words = f"By {by}, {at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}." + (f"\nChoice: {choice}" if choice else "")
    return data.rstrip(b"\n") + f"\n\n## Done\n\n{words}\n".encode()

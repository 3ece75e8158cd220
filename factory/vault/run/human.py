"""``rent-a-human``: what only a person can do, as ``vault/pending/<id>.md``, and how loudly it is asked for. Pure.

The file's text follows from the approved action alone, so whoever projects the ledger can write it; this side only
says that it is to be written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum

from factory.vault.action import Action, Value
from factory.vault.canonical import stamp
from factory.vault.run.tools import Work

FOLDER = "vault/pending/"
FIRST, LATER = timedelta(days=2), timedelta(days=7)
"""Without a deadline: when it is asked for again, and when it goes to the admins."""
BEFORE = timedelta(days=2)
"""So long before a deadline it is asked for again."""


class FilePending:
    """``file_pending``: nothing changes outside but a file that the daemon writes from the ledger."""

    def do(self, work: Work) -> Mapping[str, object]:
        return {"path": path(work.order.action.id), "name": work.order.action.id}

    def done(self, work: Work) -> bool:
        del work
        return False


class Loudness(StrEnum):
    """How a request is to be told now."""

    LISTED = "listed"
    """On the dashboard and in its file."""
    REMINDED = "reminded"
    """Told once more to those who may do it."""
    ESCALATED = "escalated"
    """Told to the admins: it is late."""


@dataclass(frozen=True)
class Pending:
    """A request for a person, as its action says it."""

    id: str
    since: datetime
    what: str
    why: str
    steps: tuple[str, ...]
    choices: tuple[str, ...] = ()
    verify: str = ""
    then: str = ""
    unblocks: tuple[str, ...] = ()
    deadline: date | None = None


@dataclass(frozen=True)
class Evidence:
    """That it was done: who said so, when, which choice, and what the verify command said (None: it was not run)."""

    by: str
    at: datetime
    choice: str = ""
    verified: bool | None = None
    note: str = ""


def path(action: str) -> str:
    return f"{FOLDER}{action}.md"


def of(action: Action, since: datetime) -> Pending:
    """``since``: when it was first seen. A deadline that is no day of the calendar counts as none."""

    def text(key: str) -> str:
        value = action.params.get(key, "")
        return value if isinstance(value, str) else ""

    return Pending(
        action.id, since, text("what"), text("why"), _texts(action.params.get("steps")),
        _texts(action.params.get("choices")), text("verify"), text("then"), action.unblocks, _day(text("deadline")),
    )  # fmt: skip


def _texts(value: Value | None) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, tuple) else ()


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def letter(number: int) -> str:
    """The name of the choice at this place: A, B, C..."""
    return chr(ord("A") + number)


def write(pending: Pending, evidence: Evidence | None = None) -> str:
    """The file. The asker's words are quoted, line by line, and can neither form a heading nor a link."""
    rows = [f"# {pending.id}", "", "What:", _quoted(pending.what), "", "Why:", _quoted(pending.why), "",
            "## Human action", ""]  # fmt: skip
    rows += [f"{number}. {_inline(step)}" for number, step in enumerate(pending.steps, 1)]
    if pending.choices:
        rows += ["", "Options:", *(f"- **{letter(n)}.** {_inline(one)}" for n, one in enumerate(pending.choices))]
    if pending.verify:
        rows += ["", "Verify with:", "", f"    {pending.verify}"]
    choice = " --choice A" if pending.choices else ""
    rows += ["", f"When it is done: `factory vault done {pending.id}{choice}`"]
    if pending.then:
        rows += ["", "Factory will then:", _quoted(pending.then)]
    if pending.unblocks:
        rows += ["", f"Unblocks: {', '.join(pending.unblocks)}"]
    if pending.deadline is not None:
        rows += ["", f"Deadline: {pending.deadline:%Y-%m-%d}"]
    rows += ["", f"Waiting since: {stamp(pending.since)}"]
    if evidence is not None:
        rows += ["", "## Done", "", f"By {_inline(evidence.by)}, {stamp(evidence.at)}."]
        rows += [f"Choice: {evidence.choice}"] if evidence.choice else []
        if evidence.verified is not None:
            rows += [f"The verify command {'succeeded' if evidence.verified else 'FAILED'}."]
        rows += [_quoted(evidence.note)] if evidence.note else []
    return "\n".join(rows) + "\n"


def _quoted(text: str) -> str:
    return f"> {_inline(text)}"


def _inline(text: str) -> str:
    """As plain text of Markdown: what could be markup, a mention, a reference or HTML is only itself."""
    return re.sub(r"([\\`*_{}\[\]<>#+!|~@&])", r"\\\1", text.replace("\n", " ").replace("\r", " "))


def accepted(pending: Pending, evidence: Evidence) -> str:
    """Why this evidence does not settle it; empty: it does."""
    names = [letter(n) for n in range(len(pending.choices))]
    if pending.choices and evidence.choice not in names:
        return f"choose one of {', '.join(names)}"
    if not pending.choices and evidence.choice:
        return "there is nothing to choose"
    if pending.verify and evidence.verified is not True:
        return "the verify command did not succeed" if evidence.verified is False else "the verify command was not run"
    return ""


def loudness(pending: Pending, now: datetime) -> Loudness:
    """How it is to be told at ``now``; it only gets louder with time."""
    if pending.deadline is not None:
        due = datetime.combine(pending.deadline, time(23, 59, 59), tzinfo=UTC)
        steps = [(due, Loudness.ESCALATED), (due - BEFORE, Loudness.REMINDED)]
    else:
        steps = [(pending.since + LATER, Loudness.ESCALATED), (pending.since + FIRST, Loudness.REMINDED)]
    return next((word for when, word in steps if now >= when), Loudness.LISTED)


def next_change(pending: Pending, now: datetime) -> datetime | None:
    """When it will be louder; None: it cannot become any."""
    moments: list[datetime] = []
    if pending.deadline is not None:
        due = datetime.combine(pending.deadline, time(23, 59, 59), tzinfo=UTC)
        moments = [due - BEFORE, due]
    else:
        moments = [pending.since + FIRST, pending.since + LATER]
    return next((when for when in moments if when > now), None)

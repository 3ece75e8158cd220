"""``vault/pending/<id>.md``: something only a person can do, as a value and as its file. Pure.

The form is that of DESIGN section 7: what, why, what to do (steps, options, a command that tells whether it is done),
what the factory does then, what it unblocks, since when it waits. ``factory vault done`` adds the last section.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime

FOLDER = "vault/pending/"
_TITLE = re.compile(r"#\s+(?:Request:\s*)?(.+)")
_OPTION = re.compile(r"[-*]?\s*\*\*([A-Z])\.\s*(.*?)\*\*\s*")
_STEP = re.compile(r"(?:\d+\.|[-*])\s+(?:\[[ xX]\]\s*)?(.+)")
_VERIFY = re.compile(r"(?i)verify:\s*`([^`]+)`\s*")
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
    deadline: str = ""
    done: str = ""
    """Who did it when, and which option; empty: it waits."""

    @property
    def letters(self) -> tuple[str, ...]:
        return tuple(chr(ord("A") + number) for number in range(len(self.options)))


def render(of: Pending) -> str:
    """The file."""
    steps = [f"{number}. {step}" for number, step in enumerate(of.steps, 1)]
    options = [f"- **{letter}. {words}**" for letter, words in zip(of.letters, of.options, strict=True)]
    action = "\n\n".join(
        part for part in ("\n".join(steps), "\n".join(options), f"Verify: `{of.verify}`" if of.verify else "") if part
    )
    since = f"{of.since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if of.since is not None else ""
    sections = [
        ("What", of.what), ("Why", of.why), ("Human action", action), ("Factory will then", of.then),
        ("Unblocks", of.unblocks), ("Waiting since", since), ("Deadline", of.deadline), ("Done", of.done),
    ]  # fmt: skip
    return "\n\n".join([f"# Request: {of.title}", *(f"## {name}\n\n{text}" for name, text in sections if text)]) + "\n"


def parse(data: bytes) -> Pending | None:
    """The request in a file; None where it has no title, so is none. Sections that are not known are skipped."""
    text = data.decode("utf-8", "replace")
    parts = re.split(r"(?m)^##\s+(.+?)\s*$", text)
    title = next((found[1].strip() for line in parts[0].splitlines() if (found := _TITLE.fullmatch(line.strip()))), "")
    if not title:
        return None
    named = {name.strip().lower(): body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=False)}
    action = named.get("human action", "").splitlines()
    when = _WHEN.search(named.get("waiting since", ""))
    verify = next((found[1] for line in action if (found := _VERIFY.fullmatch(line.strip()))), "")
    options = [found[2] for line in action if (found := _OPTION.fullmatch(line.strip()))]
    steps = [
        found[1]
        for line in action
        if not _OPTION.fullmatch(line.strip()) and (found := _STEP.fullmatch(line.strip())) is not None
    ]
    return Pending(
        title, named.get("what", ""), named.get("why", ""), tuple(steps), tuple(options), verify,
        named.get("factory will then", ""), named.get("unblocks", ""), _moment(when[0]) if when else None,
        named.get("deadline", ""), named.get("done", ""),
    )  # fmt: skip


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


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
    words = f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ} by {by}" + (f", option {choice}" if choice else "")
    section = render(replace(Pending(there.title), done=words)).partition("\n\n")[2]
    return data.rstrip(b"\n") + b"\n\n" + section.encode()

"""The labels the factory reads and writes, in one place. What each means to the plan is said here."""

from __future__ import annotations

START = "backlog"
"""Set by someone trusted: the factory may work on the issue."""
PRIORITY = "priority"
"""Before the others."""
BLOCKED = "blocked"
"""The factory stopped and told why; a person takes the label off to let it try again."""
UNDERSPECIFIED = "underspecified"
"""A dev run refused: too large or unclear."""
IN_PROGRESS = "in-progress"
TECH_DEBT = "tech-debt"
BUG_REPORT = "bug-report"
ALREADY_DONE = "already-done"

REJECTED = frozenset({"wontfix", "rejected", "duplicate", "invalid"})
"""A dependency closed with one of these was not done."""

STOPS = frozenset({BLOCKED, UNDERSPECIFIED, ALREADY_DONE}) | REJECTED
"""An issue with one of these is not started, whatever else it carries."""

REFUSALS = {
    "unmet-dependency": BLOCKED,
    "too-large": UNDERSPECIFIED,
    "unclear": UNDERSPECIFIED,
    "already-done": ALREADY_DONE,
}
"""Why a dev run refused -> the label that says so. A person takes it off to have it tried again."""

ALL: dict[str, tuple[str, str]] = {
    START: ("0e8a16", "The factory may work on this (set by someone trusted)"),
    PRIORITY: ("d93f0b", "Before the others"),
    BLOCKED: ("b60205", "The factory stopped and says why; take this label off to let it try again"),
    UNDERSPECIFIED: ("fbca04", "Too large or unclear to start"),
    IN_PROGRESS: ("1d76db", "Being worked on"),
    TECH_DEBT: ("c5def5", "Follow-up found in a review"),
    BUG_REPORT: ("e99695", "Something does not work"),
    ALREADY_DONE: ("c2e0c6", "Nothing to do: it is done already"),
}
"""Name -> colour, description: what ``init`` creates, and what ``perform`` creates when one went missing."""

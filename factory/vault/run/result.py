"""What may come back of a run: a few fields with types and caps. Whatever else it says stays in the log. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import StrEnum

from factory.vault.canonical import plain, trouble
from factory.vault.run.redact import Hit, Redactor, together

MAX_TOTAL = 8 * 1024
MAX_TEXT = 500
MAX_JSON = 6 * 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,119}")
_PATH = re.compile(r"(?!.*(?:^|/)\.{1,2}(?:/|$))[A-Za-z0-9._][A-Za-z0-9._/-]{0,199}")
_HEX = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_URL = re.compile(r"https?://[A-Za-z0-9.-]{1,253}(?::\d{1,5})?/[A-Za-z0-9._~/%+-]{0,200}")
FIELDS: Mapping[str, re.Pattern[str] | str] = {
    "tag": _NAME, "commit": _HEX, "object": _HEX, "sha256": _HEX, "digest": _DIGEST, "url": _URL, "path": _PATH,
    "place": _NAME, "version": _NAME, "asset": _NAME, "name": _NAME, "kind": _NAME, "previous": _NAME,
    "size": "int", "status": "int", "files": "int", "release": "int", "pull": "int", "changed": "flag",
    "value": "json", "note": "text",
}  # fmt: skip
"""Name of a field -> its form. Nothing else comes back: a run cannot invent a field to say something in."""


class Ending(StrEnum):
    """All that is told of how the steps ended; an exit code itself would be a byte of anything."""

    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"
    """Out of time, memory, output: which of them, the log says."""
    NOT_BUILT = "not built"


class Note(StrEnum):
    """All that is told of the requests of a run that failed. Method, host, path, number and order are the run's own
    choice: they stay in the log on the host."""

    NONE = ""
    REFUSED = "a request of it was refused"
    FAILED = "a host that it asked did not answer"


KEPT_BACK = "its result was kept back: something secret stood in it"


def ending(code: int | None, *, stopped: bool, built: bool) -> Ending:
    """``code`` None: it was killed."""
    if not built:
        return Ending.NOT_BUILT
    if stopped or code is None:
        return Ending.STOPPED
    return Ending.DONE if code == 0 else Ending.FAILED


def taken(said: object) -> tuple[dict[str, str], tuple[str, ...]]:
    """The fields that are what they should be, as texts; and what was dropped, in words that quote nothing of it."""
    if not isinstance(said, Mapping):
        return {}, ("the result is no table",)
    found: dict[str, str] = {}
    dropped: list[str] = []
    unknown = sum(1 for key in said if key not in FIELDS)
    for key, form in FIELDS.items():
        if key not in said:
            continue
        text = _text(form, said[key])
        if text is None:
            dropped.append(f"{key} is not a {form if isinstance(form, str) else key}")
        elif sum(map(len, found.values())) + len(text) > MAX_TOTAL:
            dropped.append(f"{key} is too much")
        else:
            found[key] = text
    if unknown:
        dropped.append(f"{unknown} fields that there are not")
    return found, tuple(dropped)


def _text(form: re.Pattern[str] | str, value: object) -> str | None:
    if form == "int":
        good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53
        return str(value) if good else None
    if form == "flag":
        return str(value).lower() if isinstance(value, bool) else None
    if form == "json":
        return _json(value)
    if not isinstance(value, str):
        return None
    if isinstance(form, str):
        return value if trouble(value, MAX_TEXT) is None else None
    return value if form.fullmatch(value) else None


def _json(value: object) -> str | None:
    """Compact ASCII, so that it is one line of a ledger entry; None for what is too long or no JSON."""
    if not isinstance(value, dict | list):
        return None
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return None
    return text if len(text) <= MAX_JSON and trouble(text, MAX_JSON) is None else None


def passed(found: Mapping[str, str], redactor: Redactor) -> tuple[dict[str, str], tuple[Hit, ...]]:
    """The fields, or none of them and why: a result in which a secret stands is not repaired, it is kept back."""
    hits = redactor.find(together(found.values()), rules=True)
    return ({}, hits) if hits else (dict(found), ())


def said(words: str, redactor: Redactor, limit: int = MAX_TEXT) -> str:
    """Words for the ledger and for people: nothing a run was given in them, nothing that hides."""
    cleaned, left = redactor.withheld(words.encode("utf-8", "replace"))
    text = cleaned.decode("utf-8", "replace")
    if left or redactor.find(text.encode(), rules=True):
        text = "the words were kept back: a secret stood in them"
    return plain(text, limit)

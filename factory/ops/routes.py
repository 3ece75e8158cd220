"""Which way a change of the ops repo goes: written directly, or as a pull request that a person approves.

One table (DESIGN section 7). It also writes the forge's ``unprotected_file_patterns``, so the forge and the writer can
not disagree about what is direct. Whatever the table does not name is a person's, unknown paths included. What direct
routes carry is data: it reaches a prompt only as quoted text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from enum import StrEnum

from factory.errors import PolicyDenied


class Route(StrEnum):
    """How a change to a path of the ops repo gets to ``main``."""

    DIRECT = "direct"
    """Committed to ``main`` by the writer after its checks."""
    PERSON = "person"
    """A branch ``edit/*`` and a pull request; a listed person approves it."""


DIRECT_FILES = ("README.md", "prerequisites.md")
DIRECT_FOLDERS = (
    "dashboard/", "knowledge/", "evidence/", "incidents/", "diary/", "predictions/", "pauses/",
    "vault/pending/", "vault/fired/", "vault/rejected/",
)  # fmt: skip

OF_CHECKS, ENDED = "evidence/", "vault/fired/"
"""What was found is written by ``check`` steps only, and together with how an action of the vault ended that read it;
whoever asks, and whichever way the forge would let it go."""

CONTROLLED_FILES = ("factory.toml", "vault/policy.toml")
CONTROLLED_FOLDERS = ("vault/secrets/", "formulas/", "agents/", "generators/")
"""The controlled set (DESIGN section 6): counts only as a listed person approved it. Fixed in code on purpose."""

_MAX_PATH = 512
_WORD = re.compile(r"[^\W\d_]+")
_INVISIBLE_KINDS = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_BLANKS = frozenset(
    map(chr, (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0, *range(0x180B, 0x1810)))
) | frozenset(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
"""Letters and marks that draw nothing (Unicode's Default_Ignorable, and the empty Braille cell)."""
_FORBIDDEN = frozenset('<>:"|?*;')
"""Characters that other file systems refuse, or that end a pattern in the forge's list (``;``)."""


def checked(path: str) -> str:
    """The path, if it is a plain one: relative, ``/`` between its parts, in NFC, spelled in the one way that every file
    system and the forge read alike.

    Raises PolicyDenied for anything that could name another file than it shows: ``..`` and empty parts, a backslash,
    a trailing dot or space, control and invisible characters, compatibility look-alikes, ``.git`` in any spelling, and
    a case twin of a path this table names (``Factory.toml``).
    """
    reason = _trick(path)
    if reason is not None:
        raise PolicyDenied(
            f"refusing the ops repo path {path[:120]!r}: {reason}",
            hint="use a plain relative path like knowledge/dev/memory.md",
        )
    return path


def _trick(path: str) -> str | None:
    if not path or len(path.encode("utf-8", "surrogatepass")) > _MAX_PATH:
        return f"it must have between 1 and {_MAX_PATH} bytes"
    if path.startswith("/"):
        return "it is absolute"
    if "\\" in path:
        return "it holds a backslash"
    if unicodedata.normalize("NFC", path) != path:
        return "it is not in Unicode's composed form (NFC)"
    if unicodedata.normalize("NFKC", path) != path:
        return "it holds characters that look like others"
    for char in path:
        if unicodedata.category(char) in _INVISIBLE_KINDS or char in _BLANKS or (char.isspace() and char != " "):
            return f"it holds the invisible character U+{ord(char):04X}"
        if char in _FORBIDDEN:
            return f"it holds {char!r}"
    for part in path.split("/"):
        if part in ("", ".", ".."):
            return f"it has the part {part!r}"
        if part != part.strip(" ") or part.endswith("."):
            return f"the part {part!r} begins or ends with a space, or ends with a dot"
        if part.casefold() == ".git" or part.casefold().startswith("git~"):
            return "git keeps that name for itself"
        if not part.isascii() and any(_mixes_alphabets(word) for word in _WORD.findall(part)):
            return f"the part {part!r} mixes alphabets in one word"
    return _case_twin(path)


def _mixes_alphabets(word: str) -> bool:
    """Whether Latin letters stand beside letters that look like them (Cyrillic ``\u0430`` in ``agents``)."""
    scripts = {unicodedata.name(char, "?").split(" ")[0] for char in word}
    return "LATIN" in scripts and bool(scripts & {"CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE"})


def _case_twin(path: str) -> str | None:
    """The forge compares patterns in lower case (Forgejo's ``unprotected_file_patterns``), and some checkouts fold
    case: a path that differs from a named one only by case is refused rather than routed."""
    named = (*DIRECT_FILES, *DIRECT_FOLDERS, *CONTROLLED_FILES, *CONTROLLED_FOLDERS, "vault/actions/", "vault/")
    folded = path.casefold()
    for name in named:
        same = path.startswith(name) if name.endswith("/") else path == name
        hit = folded.startswith(name.casefold()) if name.endswith("/") else folded == name.casefold()
        if hit and not same:
            return f"it differs only by case from {name}"
        if name.endswith("/") and folded == name.casefold()[:-1]:
            return f"{name} is a folder"
    return None


def route(path: str) -> Route:
    """Which way a change of this path goes. Raises PolicyDenied for a path that is not plain (see ``checked``)."""
    plain = checked(path)
    if plain in DIRECT_FILES or plain.startswith(DIRECT_FOLDERS):
        return Route.DIRECT
    return Route.PERSON


def refuse_evidence(path: str, beside: Iterable[str] = ()) -> None:
    """Raises PolicyDenied for what only a check may write: an edit, a proposal or an outbox never does. ``beside``: the
    other paths of the same commit; what an action of the vault read comes with how it ended."""
    if path.startswith(OF_CHECKS) and not any(other.startswith(ENDED) for other in beside):
        raise PolicyDenied(
            f"writing {path} to the ops repo: what is there was found by checks and actions, and nobody else writes it",
            hint="what is wrong with it may be said beside it: knowledge/ or incidents/",
        )


def controlled(path: str) -> bool:
    """Whether the path belongs to the controlled set. Lenient on purpose: a case twin or a look-alike counts as in it,
    because this question is asked about paths that somebody else already pushed."""
    folded = unicodedata.normalize("NFKC", path).casefold().replace("\\", "/")
    return folded in CONTROLLED_FILES or folded.startswith(CONTROLLED_FOLDERS) or folded + "/" in CONTROLLED_FOLDERS


def unprotected_patterns() -> str:
    """The direct routes as Forgejo's ``unprotected_file_patterns``: gobwas globs with the separators ``.`` and ``/``,
    joined by ``;``, in lower case, as the forge lowers both sides before it compares."""
    patterns = [name.lower() for name in DIRECT_FILES] + [f"{folder.lower()}**" for folder in DIRECT_FOLDERS]
    return ";".join(patterns)

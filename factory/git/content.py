"""What a session's commits may put into a repo, judged entry by entry: modes, names, links, submodules, twins, sizes.

git's own fsck is asked first (``index-pack --strict``); these rules stand beside it, because a tree can be
well-formed and still hurt whoever checks it out: a symlink out of the tree, two names that are one file on another
machine, a name made of characters nobody sees. Pure: the entries come in as values.
"""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from factory.git.values import MODE_EXECUTABLE, MODE_FILE, MODE_SUBMODULE, MODE_SYMLINK


@dataclass(frozen=True)
class Limits:
    """Bounds on what one session may hand over. Sizes in bytes."""

    max_commits: int = 500
    max_files: int = 5_000
    max_file_bytes: int = 20 * 1024 * 1024
    max_total_bytes: int = 100 * 1024 * 1024
    max_path_bytes: int = 1_000
    max_message_bytes: int = 64 * 1024


@dataclass(frozen=True)
class Refusal:
    """One reason not to take what a session left. ``path`` is empty where no file is meant."""

    code: str
    path: str
    detail: str


@dataclass(frozen=True)
class Entry:
    """One path a commit wrote: ``path`` as raw bytes, the new mode and object. Deletions are no entries."""

    path: bytes
    mode: int
    oid: str


MAX_LINK_BYTES = 4096
_MAX_COMPONENT = 255
_ALLOWED = (MODE_FILE, MODE_EXECUTABLE, MODE_SYMLINK, MODE_SUBMODULE)
_DOT_GIT = re.compile(r"\.git|git~\d+")
# Format characters (zero width, bidi, tags) and what else no eye tells apart, beside the control characters.
_UNSEEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))


def judge(
    entries: Sequence[Entry],
    *,
    before: Collection[bytes],
    base_links: Mapping[bytes, str],
    sizes: Mapping[str, int],
    targets: Mapping[str, bytes],
    limits: Limits,
) -> list[Refusal]:
    """Every problem of the written entries.

    ``before`` are the paths of the base: their names are as they are. ``base_links`` are its submodules (path ->
    commit), ``sizes`` the sizes of the written blobs,
    ``targets`` the content of the written symlinks (cut at ``MAX_LINK_BYTES`` + 1).
    """
    found: list[Refusal] = []
    for entry in dict.fromkeys(entries):
        shown = show(entry.path)
        if entry.path not in before:
            found += [Refusal(code, shown, detail) for code, detail in _name_problems(entry.path, limits)]
        if entry.mode not in _ALLOWED:
            found.append(Refusal("mode", shown, f"mode {entry.mode:06o} is not a file, an executable or a symlink"))
        elif entry.mode == MODE_SUBMODULE:
            if base_links.get(entry.path) != entry.oid:
                found.append(Refusal("submodule", shown, "a submodule is added or moved; only a person may do that"))
        elif entry.mode == MODE_SYMLINK:
            found += _link_problems(entry.path, targets[entry.oid])
        elif sizes[entry.oid] > limits.max_file_bytes:
            found.append(Refusal("file-size", shown, f"{sizes[entry.oid]} bytes, at most {limits.max_file_bytes}"))
    paths = {entry.path for entry in entries}
    if len(paths) > limits.max_files:
        found.append(Refusal("files", "", f"{len(paths)} files are touched, at most {limits.max_files}"))
    blobs = {entry.oid for entry in entries if entry.mode != MODE_SUBMODULE}
    total = sum(sizes[oid] for oid in blobs)
    if total > limits.max_total_bytes:
        found.append(Refusal("total-size", "", f"{total} bytes are written, at most {limits.max_total_bytes}"))
    return found


def twins(before: Iterable[bytes], after: Iterable[bytes]) -> list[Refusal]:
    """Paths of the tree ``after`` that fall together where case or accents do not count, unless they did ``before``."""
    old = _all_prefixes(before)
    spellings: dict[str, set[bytes]] = {}
    for path in _all_prefixes(after):
        spellings.setdefault(_folded(path), set()).add(path)
    found = []
    for same in spellings.values():
        if len(same) > 1 and not same <= old:
            new = min(same - old)
            others = ", ".join(sorted(show(other) for other in same if other != new))
            found.append(Refusal("case-twin", show(new), f"the same name as {others} where case does not count"))
    return sorted(found, key=lambda refusal: refusal.path)


def show(path: bytes) -> str:
    """A path for a person's eye: printable, capped, nothing hidden."""
    text = path.decode("utf-8", "backslashreplace")
    seen = "".join(char if unicodedata.category(char) not in _UNSEEN else f"\\u{{{ord(char):x}}}" for char in text)
    return seen if len(seen) <= 300 else seen[:300] + "..."


def _name_problems(path: bytes, limits: Limits) -> Iterable[tuple[str, str]]:
    if len(path) > limits.max_path_bytes or any(len(part) > _MAX_COMPONENT for part in path.split(b"/")):
        yield "path-length", f"a path of {len(path)} bytes, at most {limits.max_path_bytes} and 255 between slashes"
    try:
        text = path.decode("utf-8")
    except UnicodeDecodeError:
        yield "name", "the name is not UTF-8"
        return
    if any(unicodedata.category(char) in _UNSEEN for char in text):
        yield "name", "the name holds control, invisible or direction-changing characters"
    if "\\" in text:
        yield "name", "the name holds a backslash"
    parts = text.split("/")
    if any(part in ("", ".", "..") for part in parts):
        yield "name", "the path has an empty, . or .. part"
    if any(_DOT_GIT.fullmatch(_as_other_systems_read(part)) for part in parts):
        yield "dot-git", "a part of the path is .git, or becomes it on another file system"
    if any(part != part.rstrip(" .") for part in parts):
        yield "name", "a part of the path ends in a space or a dot"


def _as_other_systems_read(part: str) -> str:
    # NTFS drops trailing dots, spaces and what follows a colon; HFS+ drops format characters; both ignore case.
    kept = "".join(char for char in part if unicodedata.category(char) != "Cf")
    return unicodedata.normalize("NFKC", kept).casefold().partition(":")[0].rstrip(" .")


def _link_problems(path: bytes, target: bytes) -> Iterable[Refusal]:
    shown = show(path)
    if len(target) > MAX_LINK_BYTES or not target or b"\0" in target:
        yield Refusal("symlink", shown, "the symlink's target is empty, too long or holds a NUL")
        return
    text = target.decode("utf-8", "surrogateescape")
    folder = posixpath.dirname(path.decode("utf-8", "surrogateescape"))
    resolved = posixpath.normpath(posixpath.join(folder, text))
    if text.startswith("/") or resolved == ".." or resolved.startswith("../"):
        yield Refusal("symlink", shown, f"the symlink points out of the tree, to {show(target)}")
    elif any(_DOT_GIT.fullmatch(_as_other_systems_read(part)) for part in resolved.split("/")):
        yield Refusal("symlink", shown, f"the symlink points into .git, to {show(target)}")


def _all_prefixes(paths: Iterable[bytes]) -> set[bytes]:
    found: set[bytes] = set()
    for path in paths:
        while path and path not in found:
            found.add(path)
            path = path.rpartition(b"/")[0]
    return found


def _folded(path: bytes) -> str:
    return unicodedata.normalize(
        "NFC", unicodedata.normalize("NFKD", path.decode("utf-8", "surrogateescape")).casefold()
    )

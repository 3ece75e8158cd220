"""Taking in what a session left: ``head.json`` and ``work.pack``, opened without trust, ingested into a repo of its
own.

The pack goes into a fresh quarantine repo whose only alternate is the session's own view, so an object it names but
does not carry must be one the session could see anyway; from the host's mirror a foreign blob would resolve
(security-rules.md). ``git fetch BUNDLE`` is no substitute: git 2.39 runs no fsck on it.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from factory.errors import GitFailed
from factory.git import objects
from factory.git.content import MAX_LINK_BYTES, Entry, Limits, Refusal, judge, show, twins
from factory.git.plumbing import attempt, failure, git
from factory.git.refs import is_oid, need_oid, need_ref
from factory.git.values import MODE_SUBMODULE, MODE_SYMLINK

HEAD_FILE = "head.json"
PACK_FILE = "work.pack"

_HEAD_BYTES = 4096
_INDEX_TIMEOUT_S = 120.0
_MEMORY_BYTES = 2 * 1024**3


@dataclass(frozen=True)
class Ingested:
    """What was taken in: the head now in the quarantine, its new commits (oldest first) and every path they touch."""

    head: str
    commits: int
    paths: tuple[str, ...]
    oids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refused:
    """Nothing is taken; all problems that could be found."""

    refusals: tuple[Refusal, ...]


class _Stop(Exception):
    """Problems after which nothing further can be looked at."""

    def __init__(self, *refusals: Refusal) -> None:
        super().__init__(*refusals)
        self.refusals = refusals


def ingest(
    out_dir: Path,
    view: Path,
    quarantine: Path,
    *,
    expected_ref: str,
    base: str,
    max_bytes: int,
    limits: Limits | None = None,
    known: Sequence[str] = (),
) -> Ingested | Refused:
    """Ingest the pack in ``out_dir`` into a new bare repo at ``quarantine`` (must not exist) and check every new
    commit.

    ``base`` is the commit the clone started from, ``known`` further commits of the view whose history is not the
    session's work (the base branch's tip, which a conflict run merges). ``max_bytes`` bounds the pack. A session that
    made no commit yields ``head == base`` and no commits. What is refused comes back as values; the caller deletes the
    quarantine either way.

    Raises GitFailed when git itself cannot work here (no space, a broken view).
    """
    need_ref(expected_ref)
    known = tuple(need_oid(oid) for oid in (base, *known))
    limits = limits or Limits()
    try:
        folder = os.open(out_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        return Refused((Refusal("output", "", f"the session's output folder cannot be opened: {error.strerror}"),))
    try:
        head = _read_head(folder, expected_ref, base)
        _new_quarantine(quarantine, view)
        if head == base:
            return Ingested(head, 0, ())
        _index_pack(folder, quarantine, max_bytes)
        return _checked(quarantine, head, base, known, limits)
    except _Stop as stop:
        return Refused(stop.refusals)
    finally:
        os.close(folder)


def _read_head(folder: int, expected_ref: str, base: str) -> str:
    fd = _open_plain(folder, HEAD_FILE, _HEAD_BYTES)
    try:
        raw = os.read(fd, _HEAD_BYTES + 1)
    finally:
        os.close(fd)
    try:
        said = json.loads(raw)
        fields = {name: said[name] for name in ("ref", "head", "base")}
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _Stop(Refusal("head", HEAD_FILE, "it is not an object with ref, head and base")) from None
    problems = []
    if fields["ref"] != expected_ref:
        problems.append(Refusal("head", HEAD_FILE, f"it names {str(fields['ref'])[:100]!r}, not {expected_ref}"))
    if fields["base"] != base:
        problems.append(Refusal("head", HEAD_FILE, f"it starts at {str(fields['base'])[:60]!r}, not at {base}"))
    head = fields["head"]
    if not isinstance(head, str) or not is_oid(head):
        problems.append(Refusal("head", HEAD_FILE, "its head is not an object id"))
    if problems:
        raise _Stop(*problems)
    return str(head)


def _open_plain(folder: int, name: str, max_bytes: int) -> int:
    """A descriptor of a regular file of at most ``max_bytes``; a link, a FIFO or a device is refused unopened or
    unread.
    """
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        raise _Stop(Refusal("output", name, f"it cannot be opened as a file: {error.strerror}")) from error
    there = os.fstat(fd)
    if not stat.S_ISREG(there.st_mode) or there.st_nlink != 1:
        os.close(fd)
        raise _Stop(Refusal("output", name, "it is not a regular file with one name"))
    if there.st_size > max_bytes:
        os.close(fd)
        raise _Stop(Refusal("output", name, f"{there.st_size} bytes, at most {max_bytes}"))
    return fd


def _new_quarantine(quarantine: Path, view: Path) -> None:
    if quarantine.exists():
        raise GitFailed(f"preparing the quarantine {quarantine}: it exists already; each ingest needs a fresh one")
    objects.init_bare(quarantine)
    alternates = quarantine / "objects" / "info" / "alternates"
    alternates.parent.mkdir(exist_ok=True)
    alternates.write_text(f"{(view / 'objects').absolute()}\n", encoding="utf-8")


def _index_pack(folder: int, quarantine: Path, max_bytes: int) -> None:
    fd = _open_plain(folder, PACK_FILE, max_bytes)
    try:
        done = attempt(
            quarantine,
            "index-pack",
            "--stdin",
            "--fix-thin",
            "--strict",
            "--fsck-objects",
            f"--max-input-size={max_bytes}",
            input=fd,
            timeout_s=_INDEX_TIMEOUT_S,
            # A small pack may unfold into a huge object: memory, file size and time are bounded, not only the input.
            rlimits={"data": _MEMORY_BYTES, "fsize": 4 * max_bytes + _MEMORY_BYTES, "core": 0},
        )
    finally:
        os.close(fd)
    if done.returncode != 0 or done.timed_out:
        raise _Stop(Refusal("pack", PACK_FILE, failure(done, _INDEX_TIMEOUT_S)))


def _checked(repo: Path, head: str, base: str, known: Sequence[str], limits: Limits) -> Ingested | Refused:
    if not objects.exists(repo, head) or objects.object_kind(repo, head) != ("commit", head):
        raise _Stop(Refusal("head", HEAD_FILE, f"{head[:12]} is no commit that the pack carries"))
    if not objects.is_ancestor(repo, base, head):
        raise _Stop(Refusal("history", "", f"{head[:12]} does not descend from {base[:12]}: history was rewritten"))
    cap = limits.max_commits + 1
    listed = git(repo, "rev-list", "--topo-order", "--reverse", head, "--not", *known).decode().split()
    if len(listed) >= cap:
        raise _Stop(Refusal("commits", "", f"{len(listed)} commits, at most {limits.max_commits}"))
    entries, paths = _written(repo, listed)
    blobs = sorted({entry.oid for entry in entries if entry.mode != MODE_SUBMODULE})
    links = sorted({entry.oid for entry in entries if entry.mode == MODE_SYMLINK})
    sizes = _sizes(repo, [*blobs, *listed])
    targets = {oid: objects.read_blob(repo, oid, MAX_LINK_BYTES + 1) or b"" for oid in links}
    found = [
        Refusal("message-size", "", f"the commit {oid[:12]} has {sizes[oid]} bytes, at most {limits.max_message_bytes}")
        for oid in listed
        if sizes[oid] > limits.max_message_bytes
    ]
    before = frozenset(_names(repo, base))
    found += judge(
        entries, before=before, base_links=_submodules(repo, base), sizes=sizes, targets=targets, limits=limits
    )
    found += twins(before, _names(repo, head))
    if found:
        return Refused(tuple(found))
    return Ingested(head, len(listed), tuple(sorted(show(path) for path in paths)), tuple(listed))


def _written(repo: Path, commits: Sequence[str]) -> tuple[list[Entry], set[bytes]]:
    """What each commit writes against its parent (a merge: what no parent has), and every path touched."""
    out = git(
        repo, "diff-tree", "--stdin", "--root", "-r", "-c", "-z", "--raw", "--no-renames", "--no-abbrev",
        "--no-commit-id",
        input="".join(f"{oid}\n" for oid in commits).encode(),
    )  # fmt: skip
    entries: list[Entry] = []
    paths: set[bytes] = set()
    fields = iter(out.split(b"\0"))
    for head in fields:
        if not head:
            continue
        parents = len(head) - len(head.lstrip(b":"))
        columns = head.lstrip(b":").split(b" ")
        mode, oid = int(columns[parents], 8), columns[2 * parents + 1].decode("ascii")
        path = next(fields)
        paths.add(path)
        if mode:
            entries.append(Entry(path, mode, oid))
    return entries, paths


def _sizes(repo: Path, oids: Iterable[str]) -> dict[str, int]:
    asked = "".join(f"{oid}\n" for oid in oids).encode()
    out = git(repo, "cat-file", "--batch-check=%(objectname) %(objectsize)", input=asked)
    sizes = dict(line.split(" ", 1) for line in out.decode("ascii").splitlines())
    if missing := sorted(oid for oid, size in sizes.items() if not size.isdigit()):
        raise _Stop(Refusal("pack", PACK_FILE, f"{len(missing)} objects are missing, {missing[0][:12]} first"))
    return {oid: int(size) for oid, size in sizes.items()}


def _submodules(repo: Path, commit: str) -> dict[bytes, str]:
    rows = (row for row in git(repo, "ls-tree", "-r", "-z", commit).split(b"\0") if row.startswith(b"160000 "))
    return {row.partition(b"\t")[2]: row.split(b"\t")[0].split(b" ")[2].decode("ascii") for row in rows}


def _names(repo: Path, commit: str) -> list[bytes]:
    return [name for name in git(repo, "ls-tree", "-r", "-z", "--name-only", commit).split(b"\0") if name]

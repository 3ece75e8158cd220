"""How commits leave a session: quarantine, checks in code, the role's own name on them. Nothing else comes out."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from factory.checks import secrets
from factory.checks.model import Change, FileChange, Finding, Severity
from factory.git import objects
from factory.git.content import Refusal
from factory.git.packs import Refused, ingest
from factory.git.values import CommitInfo, Signature
from factory.plan.agent_text import commit_message
from factory.runs.spec import SessionSpec
from factory.session.box import Box
from factory.session.facts import between, blocking, findings

LEAVING_CHECKS = ("diff-scan", "secrets")
"""Judged before any push, whatever the formula says; a later one only if it can still be afforded."""
MAX_PACK = 200_000_000
MAX_HISTORY = 4_000_000
"""Characters that all commits together may add; the search for secrets takes about a second for each million."""
MAX_SAID = 30
_PRINTABLE = re.compile(rb"[\x20-\x7e]{16,}")


@dataclass(frozen=True)
class Left:
    """What came out: the new head (None: no commits), how many commits, and why not when refused."""

    head: str | None
    commits: int
    refusals: tuple[str, ...] = ()


def take(box: Box, quarantine: Path, spec: SessionSpec, identity: Signature) -> Left:
    """Ingest the session's pack into a fresh quarantine, judge it, and rewrite author and message to the role's.

    Raises GitFailed when git cannot work here.
    """
    shutil.rmtree(quarantine, ignore_errors=True)
    quarantine.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    base = box.checkout.base
    tip = objects.read_ref(box.checkout.view.path, f"refs/heads/{spec.base_ref}")
    known = () if tip is None else (tip,)
    got = ingest(
        box.out,
        box.checkout.view.path,
        quarantine,
        expected_ref=box.checkout.ref,
        base=base,
        max_bytes=MAX_PACK,
        known=known,
    )
    if isinstance(got, Refused):
        shutil.rmtree(quarantine, ignore_errors=True)
        return Left(None, 0, _capped([_words(refusal) for refusal in got.refusals]))
    if got.commits == 0:
        return Left(None, 0)
    origin = _origin(quarantine, base, got.head, tip)
    about = between(quarantine, origin, got.head)
    problems: list[str] = []
    for check in LEAVING_CHECKS:
        if not problems or _size(about) < MAX_HISTORY:
            problems += [str(finding) for finding in blocking(findings((check,), about))]
    problems += _unreadable_secrets(quarantine, got.head, about)
    if not problems:
        problems += _on_the_way(quarantine, got.oids, origin)
    if problems:
        shutil.rmtree(quarantine, ignore_errors=True)
        return Left(None, got.commits, _capped(list(dict.fromkeys(problems))))
    head = objects.rewrite_commits(
        quarantine,
        base=base,
        head=got.head,
        author=identity,
        committer=identity,
        rewrite_message=commit_message,
        known=known,  # else a conflict run would rewrite the commits of others that it merged
    )
    objects.update_ref(quarantine, "refs/factory/leaving", head)
    return Left(head, got.commits)


def _origin(repo: Path, base: str, head: str, tip: str | None) -> str:
    """What the session's own content is judged against: where it began; once it has merged more of the base branch,
    the newest commit of that branch it holds, else what others merged there would be judged as its own."""
    if tip is None:
        return base
    held = objects.merge_base(repo, tip, head)
    return base if held is None or objects.is_ancestor(repo, held, base) else held


def _on_the_way(repo: Path, oids: Sequence[str], origin: str) -> Iterator[str]:
    """Secrets that only history would show: in a message, or added by one commit and taken away by a later one."""
    left = MAX_HISTORY
    for oid in oids:
        info = objects.commit_info(repo, oid)
        for number, kind in secrets.find_secrets(info.message):
            yield f"secrets: message of commit {oid[:12]}, line {number}: looks like {kind}"
        if len(oids) == 1 and info.parents == (origin,):
            continue  # all it brings is the whole change, which was judged
        brought = _brought(repo, info)
        left -= _size(brought)
        if left < 0 or brought.truncated:
            yield f"history: the commits up to {oid[:12]} wrote more than can be looked through; make fewer of them"
            return
        for finding in secrets.scan(brought):
            if finding.severity is Severity.BLOCK:
                yield str(finding)
        yield from _unreadable_secrets(repo, oid, brought)


def _size(change: Change) -> int:
    """Characters it adds."""
    return sum(len(text) + 1 for file in change.files for _, text in file.added)


def _brought(repo: Path, commit: CommitInfo) -> Change:
    """What this commit alone brings: of a merge, what none of its parents had."""
    parents = commit.parents or (objects.EMPTY_TREE,)
    first, *others = [between(repo, parent, commit.oid, with_base=False) for parent in parents]
    files = {file.path: file for file in first.files}
    for other in others:
        theirs = {file.path: file for file in other.files}
        files = {path: _both(file, theirs[path]) for path, file in files.items() if path in theirs}
    return Change(tuple(files.values()), truncated=first.truncated or any(other.truncated for other in others))


def _both(one: FileChange, other: FileChange) -> FileChange:
    texts = {text for _, text in other.added}
    return replace(one, added=tuple(line for line in one.added if line[1] in texts))


def _unreadable_secrets(repo: Path, commit: str, change: Change) -> Iterator[str]:
    """Secrets in files that git shows no lines of."""
    for file in change.files:
        if not file.binary or file.status == "deleted":
            continue
        data = objects.read_file(repo, commit, file.path) or b""
        # Without its NULs wide text reads as narrow text does.
        runs = [run.decode("ascii") for text in (data, data.replace(b"\0", b"")) for run in _PRINTABLE.findall(text)]
        for kind in dict.fromkeys(kind for _, kind in secrets.find_secrets("\n".join(runs))):
            yield str(Finding(secrets.NAME, Severity.BLOCK, file.path, None, f"looks like it holds {kind}"))


def _words(refusal: Refusal) -> str:
    return f"{refusal.code}: {refusal.path}: {refusal.detail}" if refusal.path else f"{refusal.code}: {refusal.detail}"


def _capped(problems: list[str]) -> tuple[str, ...]:
    more = len(problems) - MAX_SAID
    return (*problems[:MAX_SAID], *([f"and {more} more"] if more > 0 else []))

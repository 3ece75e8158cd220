"""Facts computed in code about a change: git objects in, what the checks look at out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

from factory.checks import CHECKS
from factory.checks.model import Change, FileChange, Finding, Severity
from factory.git import objects
from factory.runs.spec import SessionSpec, StepResult

MAX_DIFF = 8_000_000
MANY = 500
"""Changed paths from which on a whole tree is read at once."""
_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")


def change(repo: Path, base: str, head: str, spec: SessionSpec) -> Change:
    """The whole change base..head (from their merge base) as the checks see it. Raises GitFailed."""
    origin = objects.merge_base(repo, base, head) or base
    issue = f"{spec.inputs.get('issue_title', '')}\n{spec.inputs.get('issue_body', '')}".strip()
    return between(repo, origin, head, issue=issue, ci_command=spec.ci.command)


def between(
    repo: Path, origin: str, head: str, *, issue: str = "", ci_command: str = "", with_base: bool = True
) -> Change:
    """What differs from ``origin`` to ``head`` exactly. ``with_base`` False leaves out what lies in ``origin`` besides,
    which costs a look at the whole tree. Raises GitFailed."""
    diff = objects.diff_text(repo, origin, head, MAX_DIFF)
    paths = objects.diff_paths(repo, origin, head)
    whole = with_base or len(paths) > MANY
    before = _entries(repo, origin, None if whole else {path.old_path or path.path for path in paths})
    after = _entries(repo, head, None if len(paths) > MANY else {path.path for path in paths})
    parts = sections(diff)
    # What was cut off was not looked at: behind it a secret could leave. The same where the two lists disagree.
    cut = diff.endswith(f"[diff cut at {MAX_DIFF} bytes]\n") or len(parts) != len(paths)
    files = []
    for number, path in enumerate(paths):
        new, old = after.get(path.path), before.get(path.old_path or path.path)
        added, removed = ((), ()) if cut else parts[number]
        if path.status == "typechange":
            # A diff tells nothing of what a link became, or of what became a link.
            added, removed = (_whole(repo, new), _whole(repo, old))
        files.append(
            FileChange(
                path=path.path,
                status=path.status,
                old_path=path.old_path,
                mode=new.mode if new else 0,
                old_mode=old.mode if old else None,
                size=(new.size or 0) if new else 0,
                binary=path.binary,
                added=added,
                removed=removed,
            )
        )
    return Change(tuple(files), frozenset(before) if with_base else frozenset(), issue, ci_command, truncated=cut)


def _entries(repo: Path, rev: str, paths: Set[str] | None) -> Mapping[str, objects.TreeEntry]:
    """The entries at these paths; None: all there are."""
    if paths is None:
        return {entry.path: entry for entry in objects.list_tree(repo, rev, recursive=True)}
    found = ((path, objects.find_entry(repo, rev, path)) for path in paths)
    return {path: entry for path, entry in found if entry is not None}


def findings(uses: Sequence[str], about: Change) -> tuple[Finding, ...]:
    """What the named checks say, in their order."""
    return tuple(finding for name in uses for finding in CHECKS[name](about))


def check_step(step: str, uses: Sequence[str], about: Change) -> tuple[StepResult, tuple[Finding, ...]]:
    """A ``check`` step of a formula: it reports; what blocks is judged where commits leave or merge. What needs a
    person's approval is in ``answer["person"]``, where the merge gate finds it."""
    found = findings(uses, about)
    text = "\n".join(map(str, found)) or "nothing found"
    person = [str(finding)[:500] for finding in found if finding.severity is Severity.PERSON][:20]
    return StepResult(step, ok=True, detail=text[:20_000], answer={"person": person} if person else None), found


def blocking(found: Sequence[Finding]) -> tuple[Finding, ...]:
    """Those with which a change is never pushed."""
    return tuple(finding for finding in found if finding.severity is Severity.BLOCK)


Lines = tuple[tuple[int, str], ...]


def _whole(repo: Path, entry: objects.TreeEntry | None) -> Lines:
    if entry is None or entry.kind != "blob":
        return ()
    text = (objects.read_blob(repo, entry.oid, MAX_DIFF) or b"").decode("utf-8", "replace")
    lines = text.removesuffix("\n").split("\n") if text else []
    return tuple((number, line.removesuffix("\r")) for number, line in enumerate(lines, 1))


def sections(diff: str) -> list[tuple[Lines, Lines]]:
    """Added and removed lines with their numbers, one pair for each file of a unified diff, in its order.

    Names are not read: a file is known by its place, so that no name can pass for another. Inside a hunk its counts
    alone say where it ends, whatever its lines look like.
    """
    found: list[tuple[list[tuple[int, str]], list[tuple[int, str]]]] = []
    old = new = left_old = left_new = 0
    for line in diff.split("\n"):
        if left_old > 0 or left_new > 0:
            text = line[1:].removesuffix("\r")
            if line.startswith("+"):
                found[-1][0].append((new, text))
                new, left_new = new + 1, left_new - 1
            elif line.startswith("-"):
                found[-1][1].append((old, text))
                old, left_old = old + 1, left_old - 1
            elif not line.startswith("\\"):
                old, new, left_old, left_new = old + 1, new + 1, left_old - 1, left_new - 1
        elif line.startswith("diff --git "):
            found.append(([], []))
        elif (match := _HUNK.match(line)) and found:
            old, new = int(match[1]), int(match[3])
            left_old, left_new = (1 if count is None else int(count) for count in (match[2], match[4]))
    return [(tuple(added), tuple(removed)) for added, removed in found]

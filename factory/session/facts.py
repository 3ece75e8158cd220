"""Facts computed in code about a change: git objects in, what the checks look at out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from factory.checks import CHECKS
from factory.checks.model import Change, FileChange, Finding, Severity
from factory.git import objects
from factory.runs.spec import SessionSpec, StepResult

MAX_DIFF = 8_000_000
_HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@")


def change(repo: Path, base: str, head: str, spec: SessionSpec) -> Change:
    """The whole change base..head (from their merge base) as the checks see it. Raises GitFailed."""
    origin = objects.merge_base(repo, base, head) or base
    before = {entry.path: entry for entry in objects.list_tree(repo, origin, recursive=True)}
    after = {entry.path: entry for entry in objects.list_tree(repo, head, recursive=True)}
    diff = objects.diff_text(repo, origin, head, MAX_DIFF)
    lines = _lines(diff)
    files = []
    for path in objects.diff_paths(repo, origin, head):
        new, old = after.get(path.path), before.get(path.old_path or path.path)
        added, removed = lines.get(path.path, ((), ()))
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
    issue = f"{spec.inputs.get('issue_title', '')}\n{spec.inputs.get('issue_body', '')}".strip()
    # What was cut off was not looked at: behind it a secret could leave.
    cut = diff.endswith(f"[diff cut at {MAX_DIFF} bytes]\n")
    return Change(tuple(files), frozenset(before), issue, spec.ci.command, truncated=cut)


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


def _lines(diff: str) -> dict[str, tuple[Lines, Lines]]:
    """Added and removed lines with their numbers, by new path, out of a unified diff."""
    found: dict[str, tuple[list[tuple[int, str]], list[tuple[int, str]]]] = {}
    current: tuple[list[tuple[int, str]], list[tuple[int, str]]] | None = None
    old_path = ""
    old = new = left_old = left_new = 0
    for line in diff.split("\n"):
        if left_old > 0 or left_new > 0:
            if line.startswith("+"):
                if current:
                    current[0].append((new, line[1:]))
                new, left_new = new + 1, left_new - 1
            elif line.startswith("-"):
                if current:
                    current[1].append((old, line[1:]))
                old, left_old = old + 1, left_old - 1
            elif not line.startswith("\\"):
                old, new, left_old, left_new = old + 1, new + 1, left_old - 1, left_new - 1
            continue
        if line.startswith("--- "):
            old_path = _name(line[4:])
        elif line.startswith("+++ "):
            path = _name(line[4:])
            current = found.setdefault(path if path != "/dev/null" else old_path, ([], []))
        elif match := _HUNK.match(line):
            old, new = int(match[1]), int(match[2])
            left_old, left_new = _counts(line)
    return {path: (tuple(added), tuple(removed)) for path, (added, removed) in found.items()}


def _counts(hunk: str) -> tuple[int, int]:
    match = re.match(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@", hunk)
    assert match is not None
    return int(match[1] or 1) if match[1] != "0" else 0, int(match[2] or 1) if match[2] != "0" else 0


def _name(text: str) -> str:
    """A path in a diff header: unquoted, without its a/ or b/."""
    if text.startswith('"') and text.endswith('"'):
        raw = text[1:-1].encode("latin-1", "backslashreplace")
        text = raw.decode("unicode_escape").encode("latin-1", "replace").decode("utf-8", "replace")
    text = text.split("\t")[0]
    return text if text == "/dev/null" else text[2:]

"""How commits leave a session: quarantine, checks in code, the role's own name on them. Nothing else comes out."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from factory.checks.model import Finding
from factory.git import objects
from factory.git.content import Refusal
from factory.git.packs import Refused, ingest
from factory.git.values import Signature
from factory.plan.agent_text import commit_message
from factory.runs.spec import SessionSpec
from factory.session.box import Box
from factory.session.facts import blocking, change, findings

LEAVING_CHECKS = ("diff-scan", "secrets")
"""Judged before any push, whatever the formula says."""
MAX_PACK = 200_000_000


@dataclass(frozen=True)
class Left:
    """What came out: the new head (None: no commits), how many commits, and why not when refused."""

    head: str | None
    commits: int
    refusals: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


def take(box: Box, quarantine: Path, spec: SessionSpec, identity: Signature) -> Left:
    """Ingest the session's pack into a fresh quarantine, judge it, and rewrite author and message to the role's."""
    shutil.rmtree(quarantine, ignore_errors=True)
    quarantine.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    tip = objects.read_ref(box.checkout.view.path, f"refs/heads/{spec.base_ref}")
    known = () if tip is None else (tip,)
    got = ingest(
        box.out,
        box.checkout.view.path,
        quarantine,
        expected_ref=box.checkout.ref,
        base=box.checkout.base,
        max_bytes=MAX_PACK,
        known=known,
    )
    if isinstance(got, Refused):
        shutil.rmtree(quarantine, ignore_errors=True)
        return Left(None, 0, tuple(_words(refusal) for refusal in got.refusals))
    if got.commits == 0:
        return Left(None, 0)
    about = change(quarantine, box.checkout.base, got.head, spec)
    stopping = blocking(findings(LEAVING_CHECKS, about))
    if stopping:
        return Left(None, got.commits, tuple(map(str, stopping)), stopping)
    head = objects.rewrite_commits(
        quarantine,
        base=box.checkout.base,
        head=got.head,
        author=identity,
        committer=identity,
        rewrite_message=commit_message,
        known=known,  # else a conflict run would rewrite the commits of others that it merged
    )
    objects.update_ref(quarantine, "refs/factory/leaving", head)
    return Left(head, got.commits)


def _words(refusal: Refusal) -> str:
    return f"{refusal.code}: {refusal.path}: {refusal.detail}" if refusal.path else f"{refusal.code}: {refusal.detail}"

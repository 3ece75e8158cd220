"""Commits as mails, the way ``git am`` reads them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path

from factory.git import objects
from factory.git.values import EMPTY_TREE, CommitInfo


def mailbox(repo: Path, commits: Sequence[CommitInfo], max_bytes: int) -> str:
    """One mail per commit that is no merge, oldest first; ``commits`` come newest first, as a log has them."""
    plain = [info for info in reversed(commits) if len(info.parents) < 2]
    return "".join(_mail(repo, info, n, len(plain), max_bytes) for n, info in enumerate(plain, 1))


def _mail(repo: Path, info: CommitInfo, number: int, count: int, max_bytes: int) -> str:
    subject, _, body = info.message.partition("\n")
    zone = timezone(timedelta(minutes=info.author.offset))
    when = format_datetime(datetime.fromtimestamp(info.author.when, UTC).astimezone(zone))
    series = f"[PATCH {number}/{count}]" if count > 1 else "[PATCH]"
    text = objects.diff_text(repo, info.parents[0] if info.parents else EMPTY_TREE, info.oid, max_bytes)
    said = body.strip("\n") + "\n" if body.strip() else ""
    return (
        f"From {info.oid} Mon Sep 17 00:00:00 2001\nFrom: {info.author.name} <{info.author.email}>\nDate: {when}\n"
        f"Subject: {series} {subject}\n\n{said}---\n\n{text}-- \n2.39.0\n\n"
    )

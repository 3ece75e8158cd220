"""What happened, told to whoever listens (webhooks), inside the transaction that made it happen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Event:
    """``name`` is the word hooks subscribe to (``issue_label``, ``pull_request_sync``, ``push`` ...); ``item_id`` the
    row of the issue or pull request; ``more`` what this kind of event adds."""

    name: str
    action: str
    repo_id: int
    user_id: int
    item_id: int | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

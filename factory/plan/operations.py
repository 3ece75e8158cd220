"""What the factory may do to the world, one frozen value per kind of thing. How each is done is ``effects/steps.py``.

Every operation can tell afterwards, by reading, whether it was already done; the account it acts with is part of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from factory.errors import FactoryError
from factory.forge.values import CheckState, ReviewState
from factory.runs import codec
from factory.runs.model import RunRecord, RunState
from factory.runs.spec import SessionSpec


@dataclass(frozen=True)
class GateRules:
    """What ``merge_gate.gate`` needs besides what the forge says, so that it can be asked again before the merge.
    Logins are in lower case."""

    people: frozenset[str]
    """Trusted people: their approval counts, their rejection blocks."""
    reviewers: frozenset[str]
    """Our reviewing accounts: their approval counts where no person is needed."""
    ours: frozenset[str]
    """Our accounts: a status of theirs counts only on the context that is pinned to it."""
    contexts: tuple[tuple[str, str, int | None], ...]
    """Required (context, creator login or "" for any, creator id or None)."""
    base_ref: str
    person_needed: str = ""
    """Why a person's approval is needed; empty: it is not."""
    needs_approval: bool = True
    approvals: int = 1
    """How many different people must approve where a person is needed."""


@dataclass(frozen=True)
class StartRun:
    """Lease and ``started`` journal entry in one atomic push, then the session."""

    spec: SessionSpec
    reserve_usd: float
    lease: str
    epoch: int
    host: str
    at: datetime
    replaces: str | None = None
    """Commit of the stale lease that is taken over; None: the lease must be free."""

    def record(self) -> RunRecord:
        """The journal's view of the run just started."""
        spec = self.spec
        return RunRecord(
            run=spec.run, formula=spec.formula, role=spec.role, agent=spec.agent, account=spec.account,
            subject=spec.subject, issue=spec.issue, round=spec.round, state=RunState.RUNNING, host=self.host,
            epoch=self.epoch, started_at=self.at, head=spec.head, base=spec.base, reserved_usd=self.reserve_usd,
            facts=tuple((name, spec.inputs[name]) for name in REMEMBERED if name in spec.inputs),
        )  # fmt: skip


REMEMBERED = ("want", "from", "on", "files")
"""Inputs of a run that later decisions ask about: copied into its record's facts."""


@dataclass(frozen=True)
class FinishRun:
    """Terminal journal entry and release of the lease, in one atomic push. Facts of the steps before it are added."""

    record: RunRecord
    lease: str


@dataclass(frozen=True)
class CancelRun:
    """End a run of this host and everything it started."""

    run: str
    reason: str


@dataclass(frozen=True)
class PushBranch:
    """From the run's quarantine to ``refs/heads/<ref>``, only if that is still at ``expected`` (None: absent)."""

    repo: str
    account: str
    run: str
    ref: str
    new: str
    expected: str | None


@dataclass(frozen=True)
class OpenPull:
    """Open a pull request for a pushed branch."""

    repo: str
    account: str
    head: str
    base: str
    title: str
    body: str


@dataclass(frozen=True)
class PostReview:
    """Post a review of one commit."""

    repo: str
    account: str
    number: int
    commit: str
    state: ReviewState
    body: str
    comments: tuple[tuple[str, int, str], ...] = ()


@dataclass(frozen=True)
class PostStatus:
    """Post a commit status."""

    repo: str
    account: str
    sha: str
    context: str
    state: CheckState
    description: str
    target_url: str = ""


@dataclass(frozen=True)
class PostComment:
    """A comment on an issue or pull request, posted once."""

    repo: str
    account: str
    number: int
    body: str


@dataclass(frozen=True)
class SetStatusComment:
    """The one status comment: posted when absent, edited when it says something else."""

    repo: str
    account: str
    number: int
    body: str


@dataclass(frozen=True)
class AddLabels:
    """Add labels to an issue or pull request."""

    repo: str
    account: str
    number: int
    labels: tuple[str, ...]


@dataclass(frozen=True)
class RemoveLabel:
    """Take a label off an issue or pull request."""

    repo: str
    account: str
    number: int
    label: str


@dataclass(frozen=True)
class CreateIssue:
    """File an issue."""

    repo: str
    account: str
    title: str
    body: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class CloseIssue:
    """Close an issue."""

    repo: str
    account: str
    number: int


@dataclass(frozen=True)
class MergePull:
    """Merge with ``head_commit_id``; the gate is judged again on what the forge says at that moment."""

    repo: str
    account: str
    number: int
    head: str
    title: str
    message: str
    rules: GateRules


@dataclass(frozen=True)
class UpdatePull:
    """Bring the base into the head without a model. Where that works the effect ends here; a conflict goes on."""

    repo: str
    account: str
    number: int
    head: str


@dataclass(frozen=True)
class ClosePull:
    """Close a pull request without merging it."""

    repo: str
    account: str
    number: int


@dataclass(frozen=True)
class RequestAction:
    """Propose a vault action: a branch with one added file on its base's tip, and its pull request."""

    repo: str
    account: str
    id: str
    branch: str
    base: str
    path: str
    text: str
    title: str
    body: str
    message: str


@dataclass(frozen=True)
class DeleteBranch:
    """Only if the branch is still at ``head``."""

    repo: str
    account: str
    branch: str
    head: str


@dataclass(frozen=True)
class OpsWrite:
    """One commit on the ops repo's main by a direct route; None deletes the file."""

    repo: str
    account: str
    files: Mapping[str, str | None] = field(default_factory=dict)
    message: str = ""


Operation = (
    StartRun | FinishRun | CancelRun | PushBranch | OpenPull | PostReview | PostStatus | PostComment | SetStatusComment
    | AddLabels | RemoveLabel | CreateIssue | CloseIssue | MergePull | UpdatePull | DeleteBranch | OpsWrite
    | ClosePull | RequestAction
)  # fmt: skip

KINDS: Mapping[str, type[Operation]] = {
    "start-run": StartRun, "finish-run": FinishRun, "cancel-run": CancelRun, "push-branch": PushBranch,
    "open-pull": OpenPull, "post-review": PostReview, "post-status": PostStatus, "post-comment": PostComment,
    "set-status-comment": SetStatusComment, "add-labels": AddLabels, "remove-label": RemoveLabel,
    "create-issue": CreateIssue, "close-issue": CloseIssue, "merge-pull": MergePull, "update-pull": UpdatePull,
    "delete-branch": DeleteBranch, "ops-write": OpsWrite,
    "close-pull": ClosePull, "request-action": RequestAction,
}  # fmt: skip
"""Name of each operation in a stored effect. Names are never reused for something else."""

_NAMES = {kind: name for name, kind in KINDS.items()}


def operation_name(operation: Operation) -> str:
    return _NAMES[type(operation)]


def read_operation(item: object, where: str) -> Operation:
    """The operation stored as ``{name: fields}``. Raises ``codec.Malformed`` naming ``where``."""
    if not isinstance(item, dict) or len(item) != 1:
        raise codec.Malformed(f"reading an effect: at {where}: expected one named operation")
    ((name, body),) = item.items()
    kind = KINDS.get(name)
    if kind is None:
        raise codec.Malformed(f"reading an effect: at {where}: unknown operation {name!r}")
    operation: Operation = codec.decode(kind, body, f"{where}.{name}")
    return operation


class Unperformable(FactoryError):
    """An operation that can never be done as decided; the message says why."""

    exit_code = 7

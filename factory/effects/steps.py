"""Each operation as the factory can do it: told afterwards by reading whether it was already done, else done once.

A step returns the facts that the server confirmed. It raises what its port raises, or ``Unperformable`` where the
world no longer is what was decided for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

from factory.effects.markers import Markers, mark, unmarked
from factory.effects.ports import Ports
from factory.effects.spool import Entry, Spool
from factory.errors import ForgeRefused, LeaseHeld, NotFound, RefMoved
from factory.forge.heads import merged_head
from factory.forge.protocol import Forge
from factory.forge.values import ItemState, Label, Pull, RepoName
from factory.plan import labels, merge_gate, reviews
from factory.plan.operations import (
    AddLabels,
    CancelRun,
    CloseIssue,
    ClosePull,
    CreateIssue,
    DeleteBranch,
    FinishRun,
    GateRules,
    MergePull,
    OpenPull,
    Operation,
    OpsWrite,
    PostComment,
    PostReview,
    PostStatus,
    PushBranch,
    RemoveLabel,
    RequestAction,
    SetStatusComment,
    StartRun,
    Unperformable,
    UpdatePull,
)
from factory.runs.model import Subject

_CLOCKS = timedelta(minutes=10)
"""How far the forge's clock may be from ours when looking for an issue we created."""


@dataclass(frozen=True)
class Done:
    """``halt``: what follows in the effect is needless now."""

    facts: dict[str, str] = field(default_factory=dict)
    halt: bool = False


class Steps:
    """Performs single operations through the ports."""

    def __init__(self, ports: Ports, markers: Markers, spool: Spool, hook: Callable[[str], None]) -> None:
        self._ports = ports
        self._hook = hook
        self._markers = markers
        self._spool = spool

    def marker(self, entry: Entry, number: int, kind: str) -> str:
        return self._markers.make(entry.effect.run or entry.effect.id, number, kind)

    def already(self, entry: Entry, number: int, op: Operation, *, doubtful: bool) -> Done | None:
        """What reading says of an operation; None: not done. ``doubtful``: an earlier try of this very step may have
        been cut off. Posts are looked for in any case, the journal (whose entries fold) only then."""
        match op:
            case StartRun():
                over = doubtful and self._ports.records.is_finished(op.spec.run)
                return Done({"run": op.spec.run}) if over else None
            case FinishRun():
                return Done() if doubtful and self._ports.records.is_finished(op.record.run) else None
            case PushBranch():
                return Done({"head": op.new}) if self._tip(op.account, op.repo, op.ref) == op.new else None
            case OpenPull():
                return self._opened(entry, number, op, doubtful=doubtful)
            case PostReview():
                return self._reviewed(entry, number, op)
            case PostStatus():
                return self._posted_status(op)
            case PostComment():
                there = self._markers.find(
                    self.marker(entry, number, "comment"),
                    self._forge(op.account).comments(RepoName.parse(op.repo), op.number), op.account,
                )  # fmt: skip
                return Done({"comment": str(there.id)}) if there else None
            case CreateIssue():
                return self._created(entry, number, op)
            case CloseIssue():
                issue = self._forge(op.account).issue(RepoName.parse(op.repo), op.number)
                return Done() if issue.state is ItemState.CLOSED else None
            case ClosePull():
                pull = self._forge(op.account).pull(RepoName.parse(op.repo), op.number)
                return Done() if pull.state is ItemState.CLOSED else None
            case RequestAction():
                return self._requested(op, doubtful=doubtful)
            case MergePull():
                pull = self._forge(op.account).pull(RepoName.parse(op.repo), op.number)
                return self._merged(pull, op) if pull.merged else None
            case DeleteBranch():
                tip = self._tip(op.account, op.repo, op.branch)
                return Done() if tip != op.head else None
            case _:
                return None  # doing it again is the same as doing it once

    def do(self, entry: Entry, number: int, op: Operation) -> Done:
        """Do it. ``already`` said no, and the preconditions hold."""
        match op:
            case StartRun():
                return self._start(op)
            case FinishRun():
                known = {**dict(op.record.facts), **_of_run(entry.facts)}
                record = replace(op.record, facts=tuple(sorted(known.items())))
                self._ports.records.finish(record, op.lease)
                return Done()
            case CancelRun():
                self._ports.launcher.cancel(op.run)
                return Done()
            case PushBranch():
                return self._push(op)
            case PostStatus():
                self._forge(op.account).post_status(
                    RepoName.parse(op.repo), op.sha, context=op.context, state=op.state, description=op.description,
                    target_url=op.target_url,
                )  # fmt: skip
                return Done()
            case OpsWrite():
                commit = self._ports.ops.write(op.files, op.message)
                return Done({"commit": commit} if commit else {})
            case MergePull():
                return self._merge(op)
            case UpdatePull():
                return self._update(op)
            case DeleteBranch():
                return self._delete(op)
            case ClosePull():
                self._forge(op.account).edit_pull(RepoName.parse(op.repo), op.number, state="closed")
                return Done()
            case RequestAction():
                return self._request(op)
            case OpenPull() | PostReview() | PostComment() | CreateIssue() | SetStatusComment():
                return self._post(entry, number, op)
            case AddLabels() | RemoveLabel() | CloseIssue():
                return self._on_issue(op)

    # ---- reading ---------------------------------------------------------------------------------------------------

    def _forge(self, account: str) -> Forge:
        return self._ports.forge(account)

    def _tip(self, account: str, repo: str, branch: str) -> str | None:
        ref = f"refs/heads/{branch}"
        return self._forge(account).ls_refs(RepoName.parse(repo), (ref,)).get(ref)

    def _opened(self, entry: Entry, number: int, op: OpenPull, *, doubtful: bool) -> Done | None:
        """An open pull request of that branch by that account; after a first try also one that was closed since."""
        forge, repo = self._forge(op.account), RepoName.parse(op.repo)
        for pull in forge.pulls(repo, state="open"):
            if pull.head_ref == op.head and pull.head_repo == repo and _by(pull, op.account):
                return Done({"pull": str(pull.number)})
        if not doubtful:
            return None
        mine = [p for p in forge.pulls(repo, state="closed") if p.head_ref == op.head]
        there = self._markers.find(self.marker(entry, number, "pull"), mine, op.account)
        return Done({"pull": str(there.number)}) if there else None

    def _requested(self, op: RequestAction, *, doubtful: bool) -> Done | None:
        """Its branch names the action, so a pull request of it by that account is this one; after a first try also
        one that is over since."""
        state = "all" if doubtful else "open"
        pulls = self._forge(op.account).pulls(RepoName.parse(op.repo), state=state)
        mine = [p for p in pulls if p.head_ref == op.branch and _by(p, op.account)]
        return Done({"vault": op.id, "vault_pull": str(mine[-1].number)}) if mine else None

    def _request(self, op: RequestAction) -> Done:
        if self._ports.requests is None:
            raise Unperformable(f"{op.id} cannot be proposed: this host has no vault")
        self._ports.requests.propose(op.account, op.branch, op.base, op.path, op.text, op.message)
        pull = self._forge(op.account).create_pull(
            RepoName.parse(op.repo), head=op.branch, base=op.base, title=op.title, body=op.body
        )
        return Done({"vault": op.id, "vault_pull": str(pull.number)})

    def _reviewed(self, entry: Entry, number: int, op: PostReview) -> Done | None:
        given = self._forge(op.account).reviews(RepoName.parse(op.repo), op.number)
        there = self._markers.find(
            self.marker(entry, number, "review"), (r for r in given if r.commit == op.commit), op.account
        )
        return Done({"review": str(there.id)}) if there else None

    def _posted_status(self, op: PostStatus) -> Done | None:
        mine = [
            s for s in self._forge(op.account).statuses(RepoName.parse(op.repo), op.sha)
            if s.context == op.context and s.creator.login.lower() == op.account.lower()
        ]  # fmt: skip
        newest = max(mine, key=lambda s: s.created_at, default=None)
        same = newest is not None and (newest.state, newest.target_url) == (op.state, op.target_url)
        return Done() if same else None

    def _created(self, entry: Entry, number: int, op: CreateIssue) -> Done | None:
        repo = RepoName.parse(op.repo)
        changed, _ = self._forge(op.account).changed_since(repo.owner, entry.created - _CLOCKS)
        mine = (item for name, item in changed if name == repo and not isinstance(item, Pull))
        there = self._markers.find(self.marker(entry, number, "issue"), mine, op.account)
        return Done({"issue": str(there.number)}) if there else None

    def _merged(self, pull: Pull, op: MergePull) -> Done:
        merged = merged_head(self._forge(op.account), RepoName.parse(op.repo), pull)
        if merged != op.head or not pull.merge_commit:
            raise Unperformable(f"#{op.number} was merged at {merged[:8]}, not at {op.head[:8]}")
        return Done({"merge": pull.merge_commit, "pull": str(op.number)})

    # ---- doing -----------------------------------------------------------------------------------------------------

    def _start(self, op: StartRun) -> Done:
        try:
            self._ports.records.begin(op.record(), op.lease, op.replaces)
        except (LeaseHeld, RefMoved):
            holder = self._ports.records.holder(op.lease)
            if holder is None or holder.run != op.spec.run:
                raise
        self._hook("begun")
        self._ports.launcher.start(op.spec)
        return Done({"run": op.spec.run})

    def _push(self, op: PushBranch) -> Done:
        try:
            self._ports.branches.push(op.repo, op.account, op.run, op.ref, op.new, op.expected)
        except RefMoved:
            if self._tip(op.account, op.repo, op.ref) != op.new:
                raise
        return Done({"head": op.new})

    def _post(
        self, entry: Entry, number: int, op: OpenPull | PostReview | PostComment | CreateIssue | SetStatusComment
    ) -> Done:
        forge, repo = self._forge(op.account), RepoName.parse(op.repo)
        match op:
            case OpenPull():
                body = mark(op.body, self.marker(entry, number, "pull"))
                pull = forge.create_pull(repo, head=op.head, base=op.base, title=op.title, body=body)
                return Done({"pull": str(pull.number)})
            case PostReview():
                body = mark(op.body, self.marker(entry, number, "review"))
                review = forge.review(
                    repo, op.number, state=op.state, body=body, commit=op.commit, comments=op.comments
                )
                return Done({"review": str(review.id)})
            case PostComment():
                comment = forge.comment(repo, op.number, mark(op.body, self.marker(entry, number, "comment")))
                return Done({"comment": str(comment.id)})
            case CreateIssue():
                self._have_labels(forge, repo, op.labels)
                body = mark(op.body, self.marker(entry, number, "issue"))
                issue = forge.create_issue(repo, title=op.title, body=body, labels=op.labels)
                return Done({"issue": str(issue.number)})
            case SetStatusComment():
                return self._status_comment(forge, repo, op)

    def _status_comment(self, forge: Forge, repo: RepoName, op: SetStatusComment) -> Done:
        marker = self._markers.make(f"{op.repo}#{op.number}", 0, "status")
        there = self._markers.find(marker, forge.comments(repo, op.number), op.account)
        subject = Subject(op.repo, "issue", str(op.number))
        if there is not None:
            if unmarked(there.body).strip() != op.body.strip():
                forge.edit_comment(repo, there.id, mark(op.body, marker))
        elif self._spool.was_confirmed(subject):
            self._spool.confirm_status(subject, there=False)  # a person deleted it: it stays deleted
            return Done()
        else:
            there = forge.comment(repo, op.number, mark(op.body, marker))
        self._spool.confirm_status(subject, there=True)
        return Done({"comment": str(there.id)})

    def _on_issue(self, op: AddLabels | RemoveLabel | CloseIssue) -> Done:
        forge, repo = self._forge(op.account), RepoName.parse(op.repo)
        match op:
            case AddLabels():
                self._have_labels(forge, repo, op.labels)
                forge.add_labels(repo, op.number, op.labels)
            case RemoveLabel():
                try:
                    forge.remove_label(repo, op.number, op.label)
                except ForgeRefused as error:
                    if error.status not in (404, 422):  # the repo has no such label: it is not on the issue either
                        raise
            case CloseIssue():
                try:
                    forge.edit_issue(repo, op.number, state="closed")
                except ForgeRefused as error:
                    if error.status != 412:  # open dependencies: closing is a person's decision then
                        raise
                    return Done({"left-open": "it has open dependencies"})
        return Done()

    def _have_labels(self, forge: Forge, repo: RepoName, wanted: tuple[str, ...]) -> None:
        """A label that went missing is made again: the forge drops unknown names silently."""
        if not wanted:
            return
        there = {label.name for label in forge.labels(repo)}
        for name in wanted:
            if name not in there:
                color, description = labels.ALL.get(name, ("ededed", ""))
                forge.create_label(repo, Label(0, name, color, description))

    def _merge(self, op: MergePull) -> Done:
        """Judge the gate again on fresh reads, then merge with ``head_commit_id``."""
        forge, repo = self._forge(op.account), RepoName.parse(op.repo)
        pull = forge.pull(repo, op.number)
        if pull.head_sha != op.head:
            raise Unperformable(f"#{op.number} has the head {pull.head_sha[:8]} now, not {op.head[:8]}")
        given = forge.reviews(repo, op.number)
        rules = self._still_people(op, reviews.approvals(given, op.head, pull.author.login))
        obstacle = merge_gate.gate(pull, given, forge.statuses(repo, op.head), rules)
        if obstacle is not None:
            raise Unperformable(f"#{op.number} may not be merged any more: {obstacle.reason}")
        commit = forge.merge(repo, op.number, head=op.head, title=op.title, message=op.message)
        return Done({"merge": commit, "pull": str(op.number)})

    def _still_people(self, op: MergePull, approving: frozenset[str]) -> GateRules:
        """The rules without approvers who lost their right to write meanwhile."""
        asked = self._ports.may_write
        if asked is None:
            return op.rules
        lost = frozenset(login for login in approving & op.rules.people if not asked(op.repo, login))
        return replace(op.rules, people=op.rules.people - lost)

    def _update(self, op: UpdatePull) -> Done:
        """Bring the base in where that is clean (then the effect is over); a conflict lets it go on."""
        forge, repo = self._forge(op.account), RepoName.parse(op.repo)
        pull = forge.pull(repo, op.number)
        if pull.mergeable or pull.merge_base == pull.base_sha:
            return Done({"update": "not needed"}, halt=True)
        try:
            forge.update_pull(repo, op.number)
        except ForgeRefused as error:
            if error.status != 409:
                raise
            return Done({"update": "conflict"})
        return Done({"update": "done"}, halt=True)

    def _delete(self, op: DeleteBranch) -> Done:
        try:
            self._forge(op.account).delete_branch(RepoName.parse(op.repo), op.branch)
        except NotFound:
            return Done()
        except ForgeRefused as error:
            if error.status != 403:
                raise
            return Done({"branch-kept": "the forge protects it"})
        return Done()


def _by(pull: Pull, account: str) -> bool:
    return pull.author.login.lower() == account.lower()


KEPT = ("pull", "merge", "review", "issue", "vault_pull")


def _of_run(facts: dict[str, str]) -> dict[str, str]:
    """Facts of an effect's steps that belong to the run's record."""
    return {name: value for name, value in facts.items() if name in KEPT}

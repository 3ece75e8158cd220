"""From a World and its Plan to the dashboard: who has to do what, what runs, what was merged at what cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from factory.checks.secrets import guard
from factory.daemon import vault_board
from factory.daemon.landing import recorded
from factory.forge.values import ItemState
from factory.git import objects
from factory.git.transport import Remote
from factory.git.values import Signature
from factory.ops import dashboard
from factory.ops.dashboard import Budget, DashboardFacts, Health, Idle, Merged, NeedsYou, Running, Waiting
from factory.ops.prerequisites import objectives
from factory.ops.writer import write
from factory.plan.effect import Plan
from factory.plan.labels import BLOCKED, START, UNDERSPECIFIED
from factory.plan.model import Skip, World
from factory.plan.names import issue_of_branch, log_url
from factory.plan.vault_pulls import is_vault
from factory.runs.model import Subject

PACE = timedelta(seconds=5)
"""From one version to the next: what changes with every turn of a busy minute is one commit, not one each turn."""
PERSON = "person"
MERGED_SHOWN = 10


@dataclass
class Board:
    """Writes the dashboard when its facts changed. Failing to write it stops nothing."""

    mirror: Callable[[], Path]
    remote: Remote
    author: Callable[[], Signature]
    host: str
    forge_url: str
    idle: Callable[[], Idle | None]
    health: Callable[[], tuple[Health, ...]]
    said: Callable[[str], None]
    due: datetime | None = None
    """When a version that waits is to be written; None: none waits."""
    _last: DashboardFacts | None = field(default=None)
    _written: datetime | None = field(default=None)

    def update(self, world: World, plan: Plan, now: datetime) -> bool:
        """Write the dashboard if it is due; True when a commit was made. Raises ForgeError, Conflict."""
        mirror = self.mirror()
        tree = objects.read_file(mirror, "refs/heads/main", "prerequisites.md")
        facts = facts_of(world, plan, self.forge_url, tree, self.idle(), self.health())
        self.due = None
        if not dashboard.changed(self._last, facts, now, written=self._written):
            return False
        if self._last is not None and self._written is not None and now < self._written + PACE:
            self.due = self._written + PACE
            return False
        if self._last is None:
            readme = objects.read_file(mirror, "refs/heads/main", dashboard.PATH)
            if not dashboard.due(readme, facts, now):
                self._last, self._written = facts, now
                return False
        author = self.author()
        done = write(
            self.remote, mirror, [dashboard.edit(facts, now)], message=f"Dashboard: {dashboard.headline(facts)}",
            guard=guard, author=author, land=recorded(self.remote, mirror, self.host, author),
        )  # fmt: skip
        for problem in done.problems:
            self.said(f"problem: {problem}")
        self._last, self._written = facts, now
        return done.commit is not None


def facts_of(
    world: World, plan: Plan, forge_url: str, tree: bytes | None, idle: Idle | None, health: tuple[Health, ...]
) -> DashboardFacts:
    """What the dashboard says. Pure."""
    base = f"{forge_url.rstrip('/')}/{world.project}"
    titles = {f"issue/{f.issue.number}": f.issue.title for f in world.issues}
    titles |= {f"pull/{f.pull.number}": f.pull.title for f in world.pulls}
    merged = _merged(world, base)
    costs = [m.cost_usd for m in merged]
    budgets = world.config.budgets
    return DashboardFacts(
        project=str(world.project),
        project_url=base,
        mode=world.config.mode.value,
        needs=tuple(needs_of(world, plan, forge_url).values()),
        running=tuple(
            Running(
                run.run,
                run.formula,
                run.agent or "code",
                _title(run.subject, titles),
                _url(forge_url, run.subject),
                run.started_at,
                log_url(world, run.run),
            )
            for run in world.runs
            if not run.state.is_terminal
        ),
        waiting=_waiting(world, plan, forge_url),
        merged=merged[:MERGED_SHOWN],
        prerequisites=objectives(tree.decode("utf-8", "replace")) if tree is not None else None,
        budgets=(
            Budget("today", world.spent.get("project:day", 0.0), budgets.project_day_usd),
            Budget("this month", world.spent.get("project:month", 0.0), budgets.project_month_usd),
        ),
        cost_per_merge_usd=sum(costs) / len(costs) if costs else None,
        merged_count=len(merged),
        health=(*health, *(Health("vault", False, words) for words in vault_board.health(world))),
        idle=idle,
        paused=tuple(f"{p.scope} by {p.by}" + (f": {p.reason}" if p.reason else "") for p in world.pauses),
    )


def _title(subject: Subject, titles: dict[str, str]) -> str:
    if subject.kind == "commit":
        return f"commit {subject.id[:12]}"
    return titles.get(f"{subject.kind}/{subject.id}", f"{subject.kind} {subject.id}")


def _url(forge_url: str, subject: Subject) -> str:
    base = f"{forge_url.rstrip('/')}/{subject.repo}"
    paths = {"issue": "issues", "pull": "pulls", "commit": "commit"}
    return f"{base}/{paths[subject.kind]}/{subject.id}" if subject.kind in paths else base


def needs_of(world: World, plan: Plan, forge_url: str) -> dict[tuple[str, str], NeedsYou]:
    """What only a person can clear, by (repo, what it is about): skips that say so, pull requests of the ops repo,
    issues that were given up. Pure."""
    titles = {f"issue/{f.issue.number}": f.issue.title for f in world.issues}
    titles |= {f"pull/{f.pull.number}": f.pull.title for f in world.pulls}
    found: dict[tuple[str, str], NeedsYou] = {}
    for facts in world.ops_pulls:
        pull = facts.pull
        if pull.state is ItemState.OPEN and not is_vault(world, facts):
            found[(str(world.ops), f"pull{pull.number}")] = NeedsYou(
                "approve", pull.title, f"{forge_url.rstrip('/')}/{world.ops}/pulls/{pull.number}", pull.created_at,
                "the change takes effect",
            )  # fmt: skip
    ops_url = f"{forge_url.rstrip('/')}/{world.ops}"
    found |= {(str(world.ops), about): need for about, need in vault_board.needs(world, ops_url)}
    for skip in plan.skips:
        if PERSON not in skip.clears or skip.subject.kind not in ("issue", "pull"):
            continue
        act = "approve" if "approv" in skip.rule else "look"
        found.setdefault(
            (skip.subject.repo, f"{skip.subject.kind}{skip.subject.id}"),
            NeedsYou(
                act,
                _title(skip.subject, titles),
                _url(forge_url, skip.subject),
                _since(world, skip),
                skip.clears,
                skip.reason,
            ),
        )
    for issue in (f.issue for f in world.issues):
        stuck = issue.labels & {BLOCKED, UNDERSPECIFIED}
        if issue.state is ItemState.OPEN and stuck:
            label = min(stuck)
            found[(str(world.project), f"issue{issue.number}")] = NeedsYou(
                "unblock", issue.title, f"{forge_url.rstrip('/')}/{world.project}/issues/{issue.number}",
                issue.updated_at, f"taking the label `{label}` off lets the factory try again",
            )  # fmt: skip
    return found


def _since(world: World, skip: Skip) -> datetime:
    """Since when it waits. Never the time of this tick: the same facts must give the same dashboard."""
    if skip.since is not None:
        return skip.since
    for facts in world.pulls:
        if skip.subject.kind == "pull" and str(facts.pull.number) == skip.subject.id:
            return facts.pull.updated_at
    for issue in world.issues:
        if skip.subject.kind == "issue" and str(issue.issue.number) == skip.subject.id:
            return issue.issue.updated_at
    return datetime.min.replace(tzinfo=UTC)


def _waiting(world: World, plan: Plan, forge_url: str) -> tuple[Waiting, ...]:
    open_work = {
        str(f.issue.number): f.issue
        for f in world.issues
        if f.issue.state is ItemState.OPEN and START in f.issue.labels
    }
    rows = []
    for skip in plan.skips:
        if skip.subject.kind == "issue" and skip.subject.id in open_work and PERSON not in skip.clears:
            rows.append(
                Waiting(open_work[skip.subject.id].title, _url(forge_url, skip.subject), skip.reason, skip.since)
            )
    return tuple(rows)


def _merged(world: World, base: str) -> tuple[Merged, ...]:
    rows = []
    for facts in world.pulls:
        pull = facts.pull
        if not pull.merged:
            continue
        own = [r for r in world.runs if r.subject.kind == "pull" and r.subject.id == str(pull.number)]
        # The branch may be gone by now; the runs on the pull request still know where it came from.
        issue = issue_of_branch(pull.head_ref) or next((r.issue for r in own if r.issue is not None), None)
        runs = [r for r in world.runs if r in own or (issue is not None and r.issue == issue)]
        began = min((r.started_at for r in runs), default=pull.created_at)
        rows.append(
            Merged(
                number=pull.number,
                title=pull.title,
                url=f"{base}/pulls/{pull.number}",
                merged_at=pull.updated_at,
                seconds=(pull.updated_at - began).total_seconds(),
                cost_usd=sum(r.usage.cost_usd for r in runs),
                runs=len(runs),
                scripted=any(r.usage.scripted for r in runs),
                issue=issue,
                issue_url=f"{base}/issues/{issue}" if issue is not None else "",
            )
        )
    return tuple(sorted(rows, key=lambda row: row.merged_at, reverse=True))

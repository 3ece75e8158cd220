"""May this run start now? Mode, pauses, leases, slots, budgets, quota, failure limits: the first thing in the way.

A ``Desk`` is one tick's running tally: what this tick already promised counts against the next asker.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from factory.config.model import Mode
from factory.formula.model import Formula, StepKind
from factory.plan import history, recovery
from factory.plan.model import AgentFacts, Intent, LeaseFact, Obstacle, Pause, World
from factory.runs.budget import may_reserve, reservation
from factory.runs.model import RunRecord, Subject


@dataclass(frozen=True)
class Admitted:
    """What an admitted intent runs as: formula, agent, account, and the USD reserved for it."""

    formula: Formula
    agent: str
    """Name of the hired agent; empty for a formula without agent steps."""
    account: str
    reserve_usd: float


@dataclass
class Desk:
    """The tally of one tick."""

    world: World
    now: datetime
    taken: set[Subject] = field(default_factory=set)
    slots: int = 0
    agents: dict[str, int] = field(default_factory=dict)
    promised: dict[str, float] = field(default_factory=dict)

    def admit(self, intent: Intent) -> Admitted | Obstacle:
        """Whether this intent may become a run now. Takes nothing; ``take`` does."""
        formula = self.world.formulas.get(intent.formula)
        if formula is None:
            return Obstacle("no-formula", f"there is no valid formula {intent.formula!r}", "`factory formula check`")
        return (
            stopped(self.world, formula.role)
            or self._subject_free(intent)
            or history.due(self._attempts(intent), self.now)
            or self._started(intent, formula)
        )

    def take(self, intent: Intent, admitted: Admitted) -> None:
        self.taken.add(intent.subject)
        self.slots += 1
        if admitted.agent:
            self.agents[admitted.agent] = self.agents.get(admitted.agent, 0) + 1
        for key in (f"role:{admitted.formula.role}:day", "project:day", "project:month"):
            self.promised[key] = self.promised.get(key, 0.0) + admitted.reserve_usd

    def busy(self, subject: Subject) -> Obstacle | None:
        """Whether something is already under way on this subject."""
        if subject in self.taken:
            return Obstacle("one-effect", "something else is done to it in this tick", "the next tick")
        if subject in self.world.locked:
            return Obstacle("unconfirmed", "an effect on it is decided and not yet confirmed", "the next tick")
        run = history.unfinished(self.world, subject)
        if run is not None:
            return Obstacle(
                "running", f"{run.formula} round {run.round} runs as {run.run} on {run.host}", "the run", run.started_at
            )
        return None

    def _subject_free(self, intent: Intent) -> Obstacle | None:
        busy = self.busy(intent.subject)
        if busy is not None:
            return busy
        for lease in self.world.leases:
            if lease.key == intent.subject.key and not self._left_over(lease):
                return Obstacle("leased", f"{lease.run} on {lease.host} holds it", "that run", lease.at)
        return None

    def _left_over(self, lease: LeaseFact) -> bool:
        """Nobody works under it: its run has ended, or no journal knows the run and its host has long been silent."""
        record = next((r for r in self.world.runs if r.run == lease.run), None)
        if record is not None:
            return record.state.is_terminal
        return self.now - max(lease.at, self.world.heartbeats.get(lease.host, lease.at)) > recovery.SILENCE

    def _attempts(self, intent: Intent) -> tuple[RunRecord, ...]:
        """The runs whose ends count against this intent: those that wanted the same thing."""
        runs = history.runs_of(self.world, intent.formula, intent.subject, after=intent.fresh_after)
        return tuple(r for r in runs if (r.fact("want") or intent.key) == intent.key)

    def _started(self, intent: Intent, formula: Formula) -> Admitted | Obstacle:
        world = self.world
        if world.host.free_slots - self.slots < 1:
            return Obstacle("no-slot", f"all slots of {world.host.host} are in use", "a run that ends")
        if not any(step.kind is StepKind.AGENT for step in formula.steps):
            return Admitted(formula, "", account(world, formula.role), 0.0)
        role = world.roles.get(formula.role)
        if role is None or not role.active:
            return Obstacle("role-inactive", f"the role {formula.role} is not active", "a later version")
        agent = self._agent(formula.role)
        if isinstance(agent, Obstacle):
            return agent
        usd = reservation(formula.limits.cost_usd, world.config.budgets)
        spent = {key: world.spent.get(key, 0.0) + self.promised.get(key, 0.0) for key in {*world.spent, *self.promised}}
        refused = may_reserve(world.config.budgets, spent, role=formula.role, usd=usd)
        if refused:
            return Obstacle("budget", refused, "a new day, or a person: raise it with `factory edit factory.toml`")
        return Admitted(formula, agent.name, account(world, formula.role), usd)

    def _agent(self, role: str) -> AgentFacts | Obstacle:
        hired = sorted((a for a in self.world.host.agents.values() if role in a.roles), key=lambda a: a.name)
        if not hired:
            return Obstacle("no-agent", f"no agent is hired for {role}", "a person: `factory hire`")
        why: Obstacle | None = None
        for agent in hired:
            obstacle = self._agent_busy(agent)
            if obstacle is None:
                return agent
            why = why or obstacle
        assert why is not None
        return why

    def _agent_busy(self, agent: AgentFacts) -> Obstacle | None:
        if agent.trouble:
            return Obstacle("agent-trouble", f"{agent.name} cannot start here: {agent.trouble}", "`factory agents`")
        if agent.quota_until is not None and agent.quota_until > self.now:
            until = f"{agent.quota_until:%Y-%m-%d %H:%M} UTC"
            return Obstacle("quota", f"{agent.name} is out of quota until {until}", "time")
        if agent.free_slots - self.agents.get(agent.name, 0) < 1:
            return Obstacle("agent-busy", f"{agent.name} has no free slot", "a run that ends")
        return None


def account(world: World, role: str) -> str:
    """The account a role acts with; a role without one of its own (``ci``) acts as the factory."""
    try:
        return world.config.account(role)
    except KeyError:
        return world.config.account("factory")


def stopped(world: World, role: str) -> Obstacle | None:
    """Whether the mode or a pause stops everything that writes on behalf of this role."""
    if world.config.mode is Mode.OBSERVE:
        return Obstacle("mode", "mode is observe: the factory writes nothing", "a person: `factory mode suggest`")
    pause = paused(world, role)
    if pause is not None:
        why = f": {pause.reason}" if pause.reason else ""
        return Obstacle("paused", f"{pause.scope} is paused by {pause.by}{why}", "a person: `factory resume`",
                        pause.since)  # fmt: skip
    return None


def paused(world: World, role: str) -> Pause | None:
    scopes = {"all", "project", str(world.project), role}
    return next((p for p in world.pauses if p.scope in scopes), None)

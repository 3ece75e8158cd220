"""Performing effects: written ahead, step by step, each step read before it is repeated, so that a kill at any point
repeats nothing and loses nothing.

The outcome of an effect is done, deferred (kept, tried again later: no forge, a pause) or abandoned with a reason (the
world is no longer what was decided for; the next tick decides afresh). A run whose effect is abandoned is still
recorded as ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from factory.effects.markers import Markers
from factory.effects.ports import Ports
from factory.effects.repeats import Repeats
from factory.effects.spool import SENT, Entry, Spool
from factory.effects.steps import Done, Steps
from factory.errors import (
    FactoryError,
    ForgeRefused,
    ForgeUnavailable,
    LeaseHeld,
    NotFound,
    PolicyDenied,
    Problem,
    RefMoved,
    SandboxUnavailable,
)
from factory.forge.values import ItemState, RepoName
from factory.plan.effect import Effect, Preconditions
from factory.plan.operations import FinishRun, Operation, StartRun, Unperformable
from factory.runs.model import Cause, RunRecord, RunState, Subject

MAX_WAIT = timedelta(minutes=5)
MAX_TRIES = 12
"""Tries of an effect that fails for another reason than an unreachable forge."""


class Ending(StrEnum):
    """How a try of an effect ended: confirmed, to be tried again, given up."""

    DONE = "done"
    DEFERRED = "deferred"
    ABANDONED = "abandoned"


@dataclass(frozen=True)
class Outcome:
    """What became of one effect."""

    effect: Effect
    ending: Ending
    facts: Mapping[str, str]
    """What the server confirmed."""
    reason: str = ""
    """Why it was deferred or abandoned."""


class _Wait(Exception):
    """Not now: a pause, or a backoff."""


class _Stale(Exception):
    """Never again as decided."""


class Performer:
    """``hook`` is called at every write-ahead point with its name; a test raises there to play a kill."""

    def __init__(
        self, ports: Ports, spool: Spool, markers: Markers, hook: Callable[[str], None] = lambda point: None
    ) -> None:
        self._ports = ports
        self._spool = spool
        self._steps = Steps(ports, markers, spool, hook)
        self._repeats = Repeats()
        self._braked: list[datetime] = []
        self._hook = hook

    def load(self) -> tuple[Problem, ...]:
        """Once after a start: read the spool. Returns what could not be read."""
        return self._spool.load()

    def perform(
        self, effects: Sequence[Effect], tried: Callable[[Effect], None] = lambda effect: None
    ) -> tuple[Outcome, ...]:
        """Keep these freshly decided effects, then try each once, and tell ``tried`` after each. What just ended and is
        decided again all the same is deferred for a moment without being kept."""
        now = self._ports.now()
        outcomes: list[Outcome] = []
        entries = []
        self._braked.clear()
        for effect in effects:
            ended = self._repeats.too_soon(effect.id, now)
            if ended is not None:
                wait = f"{(ended.until - now).total_seconds():.0f} s"
                why = f"it ended a moment ago ({ended.reason}); again in {wait}"
                outcomes.append(Outcome(effect, Ending.DEFERRED, {}, why))
                self._braked.append(ended.until)
                continue
            entries.append(self._spool.put(effect, now))
            self._hook("decided")
        for entry in entries:
            outcomes.append(self._try(entry))
            tried(entry.effect)
        return tuple(outcomes)

    def resume(self) -> tuple[Outcome, ...]:
        """Try again what is on its way and due. Call it once per tick, before looking at the world."""
        now = self._ports.now()
        due = [e for e in self._spool.entries() if e.not_before is None or e.not_before <= now]
        return tuple(self._try(entry) for entry in due)

    def next_due(self) -> datetime | None:
        """When the next deferred effect may be tried again; None when none waits."""
        kept = [e.not_before for e in self._spool.entries() if e.not_before is not None]
        return min([*kept, *self._braked], default=None)

    def locked(self) -> frozenset[Subject]:
        """``World.locked``."""
        return self._spool.locked()

    def muted(self) -> frozenset[Subject]:
        """``World.muted``."""
        return self._spool.muted()

    def _try(self, entry: Entry) -> Outcome:
        try:
            entry = self._drive(entry)
        except _Wait as error:
            return self._defer(self._now(entry), str(error), counts=False)
        except _Stale as error:
            return self._abandon(self._now(entry), str(error))
        except (Unperformable, LeaseHeld, RefMoved, NotFound, PolicyDenied, SandboxUnavailable) as error:
            return self._abandon(self._now(entry), str(error), error)
        except ForgeRefused as error:
            lasting = error.status < 500 and error.status not in (401, 408, 423, 429)
            if lasting:
                return self._abandon(self._now(entry), str(error), error)
            return self._defer(self._now(entry), str(error), counts=True)
        except ForgeUnavailable as error:
            return self._defer(self._now(entry), str(error), counts=False)
        except FactoryError as error:
            return self._defer(self._now(entry), str(error), counts=True)
        except Exception as error:  # a bug in one effect must not stop all others; it is told as what it is
            return self._defer(self._now(entry), f"bug: {type(error).__name__}: {error}", counts=True)
        self._spool.remove(entry)
        self._hook("removed")
        ending = Ending.ABANDONED if entry.abandoning else Ending.DONE
        self._repeats.ended(entry.effect.id, self._ports.now(), entry.abandoning or "done")
        return Outcome(entry.effect, ending, entry.facts, entry.abandoning)

    def _now(self, entry: Entry) -> Entry:
        """The entry as the spool has it now: steps may have ended since this try began."""
        return self._spool.get(entry.effect.id) or entry

    # ---- one try ---------------------------------------------------------------------------------------------------

    def _drive(self, entry: Entry) -> Entry:
        if entry.abandoning:
            return self._close(entry)
        # Only the step at which an earlier try stopped may have been done without our knowing.
        doubtful = len(entry.done) if entry.state == SENT else None
        checked = False
        while len(entry.done) < len(entry.effect.operations):
            number = len(entry.done)
            operation = entry.effect.operations[number]
            done = self._steps.already(entry, number, operation, doubtful=number == doubtful)
            if done is None:
                self._check(entry, operation, first=not checked)
                checked = True
                if entry.state != SENT:
                    entry = self._spool.save(replace(entry, state=SENT))
                    self._hook("sent")
                done = self._steps.do(entry, number, operation)
                self._hook(f"done:{number}")
            entry = self._step_done(entry, done)
            self._hook(f"recorded:{number}")
            if done.halt:
                break
        return entry

    def _step_done(self, entry: Entry, done: Done) -> Entry:
        entry = replace(entry, done=(*entry.done, done.facts), trouble="", not_before=None)
        last = done.halt or len(entry.done) == len(entry.effect.operations)
        # After the last step the file goes; a kill in between reads that everything is done.
        return entry if last else self._spool.save(entry if entry.state == SENT else replace(entry, state=SENT))

    def _check(self, entry: Entry, operation: Operation, *, first: bool) -> None:
        """Raises _Wait or _Stale with the first precondition that does not hold.

        Mode and pauses are asked before every step, the lease once per try. Head, state and labels are asked until the
        first step is done: from then on the effect itself has changed them.
        """
        asked = entry.effect.preconditions
        if isinstance(operation, FinishRun) and entry.done:
            return  # what was done is recorded, whatever stopped meanwhile
        if asked.unpaused:
            paused = self._ports.gates.paused(asked.unpaused)
            if paused is not None:
                raise _Wait(f"{paused} is paused")
        if asked.modes and self._ports.gates.mode() not in asked.modes:
            raise _Stale(f"the mode is {self._ports.gates.mode()} now")
        if asked.lease and first:
            holder = self._ports.records.holder(asked.lease)
            if holder is None or (holder.run, holder.epoch) != (asked.run, asked.epoch):
                who = f"{holder.run} on {holder.host}" if holder else "nobody"
                raise _Stale(f"the lease is held by {who}, not by {asked.run}: somebody took over")
        if asked.number is not None and first and not entry.done:
            self._check_item(asked, entry)

    def _check_item(self, asked: Preconditions, entry: Entry) -> None:
        assert asked.number is not None
        account = next((a for op in entry.effect.operations if (a := getattr(op, "account", ""))), "")
        if not account:
            account = next(op.spec.account for op in entry.effect.operations if isinstance(op, StartRun))
        forge, repo = self._ports.forge(account), RepoName.parse(asked.repo)
        item = forge.pull(repo, asked.number) if asked.is_pull else forge.issue(repo, asked.number)
        if asked.open and item.state is not ItemState.OPEN:
            raise _Stale(f"#{asked.number} is closed")
        head = getattr(item, "head_sha", None)
        if asked.head is not None and head != asked.head:
            raise _Stale(f"#{asked.number} has the head {str(head)[:8]} now, not {asked.head[:8]}")
        missing = sorted(asked.labels - item.labels)
        if missing:
            raise _Stale(f"#{asked.number} does not carry `{missing[0]}` any more")
        unwanted = sorted(asked.without & item.labels)
        if unwanted:
            raise _Stale(f"#{asked.number} carries `{unwanted[0]}` now")

    # ---- endings ---------------------------------------------------------------------------------------------------

    def _defer(self, entry: Entry, why: str, *, counts: bool) -> Outcome:
        tries = entry.tries + 1
        if counts and tries >= MAX_TRIES:
            return self._abandon(entry, f"{why} ({tries} tries)")
        wait = min(MAX_WAIT, timedelta(seconds=2 ** min(tries, 9)))
        self._spool.save(replace(entry, tries=tries, trouble=why, not_before=self._ports.now() + wait))
        return Outcome(entry.effect, Ending.DEFERRED, entry.facts, why)

    def _abandon(self, entry: Entry, why: str, error: FactoryError | None = None) -> Outcome:
        """Give it up. What it owes the journal is still paid; only then is the subject free."""
        if entry.abandoning:
            return self._defer(entry, why, counts=False)
        if not any(isinstance(op, FinishRun | StartRun) for op in entry.effect.operations):
            self._spool.remove(entry)
            self._repeats.ended(entry.effect.id, self._ports.now(), why)
            return Outcome(entry.effect, Ending.ABANDONED, entry.facts, why)
        trouble = type(error).__name__ if error else ""
        entry = self._spool.save(replace(entry, state=SENT, abandoning=why, trouble=trouble, not_before=None))
        self._hook("abandoning")
        return self._try(entry)

    def _close(self, entry: Entry) -> Entry:
        """The journal entry that an abandoned effect still owes."""
        records = self._ports.records
        for operation in entry.effect.operations:
            if isinstance(operation, FinishRun):
                record, lease = operation.record, operation.lease
            elif isinstance(operation, StartRun):
                record, lease = operation.record(), operation.lease
            else:
                continue
            holder = records.holder(lease)
            ours = holder is not None and holder.run == record.run
            # Somebody who took over has recorded the end already, or will; a run that never began has none.
            if ours and not records.is_finished(record.run):
                records.finish(_ended(record, entry, self._ports.now()), lease)
        return entry


def _ended(record: RunRecord, entry: Entry, now: datetime) -> RunRecord:
    """The terminal record of a run whose effect is given up: never a success, because nothing was observed."""
    if record.state.is_terminal and record.state is not RunState.SUCCEEDED:
        return record
    if not record.state.is_terminal:  # it was about to start
        cause = Cause.SANDBOX if entry.trouble == SandboxUnavailable.__name__ else Cause.LOST
        state = RunState.FAILED if cause is Cause.SANDBOX else RunState.LOST
    else:
        state, cause = RunState.FAILED, Cause.GATE
    return replace(record, state=state, cause=cause, finished_at=now, head=None, detail=entry.abandoning[-2000:])

"""A vault whose every step can go wrong, on purpose and again: crashes, pauses, lost replies, a forge that is away.

Whatever the trusted part is handed is wrapped; each call is a step with a name, and a plan says at which steps what
happens. A crash is an exception nothing catches; the process's memory is dropped and a new dispatcher, with a new name,
comes up. A pause lets all others go on for a while, in the middle of somebody's step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from factory.git.hardened import GitTrouble
from factory.vault.canonical import Refused
from factory.vault.dispatch import Dispatcher, Patience
from factory.vault.gather import Handed
from factory.vault.keys import listed
from factory.vault.ports import Order, Outcome, PullFact, Repo, Settings, Unclear
from tests.integration.vault.history import Effect, Line, Report, check, lines
from tests.integration.vault.house import LETTERS, House, formula_bytes, numbers_of, policy_bytes
from tests.integration.vault.quick import QuickGit, Store

ROUND_S = 60
"""How much the clocks move between two turns."""


class Crash(BaseException):
    """The process is gone."""


@dataclass(frozen=True)
class Fault:
    """What happens at the first step of this name, once a step ``after`` was seen."""

    at: str
    what: str
    """``crash``; ``pause`` (``turns`` of the others); of a push ``lost`` (done, but no reply), ``late`` (no reply, done
    ``turns`` steps later), ``full`` (not done: no space, or a stale lock); of the forge ``down`` (for ``turns``)."""
    after: str = ""
    turns: int = 6
    armed: bool = False


@dataclass
class Process:
    """A dispatcher and what only it knows."""

    name: str
    host: str
    dispatcher: Dispatcher
    killed: bool = False
    busy: bool = False
    ended: str = ""
    """Why it starts nothing any more, in the words of its refusal."""


@dataclass
class Vault:
    """One ledger, any number of dispatchers, one world outside that counts effects."""

    house: House
    store: Store
    plan: deque[Fault] = field(default_factory=deque)
    chance: Callable[[str], str] = lambda step: ""
    """What happens at a step that the plan does not name."""
    spare: str = "host"
    """Host of the dispatchers that come up."""
    guarded: bool = True
    """Whether the effect checks the fence; of an effect that cannot, only the start's deadline holds."""
    punctual: bool = True
    """Whether the runner keeps the start's deadline; a clock that stood still in the pause would not."""
    effects: list[Effect] = field(default_factory=list)
    halves: set[str] = field(default_factory=set)
    """Keys of effects that were begun and did not come to their end, or to another run that made it whole."""
    refused: list[Effect] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    wire: list[tuple[int, str]] = field(default_factory=list)
    """Pushes under way: the step at which they arrive, and the commit."""
    away: int = 0
    depth: int = 0
    events: Mapping[str, Callable[[Vault], None]] = field(default_factory=dict)
    targets: Mapping[str, str] = field(default_factory=dict)
    stages: list[Mapping[str, str]] = field(default_factory=list)
    """What will be merged later: the branches after each."""
    folder: Path = Path()
    known: dict[str, Line] = field(default_factory=dict)

    # ---- steps -----------------------------------------------------------------------------------------------------

    def step(self, who: Process, name: str) -> str:
        """Tell that this is about to happen. Returns what the caller must do to it; raises Crash, Unclear."""
        self.trace.append(f"{who.name} {name}")
        for due, commit in [item for item in self.wire if item[0] <= len(self.trace)]:
            self.wire.remove((due, commit))
            QuickGit(self.store).push(commit, "ledger")
        if who.killed:
            raise Crash
        fault = self.plan[0] if self.plan else None
        if fault is not None and fault.at == name and (fault.armed or not fault.after):
            self.plan.popleft()
            return self._act(who, fault.what, fault.turns)
        if fault is not None and fault.after == name:
            self.plan[0] = replace(fault, armed=True)
        if self.away and name.split()[0] in ("refs", "repo", "pulls", "now", "humans", "fetch"):
            self.away -= 1
            raise Unclear("the forge does not answer")
        what = self.chance(name)
        return self._act(who, what.split()[0], int(what.split()[1])) if what else ""

    def _act(self, who: Process, what: str, turns: int) -> str:
        if what == "crash":
            who.killed = True
            raise Crash
        if what == "down":
            self.away = turns
            raise Unclear("the forge does not answer")
        if what == "pause":
            who.busy, self.depth = True, self.depth + 1
            self.others(turns)
            who.busy, self.depth = False, self.depth - 1
            if who.killed:
                raise Crash
            return ""
        if what == "merge":
            self.merge()
            return ""
        if what in self.events:
            self.events[what](self)
            if who.killed:
                raise Crash
            return ""
        return f"{what} {turns}"

    def merge(self) -> None:
        """The next of the ground's stages, if there is one."""
        if self.stages:
            for name, oid in self.stages.pop(0).items():
                self.store.set(name, oid)

    # ---- dispatchers -----------------------------------------------------------------------------------------------

    def process(self, host: str = "host") -> Process:
        """A new dispatcher."""
        number = len(self.processes) + 1
        name = f"{host}/d{number}"
        process = Process(name, host, None)  # type: ignore[arg-type]
        outside = Outside(self, process)
        handed = Handed(
            FaultyGit(self, process), outside, outside, SlowRunner(self, process), outside, formula_bytes,
            clock=lambda: self.house.now, monotonic=lambda: self.house.clockwork,
        )  # fmt: skip
        process.dispatcher = Dispatcher(handed, name, self.folder / host / "ledger.json", Patience(120, 120, 30))
        self.processes.append(process)
        return process

    def turn(self, process: Process) -> None:
        """One turn of it; its end, if it crashes."""
        self.house.now += timedelta(seconds=ROUND_S)
        self.house.clockwork += ROUND_S
        try:
            process.busy = True
            process.dispatcher.turn()
        except Crash:
            process.killed = True
        except Refused as refused:
            process.ended = refused.code
        finally:
            process.busy = False

    def others(self, turns: int) -> None:
        """Turns of dispatchers that are not in the middle of a step; new ones come up where none is left."""
        for number in range(turns):
            free = [p for p in self.processes if not (p.killed or p.busy)]
            if not free and self.depth > 3:
                return
            self.turn(free[number % len(free)] if free else self.process(self.spare))

    def settle(self, ids: Sequence[str], rounds: int = 80) -> None:
        """Until all of these have ended and a few turns more, or every dispatcher refuses."""
        quiet = 0
        for _ in range(rounds):
            self.others(1)
            self.merge()
            alive = [p for p in self.processes if not p.killed]
            quiet = 0 if self.wire or self.stages or self.report(ids).open else quiet + 1
            if quiet > 3 or (alive and all(p.ended for p in alive)):
                return

    def ledger(self) -> list[Line]:
        return lines(self.store.repo, self.store.branch("ledger"), self.known)

    def report(self, ids: Sequence[str]) -> Report:
        letters = {id: next(letter for name, letter in LETTERS.items() if name in id) for id in ids}
        return check(self.ledger(), self.effects, letters, self.targets)

    def last(self, id: str) -> tuple[str, int, str]:
        """Kind, epoch and run of the newest entry: what a fence looks at."""
        found = [line for line in self.ledger() if line.id == id and line.kind != "LATE"]
        return (found[-1].kind, found[-1].epoch, found[-1].run) if found else ("", 0, "")


class FaultyGit(QuickGit):
    """Every fetch, draft and push is a step; a batch is named by its kinds."""

    def __init__(self, vault: Vault, process: Process) -> None:
        super().__init__(vault.store)
        self._vault, self._process, self._kinds = vault, process, ""

    def fetch(self, *branches: str) -> None:
        try:
            self._vault.step(self._process, f"fetch {' '.join(branches)}")
        except Unclear as error:
            raise GitTrouble(str(error)) from None
        super().fetch(*branches)
        self._vault.step(self._process, f"fetched {' '.join(branches)}")

    def append(self, parent: str, files: Sequence[tuple[str, bytes]], note: str) -> list[str]:
        self._kinds = " ".join(path.rsplit("-", 1)[1].removesuffix(".toml") for path, _ in files)
        if self._vault.step(self._process, f"draft {self._kinds}").startswith("full"):
            raise GitTrouble("git fast-import: No space left on device")
        return super().append(parent, files, note)

    def push(self, commit: str, branch: str) -> bool:
        what, _, number = self._vault.step(self._process, f"push {self._kinds}").partition(" ")
        if what == "full":
            raise GitTrouble("git push: cannot lock ref")
        if what == "late":
            self._vault.wire.append((len(self._vault.trace) + int(number), commit))
            raise GitTrouble("git push: TimeoutExpired")
        done = super().push(commit, branch)
        said = self._vault.step(self._process, f"pushed {self._kinds}")
        if "lost" in (what, said.partition(" ")[0]):
            raise GitTrouble("git push: the connection was reset")
        return done


@dataclass
class Outside:
    """Forge, sentinel and keys of the house."""

    vault: Vault
    process: Process

    def _step(self, name: str) -> House:
        self.vault.step(self.process, name)
        return self.vault.house

    def refs(self, *prefixes: str) -> Mapping[str, str]:
        self._step("refs")
        return self.vault.store.refs(*prefixes)

    def repo(self) -> Repo:
        return self._step("repo").repo_

    def ahead(self, heads: Iterable[str]) -> None:
        """What this double knows it knows already."""

    def pulls(self, head: str) -> tuple[PullFact, ...]:
        house = self._step("pulls")
        numbers = numbers_of(self.vault.store.refs("refs/pull/"), head)
        return tuple(house.pulls_[number] for number in numbers if number in house.pulls_)

    def now(self) -> datetime:
        return self._step("now").now

    def humans(self, ids: frozenset[int]) -> frozenset[int]:
        return ids - self._step("humans").gone

    def settings(self) -> Settings:
        return self._step("settings").settings_

    def signers(self, statement: bytes, pulls: object) -> frozenset[int]:
        return self.vault.house.signed

    def sign(self, data: bytes) -> str:
        return ""

    changes = staticmethod(listed.changes)


@dataclass
class SlowRunner:
    """Runs an order step by step; the world outside counts, and checks the fence where it can."""

    vault: Vault
    process: Process
    done: list[tuple[Order, Outcome]] = field(default_factory=list)

    def start(self, order: Order) -> None:
        vault = self.vault
        vault.step(self.process, "probe" if order.probe else "start")
        effect = Effect(order.idem_key, order.id, order.epoch, order.run)
        if order.probe:
            applied = any(e.key == order.idem_key for e in vault.effects)
            seen = "unclear" if order.idem_key in vault.halves else "applied" if applied else "absent"
            self.done.append((order, Outcome(seen, "looked")))
            vault.step(self.process, "probed")
            return
        if vault.punctual and vault.house.clockwork > order.deadline:
            self.done.append((order, Outcome("clean", "it was too late to begin")))
            return
        if vault.guarded and vault.last(order.id) != ("STARTED", order.epoch, order.run):
            vault.refused.append(effect)
            self.done.append((order, Outcome("unclear", "the fence let nothing through")))
            return
        vault.halves.add(order.idem_key)
        vault.step(self.process, "half")
        vault.halves.discard(order.idem_key)  # another run may have made it whole while this one slept
        vault.effects.append(effect)
        vault.step(self.process, "effect")
        self.done.append((order, Outcome("done", "did it")))

    def finished(self) -> tuple[tuple[Order, Outcome], ...]:
        self.vault.step(self.process, "finished")
        done, self.done = tuple(self.done), []
        return done

    def dead(self, by: str, run: str, *, kill: bool = False) -> bool:
        """Only of one's own host anything can be proved, and there a paused process can be ended, too."""
        for other in self.vault.processes:
            if other.name == by and other.host == self.process.host and other is not self.process:
                other.killed = other.killed or kill
                return other.killed
        return False


@dataclass
class Ground:
    """A house that many schedules start from: only the branches, the reviews and the clocks are put back."""

    house: House
    store: Store
    targets: Mapping[str, str]
    stages: list[Mapping[str, str]]
    """Where the branches stood before the first, and after each of the merges."""
    used: int = 0
    known: dict[str, Line] = field(default_factory=dict)

    @classmethod
    def lay(cls, root: Path, *formulas: str, places: Sequence[str] = (), policies: int = 0) -> Ground:
        """With one merged action of each formula, each on a place of its own unless ``places`` says where; before the
        last of them the policy is changed so many times."""
        house = House(root)
        targets: dict[str, str] = {}
        stages = [cls._tips(house)]
        for number, formula in enumerate(formulas):
            if number == len(formulas) - 1:
                for version in range(2, policies + 2):
                    house.change_policy(policy_bytes(version, more=f"pending = {version}\n"))
                    stages.append(cls._tips(house))
            action = house.ask(formula, place=places[number] if places else f"p{number}")
            targets[action.id] = action.target
            stages.append(cls._tips(house))
        store = Store(house.remote)
        store.set("genesis", store.branch("ledger"))
        return cls(house, store, targets, stages)

    @staticmethod
    def _tips(house: House) -> Mapping[str, str]:
        return {name: house.ref(f"heads/{name}") for name in ("main", "auto")}

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(self.targets)

    def vault(self, plan: Sequence[Fault] = (), *, slowly: bool = False, **more: object) -> Vault:
        """A ledger with nothing but its GENESIS. ``slowly``: the merges come one after the other."""
        self.used += 1
        self.store.set("ledger", self.store.branch("genesis"))
        stages = self.stages if slowly else self.stages[-1:]
        for name, oid in stages[0].items():
            self.store.set(name, oid)
        house = House.__new__(House)
        house.__dict__.update(self.house.__dict__, pulls_=dict(self.house.pulls_))
        folder = self.house.root / f"run-{self.used}"
        for host in ("host", "other"):
            (folder / host).mkdir(parents=True)
        return Vault(
            house, self.store, deque(plan), folder=folder, known=self.known, targets=self.targets, stages=stages[1:],
            **more,  # type: ignore[arg-type]
        )

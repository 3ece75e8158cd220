"""One turn of a dispatcher: read the ledger, look at what was merged, write what follows, start what may start.

Part of the trusted part, and the only place where a run is started: after STARTED stands on the ledger. Any number of
dispatchers may turn on one ledger; what keeps an action from starting twice is the compare-and-swap alone, never a
lock or a clock. Crash anywhere: what was not written did not happen, what was written is found again.
"""

import secrets
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.git.hardened import GitTrouble
from factory.vault.action import ID, Action
from factory.vault.authority import in_force
from factory.vault.canonical import Refused, Unclear, must, sha256
from factory.vault.chain import BRANCH, Chain
from factory.vault.formulas import VaultFormula
from factory.vault.gather import Gather, Handed
from factory.vault.ledger import ALL, Entry, Ledger, State, tier_of
from factory.vault.verify import AUTO, MAIN, Order

if TYPE_CHECKING:
    from factory.vault.ports import Outcome


AT_ONCE = 64
"""Runs of one tier at the same time here, so that a flood of low ones does not hold up a high one. Half as many
verdicts are written in one turn, so that the first may start before the last is judged."""
TRIES = 3
START_S = 30
"""From before STARTED is pushed to the first effect, on our own clock: a paused process wakes up too late."""
OPEN = "refs/heads/vault/"
OPENED = 100
"""Requests that are noted in one turn, however many branches look like one."""


@dataclass(frozen=True)
class Patience:
    """Seconds on our own clock; nobody else's clock is believed (vault-security.md, 3.5)."""

    claim: float = 120
    grace: float = 120
    probe: float = 30
    """After FENCED, so that a request that was under way has ended."""


class Dispatcher:
    """``me``: this process, ``host/instance``, never used twice. ``mark``: the file with the high-water mark."""

    def __init__(self, handed: Handed, me: str, mark: Path, patience: Patience | None = None) -> None:
        self._h, self.me, self._wait = handed, me, patience or Patience()
        self.chain = Chain(handed.git, mark, handed.keys.sign)
        self.ledger = self.chain.ledger
        self._look = Gather(handed, self.ledger)
        self.alarms = self._look.alarms
        """What a person should know, by subject; anew each turn."""
        self._main = ""
        """Tip of ``main`` up to which changes of the controlled set were judged."""
        self._results: list[tuple[Order, Outcome]] = []
        self._running: dict[str, str] = {}
        """Ledger id -> run that this process started and that has not ended."""
        self._orders: dict[str, Order] = {}
        """By run: what will be started when its STARTED stands."""
        self._watched: dict[tuple[str, int], float] = {}
        self._probes: dict[str, int] = {}

    def turn(self) -> None:
        """Raises Refused when the ledger itself is not as this host knows it: then nothing starts at all."""
        self.alarms.clear()
        self.alarms.update(self._look.standing)
        try:
            self._read()
            self._results += self._h.runner.finished()
            ended = [e for order, outcome in self._results for e in self._told(order.id, self._ended(order, outcome))]
            written = {entry.run for entry in self.chain.append(ended)}
            self._results = [(o, outcome) for o, outcome in self._results if not o.probe and o.run not in written]
            while any(entry.kind == "TRUST" for entry in self.chain.append(self._facts())):
                continue  # what follows is judged by the version that has just come into force
            self.chain.append(self._claims(), self._budget)
            for entry in self.chain.append(self._starts(), self._budget):
                if entry.kind == "STARTED":
                    self._h.runner.start(self._orders[entry.run])
                    self._running[entry.id] = entry.run
            self._orders.clear()
        except (Unclear, GitTrouble, OSError) as error:
            self.alarms["forge"] = str(error)

    def _read(self) -> None:
        main, auto, ledger = (f"refs/heads/{name}" for name in (MAIN, AUTO, BRANCH))
        tips = self._h.forge.refs(main, auto, ledger, OPEN)
        if tips.get(ledger) != self.ledger.tip:
            self.chain.sync()
            tips = self._h.forge.refs(main, auto, ledger, OPEN)  # what the ledger names stands on the branches by now
        if any(tips.get(name) != self._look.tips.get(name) for name in (main, auto)):
            self._h.git.fetch(*(name.removeprefix("refs/heads/") for name in (main, auto) if name in tips))
        self._look.tips, self._look.known = tips, self.ledger.count

    def _entry(self, kind: str, id: str, evidence: Mapping[str, Any], run: str = "", digest: str = "") -> Entry:
        state, now = self.ledger.state(id), self._h.clock().astimezone(UTC).replace(microsecond=0)
        epoch = len(self.ledger.trust) if kind == "TRUST" else state.epoch + (kind in ("CLAIMED", "FENCED"))
        return Entry(kind, id, run or secrets.token_hex(16), self.me, now, epoch, digest or state.digest, evidence)

    def _told(self, id: str, entries: Iterable[Entry], no: str = "PARKED") -> list[Entry]:
        """Those entries; ``no`` where they are refused; none, and an alarm, while what they need cannot be had."""
        try:
            return list(entries)
        except Refused as refused:
            return [self._entry(no, id, {"code": refused.code, "words": refused.words[:500], **self._look.place(id)})]
        except (Unclear, GitTrouble) as error:
            self.alarms[id] = str(error)
            return []

    # ---- what has become known -------------------------------------------------------------------------------------

    def _facts(self) -> Iterable[Entry]:
        if self.ledger.tip != self._look.tips.get(f"refs/heads/{BRANCH}"):
            self._read()
        under_way = [state for state in self.ledger.states.values() if not state.final]
        merged, opened, main = self._look.scan(), self._opened(), self._look.tips.get(f"refs/heads/{MAIN}", "")
        merged += self._due()
        if not (under_way or merged or opened or main != self._main):
            return []
        whole = list(self._whole(main))
        if any(entry.kind == "TRUST" for entry in whole):
            return whole
        self._h.forge.ahead(self._look.place(id)["head"] for id in merged[:AT_ONCE // 2])
        return [*whole, *(e for name in opened for e in self._told(name, self._seen(name))),
                *islice((e for id in merged for e in self._told(id, self._judged(id), "REFUSED")), AT_ONCE // 2),
                *(e for state in under_way for e in self._told(state.id, self._settled(state)))]  # fmt: skip

    def _whole(self, main: str) -> Iterable[Entry]:
        """FREEZE where the repo is another one or its history was rewritten; TRUST for an approved change of policy,
        with what it changes of the hosts' keys."""
        genesis, repo = self.ledger.genesis, self._h.forge.repo()
        if genesis is None:
            raise Unclear("the ledger has no GENESIS yet: run `factory init` again")
        pinned = [genesis.evidence[key] for key in ("forge", "repo", "owner", "name")]
        if pinned != [repo.forge, repo.id, repo.owner, repo.name]:
            words = f"the ops repo is now {repo.owner}/{repo.name}, id {repo.id}, on {repo.forge}; it was {pinned}"
        elif self._look.rewritten():
            words = f"the history of {MAIN} was rewritten"
        else:
            found = self._look.trusted(main)
            self._main = "" if found or self._look.cooling else main
            return [self._entry(kind, ALL, evidence) for kind, evidence in found]
        return [] if self.ledger.frozen else [self._entry("FREEZE", ALL, {"words": words})]

    def _opened(self) -> list[str]:
        """Requests whose branch is there and of which nothing is known yet."""
        names = [name.removeprefix(OPEN) for name in self._look.tips if name.startswith(OPEN)]
        new = [n for n in names if ID.fullmatch(n) and self.ledger.state(n).kind == "NEW"]
        return sorted(set(new) - set(self._look.merges))[:OPENED]

    def _seen(self, name: str) -> Iterable[Entry]:
        """How the forge was set when a request was opened."""
        settings = self._h.sentinel.settings()
        yield self._entry("SEEN", name, {
            "settings": settings.digest, "generation": settings.generation, "head": self._look.tips[OPEN + name],
            "since": settings.since.replace(microsecond=0)})  # fmt: skip

    def _judged(self, id: str) -> Iterable[Entry]:
        """That what was merged may run."""
        _, evidence, digest = self._look.verify(id)
        yield self._entry("VERIFIED", id, evidence, digest=digest)

    def _due(self) -> Iterable[str]:
        """The next run of each repeated action, when it is due and the one before it has ended."""
        for state in self.ledger.states.values():
            base, _, turn = state.id.partition("+")
            v, number = state.verified, int(turn or 1)
            following = f"{base}+{number + 1}"
            more = state.kind in ("DONE", "FAILED") and number < int(v.get("runs", 1))
            more = more and self.ledger.state(following).kind == "NEW"
            if more and self._h.clock() >= v["not_before"] + timedelta(hours=number * v["every_hours"]):
                yield following

    def _ended(self, order: Order, outcome: "Outcome") -> Iterable[Entry]:
        """What a run that ended here leaves: of a fenced one, a note and nothing else."""
        if self._running.get(order.id) == order.run:
            del self._running[order.id]
        state, evidence = self.ledger.state(order.id), {"words": outcome.words, "log_sha256": outcome.log_sha256}
        if order.probe:
            yield from self._probed(state, order, outcome, evidence)
            return
        evidence |= {f"result_{key}": value for key, value in outcome.result.items()}
        # A later run that changed nothing says nothing of a lost one before it, unless a probe did.
        alone = state.epoch == state.claims or state.verified.get("class") == "C"
        kind = {"done": "DONE", "clean": "FAILED" if alone else "UNKNOWN"}.get(outcome.state, "UNKNOWN")
        mine = (state.kind, state.epoch, state.run) == ("STARTED", order.epoch, order.run)
        yield self._entry(kind if mine else "LATE", order.id, evidence, run=order.run)

    def _probed(self, state: State, order: Order, outcome: "Outcome", said: Mapping[str, Any]) -> Iterable[Entry]:
        if state.kind != "FENCED" or state.epoch != order.epoch:
            return
        if outcome.state == "applied":
            yield self._entry("DONE", state.id, {**said, "by_probe": True})
        elif outcome.state == "absent":
            yield from self._again(state)
        else:
            self._probes[state.id] = self._probes.get(state.id, 0) + 1
            if self._probes[state.id] >= TRIES:
                yield self._entry("PARKED", state.id, {"words": f"the probe cannot tell: {outcome.words}"})

    def _again(self, state: State) -> Iterable[Entry]:
        """Fenced and not applied: it may run again if it would be allowed today. Raises Refused."""
        yield self._entry("VERIFIED", state.id, self._look.verify(state.id)[1])

    # ---- what is under way -----------------------------------------------------------------------------------------

    def _seconds(self, state: State) -> float:
        """How long we have watched this entry stand unchanged, on our own clock."""
        return (now := self._h.monotonic()) - self._watched.setdefault((state.id, state.seq), now)

    def _lost(self, state: State, seconds: float) -> bool:
        """Whether whoever wrote the entry is dead, or it stood for so long that nobody can be at it."""
        return self._h.runner.dead(state.by, state.run) or self._seconds(state) > seconds

    def _settled(self, state: State) -> Iterable[Entry]:
        """The next entry of an action that nobody here has in hand."""
        ours, kind = state.by == self.me, state.kind
        if state.id in self._running:
            return
        if kind == "CLAIMED" and not ours and state.claims >= TRIES and self._lost(state, self._wait.claim):
            yield self._entry("PARKED", state.id, {"words": f"claimed {state.claims} times and never started"})
        elif kind == "STARTED":
            if ours or self._lost(state, int(state.verified["minutes"]) * 60 + self._wait.grace):
                self._h.runner.dead(state.by, state.run, kill=True)
                yield self._entry("UNKNOWN", state.id, {"words": "whoever started it is gone, or it never ended"})
        elif kind == "UNKNOWN":
            yield self._entry("FENCED", state.id, {"words": "from here on no effect of the lost run is let through"})
        elif kind == "FENCED":
            yield from self._after_fence(state)
        elif kind == "VERIFIED" and not state.started and self._h.clock() >= state.verified["expires"]:
            self._look.now()  # raises Unclear where the clock is wrong
            yield self._entry("REVOKED", state.id, {"code": "expired", "words": "it expired before it could start"})

    def _after_fence(self, state: State) -> Iterable[Entry]:
        letter, patience = state.verified["class"], self._wait.probe
        patience *= 1 if state.by == self.me or self._h.runner.dead(state.by, state.run) else 10
        young = state.started is not None and abs(self._h.clock() - state.started) < timedelta(hours=12)
        if letter == "D" or (letter == "B" and not young) or state.epoch > 2 * TRIES:
            yield self._entry("PARKED", state.id, {"words": "nobody can tell whether it was done: a person must look"})
        elif self._seconds(state) < patience:
            return
        elif letter != "C":
            yield from self._again(state)
        else:
            self._h.runner.start(self._order(state, *self._look.request(state.id), probe=True))
            self._running[state.id] = state.run

    # ---- what may start --------------------------------------------------------------------------------------------

    def _claims(self) -> Iterable[Entry]:
        busy = Counter(tier_of(s) for s in self.ledger.states.values()
                       if s.id in self._running or (s.kind == "CLAIMED" and s.by == self.me))  # fmt: skip
        taken: set[object] = set()
        wanted = [state for state in self.ledger.states.values() if state.kind == "VERIFIED" or (
            state.kind == "CLAIMED" and state.by != self.me and state.claims < TRIES
            and self._lost(state, self._wait.claim))]  # fmt: skip
        now = self._look.now() if wanted else self._h.clock()
        for state in [] if self.ledger.frozen else wanted:
            v, tier = state.verified, tier_of(state)
            entry = self._entry("CLAIMED", state.id, {})
            why = self.ledger.lane_taken(state) or self._budget(self.ledger, entry)
            if why:
                self.alarms.setdefault(state.id, f"waits: {why}")
            elif v["target"] not in taken and busy[tier] < AT_ONCE and now >= v["not_before"]:
                taken.add(v["target"])
                busy[tier] += 1
                yield entry

    def _budget(self, ledger: Ledger, entry: Entry) -> str:
        """Why one more start would be too many on this tip; a retry was counted when it first started. A claim counts
        what is claimed already as if it had started, so that none is claimed only to wait for another day."""
        state = ledger.state(entry.id)
        if entry.kind not in ("CLAIMED", "STARTED") or state.started:
            return ""
        policy, v = in_force(ledger, self._h.git).policy, state.verified
        rule = policy.formulas.get(str(v["formula"]))
        limits = {"tier": policy.per_day[tier_of(state)], "requester": policy.per_requester,
                  "formula": rule.per_day if rule is not None and rule.per_day else -1}  # fmt: skip
        return ledger.over_budget(v, limits, self._h.clock(), entry.kind == "CLAIMED")

    def _starts(self) -> Iterable[Entry]:
        """STARTED for what this process claimed; where it may not start any more, REVOKED, or PARKED if a lost run of
        it may have had its effect."""
        mine = [s for s in self.ledger.states.values() if s.kind == "CLAIMED" and s.by == self.me]
        self._h.forge.ahead(self._look.place(state.id)["head"] for state in mine)
        for state in mine:
            clean = not state.started or state.verified["class"] == "C"
            yield from self._told(state.id, self._start(state), "REVOKED" if clean else "PARKED")

    def _start(self, state: State) -> Iterable[Entry]:
        """Everything is looked at once more. Raises Refused, Unclear."""
        verified, evidence, _ = self._look.verify(state.id)
        same = all(evidence[key] == state.verified[key] for key in ("merge", "blob_sha256", "formula_digest"))
        must(same, "changed", "it is not what was verified")
        self._orders[state.run] = self._order(state, verified.action, verified.formula)
        yield self._entry("STARTED", state.id, {"trust": evidence["trust"]}, run=state.run)

    def _order(self, state: State, action: Action, formula: VaultFormula, *, probe: bool = False) -> Order:
        """Raises Refused where the policy no longer names the formula."""
        authority = in_force(self.ledger, self._h.git)
        rules = authority.policy.formulas
        must(formula.key in rules, "unknown-formula", f"the policy does not name {formula.key}")
        key = sha256(f"{self.ledger.root}\n{state.digest}".encode())
        return Order(state.id, state.epoch, state.run, key, tier_of(state), action, formula, rules[formula.key],
                     authority.policy, authority.commit, probe, self._h.monotonic() + START_S)  # fmt: skip

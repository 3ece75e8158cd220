"""The delivery protocol as an explicit-state model: two dispatchers, one action, every order of their steps.

A pause is one dispatcher not taking its next step while the other does. A crash drops everything a dispatcher knows; a
reply can be lost, and a push whose reply was lost can arrive later. Nothing is timed: whoever holds an entry may be
believed dead at any moment, rightly or not. What the model takes for granted (vault-security.md, 3.7): the forge's ref
moves atomically, a probe tells the truth, and where the effect checks the fence, check and effect are one step.

Of the ledger only what can matter again is kept: its last entry and, of each draft, whether it can still land.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

GONE = -1
"""Wrote an entry and has crashed since."""
ENDS = ("DONE", "HUMAN")


@dataclass(frozen=True)
class Protocol:
    """What a dispatcher does; the defaults are what is built, each other value is a way to get it wrong."""

    nonce: bool = True
    """Off: two dispatchers that claim on the same tip make the same commit, byte for byte."""
    started: bool = True
    """Off: the effect follows CLAIMED, without a STARTED."""
    unknown: str = "fence"
    """What follows UNKNOWN: ``fence`` and then probe, ``reopen`` after a probe without a fence, or ``human``."""
    checked: bool = True
    """The effect happens only for the epoch and run that the ledger names last."""
    atomic: bool = True
    """Off: something can happen between that check and the effect."""
    expires: bool = False
    """A STARTED that is believed lost is claimed again."""
    resolved: bool = True
    """Off: a lost reply counts as a failure; what stands on the branch is not looked at."""
    looked: bool = True
    """Off: what was started counts as done."""
    epochs: int = 4
    """Claims and fences; an action that would need more is left to a person, so that the search ends."""

    @property
    def begins(self) -> str:
        """The entry after which the effect is begun."""
        return "STARTED" if self.started else "CLAIMED"


class Entry(NamedTuple):
    kind: str
    epoch: int
    by: int | None
    """Dispatcher, or GONE; None without nonces: it could be anybody's."""


class Dispatcher(NamedTuple):
    at: str = "idle"
    """``idle``, ``send`` (a draft is ready), ``unsure`` (no reply came), ``run``, ``act`` (checked), ``ran``."""
    epoch: int = 0
    """Of what it runs or ran."""
    kind: str = ""
    """Its draft's kind and epoch."""
    next: int = 0
    fate: str = ""
    """Of its draft. ``fresh``: its parent is the tip; ``on`` the ledger; ``dead``: another one took its place."""


class World(NamedTuple):
    last: Entry
    effects: int
    crashes: int
    losses: int
    wire: tuple[Entry, ...]
    """Pushes under way whose sender gave up; all of them fresh."""
    who: tuple[Dispatcher, Dispatcher]


@dataclass(frozen=True)
class Found:
    """What the search saw. ``double``, ``hollow``: the shortest way to two effects, to a DONE without one; empty: there
    is none. ``stuck``: worlds from which no end can be reached. In a way the two may swap names between steps."""

    states: int
    double: tuple[str, ...]
    hollow: tuple[str, ...]
    stuck: int
    follows: frozenset[tuple[str, str]]
    """Every kind of entry that landed, with the kind it followed."""


def search(protocol: Protocol, crashes: int = 2, losses: int = 2) -> Found:
    """Every world that can be reached. A world with two effects or a hollow DONE is not followed further."""
    first = World(Entry("VERIFIED", 0, None), 0, crashes, losses, (), (Dispatcher(), Dispatcher()))
    came: dict[World, tuple[World, str] | None] = {first: None}
    before: dict[World, list[World]] = {}
    row, good, follows = [first], set(), set()
    double: list[World] = []
    hollow: list[World] = []
    for world in row:
        if world.effects > 1:
            double.append(world)
        elif world.last.kind == "DONE" and not world.effects:
            hollow.append(world)
        else:
            if world.last.kind in ENDS:
                good.add(world)
            for step, following in steps(world, protocol):
                following = same(following)
                before.setdefault(following, []).append(world)
                if following.last[:2] != world.last[:2]:
                    follows.add((following.last.kind, world.last.kind))
                if following not in came:
                    came[following] = (world, step)
                    row.append(following)
    left = list(good)
    while left:
        fresh = {world for world in before.get(left.pop(), ()) if world not in good}
        good |= fresh
        left += fresh
    stuck = len(row) - len(good | {*double, *hollow})
    return Found(len(row), _way(double, came), _way(hollow, came), stuck, frozenset(follows))


def _way(worlds: list[World], came: dict[World, tuple[World, str] | None]) -> tuple[str, ...]:
    """The steps to the first of these worlds."""
    link, found = came[worlds[0]] if worlds else None, list[str]()
    while link is not None:
        world, step = link
        found.append(step)
        link = came[world]
    return tuple(reversed(found))


def steps(world: World, protocol: Protocol) -> Iterator[tuple[str, World]]:
    """Everything that can happen next."""
    for entry in set(world.wire):
        yield f"{entry.kind} arrives late", _land(world, entry, protocol)
    for n, one in enumerate(world.who):
        me = n if protocol.nonce else None
        if world.crashes and one != Dispatcher():
            yield f"{n} crashes", _crashed(world, n)
        if one.at in ("idle", "ran"):
            entry = _next(world, one, me, protocol)
            if entry is not None:
                sending = Dispatcher("send", one.epoch, entry.kind, entry.epoch, "fresh")
                yield f"{n} reads, drafts {entry.kind}", _put(world, n, sending)
            elif one.at == "ran":
                yield f"{n} is fenced: a note", _put(world, n, Dispatcher())
        elif one.at == "send":
            yield from _sent(world, n, one, Entry(one.kind, one.next, me), protocol)
        elif one.at == "unsure":
            there = protocol.resolved and one.fate == "on"
            yield f"{n} looks: {'there' if there else 'not there'}", _put(world, n, _told(one, there, protocol))
        elif one.at == "run" and protocol.checked and world.last != Entry(protocol.begins, one.epoch, me):
            yield f"{n} is refused by the fence", _put(world, n, Dispatcher())
        elif one.at == "run" and not protocol.atomic:
            yield f"{n} passes the fence", _put(world, n, one._replace(at="act"))
        elif one.at in ("run", "act"):
            done = world._replace(effects=world.effects + 1)
            yield f"{n} has its effect", _put(done, n, one._replace(at="ran"))


def _sent(world: World, n: int, one: Dispatcher, draft: Entry, protocol: Protocol) -> Iterator[tuple[str, World]]:
    """A push, and what its sender hears of it."""
    after = _land(world, draft, protocol) if one.fate == "fresh" else world
    won = one.fate != "dead"
    yield f"{n} pushes {one.kind}: {'yes' if won else 'no'}", _put(after, n, _told(one, won, protocol))
    if world.losses:
        lossy = after._replace(losses=world.losses - 1)
        yield f"{n} pushes {one.kind}: no reply", _put(lossy, n, _told(one, won and protocol.resolved, protocol))
        wire = tuple(sorted([*world.wire, draft])) if one.fate == "fresh" else world.wire
        lossy = world._replace(losses=world.losses - 1, wire=wire)
        yield f"{n} pushes {one.kind}: under way", _put(lossy, n, one._replace(at="unsure"))


def _put(world: World, n: int, one: Dispatcher) -> World:
    return world._replace(who=(one, world.who[1]) if n == 0 else (world.who[0], one))


def _land(world: World, entry: Entry, protocol: Protocol) -> World:
    """The compare-and-swap went through: every other draft on that tip is dead, unless it is the very same commit."""

    def fate(n: int, one: Dispatcher) -> Dispatcher:
        if one.fate != "fresh":
            return one
        same = entry == (one.kind, one.next, n if protocol.nonce else None)
        return one._replace(fate="on" if same else "dead")

    return world._replace(last=entry, wire=(), who=(fate(0, world.who[0]), fate(1, world.who[1])))


def same(world: World) -> World:
    """One world for all that differ only in what the dispatchers are called, or by the order of what is under way."""
    a, b = world.who
    if a < b or (a == b and world.last.by != 1):
        return world
    wire = [e._replace(by=1 - e.by) if e.by in (0, 1) else e for e in world.wire]
    last = world.last._replace(by=1 - world.last.by) if world.last.by in (0, 1) else world.last
    return world._replace(last=last, wire=tuple(sorted(wire)), who=(b, a))


def _crashed(world: World, n: int) -> World:
    def gone(entry: Entry) -> Entry:
        return entry._replace(by=GONE) if entry.by == n else entry

    wire = tuple(sorted(map(gone, world.wire))) if None not in {e.by for e in world.wire} else world.wire
    return _put(world._replace(last=gone(world.last), wire=wire, crashes=world.crashes - 1), n, Dispatcher())


def _told(one: Dispatcher, won: bool, protocol: Protocol) -> Dispatcher:
    """It knows how its push ended. Lost: it reads again; a result it has in hand stays there."""
    if not won:
        return Dispatcher("ran" if one.epoch else "idle", one.epoch)
    return Dispatcher("run" if protocol.looked else "ran", one.next) if one.kind == protocol.begins else Dispatcher()


def _next(world: World, one: Dispatcher, me: int | None, protocol: Protocol) -> Entry | None:
    """What a dispatcher that reads the ledger now would write."""
    kind, epoch, by = world.last
    if one.at == "ran":
        return Entry("DONE", epoch, me) if world.last == Entry(protocol.begins, one.epoch, me) else None
    claim = Entry("CLAIMED", epoch + 1, me) if epoch < protocol.epochs else Entry("HUMAN", epoch, me)
    if kind == "VERIFIED":
        return claim
    if kind == "CLAIMED":
        return Entry("STARTED", epoch, me) if by == me and protocol.started else claim
    if kind == "STARTED":
        return claim if protocol.expires else Entry("UNKNOWN", epoch, me)
    if kind == "UNKNOWN" and protocol.unknown != "reopen":
        return Entry("FENCED", epoch + 1, me) if protocol.unknown == "fence" else Entry("HUMAN", epoch, me)
    if kind in ("UNKNOWN", "FENCED"):
        return Entry("DONE", epoch, me) if world.effects else Entry("VERIFIED", epoch, me)
    return None


BUILT = Protocol()
VARIANTS: dict[str, tuple[Protocol, bool]] = {
    "as built": (BUILT, False),
    "never run again, no fence": (replace(BUILT, unknown="human", checked=False), False),
    "probed, then reopened without a fence": (replace(BUILT, unknown="reopen", checked=False), True),
    "fence written, but the effect does not check it": (replace(BUILT, checked=False), True),
    "claims of the same bytes (no nonce)": (replace(BUILT, nonce=False), True),
    "run on the claim, no STARTED": (replace(BUILT, started=False), True),
    "STARTED claimed again after a time": (replace(BUILT, expires=True), True),
    "a lost reply counts as a failure": (replace(BUILT, resolved=False), False),
    "a pause between fence check and effect": (replace(BUILT, atomic=False), True),
}
"""The table of vault-security.md, 3.7, and the limit it names; with whether an effect can happen twice."""

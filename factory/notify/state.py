"""What was told on a channel and what still is to be: values and decisions, no clock and no file. Pure.

An item is told once. It is told again when it was gone for a while and is there once more: then it needs somebody anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from factory.notify.item import Item

STEADY = timedelta(minutes=2)
"""What is gone for less was not gone: one look may miss what the next one sees."""
SINGLE = 3
"""So many are told one by one; more come in one list."""
LISTED = 20
"""So many are named in a list."""
RETRY, RETRY_MOST = timedelta(seconds=30), timedelta(hours=1)


@dataclass(frozen=True)
class Told:
    """An item that is told or about to be. ``gone``: since when it needs nobody any more."""

    key: str
    project: str
    at: datetime
    gone: datetime | None = None


@dataclass(frozen=True)
class State:
    """All of one channel. ``to``: who is told there; for somebody else everything is new."""

    to: str
    told: tuple[Told, ...] = ()
    waiting: tuple[Item, ...] = ()
    """Not told yet, oldest first; all of them are in ``told``."""
    begun: tuple[str, ...] = ()
    """Keys of a message that was begun, and nobody knows whether it arrived."""
    tries: int = 0
    """That failed in a row."""
    not_before: datetime | None = None
    trouble: str = ""
    """Why the last try failed; empty: it did not."""
    brief: bool = False
    """The facts were refused as they are: only the headline goes."""
    last: datetime | None = None
    """When something last arrived."""


@dataclass(frozen=True)
class Batch:
    """What one message tells. ``again``: it may have arrived before."""

    items: tuple[Item, ...]
    more: int = 0
    """So many are not named."""
    again: bool = False
    brief: bool = False
    keys: tuple[str, ...] = ()
    """All it tells of, the unnamed as well."""
    at: datetime | None = None
    """When the first of them began to need somebody."""

    @property
    def id(self) -> str:
        """The same each time a message is tried: a channel that can replaces by it what came before. What needs
        somebody anew has another."""
        return hashlib.sha256("\0".join((str(self.at), *self.keys)).encode()).hexdigest()[:32]


def fresh(states: Iterable[State], items: Sequence[Item]) -> tuple[Item, ...]:
    """Those that some channel has not told yet."""
    known = [{told.key for told in state.told} for state in states]
    return tuple(item for item in items if any(item.key not in keys for keys in known))


def noted(state: State, project: str, items: Sequence[Item], now: datetime) -> State:
    """What is to be told now that just these items of a project need somebody. Without news it is the same value."""
    here = {item.key: item for item in items}
    told = []
    for one in state.told:
        if one.project != project or one.key in here:
            told.append(replace(one, gone=None) if one.project == project and one.gone else one)
        elif one.gone is None or now - one.gone < STEADY:
            told.append(replace(one, gone=one.gone or now))
    known = {one.key for one in told}
    new = [item for key, item in here.items() if key not in known]
    told += [Told(item.key, project, now) for item in new]
    known |= {item.key for item in new}
    waiting = tuple(item for item in state.waiting if item.key in known) + tuple(new)
    after = replace(state, told=tuple(told), waiting=waiting, begun=_of(state.begun, known))
    return state if after == state else after


def _of(keys: Iterable[str], known: Collection[str]) -> tuple[str, ...]:
    return tuple(key for key in keys if key in known)


def due(state: State, now: datetime) -> Batch | None:
    """The next message; None: there is none, or it is not time to try again."""
    if state.not_before is not None and now < state.not_before:
        return None
    since = {told.key: told.at for told in state.told if told.gone is None}
    there = [item for item in state.waiting if item.key in since]
    again = [item for item in there if item.key in state.begun]
    if again:
        there = again
    elif len(there) <= SINGLE:
        there = there[:1]
    if not there:
        return None
    keys = tuple(item.key for item in there)
    named = tuple(there[:LISTED])
    at = min(since[key] for key in keys)
    return Batch(named, len(there) - len(named), bool(again), state.brief, keys, at)


def begun(state: State, batch: Batch) -> State:
    """It is about to leave; written down before it does."""
    return replace(state, begun=batch.keys)


def arrived(state: State, batch: Batch, now: datetime) -> State:
    """The channel has it."""
    left = tuple(item for item in state.waiting if item.key not in batch.keys)
    return replace(
        state, waiting=left, begun=(), tries=0, not_before=None, trouble="", brief=False, last=now
    )  # fmt: skip


def failed(
    state: State, why: str, now: datetime, *, perhaps: bool = False, refused: bool = False,
    wait: timedelta | None = None,
) -> State:  # fmt: skip
    """It did not. ``perhaps``: it may have arrived all the same; ``refused``: because of what it says; ``wait``: the
    channel's own wish."""
    tries = state.tries + 1
    pause = min(RETRY_MOST, max(RETRY * 2 ** min(tries - 1, 10), wait or timedelta()))
    return replace(
        state, begun=state.begun if perhaps else (), tries=tries, not_before=now + pause, trouble=why,
        brief=state.brief or refused,
    )  # fmt: skip

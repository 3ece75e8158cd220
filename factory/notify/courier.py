"""Tells people, beside the daemon's ticks: what is new is written down in the tick, and leaves in a thread of its own.

Written ahead: a message stands in the channel's file as begun before it leaves, and as arrived after it did. So what a
kill cuts off is sent again and says that it may have been told before; everything else is told once. Without a channel,
and without news, nothing is done.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock, Thread

from factory.config.model import ChannelHost
from factory.errors import ConfigInvalid, FactoryError
from factory.notify import store
from factory.notify.channel import Channel, opened
from factory.notify.item import Item
from factory.notify.post import Fate, post
from factory.notify.state import State, arrived, begun, due, failed, fresh, noted
from factory.notify.words import Message, message

Detailed = Callable[[Item], Item]
"""Adds to an item what is computed only when it is told."""


@dataclass
class Courier:
    """One for all projects of a host. ``channels`` are those of host.toml now; ``state`` is the host's state folder."""

    state: Path
    channels: Callable[[], Mapping[str, ChannelHost]]
    forge_url: str
    said: Callable[[str], None]
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    send: Callable[[Channel, Message], Fate] = post
    _lock: Lock = field(default_factory=Lock)
    _known: Mapping[str, ChannelHost] = field(default_factory=dict)
    _open: dict[str, Channel] = field(default_factory=dict)
    _states: dict[str, State] = field(default_factory=dict)
    _thread: Thread | None = None
    _trouble: dict[str, str] = field(default_factory=dict)

    @property
    def active(self) -> bool:
        """Whether it goes by any channel."""
        return bool(self._known)

    def knows(self, key: str) -> bool:
        """Whether an item was told on some channel, or is about to be, and needed somebody ever since."""
        self._refresh()
        return any(told.key == key for state in self._states.values() for told in state.told)

    def tell(self, project: str, items: Sequence[Item], detailed: Detailed = lambda item: item) -> None:
        """Note what needs somebody in a project; what no channel was told yet is written down to be. Never waits for a
        network, and raises nothing: what goes wrong is said, and tried with the next tick."""
        self._refresh()
        if not self._states:
            return
        new = {item.key: detailed(item) for item in fresh(self._states.values(), items)}
        now = self.now()
        with self._lock:
            for name, before in self._states.items():
                after = noted(before, project, [new.get(item.key, item) for item in items], now)
                if after is not before:
                    self._keep(name, after)
        self.keep()

    def keep(self) -> None:
        """Begin what is to be sent now, in a thread. Never waits."""
        if not self._states or (self._thread is not None and self._thread.is_alive()):
            return
        now = self.now()
        with self._lock:
            names = [name for name, state in self._states.items() if due(state, now) is not None]
        if names:
            self._thread = Thread(target=self._deliver, args=(names,), name="notifications", daemon=True)
            self._thread.start()

    def settled(self, timeout_s: float) -> bool:
        """Wait for what is under way; whether it came to its end."""
        if self._thread is not None:
            self._thread.join(timeout_s)
        return self._thread is None or not self._thread.is_alive()

    # ---- channels --------------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        """Open the channels of host.toml when those changed; one that cannot be opened is told of once."""
        wanted = self.channels()
        if wanted is self._known:
            return
        self._known = wanted
        with self._lock:
            self._open, self._states = {}, {}
            for name, host in wanted.items():
                try:
                    channel = opened(name, host)
                    self._states[name] = self._read(channel)
                    self._open[name] = channel
                    self._say(name, "")
                except ConfigInvalid as error:
                    self._say(name, error.message)
                except OSError as error:
                    self._say(name, _of_the_machine(error))

    def _read(self, channel: Channel) -> State:
        try:
            found = store.read(self.state, channel.name)
        except FactoryError as error:
            self.said(f"problem: {store.set_aside(self.state, channel.name, error)}")
            found = None
        return found if found is not None and found.to == channel.to else State(channel.to)

    def _keep(self, name: str, state: State) -> bool:
        """Write it down, then go by it. What cannot be written is not done."""
        try:
            store.write(self.state, name, state)
        except OSError as error:
            self._say(name, f"nothing is told while this cannot be written down: {_of_the_machine(error)}")
            return False
        self._states[name] = state
        return True

    def _say(self, name: str, trouble: str) -> None:
        if trouble != self._trouble.get(name, ""):
            self._trouble[name] = trouble
            self.said(f"notify {name}: {trouble}" if trouble else f"notify {name}: all is well again")

    # ---- in the thread ---------------------------------------------------------------------------------------------

    def _deliver(self, names: Sequence[str]) -> None:
        for name in names:
            try:
                while self._one(name):
                    pass  # until nothing is left to tell there, or one did not arrive
            except Exception:
                # A bug here must not end what shares the process; it is told in full, and tried again later.
                self.said(traceback.format_exc())
                with self._lock:
                    if name in self._states:
                        why = "a bug while it was told; it is in the daemon's log"
                        self._keep(name, failed(self._states[name], why, self.now(), perhaps=True))

    def _one(self, name: str) -> bool:
        """Send the next message of a channel; whether it arrived, so that another may follow."""
        with self._lock:
            before, channel = self._states.get(name), self._open.get(name)
            batch = due(before, self.now()) if before is not None else None
            if before is None or channel is None or batch is None or not self._keep(name, begun(before, batch)):
                return False
        fate = self.send(channel, message(batch, self.forge_url))
        with self._lock:
            after = self._states.get(name)
            if after is None or after.to != before.to:
                return False  # taken away meanwhile
            if fate.why:
                self._keep(name, failed(after, fate.why, self.now(), perhaps=fate.perhaps, refused=fate.refused,
                                        wait=fate.wait))  # fmt: skip
                self._say(name, fate.why)
                return False
            # On a full disk it would be sent again and again; so in memory it has arrived all the same.
            done = arrived(after, batch, self.now())
            if not self._keep(name, done):
                self._states[name] = done
                return False
            self._say(name, "")
            return True


def _of_the_machine(error: OSError) -> str:
    what = error.strerror or str(error)
    return f"{what}: {error.filename}" if error.filename else what

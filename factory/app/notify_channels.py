"""``factory notify``: naming a channel for this host, trying it, and what it told so far."""

from __future__ import annotations

import re
import stat
from dataclasses import replace
from datetime import datetime
from typing import Any

from factory.app.deployment import APART, Deployment
from factory.config.home import write_private
from factory.config.host import ADDRESS, CHAT, NAME, load_host, write_host
from factory.config.model import ChannelHost
from factory.config.shape import meant
from factory.errors import ConfigInvalid, FactoryError, ForgeUnavailable, UsageError
from factory.notify import store
from factory.notify.channel import Channel, channel, opened
from factory.notify.post import post
from factory.notify.words import trial

HOW = "factory notify add NAME KIND (docs/how-to/get-notified.md)"


def added(
    deployment: Deployment, name: str, kind: str, secret: bytes, now: datetime, *, chat: str = "", api: str = "",
    test: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Tell people there from now on; one of that name is replaced. ``secret`` is kept in a file of its owner's. Where
    the test message does not arrive nothing is set.

    Raises UsageError, ConfigInvalid (it is not what such a channel takes), ForgeUnavailable (it did not arrive)."""
    doing = f"adding the channel {name[:40]!r}"
    _require_daemon(deployment, doing)
    _fits(doing, name, kind, chat, api)
    host = load_host(deployment.home)
    kept = deployment.state / store.FOLDER / f"{name}.secret"
    entry = ChannelHost(kind, kept, chat, api)
    fresh = replace(host, channels={**host.channels, name: entry})
    made = channel(name, entry, secret)
    if test:
        _tried(deployment, made, now)
    before = kept.read_bytes() if kept.exists() else None
    write_private(kept, secret.strip() + b"\n")
    try:
        write_host(fresh)
    except BaseException:
        kept.unlink(missing_ok=True)
        if before is not None:
            write_private(kept, before)
        raise
    return {**_facts(deployment, name, entry), "tested": test, "replaced": name in host.channels}


def _fits(doing: str, name: str, kind: str, chat: str, api: str) -> None:
    """Raise UsageError for what host.toml would not take."""
    if re.fullmatch(NAME, name) is None:
        raise UsageError(f"{doing}: a name is lower-case letters, digits and dashes", hint="for example phone")
    if (chat or api) and kind != "telegram":
        raise UsageError(f"{doing}: --chat and --api are for telegram")
    if kind == "telegram" and re.fullmatch(CHAT, chat) is None:
        hint = "the chat's number, or @name of a public channel: --chat 123456789"
        raise UsageError(f"{doing}: a bot has to know whom to write to", hint=hint)
    if api and re.fullmatch(ADDRESS, api) is None:
        raise UsageError(f"{doing}: --api is no address of a server", hint="for example http://127.0.0.1:8081")


def _require_daemon(deployment: Deployment, doing: str) -> None:
    runs = deployment.host.runs
    if runs not in ("all", "daemon"):
        raise UsageError(f"{doing}: the daemon tells people, and it is not of this home", hint=APART[runs])


def _tried(deployment: Deployment, made: Channel, now: datetime) -> None:
    fate = post(made, trial(deployment.host.host, made.name, deployment.host.forge_url, now))
    if fate.why:
        hint = "is that what it gave you, and can this machine reach it? docs/how-to/get-notified.md"
        raise ForgeUnavailable(f"trying the channel {made.name} ({made.place}): {fate.why}", hint=hint)


def tested(deployment: Deployment, name: str, now: datetime) -> dict[str, Any]:
    """Send a message there now. Raises UsageError, ConfigInvalid, ForgeUnavailable."""
    entry = _named(deployment, name, "trying a channel")
    _tried(deployment, opened(name, entry), now)
    return _facts(deployment, name, entry) | {"tested": True}


def removed(deployment: Deployment, name: str) -> dict[str, Any]:
    """Tell nobody there any more, and forget its secret and what was told. Raises UsageError."""
    entry = _named(deployment, name, "taking a channel away")
    facts = _facts(deployment, name, entry)
    host = load_host(deployment.home)
    write_host(replace(host, channels={key: value for key, value in host.channels.items() if key != name}))
    if entry.secret_file.parent == deployment.state / store.FOLDER:  # one that stands elsewhere is not ours to remove
        entry.secret_file.unlink(missing_ok=True)
    store.forget(deployment.state, name)
    return facts


def _named(deployment: Deployment, name: str, doing: str) -> ChannelHost:
    channels = deployment.host.channels
    if name not in channels:
        hint = meant(name, channels, "channels here") if channels else HOW
        raise UsageError(f"{doing}: there is no channel {name[:40]!r}", hint=hint)
    return channels[name]


def listed(deployment: Deployment) -> list[dict[str, Any]]:
    """Every channel of this host, from what this host keeps: nobody is asked."""
    return [_facts(deployment, name, entry) for name, entry in sorted(deployment.host.channels.items())]


def _facts(deployment: Deployment, name: str, entry: ChannelHost) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "name": name, "kind": entry.kind, "place": entry.kind, "clear": False, "told": 0, "waiting": 0, "last": None,
        "tries": 0, "next_try": None, "trouble": "", "hint": None,
    }  # fmt: skip
    try:
        made = opened(name, entry)
        if stat.S_IMODE(entry.secret_file.stat().st_mode) & 0o077:
            words = f"other users can read {entry.secret_file}, and write there with it"
            return facts | {"place": made.place, "trouble": words, "hint": f"chmod go-rwx {entry.secret_file}"}
    except ConfigInvalid as error:
        return facts | {"trouble": error.message, "hint": error.hint}
    facts |= {"place": made.place, "clear": made.clear}
    try:
        state = store.read(deployment.state, name)
    except (FactoryError, OSError) as error:
        return facts | {"trouble": str(error), "hint": "factory up sets it aside and tells anew what waits"}
    if state is None or state.to != made.to:
        return facts
    return facts | {
        "told": len(state.told) - len(state.waiting), "waiting": len(state.waiting),
        "last": state.last.isoformat() if state.last else None, "tries": state.tries,
        "next_try": state.not_before.isoformat() if state.not_before else None, "trouble": state.trouble,
        "hint": f"factory notify test {name}" if state.trouble else None,
    }  # fmt: skip

"""A channel with what lets one write there, which comes from a file of its owner's and is in no error, no ``repr``."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from factory.config.model import ChannelHost
from factory.errors import ConfigInvalid

TELEGRAM = "https://api.telegram.org"
MOST_BYTES = 4096
_ADDRESS = re.compile(r"https?://[A-Za-z0-9.\[\]:-]+(?:/[A-Za-z0-9._~%+,;=-]+)+")
_TOPIC = re.compile(r"[A-Za-z0-9_-]{1,64}")
_BOT = re.compile(r"[0-9]{3,20}:[A-Za-z0-9_-]{20,100}")
_TOKEN = re.compile(r"[\x21-\x7e]{1,500}")
WANTED = {
    "ntfy": "the topic's address (https://ntfy.sh/a-name-nobody-guesses); on a second line an access token, if it "
    "takes one",
    "slack": "the incoming webhook's address (https://hooks.slack.com/services/...)",
    "mattermost": "the incoming webhook's address (https://chat.example/hooks/...)",
    "telegram": "the bot's token, as @BotFather gave it",
}
"""What the file of each kind holds."""


@dataclass(frozen=True)
class Channel:
    """Where one writes to. ``address``: of the topic, the webhook, or the Bot API server."""

    name: str
    kind: str
    address: str = field(repr=False)
    token: str = field(default="", repr=False)
    chat: str = ""

    @property
    def place(self) -> str:
        """Where that is, in words that give nobody the right to write there."""
        host = urlsplit(self.address).hostname or ""
        return f"{self.kind} chat {self.chat}" if self.kind == "telegram" else f"{self.kind} at {host}"

    @property
    def clear(self) -> bool:
        """Whether it goes over the network in the clear."""
        parts = urlsplit(self.address)
        return parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1")

    @property
    def to(self) -> str:
        """Who is told, as a digest: another token for the same topic or chat is the same people."""
        return hashlib.sha256(f"{self.kind}\0{self.address}\0{self.chat}".encode()).hexdigest()[:32]

    @property
    def secrets(self) -> tuple[str, ...]:
        """What may stand in no message: the token, and the part of the address that lets one write there."""
        path = urlsplit(self.address).path.strip("/") if self.kind != "telegram" else ""
        return tuple(part for part in (self.address if path else "", path, self.token) if part)


def channel(name: str, host: ChannelHost, secret: bytes) -> Channel:
    """The channel that a secret's bytes open. Raises ConfigInvalid, which does not quote them."""
    lines = [line.strip() for line in secret[: MOST_BYTES + 1].decode("ascii", "replace").strip().splitlines()]
    first, *more = lines or [""]
    token = more[0] if more and host.kind == "ntfy" else ""
    good = len(secret) <= MOST_BYTES and len(more) <= (host.kind == "ntfy")
    if host.kind == "telegram":
        good = good and _BOT.fullmatch(first) is not None
        made = Channel(name, host.kind, (host.api or TELEGRAM).rstrip("/"), first, host.chat)
    else:
        good = good and _ADDRESS.fullmatch(first) is not None and _port(first) and (not token or _is_token(token))
        made = Channel(name, host.kind, first, token)
    if host.kind == "ntfy" and good:
        good = _TOPIC.fullmatch(first.rpartition("/")[2]) is not None
    if not good:
        raise ConfigInvalid(
            f"opening the channel {name} ({host.kind}): what was given for it is not that",
            hint=f"wanted is {WANTED[host.kind]}: factory notify add {name} {host.kind}",
        )
    return made


def _port(address: str) -> bool:
    try:
        return bool(urlsplit(address).hostname) and urlsplit(address).port != 0
    except ValueError:
        return False


def _is_token(text: str) -> bool:
    return _TOKEN.fullmatch(text) is not None


def opened(name: str, host: ChannelHost) -> Channel:
    """The channel as its file says. Raises ConfigInvalid: there is no such file, or it holds something else."""
    try:
        secret = host.secret_file.read_bytes()
    except OSError as error:
        hint = f"factory notify add {name} {host.kind}"
        raise ConfigInvalid(f"opening the channel {name}: {host.secret_file}: {error.strerror}", hint=hint) from None
    return channel(name, host, secret)

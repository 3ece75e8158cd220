"""A message in the words of each channel's own API: an address, headers, a JSON document. Pure.

None of them is asked to read markup in what others wrote: ntfy gets plain text, Telegram a range that is quoted by its
length, Slack and Mattermost one block of code that nothing inside can end. No header carries any of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from factory.notify.channel import Channel
from factory.notify.words import Message

OPEN = "Open it on the forge"


@dataclass(frozen=True)
class Outgoing:
    """One POST."""

    url: str = field(repr=False)
    body: Mapping[str, object]
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def ntfy(channel: Channel, message: Message) -> Outgoing:
    """ntfy's JSON form, by which nothing stands in a header. The page is opened by a tap."""
    base, _, topic = channel.address.rpartition("/")
    body = {"topic": topic, "title": message.title, "message": f"{message.text}\n\n{message.url}",
            "click": message.url, "sequence_id": message.id}  # fmt: skip
    headers = {"Authorization": f"Bearer {channel.token}"} if channel.token else {}
    return Outgoing(f"{base}/", body, headers)


def slack(channel: Channel, message: Message) -> Outgoing:
    """A block of code and one link. Slack reads control sequences between ``<`` and ``>``, also inside code."""
    quoted = f"{message.title}\n\n{message.text}".replace("`", "'")
    for char, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        quoted = quoted.replace(char, entity)
    text = f"```\n{quoted}\n```\n<{message.url}|{OPEN}>"
    body = {"text": text, "parse": "none", "link_names": False, "unfurl_links": False, "unfurl_media": False}
    return Outgoing(channel.address, body)


def mattermost(channel: Channel, message: Message) -> Outgoing:
    """The same in its Markdown. It also reads Slack's control sequences, and knows no entities inside code."""
    quoted = f"{message.title}\n\n{message.text}".replace("`", "'").replace("<", "‹").replace(">", "›")
    return Outgoing(channel.address, {"text": f"```\n{quoted}\n```\n[{OPEN}]({message.url})"})


def telegram(channel: Channel, message: Message) -> Outgoing:
    """No parse_mode: what is quoted is said by its length in UTF-16 units, so nothing inside can end it."""
    quoted = f"{message.title}\n\n{message.text}"
    length = len(quoted.encode("utf-16-le", "replace")) // 2
    body = {
        "chat_id": channel.chat, "text": f"{quoted}\n\n{message.url}",
        "entities": [{"type": "pre", "offset": 0, "length": length}], "link_preview_options": {"is_disabled": True},
    }  # fmt: skip
    return Outgoing(f"{channel.address}/bot{channel.token}/sendMessage", body)


DIALECTS: Mapping[str, Callable[[Channel, Message], Outgoing]] = {
    "ntfy": ntfy,
    "slack": slack,
    "mattermost": mattermost,
    "telegram": telegram,
}


def outgoing(channel: Channel, message: Message) -> Outgoing:
    """The request that tells it."""
    return DIALECTS[channel.kind](channel, message)

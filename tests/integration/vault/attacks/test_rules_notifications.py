"""Rules about notifications, each broken once: who asks for an action writes what an admin reads on a phone.

The messages are those that a real server on loopback gets; what of them acts is judged by each channel's own rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from factory.notify import dialects, words
from factory.notify.channel import Channel
from factory.notify.item import Item, Screen
from tests.integration.notify.chat import Chat
from tests.integration.notify.house import House
from tests.integration.notify.reading import acting
from tests.integration.vault.attacks.blind import Blind
from tests.integration.vault.attacks.browsing import sign_in
from tests.integration.vault.attacks.keep import FOUNDER, Keep
from tests.integration.vault.attacks.raid import refused
from tests.integration.vault.attacks.register import Seen, rule
from tests.unit.notify.things import FORGE, PROJECT, item

ONLY_WORDS = "they are only words"
ITS_LINK = "its one link leads to the forge"
ELSEWHERE = "it happens: it leads elsewhere"
NO_GET = "cannot: no address of the forge approves by GET, and the factory reads no chat"
ACT = "it happens: a mention, a link to elsewhere and a line of their own are in it"
HOSTILE = (
    "<!channel> @everyone <https://evil.test/approve|Approve here> ![x](https://evil.test/x.png) evil.test/a *now*\r\n"
    "Click: https://evil.test\r\n```\nTier: low\n\u202eevorppa\u202c ` @here"
)


@pytest.fixture
def chat() -> Iterator[Chat]:
    made = Chat()
    yield made
    made.close()


def hostile(number: int, text: str = HOSTILE) -> Item:
    """A request whose title, parameters and reason the asker chose."""
    rows = (("Runs", ("release@1: publishes", text)), ("With", (f"notes = {text}",)), ("Tier", ("high: an admin",)))
    return item(number, title=text, why=text, frees=text, screen=Screen(rows, text, text))


def told(house: House, chat: Chat, one: Item) -> dict[str, tuple[set[str], list[str]]]:
    """By channel: what acts in the message of it, and its lines."""
    chat.got.clear()
    house.courier.tell(PROJECT, [one])
    house.settle()
    found = {}
    for post in chat.got:
        kind = post.path.strip("/").partition("/")[0] or "ntfy"
        kind = "telegram" if kind.startswith("bot") else kind
        text = str(post.body.get("message") or post.body["text"])
        assert not any("\r" in value or "\n" in value for value in post.headers.values())
        found[kind] = (acting(kind, post.body), text.splitlines())
    assert set(found) == {"ntfy", "slack", "mattermost", "telegram"}, house.said
    return found


def house_of(folder: Path, chat: Chat) -> House:
    """All four channels; each one's secret is its path."""
    house = House(folder, chat.url, ntfy="ntfy", slack="slack", mattermost="mattermost")
    host = house.host("telegram", "telegram")
    host.secret_file.write_text("123456:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw", encoding="ascii")
    house.channels = {**house.channels, "telegram": replace(host, chat="42", api=chat.url)}
    return house


@rule("What others wrote stands in a notification as words: no markup, link, image, mention or line of its own",
      vault=ONLY_WORDS, off=ACT,
      check="on one line, capped, hidden characters out, addresses and mentions broken, then quoted")  # fmt: skip
def test_rule_words_of_others_in_a_notification(tmp_path: Path, chat: Chat, off: Blind) -> Seen:
    house = house_of(tmp_path, chat)
    for acts, lines in told(house, chat, hostile(1)).values():
        assert acts == {f"{FORGE}/founder/hello-ops/pulls/1"}, "the one thing that leads anywhere is the forge's page"
        assert [line for line in lines if line.startswith(("Tier", "Click"))] == ["Tier: high: an admin"]
        assert not re.search("[\u202a-\u202e\u2066-\u2069]", "".join(lines))
    off.patch.setattr(words, "inert", lambda text, limit=0: text)
    off.patch.setattr(dialects, "DIALECTS", {**dialects.DIALECTS, "slack": unquoted, "mattermost": unquoted,
                                             "telegram": unquoted})  # fmt: skip
    seen = told(house, chat, hostile(2))
    assert "!channel" in seen["slack"][0]
    assert {"https://evil.test/approve", "!https://evil.test/x.png"} <= seen["mattermost"][0]
    assert "@everyone" in seen["mattermost"][0]
    assert "@everyone" in seen["telegram"][0]
    assert any("evil.test" in one for one in seen["ntfy"][0])
    faked = all({"Tier: low", "Click: https://evil.test"} <= set(lines) for _, lines in seen.values())
    return Seen("-", ONLY_WORDS, ACT if faked else "")


def unquoted(channel: Channel, message: words.Message) -> dialects.Outgoing:
    """As it would be sent by who just puts the text in."""
    asked = REAL[channel.kind](channel, message)
    text = f"{message.title}\n{message.text}\n{message.url}"
    return replace(asked, body={"text": text, "chat_id": channel.chat} if channel.chat else {"text": text})


REAL = dict(dialects.DIALECTS)


@rule("A notification's link leads to a page of the configured forge, whatever it is about", vault=ITS_LINK,
      off=ELSEWHERE,
      check="an address is below that of the forge and has no query, or it is the forge's own")  # fmt: skip
def test_rule_a_notifications_link(tmp_path: Path, chat: Chat, off: Blind) -> Seen:
    house, elsewhere = house_of(tmp_path, chat), f"{FORGE}.evil.test/founder/hello-ops/pulls/1"
    for acts, _ in told(house, chat, item(1, url=elsewhere)).values():
        assert acts == {FORGE}
    off.patch.setattr(words, "link", lambda url, forge_url: url)
    leads = {one for acts, _ in told(house, chat, item(2, url=elsewhere)).values() for one in acts}
    return Seen("-", ITS_LINK, ELSEWHERE if leads == {elsewhere} else "")


@rule("Nothing is approved by GET or by a message: what a notification leads to only shows", vault="no-approval",
      forge="blocks", off=NO_GET,
      check="a message has one address, of a page; approving is a form of a signed-in person")  # fmt: skip
def test_rule_opening_a_notification_approves_nothing(own: Keep, tmp_path: Path, chat: Chat) -> Seen:
    """An admin who is signed in opens everything that a message holds."""
    own.broken_into("it is about the pages of the embedded forge")
    house = house_of(tmp_path, chat)
    house.courier.forge_url = own.site.url

    def act() -> str:
        asked = own.ask(own.action("gamma"))
        page = f"{own.site.url}/{own.ops}/pulls/{asked.number}"
        login = own.site.login(FOUNDER)
        with httpx.Client(base_url=own.site.url, timeout=20, trust_env=False, follow_redirects=True) as browser:
            sign_in(browser, own.site.url, login, own.site.passwords[login])
            for acts, _ in told(house, chat, item(1, url=page)).values():
                (link,) = acts
                assert link == page
                shown = browser.get(link)
                assert shown.status_code == 200
                assert asked.id in shown.text
                for query in ("?event=APPROVED", "/review?event=APPROVED&head=" + asked.head, "/merge"):
                    browser.get(f"{link}{query}")
        assert not own.site.admin.reviews(own.ops, asked.number)
        own.merged(asked)
        return asked.id

    forge, code = refused(own, act)
    return Seen(forge, code, NO_GET)

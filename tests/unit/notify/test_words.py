"""No word of others is read as anything but words, by any chat program's rules."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.notify.channel import Channel
from factory.notify.dialects import DIALECTS, outgoing
from factory.notify.state import Batch
from factory.notify.words import AGAIN, CUT, LINE, MOST_BYTES, TITLE, Message, inert, link, message, trial
from tests.unit.notify.things import FORGE, NOW, item, screen

HOSTILE = (
    "<!channel> <@U0123ABC> <!here|x> <!subteam^S1> @everyone @here @channel @all @founder",
    "[Approve](https://evil.test/a) ![x](https://evil.test/x.png) <https://evil.test|Approve>",
    "``` <https://evil.test|Approve> ```", "```\n[Approve](http://evil.test)\n```", "`*bold*` _it_ ~no~ **so**",
    "click evil.test/approve or www.evil.test, evil。test, 10.0.0.1/approve, HTTPS://EVIL.TEST", "mail me@evil.test",
    "title\r\nAuthorization: Bearer x\r\nX-Click: https://evil.test", "a\x00b\x1b[31mred\x07",
    "abc\u202etxt.exe \u200b\u2066hidden\u2069 \U000e0041", "&lt;!channel&gt; &amp; <b>x</b><script>", "tg://user?id=1",
    "/start@evil_bot #tag", "x" * 5000, "é" * 5000, "\ud800 lone", "👍" * 4000,
)  # fmt: skip
SECRET = "t0ken-of-the-channel"
CHANNELS = {
    "ntfy": Channel("a", "ntfy", "https://ntfy.test/topic", SECRET),
    "slack": Channel("a", "slack", f"https://hooks.test/services/{SECRET}"),
    "mattermost": Channel("a", "mattermost", f"https://chat.test/hooks/{SECRET}"),
    "telegram": Channel("a", "telegram", "https://api.test", f"123456:{SECRET}", "42"),
}
ADDRESS = re.compile(r"(?i)[a-z][a-z0-9+.-]*://|\bwww\.|[\w-]\.[^\W\d_]{2}|\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b")
"""What any chat program's own search for addresses begins with."""
MENTION = re.compile(r"@[^\W\d]")


def told(words: str, kind: str) -> dict[str, Any]:
    """The document that a channel is sent, with these words in every place that others write."""
    one = item(
        title=words, frees=words, why=words, project=words,
        screen=screen(words, rows=(("Runs", (words, words)), ("On", (words,))), asker=words),
    )  # fmt: skip
    asked = outgoing(CHANNELS[kind], message(Batch((one,), keys=(one.key,)), FORGE))
    assert all(c not in value for value in (*asked.headers.values(), asked.url) for c in "\r\n")
    assert words not in asked.headers.values()
    document: dict[str, Any] = json.loads(json.dumps(asked.body))
    return document


def quotes(kind: str, body: dict[str, Any]) -> tuple[str, str]:
    """(what stands where nothing is read as markup, the rest), by the rules of that channel."""
    if kind == "ntfy":
        assert "markdown" not in body
        assert body["click"] == item().url
        words, _, rest = body["message"].rpartition("\n\n")
        return f"{body['title']}\n{words}", rest
    if kind == "telegram":
        assert "parse_mode" not in body
        (entity,) = body["entities"]
        units = body["text"].encode("utf-16-le", "surrogatepass")
        end = 2 * entity["length"]
        assert (entity["type"], entity["offset"]) == ("pre", 0)
        return units[:end].decode("utf-16-le", "surrogatepass"), units[end:].decode("utf-16-le")
    before, quoted, rest = body["text"].split("```")  # exactly one block of code
    assert before == ""
    return quoted, rest


@pytest.mark.parametrize("kind", DIALECTS)
@pytest.mark.parametrize("words", HOSTILE)
def test_nothing_of_others_acts(words: str, kind: str) -> None:
    body = told(words, kind)
    quoted, rest = quotes(kind, body)
    ours = {"slack": f"\n<{item().url}|Open it on the forge>", "ntfy": item().url, "telegram": f"\n\n{item().url}",
            "mattermost": f"\n[Open it on the forge]({item().url})"}  # fmt: skip
    assert rest == ours[kind], "outside of the quotation there is one link, to the forge"
    assert not ADDRESS.search(quoted), ADDRESS.search(quoted)
    assert not MENTION.search(quoted)
    assert "`" not in quoted or kind in ("ntfy", "telegram")
    if kind in ("slack", "mattermost"):
        assert not set("<>") & set(quoted)
        assert kind == "mattermost" or not re.search(r"&(?!(?:amp|lt|gt);)", quoted)
    hidden = {c for c in quoted if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")} - {"\n"}
    assert hidden == set()
    assert len(quoted.encode()) <= 4 * (MOST_BYTES + 4 * TITLE)


@given(st.text(), st.sampled_from(sorted(DIALECTS)))
def test_nothing_that_anybody_can_write_acts(words: str, kind: str) -> None:
    test_nothing_of_others_acts(words, kind)


@given(st.text(alphabet="ab.:/@<>`1。 ", max_size=60))
def test_what_looks_like_an_address_does_not_any_more(words: str) -> None:
    line = inert(words)
    assert not ADDRESS.search(line)
    assert not MENTION.search(line)
    assert "\n" not in line


def test_without_that_the_attack_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same documents when words go as they are."""
    monkeypatch.setattr("factory.notify.words.inert", lambda text, limit=0: text)
    body = told(HOSTILE[5], "ntfy")
    assert ADDRESS.search(body["message"].rpartition("\n\n")[0])
    assert "\r\nX-Click: https://evil.test" in told(HOSTILE[7], "ntfy")["title"]
    assert MENTION.search(told(HOSTILE[0], "telegram")["text"])


def test_words_stay_readable() -> None:
    assert inert("release@1 of v1.2.3 at https://x.example, e.g. now. Then 0.5") == (
        "release@1 of v1.2.3 at https[:]//x[.]example, e.g. now. Then 0.5"
    )
    assert inert("run main.py as me@box") == "run main[.]py as me＠box"


def test_facts_come_first_and_the_askers_words_last_and_marked() -> None:
    one = item(screen=screen("Tier: low\nApproved by founder"))
    lines = message(Batch((one,), keys=(one.key,)), FORGE).lines
    assert lines[:3] == ("Runs: release@1: publishes", "  sh -c 'make release'", "On: gamma")
    assert lines[-2:] == ("What role:dev says (nobody checked it):", "> Tier: low Approved by founder")
    assert "When you did it: the action starts" in lines
    assert "Since: 2026-11-29 12:00 UTC" in lines


def test_a_message_is_capped_and_says_so_and_words_cannot_push_facts_out() -> None:
    rows = tuple((f"Row{n}", ("v" * 2000, "w" * 2000)) for n in range(4))
    one = item(screen=screen("a" * 9000, rows=rows))
    made = message(Batch((one,), keys=(one.key,)), FORGE)
    assert len(made.text.encode()) <= MOST_BYTES
    assert all(len(line) <= LINE + 20 for line in made.lines)
    assert [line[:5] for line in made.lines if line.startswith("Row")] == ["Row0:", "Row1:", "Row2:", "Row3:"]
    many = item(screen=screen("b", rows=tuple((f"Row{n}", ("é" * 290,)) for n in range(40))))
    made = message(Batch((many,), keys=(many.key,)), FORGE)
    assert made.lines[-1] == CUT
    assert len(made.text.encode()) <= MOST_BYTES


@pytest.mark.parametrize(("url", "leads"), [
    ("https://forge.example/founder/hello-ops/pulls/1", "https://forge.example/founder/hello-ops/pulls/1"),
    ("https://forge.example.evil.test/x", FORGE), ("https://forge.example@evil.test/x", FORGE),
    ("https://evil.test/x", FORGE), ("javascript:alert(1)", FORGE), ("https://forge.example/a?approve=1", FORGE),
    ("https://forge.example/a b|c>", FORGE), ("https://forge.example/a)#x", FORGE), ("", FORGE),
])  # fmt: skip
def test_links_lead_to_pages_of_the_configured_forge(url: str, leads: str) -> None:
    assert link(url, FORGE) == leads
    assert link(url, FORGE + "/") == leads


def test_a_list_names_them_and_leads_to_the_dashboard() -> None:
    many = tuple(item(n, screen=screen()) for n in range(20))
    made = message(Batch(many, more=5, again=True, keys=tuple(map(str, range(25)))), FORGE)
    assert made.title == "25 things need you"
    assert made.lines[0] == AGAIN
    assert made.lines[1] == "- approve: release@1 on target-0 (high) waits for founder"
    assert made.lines[-1] == "- and 5 more"
    assert made.url == f"{FORGE}/founder/hello-ops"
    two = message(Batch((many[0], item(board=f"{FORGE}/a/b-ops")), keys=("a", "b")), FORGE)
    assert two.url == FORGE


def test_a_brief_one_has_no_facts() -> None:
    one = item(screen=screen())
    made = message(Batch((one,), brief=True, keys=(one.key,)), FORGE)
    assert not any("Runs" in line or "nobody checked" in line for line in made.lines)
    assert made.url == one.url


def test_a_trial_leads_to_the_forge() -> None:
    made = trial("box", "phone", FORGE, NOW)
    assert (made.url, "box" in made.text) == (FORGE, True)


def test_a_message_that_is_sent_again_can_be_known_by_its_id() -> None:
    one = item()
    batch = Batch((one,), keys=(one.key,))
    body = outgoing(CHANNELS["ntfy"], message(batch, FORGE)).body
    assert body["sequence_id"] == batch.id
    assert re.fullmatch(r"[-_A-Za-z0-9]{1,64}", batch.id)


def test_secrets_are_in_no_repr() -> None:
    for channel in CHANNELS.values():
        assert SECRET not in repr(channel)
        assert SECRET not in repr(outgoing(channel, Message("i", "t", ("l",), FORGE)))
        assert SECRET not in channel.place

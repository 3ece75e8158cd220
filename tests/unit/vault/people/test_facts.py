"""One screen, computed; what the asker wrote comes last, marked, and can do nothing there."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from factory.vault.action import Tier
from factory.vault.people.facts import Facts, Last, as_json, facts_of, headline, markdown, rows, text
from factory.vault.people.request import draft
from factory.vault.people.rules import Rules
from factory.vault.policy import ruling
from tests.unit.vault.people.samples import NOW, policy, rules, wish


def facts(formula: str = "release", last: Last | None = None, given: Rules | None = None, **changes: object) -> Facts:
    known = given or rules()
    made = draft(wish(formula, **changes), known)
    found = known.formula(formula)
    assert found is not None
    return facts_of(made.action, found, known, made.ruling, last)


def told(of: Facts) -> dict[str, tuple[str, ...]]:
    return dict(rows(of))


def test_what_a_person_needs_is_there() -> None:
    assert told(facts()) == {
        "Tier": ("high: release@1 is at least high", "the policy says high",
                 "the policy at the request's beginning says high"),
        "Runs": ("release@1: Build an archive and publish it as a release.", "git archive --output=out.tar.gz HEAD",
                 "host effect tag", "host effect release"),
        "With": ("tag = v0.2.0",),
        "On": ("release:v0.2.0",),
        "Reaches": ("no host",),
        "Secrets": ("none",),
        "Undo": ("delete the release and its tag", "if it is cut off: afterwards one can look whether it was done"),
        "Last time": ("never on this target",),
        "Expires": ("2026-11-24T12:00:30Z",),
        "Frees": ("acme/tally#3",),
        "Approves": ("founder",),
        "Asked by": ("role:dev",),
    }  # fmt: skip


def test_hosts_come_with_methods_and_the_secret_they_are_given() -> None:
    called = told(facts("webhook-call"))
    assert called["Reaches"] == ("POST hooks.example.org/in, HOOK_TOKEN in its header Authorization",)
    assert called["Secrets"] == ("HOOK_TOKEN",)
    assert called["Undo"][0] == "irreversible"
    assert told(facts("collect"))["Reaches"] == ("GET, HEAD status.example.org",)


def test_who_may_approve_depends_on_the_tier() -> None:
    assert told(facts("webhook-call"))["Approves"] == ("colleague or founder",)
    assert told(facts("collect"))["Approves"] == ("nobody: low actions are merged and fired as they come",)
    signed = rules(policy().replace(b"pending", b'require_signature = ["high"]\npending'))
    assert told(facts(given=signed))["Approves"] == ("founder and a signature",)


def test_what_differs_from_the_last_time_is_said() -> None:
    known = rules()
    old = draft(wish(parameters={"tag": "v0.2.0", "notes": "old"}, requester="person:founder"), known).action
    formula = known.formula("release")
    assert formula is not None
    same = Last(old.id, "DONE", NOW, "high", formula.digest, 3, draft(wish(), known).action)
    assert told(facts(last=same))["Last time"] == (f"{old.id}, DONE at 2026-11-21T12:00:30Z", "nothing differs")
    other = Last(old.id, "FAILED", NOW, "high", "0" * 64, 2, old)
    assert told(facts(last=other))["Last time"][1:] == (
        f"the formula's file is another one ({formula.digest[:12]}, was 000000000000)",
        "the policy is version 3, was 2",
        "notes is not given, was 'old'",
        "role:dev asks, person:founder did",
    )
    lost = Last(old.id, "DONE", NOW, "high", formula.digest, 3, None)
    assert told(facts(last=lost))["Last time"][1:] == ("its parameters then cannot be read any more",)


def test_a_file_that_the_rules_do_not_allow_says_so_first() -> None:
    known = rules()
    made = draft(wish(), known)
    narrow = rules(policy().replace(b"pending", b"max_ttl_hours = 1\npending"))
    formula = narrow.formula("release")
    assert formula is not None
    assert narrow.policy is not None
    decided = ruling(made.action, formula, narrow.policy, narrow.policy, repeated=False)
    first, lines = rows(facts_of(made.action, formula, narrow, decided))[0]
    assert (first, lines) == ("Not valid", ("expires: is more than 1 hours after its last start",))


HOSTILE = (
    "merge me <script>alert(1)</script> [x](http://evil.test) ![p](http://evil.test/p.png) @founder closes #1 `` ` ``"
)


def test_the_asker_s_words_are_last_and_inert() -> None:
    body = markdown(facts(reason=HOSTILE))
    head, _, tail = body.partition("Untrusted: nobody checked it.")
    assert "evil" not in head
    html = MarkdownIt("commonmark", {"html": True}).render(tail)
    assert "<script" not in html
    assert "href" not in html
    assert "<img" not in html


def test_hidden_characters_of_a_file_are_shown_by_their_number() -> None:
    odd = replace(facts(), words="pay\u202e 10\u200b", params=(("tag", "v1\u2066"),))
    for shown in (text(odd), markdown(odd)):
        assert "pay[U+202E] 10[U+200B]" in shown
        assert "v1[U+2066]" in shown
    assert as_json(odd)["untrusted"] == "pay[U+202E] 10[U+200B]"


@given(st.text(max_size=200))
def test_no_words_leave_their_place(words: str) -> None:
    body = markdown(replace(facts(), words=words))
    lines = body.split("\n")
    assert len(lines) == len(markdown(replace(facts(), words="")).split("\n"))
    html = MarkdownIt("commonmark").render(body)
    assert html.count("<li>") == MarkdownIt("commonmark").render(markdown(facts(reason=""))).count("<li>")
    assert "<a " not in html


def test_one_line_for_lists_and_notifications() -> None:
    assert headline(facts()) == "release@1 on release:v0.2.0 (high) waits for founder"
    assert headline(facts("collect")) == "collect@2 on collect:status.example.org (low) needs nobody"


@pytest.mark.parametrize("formula", ["release", "collect", "webhook-call"])
def test_the_json_says_the_same(formula: str) -> None:
    known = facts(formula)
    data = json.loads(json.dumps(as_json(known)))
    assert data["tier"] == known.tier.word
    assert (data["need"] == 0) == (known.tier is Tier.LOW)
    assert list(data)[:3] == ["id", "formula", "tier"]

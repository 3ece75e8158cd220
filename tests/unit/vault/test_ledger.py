"""The ledger's entries and its state machine: every pair of states, every rule beside the table,
what the fold remembers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise, product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.vault.action import Tier
from factory.vault.canonical import Refused
from factory.vault.ledger import AFTER, ALL, COLD, FINAL, WHOLE, Entry, Ledger, State, read, tier_of

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
RUN = "0" * 32
KINDS = tuple(AFTER)
TABLE = {
    "NEW": {"SEEN", "VERIFIED", "REFUSED"},
    "SEEN": {"VERIFIED", "REFUSED"},
    "VERIFIED": {"CLAIMED", "REVOKED"},
    "REFUSED": set(),
    "CLAIMED": {"CLAIMED", "STARTED", "PARKED", "REVOKED"},
    "STARTED": {"DONE", "FAILED", "UNKNOWN"},
    "DONE": set(),
    "FAILED": set(),
    "UNKNOWN": {"FENCED"},
    "FENCED": {"VERIFIED", "DONE", "PARKED"},
    "PARKED": {"DONE", "ABANDONED"},
    "ABANDONED": set(),
    "REVOKED": set(),
}
"""State -> what may follow (vault-security.md, 3.3), told the other way round than in the product."""
WAYS = {
    "NEW": (), "SEEN": ("SEEN",), "VERIFIED": ("VERIFIED",), "REFUSED": ("REFUSED",), "CLAIMED": ("VERIFIED",
    "CLAIMED"),
    "STARTED": ("VERIFIED", "CLAIMED", "STARTED"), "DONE": ("VERIFIED", "CLAIMED", "STARTED", "DONE"),
    "FAILED": ("VERIFIED", "CLAIMED", "STARTED", "FAILED"), "UNKNOWN": ("VERIFIED", "CLAIMED", "STARTED", "UNKNOWN"),
    "FENCED": ("VERIFIED", "CLAIMED", "STARTED", "UNKNOWN", "FENCED"), "PARKED": ("VERIFIED", "CLAIMED", "PARKED"),
    "ABANDONED": ("VERIFIED", "CLAIMED", "PARKED", "ABANDONED"), "REVOKED": ("VERIFIED", "REVOKED"),
}  # fmt: skip
GROWS = ("CLAIMED", "FENCED")
RUNS = ("STARTED", "DONE", "FAILED")


class Book:
    """A ledger that is written to; entries fit unless they are told not to."""

    def __init__(self, *ways: str, id: str = "a-1", **evidence: Any) -> None:
        self.ledger, self._nonce = Ledger(), 0
        self.add("GENESIS", ALL)
        for kind in ways:
            self.add(kind, id, **evidence)

    def entry(self, kind: str, id: str = "a-1", **evidence: Any) -> Entry:
        """One that may be next, if its kind may."""
        state = self.ledger.state(id)
        self._nonce += 1
        own = state.run if kind in RUNS and state.kind in ("CLAIMED", "STARTED") else f"{self._nonce:032x}"
        epoch = len(self.ledger.trust) if kind == "TRUST" else state.epoch + (kind in GROWS)
        when = NOW + timedelta(minutes=self._nonce)
        tip, count = self.ledger.tip, self.ledger.count
        return Entry(kind, id, own, "h1/1", when, epoch, "d" * 64, evidence, count, tip)

    def add(self, kind: str, id: str = "a-1", **evidence: Any) -> State:
        self.ledger.apply(self.entry(kind, id, **evidence), f"{self.ledger.count:040x}")
        return self.ledger.state(id)

    def why(self, kind: str, id: str = "a-1", **changes: Any) -> str:
        return self.ledger.why_not(replace(self.entry(kind, id), **changes))


# --- the state machine ------------------------------------------------------------------------------------------------


def test_the_table_names_every_state_and_kind() -> None:
    assert set(TABLE) == set(WAYS) == {"NEW", *KINDS}
    assert {state for state, following in TABLE.items() if not following} == FINAL
    assert frozenset({"VERIFIED", "CLAIMED", "STARTED"}) == COLD
    assert WHOLE == ("GENESIS", "TRUST", "KEY_ADD", "KEY_REVOKE", "FREEZE", "UNFREEZE", "RESTORED")


@pytest.mark.parametrize(("state", "kind"), list(product(TABLE, KINDS)))
def test_what_may_follow_what(state: str, kind: str) -> None:
    book = Book(*WAYS[state], target="t")
    assert book.ledger.state("a-1").kind == state
    why = book.why(kind)
    assert (why == "") == (kind in TABLE[state]), why
    if why:
        assert why == f"{kind} does not follow {state}"
        with pytest.raises(Refused) as raised:
            book.add(kind)
        assert raised.value.code == "bad-entry"


@pytest.mark.parametrize("state", TABLE)
def test_a_late_note_follows_anything_and_changes_nothing(state: str) -> None:
    book = Book(*WAYS[state])
    before = book.ledger.state("a-1")
    if state == "NEW":
        assert book.why("LATE") == "nothing is known of it"
        return
    assert book.why("LATE", epoch=99) == ""
    assert book.add("LATE") == before
    assert book.ledger.state("a-1").final == (state in FINAL)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", [-1, 1, 2])
def test_epochs_grow_with_each_claim_and_fence_and_nowhere_else(kind: str, step: int) -> None:
    state = next(state for state, following in TABLE.items() if kind in following)
    book = Book(*WAYS[state])
    right = book.entry(kind).epoch
    assert right == book.ledger.state("a-1").epoch + (1 if kind in GROWS else 0)
    assert book.why(kind, epoch=right + step) == f"epoch {right + step} after {book.ledger.state('a-1').epoch}"


@pytest.mark.parametrize(("state", "kind"), [("CLAIMED", "STARTED"), ("STARTED", "DONE"), ("STARTED", "FAILED")])
def test_only_the_run_that_claimed_starts_and_ends(state: str, kind: str) -> None:
    book = Book(*WAYS[state])
    assert book.why(kind) == ""
    assert book.why(kind, run="f" * 32) == f"{kind} of another run"


@pytest.mark.parametrize(("state", "kind"), [("FENCED", "DONE"), ("PARKED", "DONE"), ("STARTED", "UNKNOWN"),
("CLAIMED", "PARKED")])
def test_others_may_say_so_where_the_run_is_lost(state: str, kind: str) -> None:
    assert Book(*WAYS[state]).why(kind, run="f" * 32) == ""


@pytest.mark.parametrize(("state", "kind"), [("CLAIMED", "CLAIMED"), ("UNKNOWN", "FENCED")])
def test_finding_9_a_nonce_is_used_once(state: str, kind: str) -> None:
    book = Book(*WAYS[state])
    assert book.why(kind, run=book.ledger.state("a-1").run) == "its nonce was used"


def test_the_ledger_begins_with_one_genesis() -> None:
    assert Ledger().why_not(Entry("SEEN", "a-1", RUN, "h", NOW)) == "the ledger begins with one GENESIS"
    assert Ledger().why_not(Entry("FREEZE", ALL, RUN, "h", NOW)) == "the ledger begins with one GENESIS"
    assert Ledger().why_not(Entry("GENESIS", ALL, RUN, "h", NOW)) == ""
    assert Book().why("GENESIS", ALL) == "the ledger begins with one GENESIS"


@pytest.mark.parametrize("kind", KINDS)
def test_while_it_is_frozen_nothing_begins(kind: str) -> None:
    state = next(state for state, following in TABLE.items() if kind in following)
    book = Book(*WAYS[state])
    book.add("FREEZE", ALL, words="somebody took a key")
    assert book.why(kind) == ("the vault is frozen: somebody took a key" if kind in COLD else "")
    book.add("UNFREEZE", ALL)
    assert book.why(kind) == ""
    assert book.why("UNFREEZE", ALL) == "UNFREEZE 0 does not follow"


def test_freezing_without_words_freezes() -> None:
    for words in ({}, {"words": ""}):
        book = Book()
        book.add("FREEZE", ALL, **words)
        assert book.ledger.frozen == "by hand"
        assert book.why("VERIFIED") == "the vault is frozen: by hand"
        for kind in ("TRUST", "RESTORED", "UNFREEZE"):
            assert book.why(kind, ALL) == ""
        assert book.why("FREEZE", ALL) == "FREEZE 0 does not follow"


def test_when_it_was_last_unfrozen_is_remembered() -> None:
    book = Book()
    assert book.ledger.thawed == -1
    book.add("FREEZE", ALL)
    assert book.ledger.thawed == -1
    book.add("UNFREEZE", ALL)
    assert (book.ledger.thawed, book.ledger.frozen) == (2, "")
    book.add("SEEN")
    book.add("FREEZE", ALL)
    assert (book.ledger.thawed, book.ledger.frozen) == (2, "by hand")
    book.add("UNFREEZE", ALL)
    assert book.ledger.thawed == 5


def test_a_policy_older_than_the_one_in_force_is_not_trusted() -> None:
    """Attack: an old, laxer policy that was approved once is brought forward again."""
    book = Book()
    refused = "TRUST 1 does not follow"
    assert book.why("TRUST", ALL, evidence={"policy_version": 0}) == "", "a GENESIS that names none counts as 0"
    assert book.why("TRUST", ALL, evidence={"policy_version": -1}) == refused
    book.add("TRUST", ALL, policy_version=7)
    refused = "TRUST 2 does not follow"
    assert [book.why("TRUST", ALL, evidence={"policy_version": version}) for version in (6, 7, 8)] == [refused, "", ""]
    assert book.why("TRUST", ALL, evidence={}) == refused, "one that names none is older than any"
    book.add("TRUST", ALL, policy_version=8)
    assert book.why("TRUST", ALL, evidence={"policy_version": 7}) == "TRUST 3 does not follow"
    first = Book()
    first.add("TRUST", ALL, policy_version=1)
    assert first.why("TRUST", ALL, evidence={}) == refused


@pytest.mark.parametrize("version", ["9", 9.5, [9], {"a": 9}, NOW])
def test_a_policy_version_that_is_no_number_counts_as_none(version: object) -> None:
    """Whoever holds the dispatcher's token may write one; the readers refuse it and do not end by it."""
    book = Book()
    assert book.why("TRUST", ALL, evidence={"policy_version": version}) == ""
    book.add("TRUST", ALL, policy_version=1)
    assert book.why("TRUST", ALL, evidence={"policy_version": version}) == "TRUST 2 does not follow"
    book.add("TRUST", ALL, policy_version=2)
    assert book.why("TRUST", ALL, evidence={"policy_version": version}) == "TRUST 3 does not follow"


def test_each_trust_has_the_next_number_so_that_two_hosts_do_not_both_write_it() -> None:
    book = Book()
    assert [book.why("TRUST", ALL, epoch=epoch) for epoch in (0, 1, 2)] == [
        "TRUST 0 does not follow", "", "TRUST 2 does not follow",
    ]  # fmt: skip
    book.add("TRUST", ALL)
    assert [book.why("TRUST", ALL, epoch=epoch) for epoch in (1, 2)] == ["TRUST 1 does not follow", ""]


# --- hosts' keys ------------------------------------------------------------------------------------------------------

H1, H2 = "h1 ssh-ed25519 AAAA", "h2 ssh-ed25519 BBBB"


def pushed(book: Book, *entries: tuple[str, dict[str, Any]]) -> str:
    """Entries about the whole vault in one push, as far as they may follow; why the first may not."""
    before = book.ledger.tip
    for kind, evidence in entries:
        entry = replace(book.entry(kind, ALL, **evidence), prev=before)
        if why := book.ledger.why_not(entry):
            return why
        book.ledger.apply(entry, f"{book.ledger.count:040x}")
    return ""


def with_keys() -> Book:
    """GENESIS names the key of h1, and a TRUST of commit c added that of h2."""
    book = Book()
    book.ledger = Ledger()
    book.add("GENESIS", ALL, dispatcher_ssh="ssh-ed25519 AAAA", commit="b")
    assert pushed(book, ("TRUST", {"commit": "c"}), ("KEY_ADD", {"commit": "c", "host_key": H2})) == ""
    return book


def test_whose_signatures_count_is_said_by_genesis_and_what_follows() -> None:
    assert Ledger().keys == frozenset()
    assert Book().ledger.keys == frozenset(), "a host without a key"
    book = with_keys()
    assert book.ledger.keys == {H1, H2}
    assert pushed(book, ("TRUST", {"commit": "d"}), ("KEY_REVOKE", {"commit": "d", "host_key": H1})) == ""
    assert book.ledger.keys == {H2}
    third = "h2 ssh-ed25519 CCCC"
    two = [("KEY_ADD", {"commit": "e", "host_key": third}), ("KEY_REVOKE", {"commit": "e", "host_key": H2})]
    assert pushed(book, ("TRUST", {"commit": "e", "dispatcher_ssh": "ssh-ed25519 EEEE"}), *two) == ""
    assert book.ledger.keys == {third}, "and no TRUST names one by itself"


def test_a_key_changes_only_through_a_trust_of_the_same_commit_in_the_same_push() -> None:
    for kind, line in (("KEY_ADD", "h3 ssh-ed25519 CCCC"), ("KEY_REVOKE", H1)):
        no, good = f"{kind} 0 does not follow", (kind, {"commit": "d", "host_key": line})
        assert pushed(with_keys(), good) == no, "by itself"
        late = with_keys()
        assert pushed(late, ("TRUST", {"commit": "d"})) == ""
        assert pushed(late, good) == no, "in a push of its own"
        assert pushed(with_keys(), ("TRUST", {"commit": "x"}), good) == no, "of another commit"
        assert pushed(with_keys(), ("TRUST", {"commit": "d"}), ("TRUST", {"commit": "x"}), good) == no
        assert pushed(with_keys(), ("TRUST", {"commit": "d"}), (kind, {"host_key": line})) == no, "of none"
        assert pushed(with_keys(), ("TRUST", {"commit": "d"}), good) == ""
        assert pushed(with_keys(), ("TRUST", {"commit": "d"}), good, good) == no, "twice"
    first = Book()
    first.ledger = Ledger()
    said = [("GENESIS", {"commit": "d"}), ("KEY_ADD", {"commit": "d", "host_key": H2})]
    assert pushed(first, *said) == "KEY_ADD 0 does not follow", "nor with GENESIS"


def test_a_key_is_added_that_is_not_there_and_revoked_that_is() -> None:
    for kind, line in (("KEY_ADD", H1), ("KEY_ADD", H2), ("KEY_REVOKE", "h1 ssh-ed25519 BBBB"), ("KEY_REVOKE", "")):
        no = f"{kind} 0 does not follow"
        assert pushed(with_keys(), ("TRUST", {"commit": "d"}), (kind, {"commit": "d", "host_key": line})) == no
    odd = with_keys()
    assert pushed(odd, ("TRUST", {"commit": "d"}), ("KEY_ADD", {"commit": "d", "host_key": ["x"]})) == ""
    assert odd.ledger.keys == {H1, H2, "['x']"}, "what is no text is nobody's key"
    refused = with_keys()
    entry = replace(refused.entry("KEY_ADD", ALL, commit="c", host_key="x"), prev=refused.ledger.tip)
    with pytest.raises(Refused, match="KEY_ADD 0 does not follow") as no_entry:
        refused.ledger.apply(entry, "f" * 40)
    assert no_entry.value.code == "bad-entry"


# --- lanes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [state for state in TABLE if state not in ("NEW", "SEEN", "REFUSED")])
def test_one_action_at_a_time_on_each_target(state: str) -> None:
    """Another action is in the way while it is claimed, and once it started until it is over for certain."""
    book = Book(*WAYS[state], id="first", target="t")
    book.add("VERIFIED", "second", target="t")
    busy = book.ledger.state("first").kind == "CLAIMED" or state in ("STARTED", "UNKNOWN", "FENCED")
    assert book.why("CLAIMED", "second") == ("first is under way on t" if busy else "")
    book.add("VERIFIED", "third", target="elsewhere")
    assert book.why("CLAIMED", "third") == ""


def test_parked_after_it_started_it_is_still_in_the_way() -> None:
    book = Book("VERIFIED", "CLAIMED", "STARTED", "UNKNOWN", "FENCED", "PARKED", id="first", target="t")
    book.add("VERIFIED", "second", target="t")
    assert book.why("CLAIMED", "second") == "first is under way on t"
    book.add("ABANDONED", "first")
    assert book.why("CLAIMED", "second") == ""


def test_verified_again_after_a_fence_it_is_still_in_the_way_of_others_but_not_of_itself() -> None:
    book = Book("VERIFIED", "CLAIMED", "STARTED", "UNKNOWN", "FENCED", "VERIFIED", id="first", target="t")
    book.add("VERIFIED", "second", target="t")
    assert book.why("CLAIMED", "second") == "first is under way on t"
    assert book.why("CLAIMED", "first") == ""
    assert book.ledger.lane_taken(book.ledger.state("second")) == "first is under way on t"
    assert book.ledger.lane_taken(book.ledger.state("first")) == ""


# --- what the fold remembers ------------------------------------------------------------------------------------------


def test_a_state_is_what_its_entries_said() -> None:
    book = Book()
    seen = book.add("SEEN", settings="s")
    said = {"settings": "s"}
    assert seen == State("a-1", "SEEN", 0, seen.run, "h1/1", seen.at, 1, "d" * 64, 0, -1, None, {}, said, said)
    verified = book.add("VERIFIED", tier="high", target="t")
    assert verified.judged == 2
    assert (verified.verified, verified.seen, verified.evidence) == (
        {"tier": "high", "target": "t"}, {"settings": "s"}, {"tier": "high", "target": "t"},
    )  # fmt: skip
    claimed = book.add("CLAIMED")
    assert (claimed.epoch, claimed.claims, claimed.verified, claimed.evidence) == (1, 1, verified.verified, {})
    again = book.add("CLAIMED")
    assert (again.epoch, again.claims, again.run == claimed.run) == (2, 2, False)
    started = book.add("STARTED", trust="c")
    assert (started.started, started.at, started.run) == (started.at, started.at, again.run)
    for kind in ("UNKNOWN", "FENCED"):
        assert book.add(kind).started == started.started
    once_more = book.add("VERIFIED", tier="low", target="other")
    assert (once_more.claims, once_more.epoch, once_more.verified) == (0, 3, verified.verified)
    assert once_more.judged == 2, "when it was first judged"
    assert once_more.evidence == {"tier": "low", "target": "other"}
    book.add("CLAIMED")
    assert book.add("STARTED").started == started.started, "when it first started"
    done = book.add("DONE", words="ok")
    assert (done.final, done.kind, done.epoch, done.seq) == (True, "DONE", 4, book.ledger.count - 1)


def test_a_refusal_is_a_judgement_too() -> None:
    assert Book("SEEN", "REFUSED").ledger.state("a-1").judged == 2
    assert Book("REFUSED").ledger.state("a-1").judged == 1
    assert Book("SEEN").ledger.state("a-1").judged == -1


def test_a_digest_stays_what_it_was_first() -> None:
    book = Book()
    book.ledger.apply(replace(book.entry("SEEN"), digest=""), "1" * 40)
    assert book.ledger.state("a-1").digest == ""
    book.ledger.apply(replace(book.entry("VERIFIED"), digest="e" * 64), "2" * 40)
    book.ledger.apply(replace(book.entry("CLAIMED"), digest="f" * 64), "3" * 40)
    assert book.ledger.state("a-1").digest == "e" * 64


def test_root_tip_count_and_who_is_trusted() -> None:
    ledger = Ledger()
    assert (ledger.root, ledger.tip, ledger.count, ledger.frozen, ledger.genesis, ledger.restored) == ("", "", 0, "",
    None, None)
    book = Book()
    assert (book.ledger.root, book.ledger.tip, book.ledger.count) == (f"{0:040x}", f"{0:040x}", 1)
    book.add("TRUST", ALL, commit="c")
    book.add("RESTORED", ALL)
    book.add("SEEN")
    assert (book.ledger.root, book.ledger.tip, book.ledger.count) == (f"{0:040x}", f"{3:040x}", 4)
    assert [entry.kind for entry in book.ledger.trust] == ["GENESIS", "TRUST"]
    assert book.ledger.genesis is book.ledger.trust[0]
    assert book.ledger.restored == NOW + timedelta(minutes=3)
    assert set(book.ledger.states) == {"a-1"}
    assert book.ledger.state("b-1") == State("b-1", "NEW", 0, "", "", None, -1, "", 0, -1, None, {}, {}, {})


def test_an_entry_names_the_tip_it_was_made_on_or_that_of_the_one_before_it() -> None:
    book = Book()
    first = book.entry("SEEN", "a-1")
    batch = [first, replace(book.entry("SEEN", "b-1"), seq=2), replace(book.entry("SEEN", "c-1"), seq=3)]
    for number, entry in enumerate(batch, 1):
        assert entry.prev == f"{0:040x}"
        book.ledger.apply(entry, f"{number:040x}")
    for bad in ({"prev": f"{1:040x}"}, {"prev": ""}, {"seq": 3}, {"seq": 5}):
        with pytest.raises(Refused, match="not the next entry"):
            book.ledger.apply(replace(book.entry("SEEN", "d-1"), **bad), "f" * 40)
    assert book.ledger.count == 4
    book.ledger.apply(book.entry("SEEN", "d-1"), f"{4:040x}")
    with pytest.raises(Refused, match="not the next entry"):
        book.ledger.apply(replace(book.entry("SEEN", "e-1"), prev=f"{0:040x}"), "f" * 40)


def test_what_is_refused_changes_nothing() -> None:
    book = Book("VERIFIED")
    before = dict(book.ledger.__dict__)
    with pytest.raises(Refused) as raised:
        book.add("DONE")
    assert raised.value.words == "e/a-1/00000002-DONE.toml: DONE does not follow VERIFIED"
    assert dict(book.ledger.__dict__) == before


def test_tier_of_an_action_that_says_none_is_high() -> None:
    assert tier_of(State("a-1", verified={"tier": "low"})) is Tier.LOW
    assert tier_of(State("a-1", verified={"tier": "medium"})) is Tier.MEDIUM
    assert tier_of(State("a-1")) is Tier.HIGH
    assert tier_of(State("a-1", verified={"tier": "none"})) is Tier.HIGH


# --- budgets ----------------------------------------------------------------------------------------------------------


def test_attack_25_starts_of_a_day_are_counted_by_what_they_are() -> None:
    book = Book()
    for number, (tier, asker) in enumerate([("low", "x"), ("low", "x"), ("low", "y"), ("high", "x")]):
        book.add("VERIFIED", f"a-{number}", tier=tier, requester=asker, target=str(number))
        book.add("CLAIMED", f"a-{number}")
        if number != 1:
            book.add("STARTED", f"a-{number}")
    book.add("DONE", "a-0")
    now = NOW + timedelta(hours=1)
    evidence = {"tier": "low", "requester": "x"}

    def over(when: datetime = now, claims: bool = False, **limits: int) -> str:
        return book.ledger.over_budget(evidence, limits, when, claims)

    assert over(tier=2) == "2 starts a day for tier low", "what was only claimed does not count, what is over does"
    assert over(tier=3) == ""
    assert over(tier=3, claims=True) == "3 starts a day for tier low", "unless it is asked whether one may be claimed"
    book.add("VERIFIED", "a-4", tier="low", requester="x", target="4")
    assert over(tier=4, claims=True) == "", "what waits to be claimed does not count"
    assert over(requester=2) == "2 starts a day for requester x"
    assert over(tier=3, requester=2) == "2 starts a day for requester x"
    assert over(tier=0) == "0 starts a day for tier low"
    assert over(tier=-1, requester=-1) == "", "no limit"
    assert over(tier=1, when=NOW + timedelta(days=1, minutes=3)) == "1 starts a day for tier low"
    first = book.ledger.states["a-0"].started
    third = book.ledger.states["a-2"].started
    assert first is not None
    assert third is not None
    assert over(tier=2, when=first + timedelta(days=1) - timedelta(seconds=1)) != ""
    assert over(tier=2, when=first + timedelta(days=1)) == "", "a day to the second"
    assert over(tier=1, when=third + timedelta(days=1)) == ""
    assert book.ledger.over_budget({"tier": "medium"}, {"tier": 1}, now, claims=True) == ""


# --- the form ---------------------------------------------------------------------------------------------------------

GOOD = Entry("VERIFIED", "a-1", RUN, "h1/1", NOW, 2, "d" * 64, {"tier": "high", "approvers": (1, 2), "ok": True}, 7,
"c" * 40)


def test_where_the_first_entry_stands() -> None:
    assert Entry("GENESIS", ALL, RUN, "h1/1", NOW).path == "e/_/00000000-GENESIS.toml"


def test_what_an_entry_says_that_says_no_more() -> None:
    entry = Entry("SEEN", "a-1", RUN, "h1/1", NOW)
    assert (entry.epoch, entry.digest, entry.evidence, entry.seq, entry.prev) == (0, "", {}, 0, "")


def test_an_entry_is_read_as_it_is_written() -> None:
    assert GOOD.path == "e/a-1/00000007-VERIFIED.toml"
    assert read(GOOD.path, GOOD.write()) == replace(GOOD, evidence={**GOOD.evidence, "approvers": [1, 2]})
    assert GOOD.write().startswith(b'v = 1\nid = "a-1"\nseq = 7\nkind = "VERIFIED"\nepoch = 2\nrun = "000')
    for id in ("a-1+2", "a-1+10", "a-1+999", "0" * 64, "00"):
        entry = replace(GOOD, id=id, evidence={})
        assert read(entry.path, entry.write()) == entry
    whole_ = replace(GOOD, id=ALL, kind="TRUST", evidence={})
    assert read(whole_.path, whole_.write()) == whole_
    late = replace(GOOD, kind="LATE", evidence={}, seq=0, epoch=0)
    assert read(late.path, late.write()) == late
    last = replace(GOOD, seq=99_999_999, epoch=10**6, evidence={})
    assert read(last.path, last.write()) == last


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "SHIPPED"}, {"kind": "GENESIS"}, {"kind": "FREEZE"}, {"id": ALL}, {"id": ALL, "kind": "LATE"},
        {"id": "A-1"},
        {"id": "a-1+"}, {"id": "a-1+1"}, {"id": "a-1+02"}, {"id": "a-1+1000"}, {"id": "a-1+x"}, {"id": 55},
        {"id": ["a-1"]}, {"id": "a-1+2+3"}, {"id": "-a"}, {"id": "a"}, {"id": "a" * 65}, {"id": ""},
        {"id": "a-1+\u0663"}, {"id": "a-1+\u00b2"},
        {"run": "0" * 31}, {"run": "0" * 33}, {"run": "G" * 32}, {"run": ""}, {"seq": -1}, {"seq": 10**8},
        {"epoch": -1},
        {"epoch": 10**6 + 1}, {"epoch": True}, {"seq": True}, {"at": NOW.replace(tzinfo=timezone(timedelta(hours=1)))},
        {"kind": 5}, {"id": 5}, {"run": 5}, {"at": "2026-11-28T12:00:00Z"},
    ],
)  # fmt: skip
def test_what_is_no_entry(changes: dict[str, Any]) -> None:
    entry = replace(GOOD, **{"evidence": {}, **changes})
    if changes.get("at", NOW).__class__ is datetime and changes.get("at", NOW) != NOW:
        data, path = entry.write().replace(b"Z\n", b"+01:00\n"), entry.path
    else:
        data = entry.write()
        path = entry.path if isinstance(entry.seq, int) else GOOD.path
    with pytest.raises(Refused) as raised:
        read(path, data)
    assert raised.value.code == "bad-entry"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"v = 1\n", b"v = 2\n"), (b"v = 1\n", b""), (b"v = 1\n", b"v = true\n"), (b"epoch = 2", b'epoch = "2"'),
        (b"epoch = 2\n", b""),
        (b"prev = ", b"more = 1\nprev = "), (b"\n[evidence]", b"[evidence]"), (b"\n[evidence]\n", b""),
        (b"seq = 7", b"seq = 8"),
        (b"at = 2026", b"at = 2025-1-1 #"), (b'digest = "', b"digest = 1 #"), (b"id =", b"id = 1\nid ="),
        (b'"a-1"', b'"a-2"'),
        (b'kind = "VERIFIED"', b'kind = "CLAIMED"'),
    ],
)  # fmt: skip
def test_bytes_that_are_no_entry(old: bytes, new: bytes) -> None:
    assert old in GOOD.write()
    with pytest.raises(Refused, match="bad-entry"):
        read(GOOD.path, GOOD.write().replace(old, new, 1))


def test_a_person_is_told_what_is_wrong_with_it() -> None:
    for data, words in (
        (GOOD.write().replace(b"v = 1\n", b"v = 2\n"), "v must be a whole number from 1 to 1"),
        (GOOD.write().replace(b"epoch = 2\n", b""), "epoch is missing"),
        (replace(GOOD, evidence={}, kind="SHIPPED").write(), "it is not an entry of this version"),
    ):
        with pytest.raises(Refused) as raised:
            read(GOOD.path, data)
        assert raised.value.words == f"{GOOD.path}: bad-entry: {words}"


@pytest.mark.parametrize(
    "path",
    ["e/a-1/00000008-VERIFIED.toml", "e/a-2/00000007-VERIFIED.toml", "e/a-1/00000007-CLAIMED.toml",
    "a-1/00000007-VERIFIED.toml",
     "e/a-1/7-VERIFIED.toml", "e/a-1/00000007-VERIFIED", "e/a-1/x/00000007-VERIFIED.toml", "",
     "E/a-1/00000007-VERIFIED.toml"],
)  # fmt: skip
def test_the_path_is_the_entrys_own(path: str) -> None:
    with pytest.raises(Refused) as raised:
        read(path, GOOD.write())
    assert raised.value.code == "bad-entry"


def test_a_large_one_is_refused_and_a_long_path_is_cut() -> None:
    def sized(length: int) -> Entry:
        return replace(GOOD, evidence={"words": "x" * length})

    room = 64 * 1024 - len(sized(0).write())
    assert read(GOOD.path, sized(room).write())
    with pytest.raises(Refused, match="65537 bytes"):
        read(GOOD.path, sized(room + 1).write())
    with pytest.raises(Refused) as raised:
        read("x" * 500, b"y")
    assert len(raised.value.words) < 400


@given(st.binary(max_size=40), st.integers(0, len(GOOD.write()) - 1))
def test_any_other_bytes_are_another_entry_or_none(piece: bytes, at: int) -> None:
    data = GOOD.write()[:at] + piece + GOOD.write()[at + 1 :]
    try:
        entry = read(GOOD.path, data)
    except Refused:
        return
    assert entry.write() == data
    assert entry.path == GOOD.path


@given(st.lists(st.tuples(st.sampled_from([*KINDS, "LATE"]), st.sampled_from(["a-1", "b-1"])), max_size=40))
def test_no_row_of_entries_starts_an_action_twice_without_a_fence_between(row: list[tuple[str, str]]) -> None:
    """Whatever anybody tries to write: STARTED comes after a claim of the same run,
    and a second one only after FENCED."""
    book, said = Book(), dict[str, list[str]]()
    for kind, id in row:
        entry = book.entry(kind, id, target=id)
        if book.ledger.why_not(entry):
            continue
        book.ledger.apply(entry, f"{book.ledger.count:040x}")
        if kind != "LATE":
            said.setdefault(id, []).append(kind)
    for kinds in said.values():
        starts = [n for n, kind in enumerate(kinds) if kind == "STARTED"]
        for n in starts:
            assert kinds[n - 1] == "CLAIMED"
            assert "VERIFIED" in kinds[:n]
        for one, other in pairwise(starts):
            assert kinds[one:other].index("FENCED") < kinds[one:other].index("VERIFIED")
        final = [n for n, kind in enumerate(kinds) if kind in FINAL]
        assert final in ([], [len(kinds) - 1])

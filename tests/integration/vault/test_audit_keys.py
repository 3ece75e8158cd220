"""Whose signature on the ledger counts at which point: the audit, and the second reader beside it, by GENESIS, KEY_ADD
and KEY_REVOKE and by the file at the commit of each TRUST.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dulwich.repo import Repo

from factory.git.hardened import Git
from factory.vault.canonical import Refused
from factory.vault.keys import sshsig
from factory.vault.keys.hostkeys import NAMESPACE
from factory.vault.keys.labels import RECIPIENTS, Recipients
from factory.vault.ledger import Ledger
from factory.vault.people.audit import Audit, audit
from tests.integration.vault.house import LETTERS, House, formula_bytes
from tests.integration.vault.ledgers import Step, steps, write
from tests.integration.vault.second_reader import Reader

FORMULAS = {name: formula_bytes(name) or b"" for name in LETTERS}
FIRST, SECOND = "init", "h2"


@dataclass(frozen=True)
class Story:
    """A ledger of two hosts: the second one joined, and then the first one's key was revoked. ``signed``: whose key
    signed each push; ``told``: its entries."""

    house: House
    keys: dict[str, tuple[Path, str]]
    signed: list[str]
    told: list[Step]

    def sign(self, host: str) -> Callable[[bytes], str]:
        return lambda data: sshsig.sign(self.keys[host][0], NAMESPACE, data).strip()

    def tell(self, change: Callable[[list[Step]], Any] = lambda told: None, **otherwise: str) -> list[Step]:
        """Write it again with a change, each push signed by whoever signed it then (or ``at_N``: otherwise)."""
        made = copy.deepcopy(self.told)
        change(made)
        turns = iter(dict.fromkeys(step.batch for step in made))

        def sign(data: bytes) -> str:
            batch = next(turns)
            host = otherwise.get(f"at_{batch}") or self.signed[min(batch, len(self.signed) - 1)]
            return self.sign(host)(data) if host != "nobody" else ""

        write(self.house.remote, made, sign)
        return made


def listing(**host_keys: str) -> dict[str, bytes]:
    return {RECIPIENTS: Recipients(host_keys=host_keys).write()}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    root = tmp_path_factory.mktemp("story")
    keys = {name: (root / name, sshsig.make_key(root / name, name)) for name in (FIRST, SECOND, "other")}
    house = House(root / "house", host_key=keys[FIRST][1])
    made = Story(house, keys, [], [])

    def turn(host: str) -> None:
        """Each push of its dispatcher is signed by this host."""
        house.sign = lambda data: (made.signed.append(host), made.sign(host)(data))[1]
        dispatcher, _ = house.dispatcher(host)
        for _ in range(2):
            dispatcher.turn()

    made.signed.append(FIRST)
    house.change(listing(**{FIRST: keys[FIRST][1], SECOND: keys[SECOND][1]}))
    turn(FIRST)
    house.ask("beta")
    turn(SECOND)
    house.change(listing(**{SECOND: keys[SECOND][1]}))
    turn(FIRST)
    house.ask("beta", place="there")
    turn(SECOND)
    made.told.extend(steps(house.remote))
    assert len(made.signed) == made.told[-1].batch + 1
    return made


def looked(story: Story, *by_hand: str) -> Audit:
    def check(given: Any) -> list[bool]:
        return [sshsig.fits(text, NAMESPACE, data, [sshsig.Signer(1, k) for k in who], 1) for text, data, who in given]

    return audit(Git(story.house.remote, ""), FORMULAS.get, check=check, keys=by_hand)


def both(story: Story, *by_hand: str) -> Audit:
    """The two readers, who agree where it first goes wrong."""
    found = looked(story, *by_hand)
    with Repo(str(story.house.remote)) as repo:
        other = Reader(repo, FORMULAS, list(by_hand)).read()
    first = min((fault.seq for fault in found.faults), default=None)
    assert first == min((seq for seq, _ in other), default=None), f"{found.faults[:3]} against {other[:3]}"
    return found


def number(told: list[Step], kind: str, turn: int = 0) -> int:
    found = [at for at, step in enumerate(told) if step.entry is not None and step.entry["kind"] == kind]
    return found[turn]


def evidence(told: list[Step], kind: str, turn: int = 0) -> dict[str, Any]:
    entry = told[number(told, kind, turn)].entry
    assert entry is not None
    found: dict[str, Any] = entry["evidence"]
    return found


def test_what_two_hosts_wrote_is_what_it_says(story: Story) -> None:
    story.tell()
    found = both(story)
    assert found.faults == ()
    assert found.signed == found.batches == len(story.signed)
    assert (found.kinds["KEY_ADD"], found.kinds["KEY_REVOKE"]) == (1, 1)
    add, revoke = evidence(story.told, "KEY_ADD"), evidence(story.told, "KEY_REVOKE")
    assert add == {"host_key": f"{SECOND} {story.keys[SECOND][1]}", "commit": evidence(story.told, "TRUST")["commit"]}
    second = evidence(story.told, "TRUST", 1)["commit"]
    assert revoke == {"host_key": f"{FIRST} {story.keys[FIRST][1]}", "commit": second}
    for kind, turn in (("KEY_ADD", 0), ("KEY_REVOKE", 1)):
        trust, key = (story.told[number(story.told, *what)] for what in (("TRUST", turn), (kind, 0)))
        assert trust.batch == key.batch, "one push"


def test_a_push_is_signed_by_a_key_in_force_where_it_stands(story: Story) -> None:
    told = story.told
    joined, revoked, last = told[number(told, "KEY_ADD")].batch, told[number(told, "KEY_REVOKE")].batch, told[-1].batch
    story.tell(**{f"at_{joined}": SECOND})
    assert [fault.code for fault in both(story).faults] == ["bad-signature"], "its own joining it may not sign"
    story.tell(**{f"at_{revoked}": SECOND})
    assert both(story).faults == (), "both were in force then"
    story.tell(**{f"at_{last}": FIRST})
    (fault,) = both(story).faults
    assert (fault.code, fault.words) == ("revoked-key", f"the key of {FIRST}, which was revoked, signed it")
    assert fault.seq == len(told) - 1
    story.tell(**{f"at_{last}": "other"})
    assert [fault.code for fault in both(story).faults] == ["bad-signature"]
    story.tell(**{f"at_{last}": "nobody"})
    assert [fault.code for fault in both(story).faults] == ["not-signed"]


def test_a_key_named_by_hand_counts_for_a_ledger_of_before_only(story: Story) -> None:
    first, other = story.keys[FIRST][1], story.keys["other"][1]
    last = story.told[-1].batch
    for host, code in ((FIRST, "revoked-key"), ("other", "bad-signature")):
        story.tell(**{f"at_{last}": host})
        assert [fault.code for fault in both(story, first, other).faults] == [code]
    story.tell(lambda told: told.__delitem__(slice(1, None)), at_0="other")
    assert [fault.code for fault in both(story).faults] == ["bad-signature"]
    assert both(story, other).faults == ()


def more(told: list[Step], kind: str, line: str, other: str = "") -> None:
    """One entry more after the one of that kind; ``line`` empty: about the first host's key."""
    at = number(told, kind)
    made = copy.deepcopy(told[at])
    assert made.entry is not None
    made.entry["kind"] = other or kind
    if line != "same":
        made.entry["evidence"]["host_key"] = line or evidence(told, "KEY_REVOKE")["host_key"]
    told.insert(at + 1, made)


def alone(told: list[Step]) -> None:
    for step in told[number(told, "KEY_ADD") :]:
        step.batch += 1


def at_the_end(told: list[Step]) -> None:
    made = copy.deepcopy(told[number(told, "KEY_ADD")])
    made.batch = told[-1].batch + 1
    assert made.entry is not None
    made.entry["evidence"]["host_key"] = "h3 ssh-ed25519 AAAA"
    told.append(made)


def with_genesis(told: list[Step]) -> None:
    made = copy.deepcopy(told[number(told, "KEY_ADD")])
    made.batch = told[0].batch
    assert made.entry is not None
    made.entry["evidence"]["commit"] = evidence(told, "GENESIS")["commit"]
    told.insert(1, made)


TAMPERED: dict[str, tuple[Callable[[list[Step]], Any], str]] = {
    "the key that was added is left out": (lambda told: told.pop(number(told, "KEY_ADD")), "host-keys"),
    "the key that was revoked is left out": (lambda told: told.pop(number(told, "KEY_REVOKE")), "host-keys"),
    "another key is added": (
        lambda told: evidence(told, "KEY_ADD").update(host_key=f"{SECOND} ssh-ed25519 AAAA"), "host-keys"),
    "the key is added for another host": (
        lambda told: evidence(told, "KEY_ADD").update(host_key=f"h3 {evidence(told, 'KEY_ADD')['host_key'][3:]}"),
        "host-keys"),
    "one key more is added": (lambda told: more(told, "KEY_ADD", "h3 ssh-ed25519 AAAA"), "host-keys"),
    "one key more is revoked": (lambda told: more(told, "KEY_ADD", "", "KEY_REVOKE"), "host-keys"),
    "a key is added that is there": (lambda told: more(told, "KEY_ADD", "same"), "does-not-follow"),
    "a key is revoked that is not there": (
        lambda told: more(told, "KEY_REVOKE", "h3 ssh-ed25519 AAAA"), "does-not-follow"),
    "a key is added in a push of its own": (alone, "does-not-follow"),
    "a key is added at the end, through no TRUST": (at_the_end, "does-not-follow"),
    "a key is added with GENESIS": (with_genesis, "does-not-follow"),
    "a key is added through a TRUST of another commit": (
        lambda told: evidence(told, "KEY_ADD").update(commit="0" * 40), "does-not-follow"),
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERED)
def test_entries_about_keys_are_what_the_file_says(story: Story, name: str) -> None:
    """Whoever did that holds the keys of both hosts: every push is signed as it was."""
    change, code = TAMPERED[name]
    told = story.tell(change)
    found = both(story)
    assert code in {fault.code for fault in found.faults}, found.faults
    if code == "does-not-follow":
        ledger = Ledger()
        with pytest.raises(Refused) as refused:
            reading(ledger, story.house)
        assert refused.value.code == "bad-entry"
        assert ledger.count < len(told)


def reading(ledger: Ledger, house: House) -> None:
    """As a dispatcher does that never saw it."""
    chain = house.chain(f"reader-{house.ref('heads/ledger')[:12]}")
    chain.ledger = ledger
    chain.sync()


def test_a_change_of_keys_that_cannot_be_read_does_not_come_into_force(tmp_path: Path) -> None:
    house = House(tmp_path / "house")
    dispatcher, _ = house.dispatcher()
    house.change({RECIPIENTS: Recipients().write()})
    dispatcher.turn()
    for bad in (b"v = 1\n[host_keys]\nh1 = 'no key'\n", b"v = 1\n[host_keys]\nh1 = 'ssh-ed25519 AAAA'\n[more]\n", b"x",
                b"#" * 300_000):  # fmt: skip
        house.change({RECIPIENTS: bad})
        dispatcher.turn()
        assert len(dispatcher.ledger.trust) == 2
        assert RECIPIENTS in " ".join(dispatcher.alarms.values())
        house.change({RECIPIENTS: Recipients().write()})
        dispatcher.turn()
    house.change(listing(h1="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5"))
    dispatcher.turn()
    assert dispatcher.ledger.keys == {"h1 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5"}, "put back, the next one counts"


def test_a_file_that_lists_no_keys_says_nothing_of_them(tmp_path: Path) -> None:
    """As those of before do: the last key is never revoked without another in its place."""
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA"
    house = House(tmp_path / "house", host_key=key)
    dispatcher, _ = house.dispatcher()
    for file in (Recipients(), Recipients({"h1": "age1x"}, {})):
        house.change({RECIPIENTS: file.write().replace(b'h1 = "age1x"\n', b"")})
        dispatcher.turn()
    assert len(dispatcher.ledger.trust) > 1
    assert dispatcher.ledger.keys == {f"init {key}"}

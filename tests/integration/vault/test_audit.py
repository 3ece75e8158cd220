"""Attack 65 and section 5 J: an audit from git objects alone finds what was tampered with, and two readers agree on it.

One reader is the product's, the other is ``second_reader.py``: dulwich, no code of ours. They must name the same first
entry, on a ledger that a real dispatcher wrote and on every way we know to tell it otherwise.
"""

from __future__ import annotations

import copy
import os
import random
import shutil
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from dulwich.repo import Repo

from factory.git.hardened import Git
from factory.vault.keys import sshsig
from factory.vault.keys.hostkeys import NAMESPACE
from factory.vault.ledger import ALL, Entry
from factory.vault.people.audit import Audit, Mark, audit
from tests.integration.vault.house import LETTERS, VAULT_BOT, WHO, House, formula_bytes, policy_bytes
from tests.integration.vault.ledgers import Step, change_policy, grown, steps, write
from tests.integration.vault.second_reader import Reader

FORMULAS = {name: formula_bytes(name) or b"" for name in LETTERS}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return grown(tmp_path_factory.mktemp("grown"), seed=1, actions=8)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("key") / "host_key"
    return path, sshsig.make_key(path, "dispatcher@h1")


@pytest.fixture(scope="module")
def told(house: House) -> list[Step]:
    return steps(house.remote)


def signing(key: tuple[Path, str]) -> Callable[[bytes], str]:
    return lambda data: sshsig.sign(key[0], NAMESPACE, data).strip()


def looked(house: House, keys: tuple[str, ...] = (), **how: Any) -> Audit:
    def check(given: Any) -> list[bool]:
        return [sshsig.fits(text, NAMESPACE, data, [sshsig.Signer(1, k) for k in who], 1) for text, data, who in given]

    return audit(Git(house.remote, ""), FORMULAS.get, check=check, keys=keys, **how)


def both(house: House, keys: tuple[str, ...] = ()) -> tuple[Audit, list[tuple[int, str]]]:
    """The two readers on what stands there now; they must agree where it first goes wrong."""
    found = looked(house, keys)
    with Repo(str(house.remote)) as repo:
        other = Reader(repo, FORMULAS, list(keys)).read()
    first = min((fault.seq for fault in found.faults), default=None)
    assert first == min((seq for seq, _ in other), default=None), f"{found.faults[:3]} against {other[:3]}"
    return found, other


def where(told: list[Step], kind: str, **evidence: Any) -> int:
    """The first entry of a kind with such evidence."""
    return next(
        number for number, step in enumerate(told)
        if step.entry is not None and step.entry["kind"] == kind
        and all(step.entry["evidence"].get(key) == value for key, value in evidence.items())
    )  # fmt: skip


def test_a_ledger_of_a_real_dispatcher_is_what_it_says(house: House, told: list[Step]) -> None:
    found, _ = both(house)
    assert found.faults == ()
    assert found.entries == len(told)
    assert found.reproduced == sum(found.kinds.get(kind, 0) for kind in ("GENESIS", "TRUST", "VERIFIED"))
    assert found.kinds.keys() >= {"GENESIS", "TRUST", "SEEN", "VERIFIED", "REFUSED", "CLAIMED", "STARTED", "DONE",
    "FAILED",
                                  "UNKNOWN", "FENCED"}  # fmt: skip
    assert found.unchecked == ()


def test_rewritten_as_it_was_it_is_still_right(house: House, told: list[Step], key: tuple[Path, str]) -> None:
    """The writer of the tampered ones below changes nothing by itself."""
    write(house.remote, copy.deepcopy(told))
    assert both(house)[0].faults == ()
    write(house.remote, copy.deepcopy(told), signing(key))
    found, _ = both(house, (key[1],))
    assert found.faults == ()
    assert found.signed == found.batches


# --- ways to tell it otherwise ----------------------------------------------------------------------------------------

Change = Callable[[list[Step]], None]


def edit(kind: str, /, _find: dict[str, Any] | None = None, **values: Any) -> Change:
    """Other values in the first entry of a kind; ``evidence_x`` for what stands in its evidence."""

    def change(told: list[Step]) -> None:
        entry = told[where(told, kind, **(_find or {}))].entry
        assert entry is not None
        for key, value in values.items():
            table, name = (entry["evidence"], key[9:]) if key.startswith("evidence_") else (entry, key)
            old = table.get(name)
            table[name] = value(old) if callable(value) else value
            assert table[name] != old, f"{key} was that already"

    return change


def drop(kind: str) -> Change:
    return lambda told: told.pop(where(told, kind)) and None


def again(kind: str) -> Change:
    """The entry once more, right after it."""

    def change(told: list[Step]) -> None:
        number = where(told, kind)
        step = copy.deepcopy(told[number])
        step.batch = told[number].batch
        told.insert(number + 1, step)

    return change


def step(kind: str, **values: Any) -> Change:
    def change(told: list[Step]) -> None:
        number = where(told, kind)
        for name, value in values.items():
            setattr(told[number], name, value(told, number) if callable(value) else value)

    return change


def path_of(told: list[Step], number: int) -> str:
    entry = told[number].entry
    assert entry is not None
    return f"e/{entry['id']}/{number:08d}-{entry['kind']}.toml"


def swapped(told: list[Step]) -> None:
    """STARTED before CLAIMED."""
    number = where(told, "STARTED")
    claim = next(n for n in range(number) if told[n].entry["id"] == told[number].entry["id"]  # type: ignore[index]
                 and told[n].entry["kind"] == "CLAIMED")  # type: ignore[index]
    told[number].entry, told[claim].entry = told[claim].entry, told[number].entry


def other(table: str) -> Callable[[Any], Any]:
    return lambda old: table if old != table else table[::-1]


STRUCTURE: dict[str, tuple[Change, bool]] = {
    "an old entry is edited in place": (step("DONE", more=lambda told, n: {path_of(told, 1): b"v = 1\n"}), True),
    "an old entry is deleted": (step("DONE", more=lambda told, n: {path_of(told, 1): None}), True),
    "a commit adds two files": (step("VERIFIED", more={"e/x/y.toml": b"x"}), True),
    "a commit adds another file only": (step("VERIFIED", entry=None, more={"README.md": b"x"}), True),
    "a merge commit": (step("CLAIMED", second_parent=lambda told, n: b"MAIN"), True),
    "an executable entry": (step("DONE", mode=0o100755), True),
    "a link for an entry": (step("DONE", mode=0o120000), True),
    "an entry in another folder": (step("VERIFIED", path="e/another/00000001-VERIFIED.toml"), True),
    "an entry above its folder": (step("VERIFIED", path="VERIFIED.toml"), True),
    "not in the one form": (step("VERIFIED", raw=lambda told, n: b"# words\n"), True),
    "no TOML at all": (step("STARTED", raw=b"\xff\x00"), True),
    "an empty file": (step("STARTED", raw=b""), True),
    "a number is left out": (edit("STARTED", seq=lambda old: old + 1), False),
    "a number is used twice": (edit("STARTED", seq=lambda old: old - 1), False),
    "it names another commit before it": (edit("STARTED", prev="0" * 40), False),
    "an unknown kind of a newer version": (edit("STARTED", kind="SHIPPED"), True),
    "another version of the form": (edit("STARTED", v=2), True),
    "a nonce of another form": (edit("STARTED", run="x"), True),
}  # fmt: skip
"""Name -> change, and whether everything else is rewritten to fit."""

STATES: dict[str, Change] = {
    "no GENESIS": drop("GENESIS"),
    "two GENESIS": again("GENESIS"),
    "STARTED without a claim": drop("CLAIMED"),
    "DONE without STARTED": drop("STARTED"),
    "a claim without VERIFIED": drop("VERIFIED"),
    "started twice": again("STARTED"),
    "verified twice": again("VERIFIED"),
    "DONE twice": again("DONE"),
    "probed before it was fenced": drop("FENCED"),
    "fenced without UNKNOWN": drop("UNKNOWN"),
    "claimed with the same epoch": edit("CLAIMED", epoch=lambda old: old - 1),
    "claimed two epochs on": edit("CLAIMED", epoch=lambda old: old + 1),
    "STARTED by another run": edit("STARTED", run=other("a" * 32)),
    "DONE by another run": edit("DONE", run=other("a" * 32)),
    "STARTED before CLAIMED": swapped,
    "refused becomes done": edit("REFUSED", kind="DONE"),
    "unfrozen though not frozen": lambda told: told.insert(2, _whole(told, "UNFREEZE")),
    "frozen, and goes on": lambda told: told.insert(1, _whole(told, "FREEZE", words="stop")),
    "about the whole vault with an action's kind": lambda told: told.insert(2, _whole(told, "DONE")),
    "a note about an action nobody knows": lambda told: told.insert(1, _late(told)),
}


def _whole(told: list[Step], kind: str, **evidence: Any) -> Step:
    return Step({**copy.deepcopy(told[0].entry or {}), "kind": kind, "evidence": evidence}, -1)


def _late(told: list[Step]) -> Step:
    return Step({**copy.deepcopy(told[0].entry or {}), "kind": "LATE", "id": "nobody-knows", "evidence": {}}, -1)


BETA = {"formula": "beta@1", "base": "refs/heads/main"}
EVIDENCE: dict[str, Change] = {
    "another merge": edit("VERIFIED", evidence_merge=lambda old: "MAIN"),
    "a merge that is nowhere": edit("VERIFIED", evidence_merge="0" * 40),
    "another head": edit("VERIFIED", evidence_head="0" * 40),
    "another branch": edit("VERIFIED", evidence_base=other("refs/heads/auto")),
    "another digest of the file": edit("VERIFIED", evidence_blob_sha256="0" * 64),
    "another target": edit("VERIFIED", evidence_target="elsewhere"),
    "another asker": edit("VERIFIED", evidence_requester="person:eve"),
    "another content": edit("VERIFIED", evidence_content="0" * 64),
    "it lives longer": edit("VERIFIED", evidence_expires=lambda old: old.replace(year=2099)),
    "it runs more often": edit("VERIFIED", evidence_runs=lambda old: old + 1),
    "it frees something else": edit("VERIFIED", evidence_unblocks=["a/b#1"]),
    "another formula": edit("VERIFIED", evidence_formula="omega@1"),
    "another file of the formula": edit("VERIFIED", evidence_formula_digest="0" * 64),
    "another policy": edit("VERIFIED", evidence_policy_digest="0" * 64),
    "another version of the policy": edit("VERIFIED", evidence_policy_version=9),
    "rules that were not in force": edit("VERIFIED", evidence_trust="0" * 40),
    "started under rules that were not in force": edit("STARTED", evidence_trust="0" * 40),
    "a lower tier": edit("VERIFIED", BETA, evidence_tier="low", evidence_approvers=[]),
    "a tier that is none": edit("VERIFIED", evidence_tier="none"),
    "nobody approved it": edit("VERIFIED", BETA, evidence_approvers=[]),
    "an outsider approved it": edit("VERIFIED", BETA, evidence_approvers=[99]),
    "a bot approved it": edit("VERIFIED", BETA, evidence_approvers=[VAULT_BOT]),
    "another identity": edit("VERIFIED", digest="0" * 64),
    "GENESIS of another policy": edit("GENESIS", evidence_policy_digest="0" * 64),
    "GENESIS with other files": edit("GENESIS", evidence_controlled="0" * 64),
    "GENESIS of a commit that is nowhere": edit("GENESIS", evidence_commit="0" * 40),
    "GENESIS of another repo": edit("GENESIS", evidence_repo=8),
    "TRUST of another commit": edit("TRUST", evidence_commit=lambda old: "MAIN"),
    "TRUST of another policy": edit("TRUST", evidence_policy_digest="0" * 64),
    "TRUST with other files": edit("TRUST", evidence_controlled="0" * 64),
    "TRUST without an admin": edit("TRUST", evidence_approvers=[2]),
    "TRUST that was forgotten": drop("TRUST"),
    "TRUST a second time": again("TRUST"),
}


def tampered(house: House, told: list[Step], change: Change, sign: Any = None, *, renumber: bool = True) -> None:
    """The ledger with a change; the word MAIN in it stands for the tip of main."""
    made, main = copy.deepcopy(told), house.ref("heads/main")
    change(made)
    for one in made:
        if one.second_parent is not None:
            one.second_parent = main.encode()
        for table in ((one.entry or {}).get("evidence", {}),):
            table.update({key: main for key, value in table.items() if value == "MAIN"})
    write(house.remote, made, sign, renumber=renumber)


@pytest.mark.parametrize("name", STRUCTURE)
def test_attack_65_it_is_not_append_only_any_more(house: House, told: list[Step], name: str) -> None:
    change, renumber = STRUCTURE[name]
    tampered(house, told, change, renumber=renumber)
    assert {fault.code for fault in both(house)[0].faults} & {"not-append-only", "bad-entry", "does-not-follow"}


@pytest.mark.parametrize("name", STATES)
def test_attack_65_an_entry_does_not_follow(house: House, told: list[Step], name: str) -> None:
    tampered(house, told, STATES[name])
    assert {fault.code for fault in both(house)[0].faults} & {"does-not-follow", "bad-entry"}


@pytest.mark.parametrize("name", EVIDENCE)
def test_attack_65_the_evidence_is_not_true(house: House, told: list[Step], name: str) -> None:
    tampered(house, told, EVIDENCE[name])
    codes = {fault.code for fault in both(house)[0].faults}
    assert codes
    assert not codes & {"not-append-only", "bad-entry"}


WAITED: dict[str, Change] = {
    "not said": lambda told: told[where(told, "TRUST")].entry["evidence"].pop("approved_at"),  # type: ignore[index]
    "approved an hour before": edit("TRUST", evidence_approved_at=lambda old: old + timedelta(hours=23)),
    "approved after it": edit("TRUST", evidence_approved_at=lambda old: old + timedelta(days=9)),
    "written at once": edit("TRUST", at=lambda old: old - timedelta(hours=23)),
}


@pytest.mark.parametrize("name", ["as it was", *WAITED])
def test_attack_9_a_policy_that_did_not_wait_is_found(tmp_path: Path, name: str) -> None:
    """By both readers, from what the entries say of when it was approved and when it came into force."""
    house = House(tmp_path, policy=policy_bytes(more="cooling_hours = 24\n"))
    house.now += timedelta(days=2)
    dispatcher, _ = house.dispatcher()
    change_policy(house)
    dispatcher.turn()
    assert len(dispatcher.ledger.trust) == 1
    house.now += timedelta(hours=24, seconds=1)
    dispatcher.turn()
    assert len(dispatcher.ledger.trust) == 2
    assert both(house)[0].faults == ()
    if name in WAITED:
        tampered(house, steps(house.remote), WAITED[name])
        assert {fault.code for fault in both(house)[0].faults} == {"cooling"}


UNSEEN: dict[str, Change] = {
    "other words": edit("DONE", evidence_words="never happened"),
    "another time": edit("STARTED", at=lambda old: old.replace(year=2020)),
    "another host": edit("STARTED", by="eve/1"),
    "another log": edit("DONE", evidence_log_sha256="0" * 64),
    "done instead of failed": edit("FAILED", kind="DONE"),
    "its end was cut off": lambda told: told.__delitem__(slice(-3, None)),
}


@pytest.mark.parametrize("name", UNSEEN)
def test_what_only_a_signature_shows(house: House, told: list[Step], key: tuple[Path, str], name: str) -> None:
    """Whoever may rewrite the whole branch can tell what git does not know; not with a host's signature on it."""
    tampered(house, told, UNSEEN[name])
    assert both(house)[0].faults == ()
    if "cut off" in name:
        return  # what is there is signed as it was; the next test is about that
    unsigned, _ = both(house, (key[1],))
    assert {fault.code for fault in unsigned.faults} == {"not-signed"}
    write(house.remote, copy.deepcopy(told), signing(key))
    notes = [commit_note(house, number) for number in range(len(told))]
    made = copy.deepcopy(told)
    UNSEEN[name](made)
    for one, note in zip(made, notes, strict=True):
        one.note = note
    write(house.remote, made)
    found, _ = both(house, (key[1],))
    assert "bad-signature" in {fault.code for fault in found.faults}


def commit_note(house: House, number: int) -> str:
    line = house.git.text("rev-list", "--reverse", "--first-parent", "refs/heads/ledger").split()
    return house.git.text("log", "-1", "--format=%b", line[number])


def test_a_signature_by_another_key(house: House, told: list[Step], key: tuple[Path, str], tmp_path: Path) -> None:
    own = tmp_path / "own"
    sshsig.make_key(own, "x")
    write(house.remote, copy.deepcopy(told), lambda data: sshsig.sign(own, NAMESPACE, data).strip())
    assert {fault.code for fault in both(house, (key[1],))[0].faults} == {"bad-signature"}
    write(house.remote, copy.deepcopy(told), lambda data: sshsig.sign(key[0], "git", data).strip())
    assert {fault.code for fault in both(house, (key[1],))[0].faults} == {"bad-signature"}, "for another use"


def test_what_this_host_remembers_must_all_be_there(house: House, told: list[Step]) -> None:
    tip = write(house.remote, copy.deepcopy(told))
    root = looked(house).root
    mark = Mark(root, tip, len(told))
    assert looked(house, mark=mark).faults == ()
    assert looked(house, mark=Mark(root, root, 1)).faults == ()
    tampered(house, told, UNSEEN["its end was cut off"])
    assert [fault.code for fault in looked(house, mark=mark).faults] == ["ledger-gone"]
    tampered(house, told, UNSEEN["other words"])
    assert [fault.code for fault in looked(house, mark=mark).faults] == ["ledger-gone"]
    tampered(house, told, edit("GENESIS", at=lambda old: old.replace(year=2020)))
    assert "ledger-gone" in {fault.code for fault in looked(house, mark=mark).faults}
    assert [fault.code for fault in looked(house, root=root).faults] == ["other-root"]


def test_an_evil_merge_on_main_is_not_what_merging_gives(house: House, told: list[Step]) -> None:
    """Attack 37, found afterwards: a merge that holds one more change than its two sides."""
    number = where(told, "VERIFIED", base="refs/heads/main")
    entry = told[number].entry
    assert entry is not None
    before = house.ref("heads/main")
    evil = house.commit({"factory.toml": b"schema = 2\n", f"vault/actions/{entry['id']}.toml": b"x"}, before,
    entry["evidence"]["head"])
    house.ref("heads/main", evil)
    try:
        tampered(house, told, edit("VERIFIED", {"base": "refs/heads/main"}, evidence_merge=lambda old: "MAIN"))
        assert "wrong-merge" in {fault.code for fault in both(house)[0].faults}
    finally:
        house.ref("heads/main", before)


# --- a merge that hides what main was ---------------------------------------------------------------------------------


def froze(house: House, *commits: str) -> None:
    """As the dispatcher does it that finds a commit on main which nobody explains, and an admin who looked."""
    chain = house.chain(f"w{len(commits)}{house.ref('heads/ledger')[:6]}")
    chain.sync()
    at = house.now.replace(microsecond=0)
    assert chain.append([Entry("FREEZE", ALL, "f" * 32, "h/1", at, evidence={"words": "why", "commits": commits})])
    assert chain.append([Entry("UNFREEZE", ALL, "e" * 32, "h/1", at, evidence={"words": "I looked"})])


def onto_main(house: House, tree: str, first: str, second: str) -> str:
    """A merge with these parents is main's tip."""
    made = subprocess.run(
        ["git", "commit-tree", tree, "-p", first, "-p", second, "-m", "merge"], check=True, capture_output=True,
        env={"GIT_DIR": str(house.remote), "PATH": os.environ["PATH"], "HOME": "/nonexistent", **WHO}, text=True,
    ).stdout.strip()  # fmt: skip
    house.ref("heads/main", made)
    return made


def swap(house: House, first: str) -> str:
    """Main's tip becomes the second parent of a merge onto an older commit of it."""
    tip = house.ref("heads/main")
    return onto_main(house, house.git.text("rev-parse", f"{tip}^{{tree}}"), first, tip)


def had(house: House, turns: int = 3) -> str:
    """An action that was asked for, approved, merged and done; its id."""
    action = house.ask("beta")
    dispatcher, _ = house.dispatcher("d1")
    for _ in range(turns):
        dispatcher.turn()
    assert house.kinds(action.id)[0] == "VERIFIED"
    return action.id


def codes(house: House) -> list[str]:
    return [fault.code for fault in both(house)[0].faults]


def test_what_a_swapped_merge_hides_is_what_the_ledger_says_of_it(tmp_path: Path) -> None:
    """Merges and a version of the policy, hidden twice over; and what is merged and trusted after that."""
    house = House(tmp_path)
    first = house.ref("heads/main")
    had(house)
    change_policy(house)
    had(house)
    one = swap(house, first)
    assert "no-commit" in codes(house), "git alone does not tell that it was main"
    froze(house, one)
    assert codes(house) == []
    house.adopt(policy_bytes(3, {"beta": "medium", "gamma": "high", "alpha": "low", "delta": "high"}))
    had(house)
    froze(house, swap(house, first))
    had(house)
    assert codes(house) == []
    assert both(house)[0].kinds["TRUST"] == 2


def test_what_was_written_down_after_the_freeze_was_not_main(tmp_path: Path) -> None:
    """A merge that is nowhere on main's line and that the dispatcher did not see before it was hidden."""
    house = House(tmp_path)
    first = house.ref("heads/main")
    had(house)
    before = house.ref("heads/ledger")
    had(house)
    later = steps(house.remote)
    house.ref("heads/ledger", before)
    froze(house, swap(house, first))
    assert codes(house) == []
    told = steps(house.remote)
    known = len([step for step in later if step.entry is not None][: len(told) - 2])
    late = [step for step in later[known:] if step.entry is not None]
    write(house.remote, [*told, *(copy.deepcopy(step) for step in late)])
    assert codes(house)[0] == "no-commit"


def test_a_branch_that_was_merged_into_main_was_not_main(tmp_path: Path) -> None:
    """Who holds a dispatcher's token writes down a merge of a branch of their own, and brings it to main afterwards."""
    house, other = House(tmp_path / "a"), House(tmp_path / "b")
    shutil.rmtree(other.remote)
    shutil.copytree(house.remote, other.remote)
    had(house)
    other.action(), had(other)  # on a line that main here never was
    house.git.run("fetch", "--quiet", str(other.remote), "refs/heads/main:refs/heads/side", net=True)
    real, side = house.ref("heads/main"), house.ref("heads/side")
    write(house.remote, [*steps(house.remote), *steps(other.remote)[1:]])
    made = onto_main(house, house.git.merged_tree(real, side), real, side)
    froze(house, made)
    assert codes(house) == ["no-commit"]


def test_no_ledger_is_a_fault(tmp_path: Path) -> None:
    assert [fault.code for fault in audit(Git(tmp_path / "x.git", ""), FORMULAS.get).faults] == ["no-ledger"]


FIELDS: tuple[str, ...] = ("v", "id", "kind", "epoch", "run", "digest", "at", "by")


def some_change(chance: random.Random) -> Change:
    """Anything at all to anything at all."""

    def change(told: list[Step]) -> None:
        number = chance.randrange(len(told))
        entry = told[number].entry
        assert entry is not None
        way = chance.randrange(6)
        if way == 0:
            told.pop(number)
        elif way == 1:
            told.insert(chance.randrange(len(told)), copy.deepcopy(told[number]))
        elif way == 2:
            there = chance.randrange(len(told))
            told[number].entry, told[there].entry = told[there].entry, entry
        elif way == 3 and entry["evidence"]:
            key = chance.choice(sorted(entry["evidence"]))
            entry["evidence"][key] = _other(entry["evidence"][key], chance)
        elif way == 4:
            entry["kind"] = chance.choice(["DONE", "VERIFIED", "CLAIMED", "STARTED", "FENCED", "LATE", "PARKED",
            "REVOKED", "SEEN"])
        else:
            key = chance.choice(FIELDS)
            entry[key] = _other(entry[key], chance)
        if not told:
            raise AssertionError("nothing is left to read")

    return change


def _other(value: Any, chance: random.Random) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + chance.choice([-1, 1, 1000])
    if isinstance(value, str):
        return chance.choice(["", "x", "0" * 40, value[:-1], value + "0", value.swapcase()])
    if isinstance(value, list):
        return chance.choice([[], value[:-1], [*value, *value], [*value, 99] if value and isinstance(value[0],
        int) else [*value, "x"]])
    return value.replace(year=value.year + chance.choice([-1, 1]))


@pytest.mark.parametrize("seed", range(12))
def test_two_readers_agree_on_any_change(house: House, told: list[Step], seed: int) -> None:
    tampered(house, told, some_change(random.Random(seed)))
    both(house)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 100 + int(os.environ.get("FACTORY_TEST_SEEDS", "12"))))
def test_two_readers_agree_on_many_ledgers_and_changes(tmp_path: Path, seed: int) -> None:
    house = grown(tmp_path, seed, actions=25)
    assert both(house)[0].faults == ()
    told = steps(house.remote)
    for number in range(60):
        tampered(house, told, some_change(random.Random(seed * 1000 + number)))
        both(house)

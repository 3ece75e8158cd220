"""Every row of the failure matrix (vault-security.md, 3.6), for each effect class, alone and in pairs.

A row is a point in a dispatcher's life and what happens there; the table says how each class ends and how often its
effect came to the world outside. Never twice for C and D, never a DONE without effect, always an end or a person.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import pytest

from tests.integration.vault.faults import Fault, Ground, Vault
from tests.soak_report import PART, PARTS, counts, record

T = TypeVar("T")
CLASSES = {"A": "alpha", "B": "beta", "C": "gamma", "D": "delta"}


@dataclass(frozen=True)
class Row:
    """``ends`` and ``effects``: one word for all classes, or one each for A, B, C, D."""

    faults: tuple[Fault, ...]
    ends: str = "DONE"
    effects: str = "1"
    spare: str = "host"
    """Host of those that come up: of another one's dispatchers nothing can be proved, only waited for."""
    guarded: bool = True
    punctual: bool = True
    reached: str = "ABCD"
    """The classes whose life comes to all of these faults."""

    def of(self, letter: str) -> tuple[str, int]:
        place = "ABCD".index(letter)
        ends, effects = ((words.split() * 4)[place] for words in (self.ends, self.effects))
        return ends, int(effects)


def crash(at: str, after: str = "") -> Fault:
    return Fault(at, "crash", after)


PERSON = "DONE DONE DONE PARKED"
"""Whether a blind effect happened only a person can find out."""
ROWS: Mapping[str, Row] = {
    "C0 before the merge is read": Row((crash("refs"),)),
    "C1 while verifying": Row((crash("pulls"),)),
    "C2 VERIFIED sent, not there": Row((crash("push VERIFIED"),)),
    "C2 VERIFIED sent, there": Row((crash("pushed VERIFIED"),)),
    "C2 VERIFIED there, the reply lost": Row((Fault("push VERIFIED", "lost"),)),
    "C2 VERIFIED no reply, there later": Row((Fault("push VERIFIED", "late"),)),
    "C3 after VERIFIED": Row((crash("draft CLAIMED"),)),
    "C4 CLAIMED sent, not there": Row((crash("push CLAIMED"),)),
    "C4 CLAIMED sent, there": Row((crash("pushed CLAIMED"),)),
    "C4 CLAIMED there, the reply lost": Row((Fault("push CLAIMED", "lost"),)),
    "C4 CLAIMED no reply, there later": Row((Fault("push CLAIMED", "late"),)),
    "C5 after CLAIMED": Row((crash("pulls", "pushed CLAIMED"),)),
    "C6 before STARTED": Row((crash("draft STARTED"),)),
    "C7 STARTED sent, not there": Row((crash("push STARTED"),)),
    "C7 STARTED sent, there": Row((crash("pushed STARTED"),), PERSON, "1 1 1 0"),
    "C7 STARTED there, the reply lost": Row((Fault("push STARTED", "lost"),)),
    "C7 STARTED no reply, there later": Row((Fault("push STARTED", "late", turns=3),)),
    "C8 after STARTED, before the effect": Row((crash("start"),), PERSON, "1 1 1 0"),
    "C9 in the middle of the effect": Row((crash("half"),), "DONE DONE PARKED PARKED", "1 1 0 0"),
    "C10 after the effect, its result nowhere": Row((crash("effect"),), PERSON, "2 2 1 1"),
    "C11 result known": Row((crash("draft DONE"),), PERSON, "2 2 1 1"),
    "C11 DONE sent, not there": Row((crash("push DONE"),), PERSON, "2 2 1 1"),
    "C11 DONE sent, there": Row((crash("pushed DONE"),)),
    "C11 DONE there, the reply lost": Row((Fault("push DONE", "lost"),)),
    "C11 DONE no reply, there later": Row((Fault("push DONE", "late"),)),
    "C12 after DONE": Row((crash("refs", "pushed DONE"),)),
    "C13 paused after STARTED, ended before the fence": Row((Fault("start", "pause", turns=40),), PERSON, "1 1 1 0"),
    "C13 paused on another host, refused by the fence": Row(
        (Fault("start", "pause", turns=60),), PERSON, "1 1 1 0", spare="other", punctual=False
    ),
    "C14 the same, an effect that asks no fence": Row(
        (Fault("start", "pause", turns=60),), PERSON, "1 1 1 0", spare="other", guarded=False
    ),
    "C15 forge down while verifying": Row((Fault("pulls", "down", turns=30),)),
    "C15 forge down before STARTED": Row((Fault("pulls", "down", "pushed CLAIMED", turns=30),)),
    "C15 forge down during the run": Row((Fault("refs", "down", "effect", turns=30),)),
    "C17 no space for STARTED": Row((Fault("draft STARTED", "full"),)),
    "C17 a stale lock at VERIFIED": Row((Fault("push VERIFIED", "full"),)),
    "C17 a stale lock at STARTED": Row((Fault("push STARTED", "full"),)),
    "C17 a stale lock at DONE": Row((Fault("push DONE", "full"),)),
    "C18 the host reboots in the middle of a run": Row((Fault("effect", "reboot"),), PERSON, "2 2 1 1"),
    "C19 approval withdrawn before STARTED": Row(
        (Fault("pushed CLAIMED", "withdraw"),), "DONE REVOKED REVOKED REVOKED", "1 0 0 0"
    ),
    "C20 again while the loss is told": Row((crash("effect"), crash("push UNKNOWN")), PERSON, "2 2 1 1"),
    "C20 again when it was told": Row((crash("effect"), crash("pushed UNKNOWN")), PERSON, "2 2 1 1"),
    "C20 again at the fence": Row((crash("start"), crash("pushed FENCED")), PERSON, "1 1 1 0"),
    "C20 again while probing": Row((crash("effect"), crash("probed")), PERSON, "2 2 1 1", reached="C"),
    "C20 again in the second run": Row(
        (crash("start"), crash("start", "pushed FENCED")), PERSON, "1 1 1 0", reached="ABC"
    ),
}


@pytest.fixture(scope="module")
def grounds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Ground]]:
    """One merged action of each class. What the disk does when told to keep something is not looked at here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        folder = tmp_path_factory.mktemp("grounds")
        yield {letter: Ground.lay(folder / letter, formula) for letter, formula in CLASSES.items()}


def reboot(vault: Vault) -> None:
    for process in vault.processes:
        process.killed = True


def withdraw(vault: Vault) -> None:
    for number, pull in vault.house.pulls_.items():
        vault.house.pulls_[number] = replace(
            pull, reviews=tuple(replace(review, dismissed=True) for review in pull.reviews)
        )


def play(ground: Ground, row: Row, *more: Fault, settle: bool = True) -> Vault:
    vault = ground.vault(
        [*row.faults, *more], spare=row.spare, guarded=row.guarded, punctual=row.punctual,
        events={"reboot": reboot, "withdraw": withdraw},
    )  # fmt: skip
    vault.process()
    if settle:
        vault.settle(ground.ids)
    return vault


@pytest.mark.parametrize("letter", CLASSES)
@pytest.mark.parametrize("name", ROWS)
def test_one_row_of_the_matrix(grounds: dict[str, Ground], name: str, letter: str) -> None:
    ground, row = grounds[letter], ROWS[name]
    vault = play(ground, row)
    (id,) = ground.ids
    report = vault.report(ground.ids)
    assert report.wrong == ()
    assert not any(process.ended for process in vault.processes)
    assert (not vault.plan) == (letter in row.reached), f"never came to {vault.plan}"
    assert (report.ends[id], report.effects.get(id, 0)) == row.of(letter)


@pytest.mark.parametrize("letter", CLASSES)
def test_a_zombie_leaves_a_note_and_no_effect(grounds: dict[str, Ground], letter: str) -> None:
    """C13: another host fenced it while it slept before its effect."""
    vault = play(grounds[letter], ROWS["C13 paused on another host, refused by the fence"])
    assert [effect.epoch for effect in vault.refused] == [1]
    assert [line.kind for line in vault.ledger()].count("LATE") == 1


def test_without_the_fence_the_effect_comes_twice(grounds: dict[str, Ground]) -> None:
    """What both checks of a paused run are for; the second reading of the ledger sees it."""
    row = Row((Fault("start", "pause", turns=60),), spare="other", guarded=False, punctual=False)
    vault = play(grounds["C"], row)
    wrong = vault.report(grounds["C"].ids).wrong
    assert wrong == (f"{grounds['C'].ids[0]}: 2 effects",)


def test_every_point_of_the_matrix_is_there() -> None:
    """C16 alone is no row: what was restored has no history to hold a life against. See below."""
    there = {name.split()[0] for name in ROWS}
    assert there == {f"C{number}" for number in range(21)} - {"C16"}


@pytest.mark.parametrize("back", [1, 2, 3])
def test_c16_a_forge_restored_from_an_older_state_starts_nothing(grounds: dict[str, Ground], back: int) -> None:
    """The high-water mark of the host knows more than the ledger: every dispatcher refuses, old and new."""
    ground = grounds["C"]
    vault = play(ground, Row(()))
    assert len(vault.effects) == 1
    old = vault.ledger()
    tip = vault.store.branch("ledger")
    for _ in range(back):
        tip = str(vault.store.repo[tip].parents[0].id)  # type: ignore[attr-defined]
    vault.store.set("ledger", tip)
    vault.process()
    for process in vault.processes:
        vault.turn(process)
        assert process.ended == "ledger-gone"
    assert len(vault.effects) == 1
    assert vault.ledger() == old[:-back]


RESTORED = list(itertools.product([name for name, row in ROWS.items() if row.spare == "host"], CLASSES, (1, 2)))
"""Of one host only: a dispatcher of another one, which never saw what was lost, cannot know of it."""
random.Random(8).shuffle(RESTORED)


def part_of(cases: list[T], number: int) -> list[T]:
    """Those of this part of a long form; the last part has the rest."""
    return cases[(PART - 1) * number : PART * number if PART < PARTS else None if PARTS > 1 else number]


@pytest.mark.parametrize("number", counts(12, len(RESTORED)))
def test_c16_right_after_any_other_point(grounds: dict[str, Ground], number: int) -> None:
    """The forge comes back from a backup that lacks the last entries, or the last two: no dispatcher takes that for
    the truth, and what ran once never runs again."""
    refused, part = 0, part_of(RESTORED, number)
    for name, letter, back in part:
        ground, row = grounds[letter], ROWS[name]
        vault = play(ground, row, settle=False)
        for _ in range(80):
            if not vault.plan or vault.report(ground.ids).ends.get(ground.ids[0]) == "DONE":
                break
            vault.others(1)
        tip, before, ran = vault.store.branch("ledger"), len(vault.ledger()), list(vault.effects)
        for _ in range(min(back, before - 1)):
            tip = str(vault.store.repo[tip].parents[0].id)  # type: ignore[attr-defined]
        vault.store.set("ledger", tip)
        vault.away = 0
        vault.process()
        for process in vault.processes:
            if not process.killed:
                vault.turn(process)
        vault.settle(ground.ids)
        if any(process.ended for process in vault.processes):
            refused += 1
            assert {process.ended for process in vault.processes if not process.killed} == {"ledger-gone"}, name
            assert vault.effects == ran, (name, letter)
        assert letter in "AB" or len(vault.effects) <= 1, (name, letter)
    assert refused > len(part) // 2
    record(
        "The vault's crash points C0 to C20, then C16: the ledger comes back without its last entries",
        done=len(part), full=len(RESTORED), seed=8, tally={"refused": refused},
        result="0 runs of class C or D twice; {refused:,} times the host knew more than the ledger and refused it, "
        "else what was lost was written again",
    )  # fmt: skip


def test_c17_a_disk_that_stays_full_starts_nothing_until_there_is_room(grounds: dict[str, Ground]) -> None:
    ground, full = grounds["D"], [True]
    vault = ground.vault(chance=lambda step: "full 0" if full[0] and step.startswith("push") else "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("factory.vault.chain.TRIES", 2)
        for _ in range(4):
            vault.others(1)
    (process,) = vault.processes
    assert "the ledger did not take it" in process.dispatcher.alarms["forge"]
    assert not any(step.endswith(" start") for step in vault.trace)
    full[0] = False
    vault.settle(ground.ids)
    assert vault.report(ground.ids).ends == {ground.ids[0]: "DONE"}


PAIRS = list(itertools.product(ROWS, ROWS, CLASSES))
random.Random(7).shuffle(PAIRS)


@pytest.mark.parametrize("number", counts(len(PAIRS) // 80, len(PAIRS)))
def test_all_pairs_of_two(grounds: dict[str, Ground], number: int) -> None:
    """The second fault comes at its point's next time after the first, to whoever gets there."""
    ends: Counter[str] = Counter()
    part = part_of(PAIRS, number)
    for first, second, letter in part:
        ground, one, two = grounds[letter], ROWS[first], ROWS[second]
        guarded, punctual = one.guarded and two.guarded, one.punctual and two.punctual
        if not (guarded or punctual):
            guarded = True  # with neither, the effect comes twice: see above
        row = replace(one, spare=max(one.spare, two.spare), guarded=guarded, punctual=punctual)
        vault = play(ground, row, *two.faults)
        report = vault.report(ground.ids)
        assert report.wrong == (), (first, second, letter)
        assert report.open == (), (first, second, letter)
        assert not any(process.ended for process in vault.processes), (first, second, letter)
        ends[f"{letter} {report.ends[ground.ids[0]]}"] += 1
    print(ends)
    assert {end.split()[1] for end in ends} <= {"DONE", "PARKED", "REVOKED"}
    record(
        "The vault's crash points C0 to C20, pairs of two, by effect class", done=len(part), full=len(PAIRS), seed=7,
        tally={**{f"{c} {end}": 0 for c in CLASSES for end in ("DONE", "PARKED", "REVOKED")}, **ends},
        result="0 double effects, 0 DONE without effect, 0 left open; DONE / PARKED / REVOKED: " + "; ".join(
            f"{c} {{{c} DONE:,}} / {{{c} PARKED:,}} / {{{c} REVOKED:,}}" for c in CLASSES),
    )  # fmt: skip

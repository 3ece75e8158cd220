"""Many dispatchers, many actions, any order: a pause at every step, and schedules drawn by chance."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.integration.vault.faults import Ground, Vault
from tests.soak_report import counts, record, seed_of_part

CLASSES = {"A": "alpha", "B": "beta", "C": "gamma", "D": "delta"}
TURNS = (1, 2, 3, 5, 8, 13, 21, 40, 60)
"""How long one sleeps: turns of the others, a minute apart."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.TempPathFactory]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        yield tmp_path_factory


def settled(
    ground: Ground, vault: Vault, about: object, rounds: int = 120, *, slow: bool = False
) -> dict[str, str]:
    """Let it end, and see that nothing went wrong. How each action ended."""
    vault.settle(ground.ids, rounds)
    report = vault.report(ground.ids)
    assert report.wrong == (), about
    assert report.open == (), (about, [list(p.dispatcher.alarms.values()) for p in vault.processes if not p.killed])
    assert {process.ended for process in vault.processes} == {""}, about
    kinds = Counter(line.kind for line in vault.ledger() if line.id == "_")
    assert kinds == {"GENESIS": 1} | ({"TRUST": len(ground.stages) - len(ground.ids) - 1} if slow else {}), about
    return dict(report.ends)


@pytest.mark.parametrize("share", counts(80, 1))
def test_a_pause_at_every_step(folder: pytest.TempPathFactory, share: int) -> None:
    """One dispatcher sleeps before each of its steps in turn, for so and so long; another, of its host or of another
    one, goes on meanwhile. Its clock may have stood still. One in ``share`` of all is tried."""
    number, tried = 0, 0
    for letter, formula in CLASSES.items():
        ground = Ground.lay(folder.mktemp("pause"), formula)
        plain = ground.vault()
        plain.process()
        settled(ground, plain, "no pause")
        for step in range(len(plain.trace)):
            for turns in TURNS:
                for host in ("host", "other"):
                    for punctual in (True, False):
                        number += 1
                        if number % share:
                            continue
                        seen = [-1]

                        def chance(name: str, step: int = step, turns: int = turns, seen: list[int] = seen) -> str:
                            seen[0] += 1
                            return f"pause {turns}" if seen[0] == step else ""

                        vault = ground.vault(chance=chance, spare=host, punctual=punctual)
                        vault.process()
                        settled(ground, vault, (letter, step, plain.trace[step], turns, host, punctual))
                        tried += 1
    assert tried > 50
    if share == 1:
        record(
            "A dispatcher of the vault pauses before each of its steps, by length, host and clock", done=tried,
            full=tried, result="0 double effects, 0 DONE without effect, all ended",
        )  # fmt: skip


WHAT = {
    "fetch": ("crash 0", "pause 2", "merge 0", "merge 0"),
    "push": ("crash 0", "lost 0", "late 5", "late 30", "full 0", "pause 4", "pause 20"),
    "draft": ("crash 0", "full 0", "pause 3"), "fetched": ("crash 0", "pause 1", "pause 5", "pause 30"),
    **dict.fromkeys(("refs", "pulls", "repo", "now", "humans"), ("crash 0", "down 1", "down 4", "pause 2", "pause 12",
                                                                "merge 0")),
    **dict.fromkeys(("effect", "start", "probe", "probed", "finished", "settings", "pushed"),
                    ("crash 0", "pause 2", "pause 12", "pause 40")),
}  # fmt: skip
"""What can happen at a step, by the first word of its name."""


@pytest.mark.parametrize("number", counts(12, 5_000))
def test_any_order_of_anything(folder: pytest.TempPathFactory, number: int) -> None:
    """Three dispatchers on two hosts; six actions, two of them on one target, and two changes of the policy, merged one
    after the other; up to forty faults a schedule."""
    ground = Ground.lay(
        folder.mktemp("chance"), "alpha", "beta", "gamma", "gamma", "delta", "alpha", places="abccde", policies=2
    )
    ends: Counter[str] = Counter()
    crashes = refused = 0
    first = seed_of_part(1)
    for seed in range(first, first + number):
        rng = random.Random(seed)
        rate, left = rng.choice((0.01, 0.03, 0.06)), [40]

        def chance(name: str, rng: random.Random = rng, rate: float = rate, left: list[int] = left) -> str:
            often = 6 if "STARTED" in name or name in ("start", "effect") else 1
            if not left[0] or rng.random() > rate * often:
                return ""
            left[0] -= 1
            return rng.choice(WHAT.get(name.split()[0], ("",)))

        vault = ground.vault(
            slowly=True, chance=chance, spare=rng.choice(("host", "other")), punctual=rng.random() < 0.5
        )
        for host in ("host", "host", "other"):
            vault.process(host)
        ends.update(settled(ground, vault, f"seed {seed}", 200, slow=True).values())
        crashes += sum(process.killed for process in vault.processes)
        refused += len(vault.refused)
    print(number, ends, crashes, refused)
    assert ends["DONE"] > number * 3
    assert crashes > number
    record(
        "Schedules of three vault dispatchers by chance: crashes, pauses, lost and late replies, full disks, a forge "
        "that is away", done=number, full=5_000, seed=first,
        tally={"ended": ends["DONE"], "parked": ends["PARKED"], "more": ends.total(), "dead": crashes,
               "fenced": refused},
        result="of {more:,} actions {ended:,} DONE, {parked:,} PARKED; {dead:,} crashes, {fenced:,} effects refused by "
        "the fence; 0 double effects, 0 DONE without effect, none left open",
    )  # fmt: skip

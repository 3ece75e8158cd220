"""What is kept of a comparison while its base goes on is what asking everything anew would say."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pygit2
import pytest

from factory.devforge.store import comparing
from factory.devforge.store.comparing import compare
from factory.git import objects

NOON = 1_700_000_000


class History:
    """A repo in which commits are made by saying what their files are."""

    def __init__(self, place: Path) -> None:
        self.path, self.step, self.made = place, 1, 0
        self.git = pygit2.init_repository(place, bare=True)

    def commit(self, files: dict[str, str], *parents: str) -> str:
        tree = self.git.TreeBuilder()
        for name, text in files.items():
            tree.insert(name, self.git.create_blob(text.encode()), pygit2.enums.FileMode.BLOB)
        self.made += 1
        who = pygit2.Signature("a", "a@example.invalid", NOON + self.made * self.step, 0)
        ids = [pygit2.Oid(hex=parent) for parent in parents]
        return str(self.git.create_commit(None, who, who, f"{self.made}", tree.write(), ids))


@pytest.fixture
def history(tmp_path: Path) -> History:
    compare.cache_clear()
    comparing._gained.cache_clear()
    comparing._KNOWN.clear()
    return History(tmp_path / "r.git")


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Heads of which everything was asked."""
    asked: list[str] = []
    really: Callable[..., comparing.Comparison] = comparing._whole

    def whole(path: Path, base: str, head: str) -> comparing.Comparison:
        asked.append(head)
        return really(path, base, head)

    monkeypatch.setattr(comparing, "_whole", whole)
    return asked


def test_a_base_that_goes_on_is_followed_without_asking_everything_anew(history: History, anew: list[str]) -> None:
    base = root = history.commit({"a": "1"})
    head = history.commit({"a": "1", "b": "1"}, root)
    for number in range(1, 6):
        assert compare(history.path, base, head) == comparing.Comparison(root, "mergeable", (), number - 1)
        base = history.commit({"a": "1", "c": str(number)}, base)
    clash = history.commit({"a": "1", "b": "2", "c": "5"}, base)
    assert compare(history.path, clash, head) == comparing.Comparison(root, "conflict", ("b",), 6)
    solved = history.commit({"a": "1", "b": "1", "c": "5"}, clash)
    assert compare(history.path, solved, head).status == "mergeable"
    assert anew == [head]


def test_what_is_merged_is_seen(history: History, anew: list[str]) -> None:
    root = history.commit({"a": "1"})
    first = history.commit({"a": "1", "b": "1"}, root)
    head = history.commit({"a": "1", "b": "2"}, first)
    assert compare(history.path, root, head).merge_base == root
    half = history.commit({"a": "1", "b": "1"}, root, first)
    assert compare(history.path, half, head) == comparing.Comparison(first, "mergeable", (), 1)
    whole = history.commit({"a": "1", "b": "2"}, half, head)
    assert compare(history.path, whole, head) == comparing.Comparison(head, "ancestor", (), 2)
    assert anew == [head] * 3


def test_a_base_that_was_set_back_or_replaced_is_asked_anew(history: History, anew: list[str]) -> None:
    root = history.commit({"a": "1"})
    head, on = history.commit({"b": "1"}, root), history.commit({"a": "2"}, root)
    assert compare(history.path, on, head).behind == 1
    assert compare(history.path, root, head).behind == 0
    other = history.commit({"z": "1"})
    assert compare(history.path, other, head).status == "error"
    assert compare(history.path, on, head).behind == 1
    assert anew == [head] * 3, "the last one was still known"


@pytest.mark.parametrize("step", [1, 0])
@pytest.mark.parametrize("seed", range(12))
def test_in_any_history_it_says_what_asking_anew_says(history: History, seed: int, step: int) -> None:
    """Where all commits are of one second, libgit2 counts some twice, whichever way it is asked."""
    dice, history.step = random.Random(seed), step
    names = "abcdef"
    root = history.commit({"a": "0"})
    files = {root: {"a": "0"}}
    heads, base = [root], root

    def go_on(*parents: str) -> str:
        have: dict[str, str] = {}
        for parent in parents:
            have |= files[parent]
        have[dice.choice(names)] = str(dice.randrange(4))
        made = history.commit(have, *parents)
        files[made] = have
        return made

    for _ in range(60):
        match dice.randrange(5):
            case 0:
                heads.append(go_on(dice.choice([*heads, base])))
            case 1:
                heads.append(go_on(dice.choice(heads), base))
            case 2:
                base = go_on(base, dice.choice(heads))
            case 3 if dice.random() < 0.1:
                base = dice.choice(heads)
            case _:
                base = go_on(base)
        for head in dice.sample(heads, min(3, len(heads))):
            kept, whole = compare(history.path, base, head), comparing._whole(history.path, base, head)
            assert (kept if step else replace(kept, behind=whole.behind)) == whole


def test_only_so_many_heads_are_remembered(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "KEPT", 3)
    root = history.commit({"a": "1"})
    for number in range(5):
        compare(history.path, root, history.commit({"b": str(number)}, root))
    assert len(comparing._KNOWN) == 3


def test_looking_writes_nothing(history: History) -> None:
    root = history.commit({"a": "1"})
    head, base = history.commit({"a": "1", "b": "1"}, root), history.commit({"a": "1", "c": "1"}, root)
    compare(history.path, root, head)
    before = set(history.git)
    assert compare(history.path, base, head).status == "mergeable"
    assert set(history.git) == before
    assert objects.conflicts(history.path, root, base, head) == ()

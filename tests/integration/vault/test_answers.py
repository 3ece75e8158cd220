"""What the trusted part's git remembers of its answers: what object ids decide, and never that something was absent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from factory.git import hardened
from factory.git.hardened import Git

ASKED = ("merge-base", "a" * 40, "b" * 40)


class Told(Git):
    """Git whose answers are told; ``asked`` counts."""

    def __init__(self, repo: Path, answers: Sequence[str]) -> None:
        super().__init__(repo, "")
        self.answers, self.asked = list(answers), 0

    def text(self, *args: str, codes: Sequence[int] = (0,)) -> str:
        self.asked += 1
        return self.answers.pop(0)


def test_what_was_absent_is_asked_for_again_and_what_was_there_is_not(tmp_path: Path) -> None:
    git = Told(tmp_path / "git", ["", "", "c" * 40])
    assert [git.pure(*ASKED) for _ in range(5)] == ["", "", "c" * 40, "c" * 40, "c" * 40]
    assert git.asked == 3


def test_what_is_remembered_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardened, "MEMORY", 3)
    git = Told(tmp_path / "git", [str(number) for number in range(1, 20)])
    for number in range(10):
        git.pure("rev-parse", str(number))
        assert len(git._known) <= 3

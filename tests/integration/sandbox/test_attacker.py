"""The attacker session: everything tried finds nothing but the run's own token; each wall left out lets it through."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from factory.sandbox.probe.main import ATTACKS

pytestmark = pytest.mark.needs_bwrap

Attack = Callable[..., dict[str, tuple[bool, str]]]


def test_finds_nothing_but_its_own_token(attack: Attack) -> None:
    answers = attack()
    assert set(answers) == {*ATTACKS, "user"}
    assert answers.pop("environment") == (True, "own")
    assert {name: detail for name, (broken, detail) in answers.items() if broken} == {}


@pytest.mark.parametrize(
    ("without", "broken"),
    [
        (["pid"], {"processes"}),
        (["net"], {"loopback", "interfaces", "abstract-sockets"}),
        (["seccomp"], {"socket-families", "system-calls"}),
        (["seccomp", "userns"], {"nested-namespaces"}),
        (["seccomp", "keyring"], {"keyring"}),
    ],
)
def test_without_the_wall_the_attack_succeeds(attack: Attack, without: list[str], broken: set[str]) -> None:
    answers = attack(without=without, only=sorted(broken))
    assert {name for name, (got, _detail) in answers.items() if got} == broken


@pytest.mark.parametrize("without", [["seccomp"], ["userns"]])
def test_nested_namespaces_are_behind_two_walls(attack: Attack, without: list[str]) -> None:
    assert attack(without=without, only=["nested-namespaces"])["nested-namespaces"] == (False, "refused")


def test_a_shown_folder_is_found_and_written(attack: Attack) -> None:
    """The searches for files, paths and places to write do find: here the planted home is bound, writable."""
    answers = attack(bind_home=True, only=["files", "named-paths", "writing"])
    assert {name: got for name, (got, _detail) in answers.items()} == {
        "files": True,
        "named-paths": True,
        "writing": True,
        "user": False,
    }, answers
    assert "forge" in answers["files"][1]


def test_higher_limits_let_more_through(attack: Attack) -> None:
    """The probe judges by 64 processes and 8 MiB; under wider limits it gets more, so the limits are what stops it."""
    wide = {"memory_bytes": 1 << 30, "pids": 300, "file_bytes": 1 << 30}
    answers = attack(limits=wide, only=["process-number", "file-size"])
    assert answers["process-number"][0]
    assert answers["file-size"][0]

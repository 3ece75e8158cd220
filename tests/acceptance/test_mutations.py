"""A demo whose script was tampered with must fail, and say what did not happen."""

from __future__ import annotations

import copy
import re
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tomlkit

from factory.app.demo import Demo
from factory.cli.main import main
from factory.demo.action import ActionFact
from factory.demo.example import ISSUES, SCRIPT
from factory.demo.facts import Facts, PullFact, ReviewFact, StatusFact, doubts
from factory.demo.idle import IdleTick
from tests.acceptance.conftest import Installed, Ran, share
from tests.acceptance.looking import git

Turns = list[dict[str, Any]]
needs_demo = [pytest.mark.needs_bwrap]


def mutated(target: Path, change: Callable[[Turns], Turns]) -> Path:
    """The demo's script with other turns. AssertionError when the change changed nothing."""
    script = tomllib.loads(SCRIPT.read_text(encoding="utf-8"))
    turns = change(copy.deepcopy(script["turn"]))
    assert turns != script["turn"], "the mutation no longer fits the script"
    target.write_text(tomlkit.dumps({**script, "turn": turns}), encoding="utf-8")
    return target


def without_the_bug(turns: Turns) -> Turns:
    """The first edit says at once what the fix of CI would have made of it: no head is ever red."""
    calls = [(turn["formula"], call["input"]) for turn in turns for call in turn.get("call", [])]
    (mended,) = (given for formula, given in calls if formula == "fix-ci" and "old" in given)
    for formula, given in calls:
        if formula == "dev" and "new" in given:
            given["new"] = given["new"].replace(mended["old"].strip("\n"), mended["new"].strip("\n"))
    return turns


def without_a_verdict(turns: Turns) -> Turns:
    """Nobody judges the second issue's pull request."""
    return [t for t in turns if not (t["formula"] == "review-pr" and t["alias"].startswith("accept-numbers"))]


def always_content(turns: Turns) -> Turns:
    """The reviewer approves what it asked to change."""
    for turn in turns:
        if '"request_changes"' in turn.get("text", ""):
            turn["text"] = '{"verdict": "approve", "summary": "Fine.", "findings": [], "not_read": []}'
    return turns


def never_content(turns: Turns) -> Turns:
    """The reviewer asks for the same again after it was done."""
    asked = next(t["text"] for t in turns if '"request_changes"' in t.get("text", ""))
    for turn in turns:
        if turn["formula"] == "review-pr" and turn["round"] == 2 and "verdict" in turn.get("text", ""):
            turn["text"] = asked
    return turns


def without_a_release(turns: Turns) -> Turns:
    """The last issue's session asks for no release."""
    for turn in turns:
        for call in turn.get("call", []):
            command = call["input"].get("command", "")
            call["input"] |= {"command": re.sub(r"(?m)^emit vault .*\n", "", command)} if command else {}
    return turns


def failed(installed: Installed, tmp_path: Path, change: Callable[[Turns], Turns]) -> Ran:
    script = mutated(tmp_path / "script.toml", change)
    home = tmp_path / "home"
    words = ("demo", "--home", home, "--script", script, "--json")
    ran = installed.run(*words, home=tmp_path / "unused", code=8, timeout=300)
    assert ran.out == "", "facts are only told when they are true"
    assert not home.exists(), "without --keep nothing is left"
    return ran


def without_bubblewrap(installed: Installed, folder: Path) -> Installed:
    """The command where no bwrap is found: its place is covered by a device that nobody can run."""
    program = folder / "factory"
    bwrap = shutil.which("bwrap")
    covered = f"exec bwrap --dev-bind / / --dev-bind /dev/null {bwrap} --die-with-parent {installed.program}"
    program.write_text(f'#!/bin/sh\n{covered} "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return replace(installed, program=program)


class TestScript:
    pytestmark = needs_demo

    def test_no_bug_no_demo(self, installed: Installed, tmp_path: Path) -> None:
        """On a machine without bubblewrap: the whole loop runs there as well, and one line says how."""
        bare_machine = without_bubblewrap(installed, tmp_path)
        ran = failed(bare_machine, tmp_path, lambda turns: always_content(without_the_bug(turns)))
        bare = [line.partition(" s  ")[2] for line in ran.err.splitlines() if "sandbox" in line]
        assert bare == [
            "no sandbox here (choosing the sandbox: bubblewrap (bwrap) is not in /usr/bin:/usr/local/bin:/bin): "
            "the scripted sessions run unconfined, and the vault runs nothing"
        ]
        assert "the demo did not do what it promises" in ran.err
        assert "no head was ever red: the bug that the tests should catch was not there" in ran.err
        assert "no review asked for changes and got them" in ran.err

    def test_no_verdict_no_demo(self, installed: Installed, tmp_path: Path) -> None:
        ran = failed(installed, tmp_path, without_a_verdict)
        assert "the demo did not end: review-pr on pull #" in ran.err
        assert "left its script: mismatch: no scripted turn for formula='review-pr'" in ran.err
        assert ran.seconds < 60 * share()

    @pytest.mark.soak
    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (without_the_bug, "promises: no head was ever red: the bug that the tests should catch was not there\n"),
            (always_content, "promises: no review asked for changes and got them\n"),
            (never_content, "the demo did not end: "),
            (without_a_release, "the demo did not end: no vault action is asked for yet"),
        ],
    )
    def test_each_alone(
        self, installed: Installed, tmp_path: Path, change: Callable[[Turns], Turns], words: str
    ) -> None:
        assert words in failed(installed, tmp_path, change).err


def fact(number: int, issue: int, head: str, merge: str, *before: str) -> PullFact:
    """A pull request as it should be; ``before``: its earlier heads."""
    return PullFact(
        number, issue, f"Do #{issue}", "dev-bot", True, head, merge, (ReviewFact("APPROVED", head, "review-bot"),),
        (*(StatusFact("factory/ci", "success", sha) for sha in before), StatusFact("factory/ci", "success", head)),
    )  # fmt: skip


@pytest.fixture
def true(tmp_path: Path) -> tuple[Facts, Path]:
    """A repository with three real merges, and the facts of it: a red head, a review that got its changes."""
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "first")

    def merged(name: str, commits: int) -> list[str]:
        git(tmp_path, "checkout", "-q", "-b", name)
        heads = []
        for n in range(commits):
            git(tmp_path, "commit", "-q", "--allow-empty", "-m", f"{name} {n}")
            heads.append(git(tmp_path, "rev-parse", "HEAD"))
        git(tmp_path, "checkout", "-q", "main")
        git(tmp_path, "merge", "-q", "--no-ff", "-m", f"merge {name}", name)
        return [*heads, git(tmp_path, "rev-parse", "HEAD")]

    red, first_head, first = merged("first", 2)
    second_head, second = merged("second", 1)
    asked, third_head, third = merged("third", 2)
    one = fact(4, 1, first_head, first)
    three = fact(6, 3, third_head, third, asked)
    pulls = (
        replace(one, statuses=(StatusFact("factory/ci", "failure", red), *one.statuses)),
        fact(5, 2, second_head, second),
        replace(three, reviews=(ReviewFact("REQUEST_CHANGES", asked, "review-bot"), *three.reviews)),
    )
    return Facts(pulls, (), third, "success"), tmp_path / ".git"


def with_pull(facts: Facts, place: int, **changed: Any) -> Facts:
    pulls = list(facts.pulls)
    pulls[place] = replace(pulls[place], **changed)
    return replace(facts, pulls=tuple(pulls))


NUMBERS = (1, 2, 3)
RELEASED = ActionFact(
    "2026-11-28-release-1", "high", ("SEEN", "VERIFIED", "CLAIMED", "STARTED", "DONE"), (1,), ("founder",), "a" * 40,
    "a" * 40, "b" * 40, "b" * 40, 1, ("tally-0.2.0.tar.gz",), {}, "done",
)  # fmt: skip


def test_true_facts_raise_no_doubt(true: tuple[Facts, Path]) -> None:
    assert len(ISSUES) == len(NUMBERS)
    assert doubts(*true, NUMBERS) == ()


def test_a_merge_that_git_does_not_have_is_doubted(true: tuple[Facts, Path]) -> None:
    facts, repo = true
    faked = with_pull(facts, 1, merge="f" * 40)
    assert doubts(faked, repo, NUMBERS) == ("pull request #5: its merge commit is not in the default branch",)


def test_a_merge_faked_in_memory_makes_the_command_fail(
    true: tuple[Facts, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything seems to have gone well, but one merge exists only in what the forge's answers were made to say."""
    facts, repo = true
    said = {"faked": False}

    def set_up(demo: Demo) -> Any:
        host = SimpleNamespace(forge_url="http://127.0.0.1:1")
        demo.deployment = SimpleNamespace(host=host)  # type: ignore[assignment]
        demo.action = SimpleNamespace(read=lambda copies: (RELEASED,))  # type: ignore[assignment]
        return SimpleNamespace(password="", forge_url=host.forge_url, ops="founder/tally-ops")

    def file_issues(demo: Demo) -> None:
        demo.numbers = NUMBERS

    def read(demo: Demo) -> tuple[Facts, Path]:
        return (with_pull(facts, 1, merge="f" * 40) if said["faked"] else facts), repo

    for name, act in {
        "_set_up": set_up, "_file_issues": file_issues, "_watch": lambda demo, deadline: None, "_read": read,
        "_idle": lambda demo: IdleTick(3, 0, 0, 10), "close": lambda demo, keep: None,
        "_told": lambda demo, facts, action, done, seconds, idle: {"pulls": []},
    }.items():  # fmt: skip
        monkeypatch.setattr(Demo, name, act)
    main(["demo", "--json", "--home", str(tmp_path / "home")])
    assert "factory.demo/v1" in capsys.readouterr().out
    said["faked"] = True
    with pytest.raises(SystemExit) as ended:
        main(["demo", "--json", "--home", str(tmp_path / "home")])
    assert ended.value.code == 8
    out, err = capsys.readouterr()
    assert out == ""
    assert "promises: pull request #5: its merge commit is not in the default branch" in err


def test_a_merge_elsewhere_is_doubted(true: tuple[Facts, Path]) -> None:
    """The commit exists and merges the head, but on a branch of its own."""
    facts, repo = true
    work = repo.parent
    head = facts.pulls[1].head
    git(work, "checkout", "-q", "-b", "aside", "main~2")
    git(work, "merge", "-q", "--no-ff", "-m", "aside", head)
    faked = with_pull(facts, 1, merge=git(work, "rev-parse", "HEAD"))
    assert doubts(faked, repo, NUMBERS) == ("pull request #5: its merge commit is not in the default branch",)


def test_another_commit_of_main_passed_off_as_the_merge_is_doubted(true: tuple[Facts, Path]) -> None:
    facts, repo = true
    faked = with_pull(facts, 1, merge=facts.pulls[0].merge)
    assert doubts(faked, repo, NUMBERS) == ("pull request #5: the merge commit does not merge its head",)


@pytest.mark.parametrize(
    ("place", "changed", "doubt"),
    [
        (0, {"merged": False}, "pull request #4 is not merged"),
        (0, {"reviews": ()}, "pull request #4: nobody but its author approved its head"),
        (0, {"author": "review-bot"}, "pull request #4: nobody but its author approved its head"),
        (2, {"reviews": "an earlier head"}, "pull request #6: nobody but its author approved its head"),
        (1, {"statuses": ()}, "pull request #5: factory/ci of its head is not success"),
        (1, {"issue": None}, "issue #2 has no pull request"),
    ],
)
def test_each_missing_fact_is_named(true: tuple[Facts, Path], place: int, changed: dict[str, Any], doubt: str) -> None:
    facts, repo = true
    if changed.get("reviews") == "an earlier head":
        old = facts.pulls[place].reviews[0]
        changed = {"reviews": (old, replace(old, verdict="APPROVED"))}
    assert doubt in doubts(with_pull(facts, place, **changed), repo, NUMBERS)


def test_what_is_missing_as_a_whole_is_named(true: tuple[Facts, Path]) -> None:
    facts, repo = true
    green = tuple(replace(p, statuses=tuple(s for s in p.statuses if s.state == "success")) for p in facts.pulls)
    assert doubts(replace(facts, pulls=green), repo, NUMBERS) == (
        "no head was ever red: the bug that the tests should catch was not there",
    )
    content = tuple(replace(p, reviews=p.reviews[-1:]) for p in facts.pulls)
    assert doubts(replace(facts, pulls=content), repo, NUMBERS) == ("no review asked for changes and got them",)
    assert doubts(replace(facts, open_issues=(3,)), repo, NUMBERS) == ("still open: #3",)
    assert "of the default branch's tip is failure" in doubts(replace(facts, base_state="failure"), repo, NUMBERS)[0]
    twice = replace(facts, pulls=(*facts.pulls, replace(facts.pulls[0], number=7)))
    assert "4 pull requests for 3 issues" in doubts(twice, repo, NUMBERS)


def test_a_dependency_that_was_not_waited_for_is_doubted(true: tuple[Facts, Path]) -> None:
    facts, repo = true
    early = (replace(facts.pulls[0], issue=3), facts.pulls[1], replace(facts.pulls[2], issue=1))
    assert doubts(replace(facts, pulls=early), repo, NUMBERS) == (
        "pull request #4 was started before #6, which it depends on",
    )

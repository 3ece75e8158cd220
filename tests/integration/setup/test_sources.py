"""What ``init`` says of a source it cannot take: before anything is made, with a hint that works."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.cli.person import git
from tests.integration.setup.somebody import Somebody, git_commands

AS_ANN = {f"GIT_{who}_{what}": "ann" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def plain(who: Somebody) -> Path:
    folder = who.folder / "plain folder"
    folder.mkdir()
    return folder


def empty(who: Somebody) -> Path:
    folder = who.folder / "empty"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    return folder


def shallow(who: Somebody) -> Path:
    whole = who.project("whole")
    git(whole, "commit", "-q", "--allow-empty", "-m", "More")
    git(who.folder, "clone", "-q", "--depth", "1", f"file://{whole}", "shallow")
    return who.folder / "shallow"


def detached(who: Somebody) -> Path:
    folder = who.project("detached")
    git(folder, "checkout", "-q", "--detach")
    return folder


def a_file(who: Somebody) -> Path:
    return who.project() / "hello.py"


def subfolder(who: Somebody) -> Path:
    folder = who.project() / "sub"
    folder.mkdir()
    return folder


def no_name(who: Somebody) -> Path:
    return who.project("проект")


def wiki(who: Somebody) -> Path:
    return who.project("notes.wiki")


def spaces(who: Somebody) -> Path:
    folder = who.project("two words") / "sub"
    folder.mkdir()
    return folder


SCREENS: dict[Callable[[Somebody], Path], str] = {
    plain: "error: setting up TMP/plain folder: it is not a git repository\n"
    "hint:  git -C 'TMP/plain folder' init && git -C 'TMP/plain folder' add -A && "
    "git -C 'TMP/plain folder' commit --allow-empty -m Begin, then the same again\n",
    empty: "error: setting up TMP/empty: it has no commit yet\n"
    "hint:  git -C TMP/empty commit --allow-empty -m Begin, then the same again\n",
    shallow: "error: setting up TMP/shallow: its history is cut off (a shallow clone)\n"
    "hint:  git -C TMP/shallow fetch --unshallow, then the same again\n",
    detached: "error: setting up TMP/detached: no branch is checked out there, so which one is the project's is not "
    "known\nhint:  git -C TMP/detached switch BRANCH, then the same again\n",
    a_file: "error: setting up TMP/hello/hello.py: it is a file, not a folder\nhint:  factory init TMP/hello\n",
    subfolder: "error: setting up TMP/hello/sub: it is a folder inside of the git repository TMP/hello\n"
    "hint:  factory init TMP/hello\n",
    spaces: "error: setting up TMP/two words/sub: it is a folder inside of the git repository TMP/two words\n"
    "hint:  factory init 'TMP/two words'\n",
    no_name: "error: setting up TMP/проект: '' cannot be a name on the forge: nothing is left of it but dots and "
    "dashes\n"
    "hint:  choose one: factory init 'TMP/проект' --name project\n",
    wiki: "error: setting up TMP/notes.wiki: 'notes.wiki' cannot be a name on the forge: names that end with .wiki are "
    "the forge's own\nhint:  choose one: factory init TMP/notes.wiki --name project\n",
}


@pytest.mark.parametrize("make", SCREENS, ids=lambda make: make.__name__)
def test_refused_in_two_lines_with_nothing_made_and_a_hint_that_works(
    somebody: Somebody, make: Callable[[Somebody], Path]
) -> None:
    source = make(somebody)
    ran = somebody.init(source, code=2)
    assert (ran.out, somebody.shown(ran.err)) == ("", SCREENS[make])
    assert not somebody.home.exists()
    if "git -C" in ran.err:
        for words in git_commands(ran.err):
            told = [word.replace("BRANCH", "main") for word in words]
            subprocess.run(told, env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **AS_ANN}, check=True)
        done = somebody.init(source, "--name", "mended", "--dry-run")
    else:
        words = ran.err.split("factory init ")[1]
        (done,) = somebody.follow(type(ran)(0, f"`factory init {words.strip()} --dry-run`", ""))
    assert "factory init would, on " in done.out
    assert not somebody.home.exists()


def test_neither_a_folder_nor_an_address(somebody: Somebody) -> None:
    ran = somebody.init("nowhere", code=2)
    assert ran.err == (
        "error: setting up 'nowhere': there is no such folder, and it is no git URL\nhint:  factory init PATH\n"
    )
    assert "--mode" in somebody.run("init", "--help").out


def test_an_address_that_does_not_answer_is_the_networks_fault(somebody: Somebody) -> None:
    ran = somebody.init("http://127.0.0.1:1/a/b.git", code=6)
    assert ran.err.startswith("error: reading the default branch of http://127.0.0.1:1/a/b.git: ")
    assert not somebody.home.exists()


def test_a_login_in_the_address_is_told_to_nobody(somebody: Somebody) -> None:
    ran = somebody.init("http://ann:hunter2@127.0.0.1:1/a/b.git", code=6)
    assert "hunter2" not in ran.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("--account", "reviewer=dev-bot"),
            "dev-bot would be dev and reviewer\nhint:  one account may never be author ",
        ),
        (
            ("--account", "reviewer=Factory-Bot"),
            "would be factory and reviewer\nhint:  one account may never be author",
        ),
        (("--account", "sentinel=dev-bot"), "dev-bot would be sentinel and dev\nhint:  the sentinel reads settings"),
        (("--login", "dev-bot"), "an account of the factory is listed as approver"),
    ],
)
def test_one_account_as_author_and_approver_is_refused(somebody: Somebody, words: tuple[str, ...], said: str) -> None:
    ran = somebody.init(somebody.project(), "--dry-run", *words, code=4)
    assert said in ran.err


def test_what_is_no_duty(somebody: Somebody) -> None:
    ran = somebody.init(somebody.project(), "--account", "boss=ann", code=2)
    assert "error: reading --account boss=ann: not DUTY=LOGIN" in ran.err
    assert not somebody.home.exists()

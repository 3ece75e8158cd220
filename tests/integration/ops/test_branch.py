"""A branch that adds exactly one file, pushed once whatever is tried again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from factory.errors import NotFound, RefMoved
from factory.git import objects
from factory.git.transport import Remote
from factory.git.values import Signature
from factory.ops.branch import add_file

PATH = "vault/actions/a-1.toml"


@pytest.fixture
def main(origin: Path, bot: Signature) -> str:
    first = objects.build_commit(
        origin, parent=None, changes={"README.md": b"x\n"}, message="Begin\n", author=bot, committer=bot
    )
    objects.create_ref(origin, "refs/heads/main", first)
    return first


def add(remote: Remote, mirror: Path, bot: Signature, data: bytes = b"v = 1\n", base: str = "main") -> str:
    return add_file(
        remote, mirror, branch="vault/a-1", base=base, path=PATH, data=data, message="Request a-1\n", author=bot
    )


def test_it_adds_the_file_to_the_tip_of_its_base(
    remote: Remote, origin: Path, mirror: Callable[[], Path], bot: Signature, main: str
) -> None:
    commit = add(remote, mirror(), bot)
    assert objects.read_ref(origin, "refs/heads/vault/a-1") == commit
    assert objects.commit_info(origin, commit).parents == (main,)
    assert [(c.path, c.status) for c in objects.diff_paths(origin, main, commit)] == [(PATH, "added")]


def test_again_from_any_host_finds_it(
    remote: Remote, mirror: Callable[[str], Path], bot: Signature, main: str, origin: Path
) -> None:
    commit = add(remote, mirror("h1"), bot)
    later = objects.build_commit(
        origin, parent=main, changes={"b": b"b"}, message="Go on\n", author=bot, committer=bot
    )
    objects.update_ref(origin, "refs/heads/main", later, main)
    assert add(remote, mirror("h2"), bot) == commit
    assert add(remote, mirror("h1"), bot) == commit


def test_a_branch_that_holds_something_else_is_not_touched(
    remote: Remote, origin: Path, mirror: Callable[[], Path], bot: Signature, main: str
) -> None:
    commit = add(remote, mirror(), bot)
    with pytest.raises(RefMoved, match="holds something else"):
        add(remote, mirror(), bot, data=b"v = 2\n")
    more = objects.build_commit(
        origin, parent=main, changes={PATH: b"v = 1\n", "x": b"x"}, message="Two files\n", author=bot, committer=bot
    )
    objects.update_ref(origin, "refs/heads/vault/a-1", more, commit)
    with pytest.raises(RefMoved, match="holds something else"):
        add(remote, mirror(), bot)
    assert objects.read_ref(origin, "refs/heads/vault/a-1") == more


def test_without_its_base_it_says_so(remote: Remote, mirror: Callable[[], Path], bot: Signature, main: str) -> None:
    with pytest.raises(NotFound, match="has no branch auto"):
        add(remote, mirror(), bot, base="auto")

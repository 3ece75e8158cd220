from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from factory.config.factory import load_factory
from factory.config.model import Mode
from factory.errors import ConfigInvalid
from factory.forge.values import ItemState, Pull, Review, ReviewState, User
from factory.git import objects
from factory.git.values import Signature
from factory.ops.controlled import Authority, People, approved, authority, history
from factory.ops.seed import Seed, seed

NOW = datetime(2026, 11, 21, tzinfo=UTC)
BOTS = frozenset({"factory-bot"})


class Ops:
    """An ops repo's mirror with the merges, pushes and pull requests of a story."""

    def __init__(self, path: Path, bot: Signature) -> None:
        self.path, self.bot = path, bot
        self.pulls: dict[str, tuple[Pull, list[Review]]] = {}
        files = dict(seed(Seed("ada/shop", Mode.SUGGEST, "ada", "http://127.0.0.1", NOW)))
        self.root = self.tip = self.commit(None, files)

    def commit(self, parent: str | None, changes: dict[str, bytes | None] | dict[str, bytes]) -> str:
        return objects.build_commit(
            self.path, parent=parent, changes=changes, message="m", author=self.bot, committer=self.bot
        )

    def push(self, changes: dict[str, bytes | None]) -> str:
        self.tip = self.commit(self.tip, changes)
        return self.tip

    def merge(self, head: str, *, approve: str | None = "ada", first: str | None = None) -> str:
        """Merge ``head`` as the forge does; ``approve``: who approved it, at exactly this head."""
        ours = first or self.tip
        result = objects.merge_commits(self.path, ours, head)
        assert result.tree is not None
        self.tip = objects.commit_tree(
            self.path, tree=result.tree, parents=(ours, head), message="merge", author=self.bot, committer=self.bot
        )
        number = len(self.pulls) + 1
        pull = Pull(
            number,
            "t",
            "",
            User(9, "factory-bot"),
            ItemState.CLOSED,
            True,
            self.tip,
            False,
            False,
            "edit/x",
            head,
            None,
            "main",
            ours,
            ours,
            frozenset(),
            NOW,
            NOW,
            "",
        )
        reviews = (
            [Review(1, User(1, approve), ReviewState.APPROVED, head, "", True, False, False, NOW)] if approve else []
        )
        self.pulls[self.tip] = (pull, reviews)
        return self.tip

    def settings(self, at: str | None = None, **changes: str) -> dict[str, bytes | None]:
        text = (objects.read_file(self.path, at or self.tip, "factory.toml") or b"").decode()
        for old, new in changes.items():
            assert f'"{old}"' in text
            text = text.replace(f'mode = "{old}"', f'mode = "{new}"')
        return {"factory.toml": text.encode()}

    def people_at(self, commit: str) -> People | None:
        try:
            config = load_factory(objects.read_file(self.path, commit, "factory.toml") or b"")
        except ConfigInvalid:
            return None
        return People(config.approvers, config.admins)

    def ask(self, before: Authority | None = None) -> Authority:
        before = before or Authority(self.root, self.root)
        chain = history(self.path, before.checked, self.tip)
        pulls = [
            found
            for commit in chain.commits
            if commit.oid in self.pulls
            if (found := approved(self.path, *self.pulls[commit.oid], commit)) is not None
        ]
        return authority(before, chain, pulls, self.people_at, BOTS)


@pytest.fixture
def ops(mirror: Callable[[], Path], bot: Signature) -> Ops:
    return Ops(mirror(), bot)


def test_a_solo_founder_changes_the_mode_by_one_approval(ops: Ops) -> None:
    head = ops.commit(ops.root, ops.settings(suggest="merge"))
    for number in range(30):
        ops.push({"README.md": b"dashboard %d" % number})
    merged = ops.merge(head)
    ops.push({"README.md": b"dashboard"})
    assert ops.ask() == Authority(merged, ops.tip)


def test_a_push_does_not_steer_the_factory(ops: Ops) -> None:
    bad = ops.push(ops.settings(suggest="merge"))
    answer = ops.ask()
    assert answer.commit == ops.root
    assert bad[:12] in answer.problems[0].message
    assert answer.problems[0].path == "factory.toml"


def test_a_push_in_a_file_of_the_same_commit_as_the_dashboard_is_seen(ops: Ops) -> None:
    ops.push({"README.md": b"x", "formulas/dev.toml": b"evil"})
    assert ops.ask().problems[0].path == "formulas/dev.toml"


def test_a_rename_into_the_controlled_set_is_seen(ops: Ops) -> None:
    text = b"schema = 1\n" * 50
    ops.push({"knowledge/x.toml": text})
    ops.push({"knowledge/x.toml": None, "formulas/dev.toml": text})
    assert ops.ask().problems[0].path == "formulas/dev.toml"


def test_an_unapproved_merge_does_not_count(ops: Ops) -> None:
    head = ops.commit(ops.root, ops.settings(suggest="merge"))
    ops.merge(head, approve=None)
    assert "nobody listed" in ops.ask().problems[0].message
    assert ops.ask().commit == ops.root


def test_an_evil_merge_that_holds_more_than_its_head_does_not_count(ops: Ops) -> None:
    head = ops.commit(ops.root, ops.settings(suggest="merge"))
    merged = ops.merge(head)
    info = objects.commit_info(ops.path, merged)
    tree = objects.build_tree(ops.path, merged, {"formulas/dev.toml": b"evil"})
    ops.tip = objects.commit_tree(
        ops.path, tree=tree, parents=info.parents, message="merge", author=ops.bot, committer=ops.bot
    )
    pull, reviews = ops.pulls[merged]
    ops.pulls[ops.tip] = (replace(pull, merge_commit=ops.tip), reviews)
    answer = ops.ask()
    assert answer.commit == ops.root
    assert "formulas/dev.toml is not what pull request #1 holds" in answer.problems[0].message


def test_a_link_with_the_same_bytes_is_another_file(ops: Ops) -> None:
    head = ops.commit(ops.root, {"formulas/dev.toml": b"x"})
    tree = objects.build_tree(
        ops.path, ops.merge(head), {"formulas/dev.toml": b"x"}, {"formulas/dev.toml": objects.MODE_SYMLINK}
    )
    merged = ops.tip
    info = objects.commit_info(ops.path, merged)
    ops.tip = objects.commit_tree(
        ops.path, tree=tree, parents=info.parents, message="merge", author=ops.bot, committer=ops.bot
    )
    pull, reviews = ops.pulls[merged]
    ops.pulls[ops.tip] = (replace(pull, merge_commit=ops.tip), reviews)
    assert ops.ask().commit == ops.root


def test_a_merge_with_swapped_parents_brings_nothing_old_back(ops: Ops) -> None:
    """The first-parent chain of the tip then passes by the approved change, and no commit of it touches the file."""
    stricter = ops.merge(ops.commit(ops.root, ops.settings(suggest="observe")))
    now = ops.ask()
    assert now.commit == stricter
    side = ops.commit(ops.root, {"README.md": b"innocent"})
    tree = objects.build_tree(ops.path, side, {})
    ops.tip = objects.commit_tree(
        ops.path, tree=tree, parents=(side, stricter), message="merge", author=ops.bot, committer=ops.bot
    )
    assert objects.read_file(ops.path, ops.tip, "factory.toml") == objects.read_file(ops.path, ops.root, "factory.toml")
    answer = ops.ask(now)
    assert (answer.commit, answer.checked) == (stricter, stricter)
    assert "does not lead step by step" in answer.problems[0].message


def test_a_rewritten_history_freezes(ops: Ops) -> None:
    before = ops.ask()
    ops.tip = ops.commit(None, ops.settings(ops.root, suggest="merge"))
    answer = ops.ask(before)
    assert answer.commit == ops.root
    assert answer.problems
    assert history(ops.path, "0" * 40, ops.tip).broken is not None


def test_loosen_and_revert_in_one_push_leaves_no_trace_in_force(ops: Ops) -> None:
    ops.push(ops.settings(suggest="merge"))
    ops.push(ops.settings(merge="suggest"))
    answer = ops.ask()
    assert answer.problems == ()
    assert objects.read_file(ops.path, answer.commit, "factory.toml") == objects.read_file(
        ops.path, ops.root, "factory.toml"
    )


def test_an_undone_push_and_an_approved_change_work_again(ops: Ops) -> None:
    good = ops.settings()
    ops.push({"formulas/dev.toml": b"evil"})
    assert ops.ask().commit == ops.root
    ops.push({"formulas/dev.toml": None})
    head = ops.commit(ops.tip, ops.settings(suggest="merge"))
    merged = ops.merge(head)
    assert ops.ask().commit == merged
    assert good != ops.settings()


def test_two_changes_of_one_file_approved_side_by_side_both_count(ops: Ops) -> None:
    mode = ops.commit(ops.root, ops.settings(suggest="merge"))
    text = (objects.read_file(ops.path, ops.root, "factory.toml") or b"").replace(b"dev_slots = 1", b"dev_slots = 3")
    slots = ops.commit(ops.root, {"factory.toml": text})
    ops.merge(mode)
    second = ops.merge(slots)
    assert ops.ask() == Authority(second, second)
    config = load_factory(objects.read_file(ops.path, second, "factory.toml") or b"")
    assert (config.mode, config.dev_slots) == (Mode.MERGE, 3)


def test_a_side_by_side_change_does_not_carry_a_push_along(ops: Ops) -> None:
    head = ops.commit(ops.root, ops.settings(suggest="merge"))
    text = (objects.read_file(ops.path, ops.root, "factory.toml") or b"").replace(b"dev_slots = 1", b"dev_slots = 3")
    ops.push({"factory.toml": text})
    ops.merge(head)
    assert ops.ask().commit == ops.root


def test_an_approved_mistake_can_be_repaired(ops: Ops) -> None:
    ops.merge(ops.commit(ops.root, {"factory.toml": b"mode = "}))
    answer = ops.ask()
    assert answer.commit == ops.root
    assert "is not valid" in answer.problems[0].message
    fixed = ops.merge(ops.commit(ops.tip, ops.settings(ops.root, suggest="merge")))
    assert ops.ask() == Authority(fixed, fixed)

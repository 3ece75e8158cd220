"""The git without processes answers as the git binary does, side by side through whole lives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from factory.git.hardened import Commit, Git, GitTrouble
from factory.vault.dispatch import Dispatcher, Patience
from tests.integration.vault.house import House, Runner, policy_bytes
from tests.integration.vault.quick import QuickGit, Store


class Both(Git):
    """The real one, with every answer compared."""

    def __init__(self, repo: Path, url: str) -> None:
        super().__init__(repo, url)
        self.compared = 0

    def twin(self) -> QuickGit:
        twin = QuickGit(Store(Path(self.url)))
        for name in ("main", "auto", "ledger"):
            oid = super().text("rev-parse", "--verify", "--quiet", f"refs/heads/{name}", codes=(0, 1))
            twin.own.update({name: oid} if oid else {})
        return twin

    def same(self, mine: object, others: object) -> None:
        assert mine == others
        self.compared += 1

    def run(self, *args: str, data: bytes = b"", codes: Sequence[int] = (0,), net: bool = False,
            seconds: float = 60) -> bytes:  # fmt: skip
        answer = super().run(*args, data=data, codes=codes, net=net, seconds=seconds)
        if args[0] in ("rev-parse", "rev-list", "merge-base", "merge-tree", "ls-tree") and "--quiet" not in args:
            quick = self.twin().run(*args, codes=codes)
            # What the mirror does not have yet, the shared store may know already.
            if answer or args[0] != "rev-list":
                self.same(answer.strip(), quick.strip())
        return answer

    def history(self, tip: str, since: str = "", *paths: str) -> list[Commit]:
        found = super().history(tip, since, *paths)
        self.same(found, self.twin().history(tip, since, *paths))
        return found

    def read(self, names: Iterable[str], limit: int) -> list[bytes | None]:
        wished = list(names)
        found = super().read(wished, limit)
        self.same(found, self.twin().read(wished, limit))
        return found

    def append(self, parent: str, files: Sequence[tuple[str, bytes]], note: str) -> list[str]:
        made = super().append(parent, files, note)
        twin = self.twin()
        again = twin.append(parent, files, note)
        trees = [super(Both, self).text("rev-parse", f"{oid}^{{tree}}") for oid in made]
        self.same(trees, [str(twin._commit(oid).tree_id) for oid in again])
        return made


def dispatcher(house: House, name: str, runner: Runner) -> tuple[Dispatcher, Both]:
    one, _ = house.dispatcher(name, runner, Patience(0, 0, 0))
    both = Both(house.root / name / "repo.git", str(house.remote))
    one._h = one._look._h = replace(one._h, git=both)
    one.chain.git = both
    return one, both


def test_both_answer_the_same(tmp_path: Path) -> None:
    """A run that is lost, fenced, probed and run again; a change of the policy; a refusal; a plain one."""
    house = House(tmp_path)
    lost = house.ask("gamma")
    first, one = dispatcher(house, "d1", Runner(fate=lambda order: None))
    first.turn()
    plain, refused = house.ask("alpha", place="there"), house.action("beta")
    house.merge(house.open(refused))
    change = house.open(house.action("beta"))
    head = house.commit({"vault/policy.toml": policy_bytes(2)}, house.ref("heads/main"))
    house.ref(f"pull/{change.number}/head", head)
    house.pulls_[change.number] = replace(change, head_sha=head, poster=12)
    house.merge(house.review(house.pulls_[change.number]))
    second, two = dispatcher(house, "d2", Runner(lost={"host/d1"}))
    for _ in range(8):
        second.turn()
    assert house.kinds(lost.id)[-4:] == ["VERIFIED", "CLAIMED", "STARTED", "DONE"]
    assert house.kinds(plain.id)[-1] == "DONE"
    assert house.kinds(refused.id)[-1] == "REFUSED"
    assert len(second.ledger.trust) == 2
    assert not second.alarms
    assert one.compared + two.compared > 60


def test_a_push_is_a_compare_and_swap(tmp_path: Path) -> None:
    house = House(tmp_path)
    store = Store(house.remote)
    git = QuickGit(store)
    tip = store.branch("ledger")
    one, other = (git.append(tip, [(f"e/x/{n}.toml", b"x\n")], "")[0] for n in "12")
    assert git.push(one, "ledger")
    assert not git.push(one, "ledger"), "it is there"
    assert not git.push(other, "ledger"), "another one took its place"
    assert store.branch("ledger") == one
    git.fetch("ledger")
    assert git.text("rev-parse", "--verify", "refs/heads/ledger") == one
    with pytest.raises(GitTrouble, match="couldn't find"):
        git.fetch("nowhere")

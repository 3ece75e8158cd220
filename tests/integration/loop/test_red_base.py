"""A red default branch holds merges and new work, and lets go when it is green again."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory.git import objects
from factory.git.transport import RefUpdate, Remote, fetch, push
from factory.git.values import Signature
from tests.integration.loop.house import COMMAS, MEDIAN, Build, House

pytestmark = pytest.mark.needs_bwrap

BROKEN = b"import unittest\n\n\nclass Broken(unittest.TestCase):\n    def test_it(self):\n        self.fail('broken')\n"
WHO = Signature("Founder", "founder@example.test", 1_800_000_100)


def push_to_main(house: House, clone: Path, files: dict[str, bytes | None], message: str) -> str:
    """As the founder, over git with their password."""
    if not clone.exists():
        objects.init_bare(clone)
    password = (house.home / "state" / "people" / "founder").read_text(encoding="ascii")
    remote = Remote(f"{house.deployment.host.forge_url}/{house.project}.git", "founder", password)
    fetch(clone, remote, ["+refs/heads/main:refs/heads/main"])
    tip = objects.read_ref(clone, "refs/heads/main")
    assert tip is not None
    commit = objects.build_commit(clone, parent=tip, changes=files, message=message, author=WHO, committer=WHO)
    push(clone, remote, [RefUpdate("refs/heads/main", commit, tip)])
    return commit


def test_merges_and_new_work_wait_for_a_green_main(build: Build, tmp_path: Path) -> None:
    house = build()
    number = house.file(COMMAS.title, COMMAS.body)
    house.until("its review runs", lambda: house.runs("review-pr"))
    pull = house.pull_of(number)
    assert pull is not None
    broken = push_to_main(house, tmp_path / "clone.git", {"tests/test_broken.py": BROKEN}, "Break main")
    later = house.file(MEDIAN.title, MEDIAN.body)

    def state(sha: str) -> list[str]:
        return [s.state.value for s in house.founder.statuses(house.project, sha) if s.context == "factory/ci"]

    def judged() -> bool:
        reviews = [review.state.value for review in house.founder.reviews(house.project, pull)]
        return (
            state(broken) == ["failure"] and reviews == ["APPROVED"] and house.runs("review-pr")[-1].state.is_terminal
        )

    house.until("main is red, the pull request approved", judged)
    head = house.founder.pull(house.project, pull).head_sha
    assert state(head) == ["success"]
    house.tick(4)
    assert house.rule("pull", pull) == "base-red", house.why()
    assert house.rule("issue", later) == "base-red", house.why()
    assert not house.merged(number)
    assert house.runs("dev")[-1].issue == number, "nothing new was begun"

    mended = push_to_main(house, tmp_path / "clone.git", {"tests/test_broken.py": None}, "Mend main")
    house.until("it is merged", lambda: house.merged(number))
    assert state(mended) == ["success"]
    found = house.founder.pull(house.project, pull)
    assert found.head_sha == head, "the approved head, as it was"
    house.until("the other issue is begun", lambda: any(run.issue == later for run in house.runs("dev")))

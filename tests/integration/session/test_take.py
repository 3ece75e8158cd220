"""Taking in what an out/ folder holds, whoever wrote it: no sandbox, the files are forged here."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from factory.git import objects
from factory.git.transport import Remote
from factory.git.values import Signature
from factory.git.view import open_view, refresh
from factory.session import leave
from factory.session.box import Box
from factory.session.checkout import Checkout
from factory.session.checkpoint import _has_news, _is_whole, _stamp
from factory.session.leave import Left, take
from factory.testing.builders import spec

WHO = Signature("Ann", "ann@example.invalid", 1_700_000_000)
DEV = Signature("dev-bot", "dev-bot@factory.invalid", 1_800_000_000)
REF = "refs/heads/fix/issue-1"


class Scene:
    """A project, its view, and a session's out/ folder with an honest commit in it."""

    def __init__(self, root: Path) -> None:
        self.bare, self.work, self.out = root / "bare.git", root / "work.git", root / "out"
        self.quarantine = root / "q" / "quarantine.git"
        objects.init_bare(self.bare)
        self.base = self.commit(self.bare, None, {"app.py": b"x = 1\n"})
        objects.create_ref(self.bare, "refs/heads/main", self.base)
        self.view = open_view(root / "view.git")
        refresh(self.view, Remote(str(self.bare)), base="main")
        shutil.copytree(self.bare, self.work)
        self.out.mkdir()
        self.head = self.commit(self.work, self.base, {"app.py": b"x = 2\n"})
        self.box = Box(root, Checkout(self.view, root / "clone", REF, self.base, self.base))
        self.leaves(self.head)

    def commit(self, repo: Path, parent: str | None, changes: dict[str, bytes | None], message: str = "Do\n") -> str:
        return objects.build_commit(repo, parent=parent, changes=changes, message=message, author=WHO, committer=WHO)

    def leaves(self, head: str, /, **said: Any) -> None:
        """What the first process inside writes for this head; ``said`` are lies in head.json."""
        argv = ["git", f"--git-dir={self.work}", "pack-objects", "--thin", "--revs", "--stdout", "-q"]
        pack = subprocess.run(argv, input=f"{head}\n^{self.base}\n".encode(), capture_output=True, check=True).stdout
        (self.out / "work.pack").write_bytes(pack)
        told = {"ref": REF, "head": head, "base": self.base, "pack_sha256": hashlib.sha256(pack).hexdigest(), **said}
        (self.out / "head.json").write_text(json.dumps(told))

    def taken(self) -> Left:
        return take(self.box, self.quarantine, spec("dev", base_ref="main", base=self.base), DEV)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_an_honest_commit_comes_out_and_again_into_a_fresh_quarantine(scene: Scene) -> None:
    first, second = scene.taken(), scene.taken()
    assert first.commits == second.commits == 1
    assert first == second
    assert objects.read_file(scene.quarantine, str(first.head), "app.py") == b"x = 2\n"
    assert objects.read_ref(scene.quarantine, "refs/factory/leaving") == first.head


@pytest.mark.parametrize(
    ("lie", "word"),
    [
        ({"ref": "refs/heads/main"}, "refs/heads/main"),
        ({"base": "0" * 40}, "it starts at"),
        ({"head": "1" * 40}, "no commit that the pack carries"),
        ({"head": "HEAD"}, "not an object id"),
        ({"head": ["x"]}, "not an object id"),
    ],
)
def test_lies_about_ref_base_and_head_are_named(scene: Scene, lie: dict[str, Any], word: str) -> None:
    scene.leaves(scene.head, **lie)
    left = scene.taken()
    assert left.head is None
    assert word in " ".join(left.refusals)
    assert not scene.quarantine.exists()


def test_a_commit_of_elsewhere_cannot_be_named(scene: Scene) -> None:
    """It is in the project, on a branch that the view does not hold: naming it must not bring it in."""
    hidden = scene.commit(scene.bare, scene.base, {"secret.txt": b"hidden\n"})
    objects.create_ref(scene.bare, "refs/heads/hidden", hidden)
    scene.leaves(scene.head, head=hidden)
    assert scene.taken().head is None
    blob = objects.find_entry(scene.bare, hidden, "secret.txt")
    assert blob is not None
    shutil.copytree(scene.bare, scene.work, dirs_exist_ok=True)
    env = {"PATH": os.defpath, "GIT_DIR": str(scene.work), "GIT_INDEX_FILE": str(scene.work / "i")}
    for argv in (["read-tree", scene.head], ["update-index", "--add", "--cacheinfo", f"100644,{blob.oid},got.txt"]):
        subprocess.run(["git", *argv], env=env, check=True)
    tree = subprocess.run(["git", "write-tree"], env=env, check=True, capture_output=True, text=True).stdout.strip()
    head = objects.commit_tree(scene.work, tree=tree, parents=[scene.head], message="x\n", author=WHO, committer=WHO)
    listed = f"{head}\n^{scene.head}\n{scene.head}\n^{scene.base}\n^{hidden}\n"
    argv = ["git", f"--git-dir={scene.work}", "pack-objects", "--revs", "--stdout", "-q"]
    pack = subprocess.run(argv, input=listed.encode(), capture_output=True, check=True).stdout
    scene.leaves(scene.head, head=head)
    (scene.out / "work.pack").write_bytes(pack)
    left = scene.taken()
    assert left.head is None
    assert not scene.quarantine.exists()


def test_history_that_cannot_be_looked_through_does_not_leave(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    big = scene.commit(scene.work, scene.base, {"a.txt": b"word\n" * 100})
    scene.leaves(scene.commit(scene.work, big, {"a.txt": b"short\n"}))
    assert scene.taken().head is not None
    monkeypatch.setattr(leave, "MAX_HISTORY", 300)
    left = scene.taken()
    assert left.head is None
    assert "more than can be looked through" in left.refusals[0]


def test_many_problems_are_capped(scene: Scene) -> None:
    clutter: dict[str, bytes | None] = {f"node_modules/{n}": b"x\n" for n in range(100)}
    scene.leaves(scene.commit(scene.work, scene.base, clutter))
    left = scene.taken()
    assert len(left.refusals) == leave.MAX_SAID + 1
    assert left.refusals[-1] == "and 70 more"


def test_head_and_pack_that_do_not_belong_together_are_seen(scene: Scene) -> None:
    assert _is_whole(scene.box)
    seen = _stamp(scene.box)
    assert not _has_news(scene.box, seen)
    (scene.out / "new").write_bytes(b"another")
    (scene.out / "new").rename(scene.out / "work.pack")
    assert _has_news(scene.box, seen)
    assert not _is_whole(scene.box)
    (scene.out / "head.json").write_text("{")
    assert _is_whole(scene.box)  # nothing to compare: the gate names it
    (scene.out / "head.json").unlink()
    os.mkfifo(scene.out / "head.json")
    assert not _has_news(scene.box, seen)

"""Git objects without a checkout, held against the real git binary where it is the authority."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from factory.errors import GitFailed, RefMoved
from factory.git import objects
from factory.git.objects import ZERO, Signature

ANN = Signature("Ann", "ann@example.test", 1_700_000_000, 60)
BOB = Signature("Bob", "bob@example.test", 1_700_000_100)


def git(repo: Path, *argv: str) -> str:
    done = subprocess.run(["git", "-C", str(repo), *argv], check=True, capture_output=True, text=True)
    return done.stdout


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    path = tmp_path / "r.git"
    objects.init_bare(path)
    return path


def commit(repo: Path, parent: str | None, message: str = "m", **files: str | None) -> str:
    changes = {k.replace("__", "/"): None if v is None else v.encode() for k, v in files.items()}
    return objects.build_commit(repo, parent=parent, changes=changes, message=message, author=ANN, committer=BOB)


def test_importing_the_package_does_not_load_pygit2() -> None:
    code = "import sys, factory.git; sys.exit('pygit2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_commit_built_without_checkout_is_what_git_reads(repo: Path) -> None:
    first = commit(repo, None, "one\n", a="1\n", dir__b="2\n", dir__sub__c="3\n")
    objects.create_ref(repo, "refs/heads/main", first)
    second = commit(repo, first, "two\n", a=None, dir__sub__c=None, dir__b="22\n", new="n\n")
    objects.update_ref(repo, "refs/heads/main", second, first)
    assert git(repo, "ls-tree", "-r", "--name-only", "main").split() == ["dir/b", "new"]
    assert git(repo, "show", "main:dir/b") == "22\n"
    git(repo, "fsck", "--strict")
    info = objects.commit_info(repo, "refs/heads/main")
    assert info.author == ANN
    assert info.committer == BOB
    assert info.parents == (first,)
    assert git(repo, "log", "-1", "--format=%an %ae %at %ai", "main").startswith("Ann ann@example.test 1700000000")
    assert objects.read_file(repo, "refs/heads/main", "dir/b") == b"22\n"
    assert objects.read_file(repo, "refs/heads/main", "dir/b", 1) == b"2"
    assert objects.read_file(repo, "refs/heads/main", "dir") is None
    assert objects.read_file(repo, "refs/heads/main", "a") is None
    top = objects.list_tree(repo, second)
    assert [(e.path, e.kind, e.size) for e in top] == [("dir", "tree", 0), ("new", "blob", 2)]
    assert [e.path for e in objects.list_tree(repo, first, "dir", recursive=True)] == ["dir/b", "dir/sub/c"]


def test_modes_are_kept_and_can_be_set(repo: Path) -> None:
    tree = objects.build_tree(repo, None, {"run": b"#!/bin/sh\n"}, {"run": objects.MODE_EXECUTABLE})
    again = objects.build_tree(repo, tree, {"run": b"#!/bin/sh\ntrue\n"})
    entry = objects.find_entry(repo, again, "run")
    assert entry is not None
    assert entry.mode == objects.MODE_EXECUTABLE


@pytest.mark.parametrize("path", ["../x", "a//b", "/abs", "", ".git/config", "a/.GIT/x", "a/./b", "nul\0"])
def test_paths_git_forbids_are_refused(repo: Path, path: str) -> None:
    with pytest.raises(GitFailed, match="not a path git can hold"):
        objects.build_tree(repo, None, {path: b"x"})


def test_a_file_never_silently_becomes_a_folder_or_the_reverse(repo: Path) -> None:
    first = commit(repo, None, a="1", d__x="2")
    with pytest.raises(GitFailed, match="is a file"):
        commit(repo, first, a__b="1")
    with pytest.raises(GitFailed, match="is a folder"):
        commit(repo, first, d="1")
    with pytest.raises(GitFailed, match="is a folder"):
        commit(repo, first, d=None)
    swapped = commit(repo, first, d__x=None, d="now a file")
    assert objects.read_file(repo, swapped, "d") == b"now a file"
    assert objects.commit_info(repo, commit(repo, first, gone=None)).tree == objects.commit_info(repo, first).tree


def test_compare_and_swap_of_refs(repo: Path) -> None:
    one, two = commit(repo, None, a="1"), commit(repo, None, a="2")
    objects.create_ref(repo, "refs/x/y", one)
    with pytest.raises(RefMoved):
        objects.create_ref(repo, "refs/x/y", two)
    with pytest.raises(RefMoved):
        objects.update_ref(repo, "refs/x/y", two, two)
    objects.update_ref(repo, "refs/x/y", two, one)
    assert objects.list_refs(repo, "refs/x/") == {"refs/x/y": two}
    with pytest.raises(RefMoved):
        objects.delete_ref(repo, "refs/x/y", one)
    objects.delete_ref(repo, "refs/x/y", two)
    assert objects.read_ref(repo, "refs/x/y") is None
    objects.delete_ref(repo, "refs/x/y")
    with pytest.raises(RefMoved):
        objects.delete_ref(repo, "refs/x/y", one)
    with pytest.raises(GitFailed, match="no object"):
        objects.create_ref(repo, "refs/x/z", "1" * 40)
    with pytest.raises(GitFailed):
        objects.create_ref(repo, "refs/x/..", one)


def test_of_many_racing_writers_exactly_one_wins_each_turn(repo: Path) -> None:
    start = commit(repo, None, a="0")
    objects.create_ref(repo, "refs/heads/main", start)
    candidates = [commit(repo, start, a=str(n)) for n in range(8)]
    won: list[str] = []
    lost: list[str] = []

    def attempt(new: str) -> None:
        try:
            objects.update_ref(repo, "refs/heads/main", new, start)
        except RefMoved:
            lost.append(new)
        else:
            won.append(new)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # threads meet inside libgit2's own windows, as processes on a busy machine do
    try:
        for _ in range(20):
            objects.update_ref(repo, "refs/heads/main", start)
            won.clear()
            lost.clear()
            threads = [threading.Thread(target=attempt, args=(c,)) for c in candidates]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert [objects.read_ref(repo, "refs/heads/main")] == won
            assert sorted([*won, *lost]) == sorted(candidates)
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.parametrize("gone", ["HEAD", "config", "objects", "refs"])
def test_what_a_deletion_left_is_no_repo(repo: Path, gone: str) -> None:
    assert objects.is_repo(repo)
    shutil.rmtree(repo / gone) if (repo / gone).is_dir() else (repo / gone).unlink()
    assert not objects.is_repo(repo)


def test_a_folder_that_cannot_be_written_is_no_lock(repo: Path) -> None:
    one = commit(repo, None, a="1")
    (repo / "refs/heads").rmdir()
    (repo / "refs/heads").touch()
    with pytest.raises(GitFailed) as caught:
        objects.create_ref(repo, "refs/heads/main", one)
    assert "locked by another process" not in str(caught.value)


def test_a_lock_left_by_a_dead_process_is_named(repo: Path) -> None:
    one = commit(repo, None, a="1")
    objects.create_ref(repo, "refs/heads/main", one)
    (repo / "refs/heads/main.lock").touch()
    with pytest.raises(GitFailed, match="locked by another process") as caught:
        objects.update_ref(repo, "refs/heads/main", one, one)
    assert str(repo / "refs/heads/main.lock") in str(caught.value.hint)


def test_history_questions_agree_with_git(repo: Path) -> None:
    root = commit(repo, None, a="1")
    left, right = commit(repo, root, l="1"), commit(repo, root, r="1")
    right2 = commit(repo, right, r="2")
    assert objects.merge_base(repo, left, right2) == root
    assert objects.is_ancestor(repo, root, right2)
    assert not objects.is_ancestor(repo, right2, root)
    assert objects.is_ancestor(repo, root, root)
    assert objects.ahead_behind(repo, left, right2) == (1, 2)
    assert [c.oid for c in objects.log(repo, right2, exclude=[root])] == [right2, right]
    assert [c.oid for c in objects.log(repo, right2, limit=1)] == [right2]
    assert [c.oid for c in objects.log(repo, right2, limit=1, skip=1)] == [right]
    assert [c.oid for c in objects.log(repo, right2, skip=1)] == [right, root]
    assert objects.count_commits(repo, right2) == 3
    assert objects.merge_base(repo, left, commit(repo, None, z="1")) is None


def test_merge_clean_and_conflicting(repo: Path) -> None:
    root = commit(repo, None, a="1\n", b="1\n")
    left, right, clash = commit(repo, root, a="2\n"), commit(repo, root, b="2\n"), commit(repo, root, a="3\n")
    clean = objects.merge_trees(repo, root, left, right)
    assert clean.tree is not None
    assert clean.conflicts == ()
    merged = objects.commit_tree(repo, tree=clean.tree, parents=[left, right], message="m", author=ANN, committer=ANN)
    assert objects.read_file(repo, merged, "a") == b"2\n"
    assert objects.read_file(repo, merged, "b") == b"2\n"
    assert objects.merge_commits(repo, left, right) == clean
    assert objects.merge_trees(repo, root, left, clash) == objects.MergeResult(None, ("a",))
    assert [c.oid for c in objects.log(repo, merged, first_parent=True)] == [merged, left, root]


def test_diffs_name_renames_binaries_and_counts(repo: Path) -> None:
    body = "".join(f"line {n}\n" for n in range(20))
    old = commit(repo, None, old__name=body, gone="x\n", bin="a\0b")
    new = commit(repo, old, old__name=None, new__name=body + "more\n", gone=None, bin="c\0d", add="1\n2\n")
    changes = {c.path: c for c in objects.diff_paths(repo, old, new)}
    assert changes["new/name"] == objects.PathChange("renamed", "new/name", "old/name", 1, 0, False)
    assert changes["gone"].status == "deleted"
    assert changes["bin"].binary
    assert (changes["add"].status, changes["add"].additions) == ("added", 2)
    text = objects.diff_text(repo, old, new, 100_000)
    assert "+more" in text
    assert "rename from old/name" in text
    cut = objects.diff_text(repo, old, new, 60)
    assert cut.endswith("[diff cut at 60 bytes]\n")


def test_patch_digest_survives_a_rebase_and_nothing_else(repo: Path) -> None:
    root = commit(repo, None, a="1\n", far="x\n")
    change, moved = commit(repo, root, a="2\n"), commit(repo, root, far="y\n")
    rebased = commit(repo, moved, a="2\n")
    assert objects.patch_digest(repo, root, change) == objects.patch_digest(repo, moved, rebased)
    assert objects.patch_digest(repo, moved, change) == objects.patch_digest(repo, moved, rebased)
    for other in (commit(repo, moved, a="3\n"), commit(repo, moved, a="2\n", b=""), commit(repo, moved, b="2\n")):
        assert objects.patch_digest(repo, moved, other) != objects.patch_digest(repo, moved, rebased)
    binary1, binary2 = commit(repo, root, n="\0001"), commit(repo, root, n="\0002")
    assert objects.patch_digest(repo, root, binary1) != objects.patch_digest(repo, root, binary2)


def test_rewriting_keeps_trees_and_shape_and_changes_identity(repo: Path) -> None:
    root = commit(repo, None, a="0")
    one = commit(repo, root, "Fixes #1\n", a="1")
    side = commit(repo, root, "side\n", s="1")
    tree = objects.merge_trees(repo, root, one, side).tree
    assert tree is not None
    head = objects.commit_tree(repo, tree=tree, parents=[one, side], message="merge\n", author=ANN, committer=ANN)
    me = Signature("Role", "role@example.test", 42)

    def rewrite(base: str) -> str:
        return objects.rewrite_commits(
            repo, base=base, head=head, author=me, committer=me, rewrite_message=lambda m: m.replace("Fixes", "fixes:")
        )

    new = rewrite(root)
    info = objects.commit_info(repo, new)
    assert (info.tree, info.author, info.committer) == (tree, me, me)
    assert objects.commit_info(repo, info.parents[0]).message == "fixes: #1\n"
    assert objects.commit_info(repo, info.parents[0]).parents == (root,)
    assert rewrite(root) == new
    assert objects.commit_info(repo, rewrite(one)).parents[0] == one
    assert rewrite(head) == head


def test_ref_rows_show_symbolic_head_and_peeled_tags(repo: Path) -> None:
    assert objects.ref_rows(repo, ("",), head=True) == []
    one = commit(repo, None, a="1")
    objects.create_ref(repo, "refs/heads/main", one)
    git(repo, "-c", "user.name=t", "-c", "user.email=t@t", "tag", "-a", "v1", "-m", "v1", one)
    rows = objects.ref_rows(repo, ("HEAD", "refs/tags/"), peel=True, head=True)
    assert rows[0] == objects.RefRow("HEAD", one, "refs/heads/main")
    assert (rows[1].name, rows[1].peeled) == ("refs/tags/v1", one)
    assert objects.read_head(repo) == "refs/heads/main"
    git(repo, "pack-refs", "--all")
    assert objects.read_ref(repo, "refs/heads/main") == one


def test_unknown_things_fail_with_a_sentence(repo: Path, tmp_path: Path) -> None:
    with pytest.raises(GitFailed, match="not a git repository"):
        objects.read_ref(tmp_path / "none", "HEAD")
    with pytest.raises(GitFailed, match="no revision 'main'"):
        objects.commit_info(repo, "main")
    assert not objects.exists(repo, ZERO)
    assert not objects.exists(repo, "junk")
    assert objects.read_ref(repo, "HEAD") is None
    one = commit(repo, None, a="1")
    assert objects.exists(repo, one)
    assert objects.object_kind(repo, one) == ("commit", one)
    assert objects.object_kind(repo, "nope") is None
    with pytest.raises(GitFailed, match="no folder 'x'"):
        objects.list_tree(repo, one, "x")
    with pytest.raises(GitFailed, match="is a file"):
        objects.list_tree(repo, one, "a")


def test_commits_are_copied_between_repos_once(repo: Path, tmp_path: Path) -> None:
    other = tmp_path / "o.git"
    objects.init_bare(other)
    one = commit(repo, None, a="1", d__b="2")
    two, side = commit(repo, one, a="3"), commit(repo, one, c="4")
    tree = objects.merge_trees(repo, one, two, side).tree
    assert tree is not None
    head = objects.commit_tree(repo, tree=tree, parents=[two, side], message="m", author=ANN, committer=ANN)
    objects.copy_commits(repo, other, two)
    assert not objects.exists(other, head)
    objects.copy_commits(repo, other, head)
    objects.copy_commits(repo, other, head)
    objects.create_ref(other, "refs/heads/main", head)
    git(other, "fsck", "--strict", "--connectivity-only")
    assert len(objects.log(other, head)) == 4


def test_tags_are_what_git_reads(repo: Path) -> None:
    one = commit(repo, None, a="1")
    ann = Signature("Ann", "a@x", 1_700_000_000, -90)
    tag = objects.build_tag(repo, name="v1", target=one, message="first", tagger=ann)
    objects.create_ref(repo, "refs/tags/v1", tag)
    git(repo, "fsck", "--strict")
    when = git(repo, "for-each-ref", "--format=%(taggerdate:iso)", "refs/tags/v1").strip()
    assert when == "2023-11-14 20:43:20 -0130"
    assert (objects.tag_message(repo, tag), objects.tag_message(repo, one)) == ("first\n", None)
    assert objects.resolve_commit(repo, "v1") == one


@pytest.mark.parametrize(
    "name", ["refs/heads/", "refs/heads/..", "refs/heads/a b", "refs/heads/" + "x" * 2000, "", "refs/heads/main\0x"]
)
def test_a_name_no_ref_can_have_is_not_there(repo: Path, name: str) -> None:
    assert objects.read_ref(repo, name) is None


def test_a_name_is_not_read_up_to_a_nul(repo: Path) -> None:
    tip = commit(repo, None, a="1")
    objects.update_ref(repo, "refs/heads/main", tip)
    assert objects.read_ref(repo, "refs/heads/main\0x") is None
    with pytest.raises(GitFailed, match="no ref can be called that"):
        objects.delete_ref(repo, "refs/heads/main\0x")
    assert objects.read_ref(repo, "refs/heads/main") == tip


def test_a_damaged_ref_is_no_missing_ref(repo: Path) -> None:
    (repo / "refs/heads/bad").write_text("garbage\n")
    with pytest.raises(GitFailed, match="bad"):
        objects.read_ref(repo, "refs/heads/bad")

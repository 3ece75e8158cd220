"""Changes as the checks see them, held against what really differs: a line the checks do not see is a line that leaves
unseen.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.checks.model import Change, FileChange, Severity
from factory.git import objects
from factory.git.values import MODE_EXECUTABLE, MODE_FILE, MODE_SYMLINK, Signature
from factory.session import facts
from factory.session.facts import Lines, between, blocking, change, findings, sections
from factory.testing.builders import spec

WHO = Signature("a", "a@b.invalid", 1_700_000_000)
_HEADERS = ["--- a/x", "+++ b/x", "@@ -1,2 +1,2 @@", "diff --git a/x b/x", "\\ No newline at end of file", "-", "+", ""]
_LINE = st.one_of(
    st.sampled_from(_HEADERS),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\0"), max_size=12),
)
_TEXT = st.builds(
    lambda lines, end, ended: end.join(lines) + (end if ended and lines else ""),
    st.lists(_LINE, max_size=12),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
_PART = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0\\"), min_size=1, max_size=8).filter(
    lambda part: part not in (".", "..") and part.lower() != ".git" and len(part.encode()) < 40
)
_TREE = st.dictionaries(_PART, _TEXT, min_size=1, max_size=5)


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("facts") / "r.git"
    objects.init_bare(path)
    return path


def commit(
    repo: Path, files: dict[str, bytes | None], parent: str | None = None, modes: dict[str, int] | None = None
) -> str:
    return objects.build_commit(repo, parent=parent, changes=files, message="x", author=WHO, committer=WHO, modes=modes)


def lines_of(text: str) -> list[str]:
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []


def patched(old: list[str], file: FileChange) -> list[str]:
    """The new lines, made of the old ones and what the change says."""
    gone, come = dict(file.removed), dict(file.added)
    assert all(old[number - 1] == text for number, text in gone.items())
    kept = iter([line for number, line in enumerate(old, 1) if number not in gone])
    made: list[str] = []
    for number in itertools.count(1):
        if number in come:
            made.append(come[number])
        elif (line := next(kept, None)) is not None:
            made.append(line)
        else:
            break
    assert len(made) == len(old) - len(gone) + len(come)
    return made


@settings(max_examples=60)
@given(old=_TREE, new=_TREE)
def test_old_lines_and_the_change_make_the_new_lines(repo: Path, old: dict[str, str], new: dict[str, str]) -> None:
    base = commit(repo, {path: text.encode() for path, text in old.items()})
    head = commit(repo, {path: text.encode() for path, text in new.items()})
    seen = between(repo, base, head)
    assert not seen.truncated
    assert seen.base_paths == frozenset(old)
    told = {file.path: file for file in seen.files if file.status != "deleted"}
    renamed = {file.old_path for file in seen.files if file.old_path}
    assert {path for path in new if new[path] != old.get(path)} <= set(told)
    assert {file.path for file in seen.files if file.status == "deleted"} == set(old) - set(new) - renamed
    for path, file in told.items():
        before = "" if file.status == "added" else old[file.old_path or path]
        if not file.binary:
            assert patched(lines_of(before), file) == lines_of(new[path])
        assert (file.mode, file.size) == (MODE_FILE, len(new[path].encode()))


def one(repo: Path, base: str, head: str) -> FileChange:
    (file,) = between(repo, base, head).files
    return file


@pytest.mark.parametrize(
    "name", ["two words", 'qu"ote', "tab\there", "new\nline", "b/--- a", "ünï/çødé", "\x01", "trailing ", "a -> b"]
)
def test_no_name_hides_its_lines(repo: Path, name: str) -> None:
    base = commit(repo, {name: b"old\n", "other": b"x\n"})
    file = one(repo, base, commit(repo, {name: b"new\n"}, base))
    assert (file.path, file.added, file.removed) == (name, ((1, "new"),), ((1, "old"),))


def test_renames_modes_and_empty_files(repo: Path) -> None:
    body = b"".join(b"line %d\n" % n for n in range(30))
    base = commit(repo, {"old": body, "run.sh": b"#!\n"})
    head = commit(
        repo, {"old": None, "new": body + b"more\n", "run.sh": b"#!\n", "empty": b""}, base, {"run.sh": MODE_EXECUTABLE}
    )
    told = {file.path: file for file in between(repo, base, head).files}
    assert (told["new"].status, told["new"].old_path, told["new"].added) == ("renamed", "old", ((31, "more"),))
    assert (told["run.sh"].old_mode, told["run.sh"].mode, told["run.sh"].added) == (MODE_FILE, MODE_EXECUTABLE, ())
    assert (told["empty"].status, told["empty"].size) == ("added", 0)


def test_what_a_link_became_is_judged_whole(repo: Path) -> None:
    """git's diff of a link that became a file is empty."""
    base = commit(repo, {"thing": b"target", "other": b"text\n"}, modes={"thing": MODE_SYMLINK})
    secret = b"a = 1\nkey = ghp_" + b"a1B2" * 9 + b"\n"
    changes: dict[str, bytes | None] = {"thing": secret, "other": b"../../x"}
    head = commit(repo, changes, base, {"thing": MODE_FILE, "other": MODE_SYMLINK})
    assert sections(objects.diff_text(repo, base, head, 10_000)) == [((), ())] * 2
    seen = between(repo, base, head)
    told = {file.path: file for file in seen.files}
    assert told["thing"].added[0] == (1, "a = 1")
    assert told["other"].added == ((1, "../../x"),)
    assert {(f.path, f.line) for f in blocking(findings(("secrets", "diff-scan"), seen))} == {
        ("thing", 2), ("other", None)
    }  # fmt: skip


def test_a_cut_diff_and_one_that_does_not_add_up_are_never_clean(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = commit(repo, {"a": b"1\n"})
    head = commit(repo, {"a": b"2\n", "b": b"x\n" * 4000}, base)
    monkeypatch.setattr(facts, "MAX_DIFF", 2000)
    assert between(repo, base, head).truncated
    monkeypatch.undo()
    assert not between(repo, base, head).truncated
    monkeypatch.setattr(facts, "sections", lambda diff: sections(diff)[:1])
    unsure = between(repo, base, head)
    assert unsure.truncated
    assert findings(("diff-scan",), unsure)[0].severity is Severity.BLOCK


def test_a_change_is_judged_from_where_it_left_the_base(repo: Path) -> None:
    root = commit(repo, {"a": b"1\n"})
    base = commit(repo, {"theirs": b"x\n"}, root)
    head = commit(repo, {"ours": b"y\n"}, root)
    assert [file.path for file in change(repo, base, head, spec("dev")).files] == ["ours"]


def test_many_files_are_read_at_once_with_the_same_result(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = commit(repo, {"a/b/c": b"1\n", "d": b"2\n", "x": b"3\n"})
    head = commit(repo, {"a/b/c": None, "d": b"4\n", "e/f": b"5\n"}, base)
    few = between(repo, base, head)
    monkeypatch.setattr(facts, "MANY", 0)
    assert between(repo, base, head) == few
    bare = between(repo, base, head, with_base=False)
    assert (bare.base_paths, bare.files) == (frozenset(), few.files)


GIT = """\
diff --git "a/tab\\there" "b/tab\\there"
index 1..2 100644
--- "a/tab\\there"
+++ "b/tab\\there"
@@ -1,3 +1,2 @@ def f():
 same
--- a/no header
-+++ b/no header
++ @@ -9,9 +9,9 @@
\\ No newline at end of file
@@ -9 +8 @@
-x
+y
diff --git a/bin b/bin
Binary files a/bin and b/bin differ
diff --git a/gone b/gone
deleted file mode 100644
--- a/gone
+++ /dev/null
@@ -1,0 +0,0 @@
diff --git a/sub b/sub
--- a/sub
+++ b/sub
@@ -1 +1 @@
-Subproject commit 1
+Subproject commit 2
"""


def test_a_hunk_ends_where_its_counts_say() -> None:
    first, binary, gone, submodule = sections(GIT)
    assert first == (((2, "+ @@ -9,9 +9,9 @@"), (8, "y")), ((2, "-- a/no header"), (3, "+++ b/no header"), (9, "x")))
    assert binary == gone == ((), ())
    assert submodule[0] == ((1, "Subproject commit 2"),)


@given(st.text(max_size=400) | st.lists(st.sampled_from([*GIT.splitlines(), "@@ -0,0 +1,9 @@"])).map("\n".join))
def test_garbage_is_read_to_its_end(diff: str) -> None:
    found: list[tuple[Lines, Lines]] = sections(diff)
    assert len(found) <= diff.count("diff --git ")


def test_findings_come_in_the_order_asked_for() -> None:
    about = Change((FileChange("a", "added", size=3, added=((1, "<<<<<<< x"),)),))
    assert [f.check for f in findings(("secrets", "diff-scan"), about)] == ["diff-scan"]

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.git.content import MAX_LINK_BYTES, Entry, Limits, Refusal, judge, show, twins

FILE, EXECUTABLE, LINK, SUBMODULE = 0o100644, 0o100755, 0o120000, 0o160000
OID = "a" * 40


def codes(path: str | bytes, mode: int = FILE, *, target: bytes = b"x", size: int = 1, **more: object) -> set[str]:
    raw = path if isinstance(path, bytes) else path.encode()
    given = {"before": (), "base_links": {}, "limits": Limits()} | more
    found = judge([Entry(raw, mode, OID)], sizes={OID: size}, targets={OID: target}, **given)
    return {refusal.code for refusal in found}


@pytest.mark.parametrize(
    "path",
    [
        "a",
        "src/app.py",
        ".github/workflows/ci.yml",
        ".gitignore",
        ".gitattributes",
        "naïve/日本.txt",
        "a b/c d",
        "git",
        "x.git",
        ".gitx",
        "emoji-🎉",
    ],
)
def test_an_ordinary_name_passes(path: str) -> None:
    assert codes(path) == set()
    assert codes(path, EXECUTABLE) == set()


@pytest.mark.parametrize(
    "path",
    [
        ".git/hooks/post-checkout",
        ".GIT/config",
        "sub/.git",
        ".gIt",
        "git~1",
        "GIT~2/x",
        ".g\u200cit/config",
        ".git\u200d",
        ".git .",
        ".git::$INDEX_ALLOCATION/x",
        "\uff0egit/config",
    ],
)
def test_a_name_that_is_git_anywhere_is_refused(path: str) -> None:
    assert "dot-git" in codes(path)


@pytest.mark.parametrize(
    "path",
    [
        "a\nb",
        "a\x1b[2Jb",
        "a\u202egpj.exe",
        "a\u200bb",
        "a\U000e0041b",
        "a\\b",
        "../a",
        "a/../b",
        "./a",
        "/a",
        "a//b",
        "a.",
        "a ",
        b"\xff\xfe",
    ],
)
def test_a_name_nobody_can_read_or_check_out_safely_is_refused(path: str | bytes) -> None:
    assert "name" in codes(path)


def test_a_name_the_base_already_has_may_be_edited() -> None:
    assert codes("odd name.", before={b"odd name."}) == set()


def test_lengths_are_bounded() -> None:
    assert codes("a/" * 600 + "a") == {"path-length"}
    assert codes("a" * 256) == {"path-length"}
    assert codes("a" * 255) == set()


@pytest.mark.parametrize(
    ("path", "target", "bad"),
    [
        ("d/link", "/etc/passwd", True),
        ("link", "..", True),
        ("d/link", "..", False),
        ("d/link", "../x", False),
        ("d/link", "../../x", True),
        ("d/link", "a/../../../x", True),
        ("d/link", "", True),
        ("d/link", "../.git/config", True),
        ("link", ".GIT/hooks", True),
        ("link", "a\0b", True),
        ("link", "x" * (MAX_LINK_BYTES + 1), True),
        ("a/b/c/link", "../../../README.md", False),
    ],
)
def test_a_symlink_stays_in_the_tree(path: str, target: str, bad: bool) -> None:
    assert codes(path, LINK, target=target.encode()) == ({"symlink"} if bad else set())


def test_a_submodule_is_only_what_the_base_has() -> None:
    assert codes("lib", SUBMODULE) == {"submodule"}
    assert codes("lib", SUBMODULE, base_links={b"lib": "b" * 40}) == {"submodule"}
    assert codes("lib", SUBMODULE, base_links={b"lib": OID}) == set()


@pytest.mark.parametrize("mode", [0o100600, 0o104755, 0o040000, 0o020644])
def test_other_modes_are_refused(mode: int) -> None:
    assert "mode" in codes("a", mode)


def test_sizes_and_counts_are_bounded() -> None:
    limits = Limits(max_files=1, max_file_bytes=10, max_total_bytes=15)
    entries = [Entry(b"a", FILE, "a" * 40), Entry(b"b", FILE, "b" * 40), Entry(b"b", FILE, "c" * 40)]
    sizes = {"a" * 40: 11, "b" * 40: 2, "c" * 40: 3}
    found = judge(entries, before=(), base_links={}, sizes=sizes, targets={}, limits=limits)
    assert [(refusal.code, refusal.path) for refusal in found] == [
        ("file-size", "a"),
        ("files", ""),
        ("total-size", ""),
    ]


def test_all_problems_come_at_once() -> None:
    entries = [Entry(b".git/x", 0o100600, OID), Entry(b"l", LINK, OID), Entry(b"m", SUBMODULE, OID)]
    found = judge(entries, before=(), base_links={}, sizes={OID: 1}, targets={OID: b"/x"}, limits=Limits())
    assert {refusal.code for refusal in found} == {"dot-git", "mode", "symlink", "submodule"}


def test_twins_are_names_that_fall_together() -> None:
    assert twins([], [b"README", b"Readme", b"x"]) == [
        Refusal("case-twin", "README", "the same name as Readme where case does not count")
    ]
    assert twins([], [b"Src/a", b"src/b"])[0].path == "Src"
    assert len(twins([], ["caf\u00e9".encode(), "cafe\u0301".encode()])) == 1
    assert twins([], [b"a/x", b"b/x"]) == []


def test_twins_of_the_base_are_its_own_affair() -> None:
    both = [b"README", b"Readme"]
    assert twins(both, both) == []
    assert [refusal.path for refusal in twins(both, [*both, b"readme"])] == ["readme"]


@given(st.binary(max_size=400))
def test_a_shown_path_is_printable_and_capped(path: bytes) -> None:
    shown = show(path)
    assert len(shown) <= 303
    assert all(char.isprintable() or char.isspace() for char in shown)
    assert "\n" not in shown


@given(st.binary(min_size=1, max_size=60), st.sampled_from([FILE, EXECUTABLE, LINK, SUBMODULE, 0]))
def test_no_name_breaks_the_judge(path: bytes, mode: int) -> None:
    codes(path, mode, target=path)
    twins([], [path, path.swapcase()])

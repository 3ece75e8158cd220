"""Every key path of any TOML document gets the line it stands on; no text whatever makes the reader fail."""

from __future__ import annotations

import tomllib

import pytest
import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.config.source import Lines, read

LAYOUT = """\
top = 1 # a comment with = and [
"quoted key" = "a # b"
dotted.inner.leaf = 2

[table]
list = [
  "one",  # ]
  "two",
  { inline = true, other = [1, 2] },
]
text = '''
first
  second'''
after = 1979-05-27 07:32:00

[table.sub."x.y"]
z = "\\"]"

[[many]]
name = "a"
[many.nested]
deep = 1
[[many]]
name = 'b'
[[many.inner]]
v = \"\"\"ends in quotes\"\"\"\"\"
[[many.inner]]
v = 1
"""
WHERE = {
    ("top",): 1,
    ("quoted key",): 2,
    ("dotted",): 3,
    ("dotted", "inner", "leaf"): 3,
    ("table",): 5,
    ("table", "list"): 6,
    ("table", "list", 0): 7,
    ("table", "list", 1): 8,
    ("table", "list", 2, "inline"): 9,
    ("table", "list", 2, "other", 1): 9,
    ("table", "text"): 11,
    ("table", "after"): 14,
    ("table", "sub", "x.y"): 16,
    ("table", "sub", "x.y", "z"): 17,
    ("many",): 19,
    ("many", 0): 19,
    ("many", 0, "name"): 20,
    ("many", 0, "nested", "deep"): 22,
    ("many", 1): 23,
    ("many", 1, "name"): 24,
    ("many", 1, "inner", 0, "v"): 26,
    ("many", 1, "inner", 1): 27,
    ("many", 1, "inner", 1, "v"): 28,
}


def test_every_way_to_write_a_key_has_its_line() -> None:
    document = read(LAYOUT.encode(), "x.toml")
    assert document.problems == ()
    assert {path: document.lines.of(path) for path in WHERE} == WHERE
    assert document.lines.last == 28


def test_carriage_returns_change_no_line() -> None:
    document = read(LAYOUT.replace("\n", "\r\n").encode(), "x.toml")
    assert {path: document.lines.of(path) for path in WHERE} == WHERE


def test_an_unknown_path_falls_back_to_what_is_around_it() -> None:
    lines = read(LAYOUT.encode(), "x.toml").lines
    assert lines.of(("table", "list", 1, "no", "such")) == 8
    assert lines.of(("nothing",)) == 1
    assert Lines().of(("a",)) == 1


def test_lines_inside_a_text() -> None:
    lines = read(LAYOUT.encode(), "x.toml").lines
    assert lines.within(("table", "text"), 1) == 12
    assert lines.within(("table", "text"), 2) == 13
    assert lines.within(("many", 1, "name"), 1) == 24
    assert lines.within(("table", "text"), 500) == lines.last


def test_broken_lines_are_all_told_and_hide_nothing() -> None:
    document = read(b"a = yes\nb = 1\nb = 2\nc = alice\n\n[t]\nd = 1\n", "x.toml")
    assert [(p.line, p.hint) for p in document.problems] == [
        (1, "write true or false"),
        (3, "a key or table may be given only once"),
        (4, 'write text in quotes: "alice"'),
    ]
    assert document.data == {"b": 1, "t": {"d": 1}}
    assert document.lines.of(("t", "d")) == 7


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ('roles = ["dev"\nmode = "x"\nproject = "a"\n', 2, "what opens in line 1 lacks a closing bracket"),
        ('x = [\n  "a"\n  "b",\n]\n', 3, "a comma between two entries"),
        ("a = { b = 1\nc = 2\n", 1, "lacks a closing bracket"),
        ("z = 1\na = '''\nb = 1\nc = 2\n", 2, "long text that opens in line 2 is not closed"),
        ('a = "x\n', 1, "not closed on its line"),
        ('a = "\\d"\n', 1, "write the backslash twice"),
        ("a = “x”\n", 1, "straight quotes"),
        ("some words\n", 1, "write key = value"),
        ("[a]\n[a]\n", 2, "only once"),
    ],
)
def test_common_slips_have_one_problem_and_a_hint(text: str, line: int, hint: str) -> None:
    (problem,) = read(text.encode(), "x.toml").problems
    assert problem.line == line
    assert hint in str(problem.hint)


def test_after_a_broken_header_nothing_is_guessed() -> None:
    document = read(b"a = 1\n[[steps]\nid = 'x'\nid = 'y'\n", "x.toml")
    assert document.data is None
    assert [p.line for p in document.problems] == [2]


def test_bytes_that_are_no_text() -> None:
    document = read(b"a = 1\nb = '\xff'\n", "x.toml")
    assert (document.data, document.problems[0].line) == (None, 2)
    assert "0xff" in document.problems[0].message


def test_too_large_and_too_deep() -> None:
    assert "bytes" in read(b"#" * 1_000_001, "x.toml").problems[0].message
    assert "deeply" in read(b"a = " + b"[" * 5000 + b"]" * 5000, "x.toml").problems[0].message


keys = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=8)
scalars = st.one_of(
    st.integers(-(2**60), 2**60),
    st.booleans(),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=30),
    st.dates(),
)
values = st.recursive(scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(keys, v, max_size=3), max_leaves=12)


def paths(value: object, prefix: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    found = [prefix] if prefix else []
    if isinstance(value, dict):
        for key, item in value.items():
            found += paths(item, (*prefix, key))
    if isinstance(value, list):
        for index, item in enumerate(value):
            found += paths(item, (*prefix, index))
    return found


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(keys, values, max_size=5))
def test_no_key_of_any_document_is_missed(data: dict[str, object]) -> None:
    text = tomlkit.dumps(data)
    if tomllib.loads(text) != data:
        return  # tomlkit does not write every document faithfully; this is about reading
    document = read(text.encode(), "x.toml")
    rows = text.split("\n")
    for path in paths(data):
        assert path in document.lines.marks, path
        assert 1 <= document.lines.marks[path] <= document.lines.last
        if isinstance(path[-1], str) and path[-1].isascii() and path[-1].isalnum():
            assert path[-1] in rows[document.lines.marks[path] - 1]


toml_like = st.lists(
    st.sampled_from(
        ["a = 1", "[t]", "[[t]]", "[a.b]", "x = ", "= 1", "s = '''", "'''", '"""', "l = [", "]", "}", "k = {", "# c",
         "a.b = 2", '"q" = 1', "\\", "\x00", "é = 1", "d = 2020-01-01", ","]
    ) | st.text(max_size=12), max_size=12,
).map("\n".join)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(toml_like.map(lambda t: t.encode("utf-8", "surrogatepass")) | st.binary(max_size=60))
def test_nothing_makes_it_fail_and_every_line_is_in_the_file(text: bytes) -> None:
    document = read(text, "x.toml")
    assert (document.data is None) <= bool(document.problems)
    for problem in document.problems:
        assert problem.line is not None
        assert 1 <= problem.line <= max(text.count(b"\n") + 1, 1)

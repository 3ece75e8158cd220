from __future__ import annotations

import pytest

from factory.errors import Problem
from factory.ops.edit import MAX_FILE, Applied, CannotEdit, Edit, apply_edits, parse_problem


def run(files: dict[str, bytes], *edits: Edit, **options: object) -> Applied:
    return apply_edits(edits, files.get, **options)  # type: ignore[arg-type]


def put(path: str, data: bytes | None) -> Edit:
    return Edit(path, lambda old: data)


def test_edits_of_one_file_build_on_each_other() -> None:
    def add(line: bytes) -> Edit:
        return Edit("knowledge/x.md", lambda old: (old or b"") + line)

    assert run({"knowledge/x.md": b"0"}, add(b"1"), add(b"2")).changes == {"knowledge/x.md": b"012"}


def test_what_comes_back_to_where_it_was_is_no_change() -> None:
    assert run({"a.md": b"x"}, put("a.md", b"y"), put("a.md", b"x")) == Applied({}, ())
    assert run({}, put("a.md", None)) == Applied({}, ())


def test_deleting_is_a_change() -> None:
    assert run({"a.md": b"x"}, put("a.md", None)).changes == {"a.md": None}


@pytest.mark.parametrize(
    ("path", "text", "line", "word"),
    [
        ("a.toml", b"x = 1\ny = \n", 2, "TOML"),
        ("a.json", b'{\n"a": 1,\n}', 3, "JSON"),
        ("a.md", b"ok\n\xff", 2, "UTF-8"),
        ("a.toml", b'x = "', 1, "TOML"),
    ],
)
def test_a_file_that_does_not_parse_is_reported_and_stays(path: str, text: bytes, line: int, word: str) -> None:
    applied = run({path: text}, put(path, b"{}"), put("other.md", b"new"))
    assert applied.changes == {"other.md": b"new"}
    (problem,) = applied.problems
    assert (problem.path, problem.line) == (path, line)
    assert word in problem.message


def test_a_person_may_repair_a_file_that_does_not_parse() -> None:
    assert run({"a.toml": b"x ="}, put("a.toml", b"x = 1"), repair=True).changes == {"a.toml": b"x = 1"}


@pytest.mark.parametrize("data", [b"x = ", b"\xff", b"a" * (MAX_FILE + 1)])
def test_what_would_not_parse_is_not_written(data: bytes) -> None:
    applied = run({"a.toml": b"x = 1"}, put("a.toml", data))
    assert applied.changes == {}
    assert len(applied.problems) == 1


def test_an_edit_that_does_not_understand_the_file_leaves_it() -> None:
    def refuse(old: bytes | None) -> bytes | None:
        raise CannotEdit(Problem("a.md", 7, "has no marker"))

    assert run({"a.md": b"x"}, Edit("a.md", refuse)).problems == (Problem("a.md", 7, "has no marker"),)


def test_the_guard_stops_one_file_and_no_other() -> None:
    def guard(path: str, data: bytes) -> tuple[Problem, ...]:
        return (Problem(path, 1, "holds a token"),) if b"token" in data else ()

    applied = run({}, put("a.md", b"token"), put("b.md", b"fine"), guard=guard)
    assert applied.changes == {"b.md": b"fine"}
    assert [p.path for p in applied.problems] == ["a.md"]


def test_deep_nesting_is_a_problem_and_no_crash() -> None:
    assert parse_problem("a.json", b"[" * 100_000) is not None

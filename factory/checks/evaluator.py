"""Whether the change touches what judges it: CI, runner configuration, agent instructions, and tests made weaker. Pure.

A person decides about each of these (DESIGN section 10). Tests that are added or changed without losing an assertion
are ordinary work.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from factory.checks.model import Change, FileChange, Finding, Severity
from factory.checks.paths import is_evaluator_surface, is_test

NAME = "evaluator"

_SKIPS = re.compile(
    r"@?\bpytest\.mark\.(?:skip|skipif|xfail)\b|\bpytest\.(?:skip|xfail|importorskip)\(|@?\bunittest\.(?:skip|expectedFailure)"
    r"|\.skipTest\(|\b(?:it|test|describe|context|suite)\.(?:skip|only|todo|fixme)\b|\b[xf](?:it|describe|context)\("
    r"|\bt\.Skip(?:f|Now)?\(|#\[ignore\b|@(?:Disabled|Ignore)\b|\bskip:\s*true\b|\bmarkTestSkipped\("
)
_ASSERTION = re.compile(
    r"\bassert\w*\b|\bself\.(?:assert|fail)\w*\(|\bexpect\(|\.should\b|\brequire\.\w+\(|\bt\.(?:Error|Fatal|Fail)\w*\("
    r"|\bpytest\.raises\(|\bcheck\s*\("
)
_CASE = re.compile(
    r"^\s*(?:async\s+)?def\s+test\w*\s*\(|^\s*(?:it|test|specify)\s*\(|^\s*func\s+Test\w+\(|^\s*#\[(?:\w+::)?test\]|@Test\b"
)
_EMPTY = re.compile(
    r"\bassert\s+(?:True|1|not\s+False)\s*(?:$|[#,;])|\bassertTrue\(\s*True\s*\)|\bexpect\(\s*(true|1)\s*\)\.to(?:Be|Equal)"
    r"\w*\(\s*\1\s*\)"
)
_SWALLOWED = re.compile(r"\|\|\s*(?:true|:)\s*(?:$|[;&)])|\bcontinue-on-error\s*:\s*true|\ballow_failure\s*:\s*true")
_SILENCED = re.compile(
    r"#\s*(?:noqa|type:\s*ignore|pragma:\s*no\s*cover|nosec|pylint:\s*disable|ruff:\s*noqa|mypy:\s*ignore)|"
    r"//\s*(?:eslint-disable|@ts-ignore|@ts-nocheck|@ts-expect-error|nolint|istanbul ignore)|/\*\s*eslint-disable"
)
_SHARED_CONFIG = re.compile(r"(^|/)(pyproject\.toml|setup\.cfg|package\.json|deno\.json|composer\.json|cargo\.toml)$")
_CONFIG_KEY = re.compile(
    r"^\s*\[+\s*tool\.(?:pytest|coverage|ruff|mypy|tox|nox|hatch\.envs)|^\s*\[(?:tool:pytest|coverage|flake8|mypy)|"
    r"^\s*[\"']?(?:addopts|testpaths|norecursedirs|python_files|filterwarnings|fail_under|omit|collect_ignore\w*|"
    r"per-file-ignores|extend-ignore|ignore_errors|strict|select|deselect|xfail_strict|pretest|posttest|test|jest|mocha|nyc|"
    r"c8|vitest|ava|tap|lint|typecheck|check)[\"']?\s*[:=]"
)


def scan(change: Change) -> tuple[Finding, ...]:
    """Findings on every surface touched and every test weakened."""
    found: list[Finding] = []
    for file in change.files:
        for path in dict.fromkeys(filter(None, (file.path, file.old_path))):
            if is_evaluator_surface(path, change.ci_command):
                found.append(_say(Severity.PERSON, path, None, "decides how work is judged"))
        if _SHARED_CONFIG.search(file.path.lower()):
            found += _config(file)
        if is_test(file.path) or (file.old_path is not None and is_test(file.old_path)):
            found += _tests(file)
        elif file.status != "deleted":
            found += _silenced(file)
    return tuple(found)


def _say(severity: Severity, path: str, line: int | None, text: str) -> Finding:
    return Finding(NAME, severity, path, line, text)


def _config(file: FileChange) -> Iterator[Finding]:
    hit = next((number for number, line in file.added if _CONFIG_KEY.search(line)), None)
    if hit is not None or any(_CONFIG_KEY.search(line) for _, line in file.removed):
        yield _say(Severity.PERSON, file.path, hit, "changes how tests or linters run")


def _tests(file: FileChange) -> Iterator[Finding]:
    if file.status == "deleted":
        yield _say(Severity.PERSON, file.path, None, "is a test that is deleted")
        return
    if file.status == "renamed" and file.old_path is not None and is_test(file.old_path) and not is_test(file.path):
        yield _say(Severity.PERSON, file.path, None, f"was the test {file.old_path}; under this name nothing runs it")
    for kind, pattern in (("a test that is skipped", _SKIPS), ("an assertion that always holds", _EMPTY)):
        hit = next((number for number, line in file.added if pattern.search(line)), None)
        if hit is not None and _count(pattern, file.added) > _count(pattern, file.removed):
            yield _say(Severity.PERSON, file.path, hit, f"adds {kind}")
    for what, pattern in (("assertions", _ASSERTION), ("test cases", _CASE)):
        lost, won = _count(pattern, file.removed), _count(pattern, file.added)
        if lost > won:
            line = next(number for number, text in file.removed if pattern.search(text))
            yield _say(Severity.PERSON, file.path, None, f"loses {what}: {lost} removed (old line {line}), {won} added")
    if file.binary and file.status == "modified":
        yield _say(Severity.PERSON, file.path, None, "is binary test data that changed")


def _silenced(file: FileChange) -> Iterator[Finding]:
    for severity, what, pattern in (
        (Severity.PERSON, "makes a failure count as success", _SWALLOWED),
        (Severity.NOTE, "silences a checker", _SILENCED),
    ):
        if _prose(file.path):
            continue
        hit = next((number for number, line in file.added if pattern.search(line)), None)
        if hit is not None and _count(pattern, file.added) > _count(pattern, file.removed):
            yield _say(severity, file.path, hit, what)


def _prose(path: str) -> bool:
    return path.lower().endswith((".md", ".rst", ".txt", ".adoc"))


def _count(pattern: re.Pattern[str], lines: tuple[tuple[int, str], ...]) -> int:
    return sum(1 for _, line in lines if pattern.search(line))

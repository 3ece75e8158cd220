from __future__ import annotations

from collections.abc import Callable

import pytest

from factory.checks import CHECKS
from factory.checks.evaluator import scan
from factory.checks.model import Change, FileChange, Severity

Touched = Callable[..., FileChange]
Changed = Callable[..., Change]
TEST = "tests/test_cart.py"


def test_ordinary_work_on_tests_is_quiet(touched: Touched, changed: Changed) -> None:
    more = touched(TEST, ["def test_empty():", "    assert total([]) == 0"], ["    assert total([1]) == 1.0"])
    new = touched("tests/test_new.py", ["def test_new():", "    assert 1 + 1 == 2"], status="added")
    code = touched("src/cart.py", ["def total(prices):", "    return sum(prices)"], ["    return 0"])
    moved = touched("tests/unit/test_cart.py", status="renamed", old_path=TEST)
    assert scan(changed(more, new, code, moved)) == ()


@pytest.mark.parametrize(
    "line",
    [
        "@pytest.mark.skip(reason='x')",
        "    @pytest.mark.xfail",
        "pytest.skip('later')",
        "@unittest.skip('x')",
        "self.skipTest('x')",
        "it.skip('adds', () => {})",
        "describe.only('x', () => {",
        "xit('adds', () => {})",
        "t.Skip()",
        "#[ignore]",
        "@Disabled",
        "    assert True",
        "self.assertTrue(True)",
        "expect(true).toBe(true)",
    ],
)
def test_weakened_tests_need_a_person(line: str, touched: Touched, changed: Changed) -> None:
    found = scan(changed(touched(TEST, ["x = 1", line])))
    assert [(f.severity, f.line) for f in found] == [(Severity.PERSON, 2)]


def test_a_skip_that_only_moved_is_quiet(touched: Touched, changed: Changed) -> None:
    line = "@pytest.mark.skipif(sys.platform == 'win32')"
    assert scan(changed(touched(TEST, [line], [line]))) == ()


@pytest.mark.parametrize(
    ("path", "removed"),
    [
        (TEST, "    assert total([1]) == 1"),
        (TEST, "        self.assertEqual(1, total([1]))"),
        ("a.test.ts", "  expect(x).toBe(1)"),
        (TEST, "def test_total():"),
        ("a_test.go", "func TestTotal(t *testing.T) {"),
        ("a_test.go", 't.Fatalf("x")'),
    ],
)
def test_lost_assertions_and_cases_need_a_person(path: str, removed: str, touched: Touched, changed: Changed) -> None:
    found = scan(changed(touched(path, ["x = 1"], [removed])))
    assert {f.severity for f in found} == {Severity.PERSON}
    assert "1 removed (old line 1), 0 added" in found[0].text


def test_deleted_and_hidden_tests_need_a_person(touched: Touched, changed: Changed) -> None:
    gone = touched(TEST, status="deleted")
    hidden = touched("old/cart_checks.py", status="renamed", old_path=TEST)
    assert [f.severity for f in scan(changed(gone, hidden))] == [Severity.PERSON] * 2


def test_a_fixture_that_changes_in_binary(touched: Touched, changed: Changed) -> None:
    assert [f.severity for f in scan(changed(touched("tests/data/x.bin", binary=True)))] == [Severity.PERSON]


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("pyproject.toml", "[tool.pytest.ini_options]"),
        ("pyproject.toml", 'addopts = "--co"'),
        ("pyproject.toml", "fail_under = 10"),
        ("setup.cfg", "[tool:pytest]"),
        ("package.json", '    "test": "true",'),
        ("web/package.json", '  "jest": {'),
        ("pyproject.toml", "[tool.ruff.lint]"),
        ("pyproject.toml", "ignore_errors = true"),
    ],
)
def test_shared_settings_that_steer_tests_need_a_person(
    path: str, line: str, touched: Touched, changed: Changed
) -> None:
    assert [f.severity for f in scan(changed(touched(path, [line])))] == [Severity.PERSON]
    assert [f.severity for f in scan(changed(touched(path, ["x"], [line])))] == [Severity.PERSON]


@pytest.mark.parametrize(
    "line", ['version = "1.2.3"', '    "lodash": "^4.0.0",', 'dependencies = ["httpx"]', '"name": "shop"']
)
def test_other_settings_are_quiet(line: str, touched: Touched, changed: Changed) -> None:
    assert scan(changed(touched("pyproject.toml", [line]), touched("package.json", [line]))) == ()


def test_surfaces_by_path_count_by_both_names(touched: Touched, changed: Changed) -> None:
    hidden = touched("old.txt", status="renamed", old_path=".github/workflows/ci.yml")
    (finding,) = scan(changed(hidden))
    assert (finding.severity, finding.path) == (Severity.PERSON, ".github/workflows/ci.yml")
    (finding,) = scan(changed(touched("Makefile", ["x"]), ci_command="make test"))
    assert finding.severity is Severity.PERSON


@pytest.mark.parametrize(
    ("line", "severity"),
    [
        ("pytest || true", Severity.PERSON),
        ("continue-on-error: true", Severity.PERSON),
        ("x = f()  # type: ignore", Severity.NOTE),
        ("// eslint-disable-next-line", Severity.NOTE),
        ("x = 1  # noqa", Severity.NOTE),
    ],
)
def test_swallowed_failures(line: str, severity: Severity, touched: Touched, changed: Changed) -> None:
    assert [f.severity for f in scan(changed(touched("scripts/x.sh", [line])))] == [severity]
    assert scan(changed(touched("docs/x.md", [line]))) == ()


def test_infrastructure(touched: Touched, changed: Changed) -> None:
    found = CHECKS["infra"](changed(touched("Dockerfile", ["x"]), touched("a.py", ["x"])))
    assert [(f.path, f.severity) for f in found] == [("Dockerfile", Severity.PERSON)]


def test_the_registry_names_each_check_as_its_findings_do(touched: Touched, changed: Changed) -> None:
    assert set(CHECKS) == {"diff-scan", "secrets", "scope", "infra", "evaluator"}
    bad = changed(
        touched("Dockerfile", ["<<<<<<< x", "AKIA" + "ABCDEFGHIJKLMNOP"]),
        touched("AGENTS.md", ["x"]),
        *[touched(f"f{n}", status="deleted") for n in range(6)],
    )
    for name, check in CHECKS.items():
        assert {finding.check for finding in check(bad)} == {name}

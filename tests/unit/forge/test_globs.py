from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.forge.globs import first_match, glob_rule, is_glob, matches


@pytest.mark.parametrize(
    ("rule", "branch", "is_"),
    [
        ("main", "main", True),
        ("Main", "mAIN", True),
        ("mai[n]", "main", True),
        ("mai[n]", "Main", False),
        ("mai[n]", "mai", False),
        ("mai[n]", "main2", False),
        ("*", "main", True),
        ("*", "fix/a", False),
        ("**", "fix/a", True),
        ("fix/*", "fix/a", True),
        ("fix/*", "fix/a/b", False),
        ("fix/**", "fix/a/b", True),
        ("release-?", "release-1", True),
        ("release-?", "release-12", False),
        ("[!m]ain", "main", False),
        ("[!m]ain", "rain", True),
        ("{main,dev}", "dev", True),
        ("{main,dev}", "other", False),
        ("v[0-9]", "v7", True),
        ("v[0-9]", "vx", False),
        ("a.b*", "axb", False),
        ("[", "x", False),
    ],
)
def test_matching(rule: str, branch: str, is_: bool) -> None:
    assert matches(rule, branch) is is_


NAMES = st.from_regex(r"[A-Za-z0-9._/-]{1,20}", fullmatch=True)


@given(NAMES, NAMES)
def test_a_glob_rule_matches_its_branch_and_no_other(branch: str, other: str) -> None:
    rule = glob_rule(branch)
    assert is_glob(rule)
    assert matches(rule, branch)
    assert matches(rule, other) is (branch == other)


@pytest.mark.parametrize("branch", ["", "a*", "a[b]", "x?", "{a}"])
def test_a_name_with_glob_characters_has_no_such_rule(branch: str) -> None:
    with pytest.raises(ValueError):
        glob_rule(branch)


def test_exact_names_win_then_the_forges_order() -> None:
    assert first_match(["mai[n]", "**"], "main") == "mai[n]"
    assert first_match(["**", "mai[n]"], "main") == "**"
    assert first_match(["**", "mai[n]", "main"], "main") == "main"
    assert first_match(["dev"], "main") is None

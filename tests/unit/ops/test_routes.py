from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.errors import PolicyDenied
from factory.ops.routes import (
    CONTROLLED_FILES,
    CONTROLLED_FOLDERS,
    DIRECT_FILES,
    DIRECT_FOLDERS,
    Route,
    controlled,
    route,
    unprotected_patterns,
)


@pytest.mark.parametrize(
    "path",
    [
        "README.md",
        "prerequisites.md",
        "dashboard/cost.svg",
        "knowledge/dev/memory.md",
        "evidence/x/2026-01-01.json",
        "incidents/a.md",
        "diary/2026-01-01.md",
        "predictions/p1.toml",
        "pauses/dev.toml",
        "vault/pending/x.md",
        "vault/fired/x.toml",
        "vault/rejected/x.toml",
        "knowledge/über/größe.md",
        "knowledge/Привет.md",
    ],
)
def test_data_goes_directly(path: str) -> None:
    assert route(path) is Route.DIRECT


@pytest.mark.parametrize(
    "path",
    [
        "factory.toml",
        "VISION.md",
        "RESOURCES.md",
        "portfolio.md",
        "sprints/x.md",
        "process-rfcs/x.md",
        "vault/policy.toml",
        "vault/actions/x.toml",
        "vault/secrets/X.age",
        "formulas/dev.toml",
        "agents/dev.toml",
        "generators/a.j2",
        "unknown",
        "a/README.md",
        "READMEE.md",
        "vault/other",
        ".gitattributes",
        "knowledge2/x",
    ],
)
def test_everything_else_is_a_persons(path: str) -> None:
    assert route(path) is Route.PERSON


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/README.md",
        "knowledge/../factory.toml",
        "./README.md",
        "knowledge//x",
        "knowledge/",
        "knowledge",
        "knowledge\\x",
        "knowledge/x.",
        "knowledge/x ",
        " README.md",
        "README.md.",
        "Readme.md",
        "KNOWLEDGE/x",
        "Factory.toml",
        "Vault/policy.toml",
        "vault/Secrets/X.age",
        "formulas",
        "knowledge/.git/config",
        "knowledge/.GIT/hooks/x",
        "knowledge/git~1/x",
        "knowledge/a\nb",
        "knowledge/a\x00b",
        "knowledge/a\u200bb",
        "knowledge/a\u202eb",
        "knowledge/a\u3164b",
        "knowledge/a;b",
        "knowledge/a*b",
        "knowledge/a:b",
        "knowledge/e\u0301.md",
        "knowledge/\uff0e\uff0e/x",
        "\u0430gents/dev.toml",
        "knowledge/p\u0430ypal.md",
        "knowledge/\udce4",
        "knowledge/" + "x" * 600,
    ],
)
def test_a_path_that_could_name_another_file_is_refused(path: str) -> None:
    with pytest.raises(PolicyDenied):
        route(path)


def test_the_controlled_set_is_never_direct() -> None:
    for name in (*CONTROLLED_FILES, *(f"{folder}x.toml" for folder in CONTROLLED_FOLDERS)):
        assert controlled(name)
        assert route(name) is Route.PERSON
    for name in (*DIRECT_FILES, *(f"{folder}x" for folder in DIRECT_FOLDERS)):
        assert not controlled(name)


@pytest.mark.parametrize(
    "path", ["Factory.toml", "FORMULAS/x", "agents\\dev.toml", "\uff46actory.toml", "formulas", "Vault/Policy.toml"]
)
def test_what_somebody_pushed_counts_as_controlled_in_any_spelling(path: str) -> None:
    assert controlled(path)


def gobwas(pattern: str) -> re.Pattern[str]:
    """The part of gobwas/glob that our patterns use, with the forge's separators ``.`` and ``/``."""
    return re.compile(re.escape(pattern).replace(r"\*\*", ".*").replace(r"\*", r"[^./]*"), re.DOTALL)


def forge_lets_through(path: str) -> bool:
    return any(gobwas(pattern).fullmatch(path.lower()) for pattern in unprotected_patterns().split(";"))


@given(
    st.one_of(
        st.text(max_size=40),
        st.from_regex(r"(knowledge|vault/pending|vault|dashboard|formulas)/[a-z./]{0,12}", fullmatch=True),
    )
)
def test_forge_and_writer_agree_on_every_path_that_the_writer_takes(path: str) -> None:
    try:
        way = route(path)
    except PolicyDenied:
        return
    assert (way is Route.DIRECT) == forge_lets_through(path)


def test_the_forge_never_lets_a_controlled_path_through() -> None:
    for name in (*CONTROLLED_FILES, *(f"{folder}x.toml" for folder in CONTROLLED_FOLDERS), "vault/actions/x.toml"):
        assert not forge_lets_through(name)
        assert not forge_lets_through(name.upper())

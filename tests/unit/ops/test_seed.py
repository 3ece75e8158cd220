from __future__ import annotations

import tomllib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.config.factory import load_factory, with_agent, with_mode
from factory.config.model import AgentEntry, Budgets, Ci, Environment, FactoryConfig, Mode, Trust
from factory.errors import ConfigInvalid
from factory.ops.dashboard import DashboardFacts, due, edit, splice
from factory.ops.edit import parse_problem
from factory.ops.routes import route
from factory.ops.seed import POLICY, Seed, VaultLine, issue_templates, render_folder, seed, toml_value

NOW = datetime(2026, 11, 21, 9, 15, tzinfo=UTC)
PLAIN = Seed("ada/shop", Mode.SUGGEST, "ada", "http://127.0.0.1:3000", NOW)
RICH = Seed(
    "ada/shop",
    Mode.MERGE,
    "ada",
    "https://forge.example/",
    NOW,
    environment=Environment(
        ("python3 -m venv .venv", "pip install \"a\\b\" 'c'"), (".venv",), ("pyproject.toml",), ("pypi.org",)
    ),
    ci=Ci("make test", ("factory/ci", "build"), 12.5),
    budgets=Budgets(1.25, 5, 10, 100),
    environment_reasons=("guessed from pyproject.toml\n[admins]\n",),
    ci_reasons=("guessed: Makefile has a target `test`",),
    agents=(AgentEntry("cc-1", "claude-code", "opus", frozenset({"reviewer", "dev"})),),
    accounts={"dev": "robo"},
    more_people=("bob", "ada"),
)


def test_the_plain_seed_says_exactly_the_defaults() -> None:
    assert load_factory(seed(PLAIN)["factory.toml"]) == FactoryConfig(
        "ada/shop",
        Mode.SUGGEST,
        approvers=frozenset({"ada"}),
        admins=frozenset({"ada"}),
        trust=Trust(frozenset({"ada"})),
    )


def test_every_value_arrives() -> None:
    people = frozenset({"ada", "bob"})
    assert load_factory(seed(RICH)["factory.toml"]) == FactoryConfig(
        "ada/shop",
        Mode.MERGE,
        agents=RICH.agents,
        accounts={"dev": "robo"},
        approvers=people,
        admins=people,
        trust=Trust(people),
        environment=RICH.environment,
        ci=RICH.ci,
        budgets=RICH.budgets,
    )


@pytest.mark.parametrize("what", [PLAIN, RICH])
def test_every_file_is_one_the_writer_could_have_written(what: Seed) -> None:
    files = seed(what)
    for path, data in files.items():
        route(path)
        assert parse_problem(path, data) is None
        assert data.endswith(b"\n")
        assert not data.endswith(b"\n\n")
        assert b"{{" not in data
    assert {"README.md", "factory.toml", "VISION.md", "RESOURCES.md", "portfolio.md", "prerequisites.md"} <= set(files)


def test_the_same_values_give_the_same_bytes() -> None:
    assert seed(RICH) == seed(RICH)


LINES = (VaultLine("release@1", "a" * 64, "high", 'Tag "it"\n[x]\x7f'), VaultLine("collect@1", "b" * 64, "low", "Read"))


def test_the_policy_names_people_by_id_and_formulas_by_digest() -> None:
    text = seed(replace(RICH, ids={"ada": 3, "bob": 5}, vault=LINES))[POLICY]
    policy = tomllib.loads(text.decode())
    assert (policy["admins"], policy["approvers"], policy["logins"]) == ([3, 5], [3, 5], {"ada": 3, "bob": 5})
    assert policy["formulas"]["release@1"] == {"tier": "high", "digest": "a" * 64}
    assert b"admins = [3, 5]  # ada, bob\n" in text


@pytest.mark.parametrize("ids", [{}, {"ada": 3}, {"ada": 3, "bob": 0}])
def test_without_everybodys_id_there_is_no_policy(ids: dict[str, int]) -> None:
    """A missing policy refuses everything; one that names nobody, or account 0, would be worse than none."""
    assert POLICY not in seed(replace(RICH, ids=ids, vault=LINES))


@pytest.mark.parametrize("what", [PLAIN, RICH])
def test_commands_can_edit_the_seeded_settings(what: Seed) -> None:
    text = seed(what)["factory.toml"].decode()
    agent = AgentEntry("n-1", "native", "tiny", frozenset({"dev"}))
    config = load_factory(with_mode(with_agent(text, agent), Mode.OBSERVE).encode())
    assert agent in config.agents
    assert config.mode is Mode.OBSERVE


def test_the_dashboard_takes_over_the_seeded_readme() -> None:
    readme = seed(PLAIN)["README.md"]
    facts = DashboardFacts("ada/shop", "http://127.0.0.1:3000/ada/shop", "suggest", prerequisites=())
    assert not due(readme, facts, NOW)
    moved = DashboardFacts("ada/shop", "http://127.0.0.1:3000/ada/shop", "merge", prerequisites=())
    new = edit(moved, NOW).apply(readme)
    assert new is not None
    assert b"mode **merge**" in new
    assert new.partition(b"---\n")[2] == readme.partition(b"---\n")[2]
    assert splice(new, "x\n") != new


def test_issue_forms_are_yaml_with_what_the_forge_needs() -> None:
    from ruamel.yaml import YAML

    forms = issue_templates()
    assert len(forms) >= 3
    for path, data in forms.items():
        assert path.startswith(".forgejo/ISSUE_TEMPLATE/")
        form = YAML(typ="safe").load(data.decode())
        assert form["name"]
        assert form["about"]
        ids = [item["id"] for item in form["body"]]
        assert len(ids) == len(set(ids))
        assert "backlog" not in form["labels"], "a form must not let an outsider start work"


def test_a_template_that_asks_for_what_nobody_gives_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.md.j2").write_text("line\n{{ missing }}\n")
    with pytest.raises(ConfigInvalid, match=r"a\.md\.j2.*missing"):
        render_folder(tmp_path, {})


def test_templates_run_in_a_sandbox(tmp_path: Path) -> None:
    (tmp_path / "a.md.j2").write_text("{{ ''.__class__.__mro__ }}")
    with pytest.raises(ConfigInvalid):
        render_folder(tmp_path, {})


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid):
        render_folder(tmp_path, {})


VALUES = st.one_of(
    st.text(alphabet=st.characters(exclude_categories=["Cs"])),
    st.booleans(),
    st.integers(-(2**60), 2**60),
    st.floats(allow_nan=False, allow_infinity=False),
)


@given(st.one_of(VALUES, st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20))))
def test_values_survive_toml(value: object) -> None:
    back = tomllib.loads(f"x = {toml_value(value)}\n")["x"]
    assert back == value

"""What an action read becomes one file: its name and who vouches for it are none of the run's saying."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from factory.ops.routes import Route, route
from factory.vault.formulas import TYPES
from factory.vault.run import kept
from tests.unit.vault.samples import ACTION

NAME = TYPES["name"]
assert NAME is not None
AT = datetime(2026, 11, 29, 0, 0, 3, tzinfo=UTC)
READ = replace(ACTION, params={"kind": "uptime", "host": "status.test"})


def file(**results: str) -> tuple[str, str] | None:
    return kept.file(READ, "r" * 32, AT, results)


def test_a_document_becomes_the_days_file() -> None:
    found = file(value='{"status":200,"json":{"up":true}}')
    assert found is not None
    path, text = found
    assert path == "evidence/uptime/2026-11-29.json"
    assert json.loads(text) == {
        "status": 200, "json": {"up": True}, "kind": "uptime", "action": READ.id, "run": "r" * 32, "taint": "outside",
    }  # fmt: skip
    assert text.endswith("}\n")


def test_what_the_run_says_of_itself_does_not_count() -> None:
    found = file(value='{"kind":"x","run":"forged","action":"forged","taint":"none"}')
    assert found is not None
    told = json.loads(found[1])
    assert (told["kind"], told["run"], told["action"], told["taint"]) == ("uptime", "r" * 32, READ.id, "outside")


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ("evidence/uptime/2026-11-28.json", "evidence/uptime/2026-11-28.json"),
        ("evidence/uptime/2026-11-27.json", "evidence/uptime/2026-11-29.json"),
        ("evidence/other/2026-11-29.json", "evidence/uptime/2026-11-29.json"),
        ("vault/policy.toml", "evidence/uptime/2026-11-29.json"),
        ("", "evidence/uptime/2026-11-29.json"),
    ],
)
def test_the_day_is_that_of_the_run_and_the_folder_that_of_the_action(said: str, path: str) -> None:
    found = file(value="{}", path=said)
    assert found is not None
    assert found[0] == path


@example("a.")
@given(st.from_regex(NAME, fullmatch=True))
def test_whatever_kind_may_be_asked_for_the_file_is_one_that_is_written(kind: str) -> None:
    """One that the ops repo refuses would keep the end of its action from being told."""
    found = kept.file(replace(READ, params={"kind": kind}), "r" * 32, AT, {"value": "{}"})
    assert found is None if kind.endswith(".") else found is not None and route(found[0]) is Route.DIRECT


@pytest.mark.parametrize("value", ["", "[]", '"text"', "{", "null"])
def test_without_a_document_there_is_no_file(value: str) -> None:
    assert file(value=value) is None
    assert file() is None

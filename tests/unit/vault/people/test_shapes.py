"""What editors are told of action and policy files is what the trusted part reads."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from pydantic import ValidationError

from factory.config.home import packaged
from factory.vault.action import Action
from factory.vault.action import check as check_action
from factory.vault.canonical import Refused, toml
from factory.vault.people.checking import check_file, check_policy
from factory.vault.people.editors import documents
from factory.vault.people.examples import FOLDER, policy
from factory.vault.people.rules import read_rules
from factory.vault.people.shapes import ActionShape, PolicyShape
from factory.vault.policy import read as read_policy
from tests.unit.vault.people import samples
from tests.unit.vault.samples import ACTION, actions

ROOT = Path(__file__).resolve().parents[4]


def test_schemas_and_examples_are_current() -> None:
    """``python -m factory.vault.people.editors`` writes them."""
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / "vault").rglob("*") if path.is_file()}
    told = documents()
    assert there == set(told)
    assert {path: (ROOT / path).read_text(encoding="utf-8") for path in told} == dict(told)


def test_examples_are_valid_as_they_stand() -> None:
    rules = read_rules(policy().encode(), packaged("formulas"))
    assert check_policy("policy.toml", policy().encode(), rules) == ()
    for path, text in documents().items():
        if path.startswith(FOLDER) and not path.endswith("/policy.toml"):
            checked = check_file(path, text.encode(), rules)
            assert (checked.problems, bool(checked.tier)) == ((), True), path


def shape_refuses(shape: type[ActionShape | PolicyShape], values: dict[str, Any]) -> bool:
    try:
        shape.model_validate(values)
    except ValidationError:
        return True
    return False


@given(actions())
def test_what_the_reader_takes_the_schema_takes(action: Action) -> None:
    assert not shape_refuses(ActionShape, tomllib.loads(action.write().decode()))


ACTION_FAULTS: dict[str, dict[str, Any]] = {
    "a truth value as version": {"v": True}, "another version": {"v": 2}, "upper case in the id": {"id": "A-1"},
    "a formula without a version": {"formula": "release"}, "no such tier": {"blast_radius": "tiny"},
    "an empty target": {"target": ""}, "a secret in lower case": {"secrets": ["token"]},
    "a text as a time": {"not_before": "2026-11-21"}, "a long reason": {"reason": "x" * 501},
    "nobody asks": {"requester": ""}, "a bare number": {"unblocks": ["#3"]}, "too many runs": {"runs": 367},
    "a parameter in upper case": {"params": {"Tag": "v1"}}, "a nested parameter": {"params": {"tag": {"a": 1}}},
    "a fraction": {"params": {"n": 1.5}}, "an endless number": {"params": {"n": 10**400}},
    "a long text": {"params": {"t": "x" * 2001}}, "an unknown key": {"priority": 1},
}  # fmt: skip


@pytest.mark.parametrize("name", ACTION_FAULTS)
def test_what_the_schema_refuses_in_an_action_the_reader_refuses(name: str) -> None:
    values = tomllib.loads(ACTION.write().decode()) | ACTION_FAULTS[name]
    assert shape_refuses(ActionShape, values)
    try:
        data = toml(values)
    except TypeError:
        return  # it has no canonical form at all
    assert check_action(data, f"{ACTION.id}.toml")[0] is None


@pytest.mark.parametrize("key", [*ActionShape.model_fields])
def test_a_key_that_every_action_has_may_not_be_missing(key: str) -> None:
    values = tomllib.loads(ACTION.write().decode())
    values.pop(key, None)
    needed = key not in ("runs", "every_hours")
    assert shape_refuses(ActionShape, values) == needed
    assert (check_action(toml(values), f"{ACTION.id}.toml")[0] is None) == needed


def reader_refuses(text: str) -> bool:
    try:
        read_policy(text.encode())
    except Refused:
        return True
    return False


RULE = '\n[formulas."x@1"]\ntier = "low"\ndigest = "' + "0" * 64 + '"\n'
POLICY_FAULTS = {
    "no version of the form": ("v = 1\n", ""), "a version that is none": ("version = 3", "version = 0"),
    "no admins": ("admins = [1]\n", ""), "an empty list of admins": ("admins = [1]", "admins = []"),
    "an admin by name": ("admins = [1]", 'admins = ["founder"]'), "no approvers": ("approvers = [2]\n", ""),
    "too many may wait": ("pending = 5", "pending = 1001"), "no time at all": ("pending = 5", "max_ttl_hours = 0"),
    "a tier that is none": ("pending = 5", 'require_signature = ["tiny"]'),
    "an unknown key": ("pending = 5", "waiting = 5"), "a budget that is none": ("pending = 5", "per_day = 5"),
    "a formula without a version": ('"release@1"', '"release"'), "a digest that is none": ('digest = "', 'digest = "x'),
    "a rule's tier that is none": ('tier = "high"', 'tier = "none"'),
    "a rule's unknown key": ('tier = "high"', 'tier = "high"\nrisk = 1'),
    "a secret in lower case": ('"OTHER"', '"other"'), "a host without its method": ('"GET,HEAD,POST status', '"status'),
    "a header that is none": ('"Authorization"', '"A b"'), "an unknown key of inject": ("prefix = ", "suffix = "),
}  # fmt: skip


@pytest.mark.parametrize("name", POLICY_FAULTS)
def test_what_the_schema_refuses_in_a_policy_the_reader_refuses(name: str) -> None:
    old, new = POLICY_FAULTS[name]
    good = samples.policy().decode()
    assert not shape_refuses(PolicyShape, tomllib.loads(good))
    text = good.replace(old, new, 1)
    assert text != good
    assert shape_refuses(PolicyShape, tomllib.loads(text))
    assert reader_refuses(text)


def problems(text: str) -> list[str]:
    return [str(p) for p in check_policy("p.toml", text.encode(), samples.rules())]


def test_a_policy_s_problems_have_their_lines() -> None:
    good = samples.policy().decode()
    assert problems(good) == []
    bad = good.replace("pending = 5", "pending = 0").replace('tier = "high"', 'tier = "none"')
    assert [p.partition(" ")[0] for p in problems(bad)] == ["p.toml:5:", "p.toml:12:"]
    (syntax,) = problems("v = \n" + good.partition("\n")[2])
    assert syntax.startswith("p.toml:1: not valid TOML")


def test_a_policy_that_names_another_file_says_which_digest_would_be_right() -> None:
    digest = samples.rules().formulas["release"].digest
    (told,) = problems(samples.policy().decode().replace(digest, "0" * 64))
    assert told.startswith("p.toml:13: formulas.release@1: the formula's file is another one\n")
    assert f'digest = "{digest}"' in told


def test_a_policy_that_names_what_is_not_there_says_so() -> None:
    (told,) = problems(samples.policy(RULE).decode())
    assert "formulas.x@1: there is no such formula" in told
    assert "see `factory formula list`" in told


def test_a_bot_may_not_be_listed() -> None:
    (told,) = check_policy("p.toml", samples.policy(), samples.rules(), frozenset({1}))
    assert "an account of the factory is listed" in told.message


def test_a_change_has_to_raise_the_version() -> None:
    before = samples.policy()
    changed = samples.policy(pending=6)
    (told,) = check_policy("p.toml", changed, samples.rules(), before=before)
    assert (told.line, told.hint) == (2, "version = 4")
    assert check_policy("p.toml", samples.policy(pending=6, version=4), samples.rules(), before=before) == ()
    assert check_policy("p.toml", before, samples.rules(), before=before) == ()


def test_the_schemas_are_json() -> None:
    for path, text in documents().items():
        if path.endswith(".json"):
            assert json.loads(text)["additionalProperties"] is False

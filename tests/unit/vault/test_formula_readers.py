"""Ordinary loader and trusted reader of formulas are written apart; a file is valid for both or for none."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.config.home import packaged
from factory.errors import ConfigInvalid
from factory.formula.load import load_formula
from factory.vault.canonical import Refused
from factory.vault.formulas import read

PACKAGED = {name: text for name, text in packaged("formulas").items() if b"\n[vault]" in text}
GOOD = """\
schema = 1
name = "f"
version = 1
role = "vault"
description = "Does it."
[limits]
minutes = 5
[vault]
class = "B"
floor = "medium"
secrets = ["TOKEN", "policy"]
hosts = ["GET,HEAD api.example.org:8443/v1/", "POST policy", "GET *.example.org"]
lane = ["place"]
unique = true
admins = 2
undo = "by hand"
effects = ["create_tag"]
[vault.params.place]
type = "enum"
required = false
choices = ["a", "b"]
description = "where"
[vault.params.n]
type = "int"
max = 7
[[steps]]
id = "go"
kind = "shell"
argv = ["vault-collect", "x"]
"""

CHANGES: list[tuple[str, str]] = [
    ("schema = 1", "schema = 2"), ("schema = 1", "schema = true"), ("schema = 1", "schema = 1.0"), ("schema = 1\n", ""),
    ('name = "f"', 'name = "F"'), ('name = "f"', 'name = "1f"'), ('name = "f"', 'name = "f-"'), ('name = "f"\n', ""),
    ('name = "f"', "name = 3"), ('name = "f"', f'name = "{"f" * 41}"'), ("version = 1", "version = 0"),
    ("version = 1", "version = 1000000"), ("version = 1", 'version = "1"'), ("version = 1", "version = true"),
    ("version = 1", f"version = {10**400}"), ('role = "vault"', 'role = "dev"'), ('role = "vault"\n', ""),
    ('"Does it."', '""'), ('"Does it."', f'"{"x" * 601}"'), ('description = "Does it."\n', ""), ('"Does it."', "1"),
    ("minutes = 5", "minutes = 0"), ("minutes = 5", "minutes = 5.0"), ("minutes = 5", "minutes = 1441"),
    ("minutes = 5", "minutes = 5\nturns = 3"), ("minutes = 5", "minutes = true"), ("minutes = 5\n", ""),
    ('class = "B"', 'class = "E"'), ('class = "B"', "class = 1"), ('class = "B"', 'class = ["A"]'),
    ('"medium"', '"none"'), ('"medium"', "2"), ('floor = "medium"', "floor = []"),
    ('["TOKEN", "policy"]', '"TOKEN"'), ('["TOKEN", "policy"]', '["token"]'), ('["TOKEN", "policy"]', '["T*"]'),
    ('["TOKEN", "policy"]', "[1]"), ('["TOKEN", "policy"]', '["TOKEN\\n"]'), ('["TOKEN", "policy"]', "{}"),
    ('"POST policy"', '"post policy"'), ('"POST policy"', '"policy"'), ('"POST policy"', '"POST  policy"'),
    ('"POST policy"', '"POST,EVIL policy"'), ('"POST policy"', '"POST http://x"'), ('"POST policy"', '"POST x/a?b"'),
    ('"POST policy"', '"POST x/../y"'), ('"POST policy"', '"POST x:0"'), ('"POST policy"', "3"),
    ('"POST policy"', '"POST *"'), ('"POST policy"', '"POST policy\\n"'), ('hosts = ["', 'hosts = ["", "'),
    ('["place"]', '["plac"]'), ('["place"]', '"place"'), ('["place"]', "[1]"), ('["place"]', "[]"),
    ("unique = true", "unique = 1"), ("admins = 2", "admins = 6"), ("admins = 2", "admins = true"),
    ("admins = 2", "admins = 2.0"), ('"by hand"', '""'), ('"by hand"', "3"), ('"by hand"', f'"{"x" * 301}"'),
    ('["create_tag"]', '["Create"]'), ('["create_tag"]', '"create_tag"'), ('["create_tag"]', "[2]"),
    ('type = "enum"', 'type = "text"'), ('type = "enum"', 'type = "regex"'), ('type = "enum"\n', ""),
    ('type = "enum"', 'type = ["enum"]'), ('["a", "b"]', "[]"), ('["a", "b"]', '"ab"'), ('["a", "b"]', '[""]'),
    ('["a", "b"]', "[1, 2]"), ('choices = ["a", "b"]\n', ""), ("required = false", 'required = "no"'),
    ("required = false", "required = 0"), ("max = 7", "max = 0"), ("max = 7", "max = 7.5"), ("max = 7", "max = true"),
    ("max = 7", f"max = {2**53 + 1}"), ("max = 7", "max = 7\nmin = 2"), ('"where"', "1"), ('"where"', '""'),
    ("[vault.params.n]", "[vault.params.N]"), ("[vault.params.n]", '[vault.params."a b"]'),
    ("[vault.params.n]\n", "[vault.params]\nn = 3\n[x]\n"), ('id = "go"', 'id = "Go"'), ('id = "go"', "id = 1"),
    ('id = "go"\n', ""), ('kind = "shell"', 'kind = "agent"'), ('kind = "shell"\n', ""),
    ('argv = ["vault-collect", "x"]', "argv = []"), ('argv = ["vault-collect", "x"]', 'argv = "sh"'),
    ('argv = ["vault-collect", "x"]', ""), ('"vault-collect"', '"{{ params.x }}"'), ('"vault-collect"', '"a\\n{%x"'),
    ('"vault-collect"', '""'), ('"vault-collect"', "7"), ('"vault-collect"', '"a\\u0000"'),
    ('id = "go"', 'id = "go"\nneeds = []'), ('id = "go"', 'id = "go"\nwrites = false'),
    ('id = "go"', 'id = "go"\nuses = ["diff-scan"]'),
    ("[[steps]]", '[[steps]]\nid = "go"\nkind = "shell"\nargv = ["a"]\n[[steps]]'),
    ("[limits]", "[grants]\ncommits = true\n[limits]"), ("[limits]", '[inputs]\na = { type = "int" }\n[limits]'),
    ("[limits]", "[context]\ngraph = true\n[limits]"), ("[vault]", "[vault]\nrisk = 1"),
    ('version = 1\n', f'version = 1\noverrides = "{"a" * 64}"\n'), ('version = 1\n', 'version = 1\noverrides = "A"\n'),
    ("[limits]", "x = 1\n[limits]"), ('version = 1\n', 'version = 1\nversion = 1\n'), ("[vault]", "[[vault]]"),
    ("[limits]\nminutes = 5\n", "limits = 3\n"), ("# ", "# "), ("schema", "#" + "x" * 70_000 + "\nschema"),
]  # fmt: skip


def accepted(text: bytes) -> tuple[bool, bool]:
    """(by the ordinary loader, by the trusted part)."""
    try:
        name = tomllib.loads(text.decode())["name"]
    except (ValueError, KeyError):
        name = "f"
    try:
        ordinary = load_formula(text, f"formulas/{name}.toml").vault is not None
    except ConfigInvalid:
        ordinary = False
    try:
        read(text)
    except Refused:
        return ordinary, False
    return ordinary, True


@pytest.mark.parametrize("name", sorted(PACKAGED))
def test_packaged_ones_are_valid_for_both(name: str) -> None:
    assert accepted(PACKAGED[name]) == (True, True)


def test_the_example_is_valid_for_both() -> None:
    assert accepted(GOOD.encode()) == (True, True)


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_a_changed_one_is_valid_for_both_or_for_none(old: str, new: str) -> None:
    changed = GOOD.replace(old, new, 1)
    ordinary, trusted = accepted(changed.encode())
    assert ordinary == trusted


def test_most_of_these_changes_are_refused() -> None:
    refused = sum(accepted(GOOD.replace(old, new, 1).encode()) == (False, False) for old, new in CHANGES)
    assert refused > 0.9 * len(CHANGES)


def test_neither_steps_nor_effects_is_refused_by_both() -> None:
    nothing = GOOD.replace('effects = ["create_tag"]\n', "").partition("[[steps]]")[0]
    assert accepted(nothing.encode()) == (False, False)
    assert accepted((nothing.replace("unique", 'effects = ["a"]\nunique')).encode()) == (True, True)


_SPOTS = [m.span() for m in re.finditer(r'"[^"\n]*"|\d+|true|false|\[[^\[\]\n]*\]|[a-z]+', GOOD)]
_PIECES = ['""', '"a"', '"A"', "1", "0", "-1", "true", "1.5", "[]", '["a"]', '["A"]', "[1]", "{}", "[[]]", "nan", "x",
           '"policy"', '"GET policy"', '["GET policy"]', "1979-05-27", '"\\u202e"', '"{{"']  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(_SPOTS), st.sampled_from(_PIECES))
def test_whatever_stands_in_a_place_the_two_agree(spot: tuple[int, int], piece: str) -> None:
    changed = GOOD[: spot[0]] + piece + GOOD[spot[1] :]
    ordinary, trusted = accepted(changed.encode())
    assert ordinary == trusted, changed


def test_what_the_trusted_part_reads_is_what_the_loader_shows() -> None:
    for name, text in PACKAGED.items():
        shown: Any = load_formula(text, f"formulas/{name}.toml").vault
        counts = read(text)
        assert (shown.effect_class, shown.floor, shown.effects) == (
            counts.effect_class, counts.floor.word, counts.effects,
        )  # fmt: skip
        assert {p.name: (p.type, p.required, p.choices) for p in shown.params} == {
            p.name: (p.type, p.required, p.choices) for p in counts.params.values()
        }

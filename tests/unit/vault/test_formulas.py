"""Formulas as the trusted part reads them, and what each type of parameter takes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from factory.vault.action import Tier
from factory.vault.canonical import MAX_INT, Refused, fits, sha256
from factory.vault.formulas import ASKED, MAX_FORMULA, METHODS, TYPES, Host, Param, VaultFormula, host, read
from tests.unit.vault.samples import ACTION, FORMULA

TEXT = """\
schema = 1
name = "deploy"
version = 3
role = "vault"
description = "Deploy a folder."
[vault]
class = "A"
floor = "medium"
secrets = ["DEPLOY_KEY", "policy"]
hosts = ["GET,PUT api.example.org:8443/v1/", "HEAD *.example.org", "POST policy"]
lane = ["site"]
unique = true
admins = 2
undo = "put the old folder back"
effects = ["switch", "prune"]
[vault.params]
site = { type = "enum", choices = ["docs", "home"], description = "Which." }
count = { type = "int", required = false, max = 9 }
words = { type = "texts", required = false }
note = { type = "text", required = false }
[limits]
minutes = 20
[[steps]]
id = "build"
kind = "shell"
argv = ["sh", "build.sh"]
[[steps]]
id = "check"
kind = "shell"
argv = ["check"]
"""


def test_everything_is_read() -> None:
    formula = read(TEXT.encode())
    assert formula == VaultFormula(
        name="deploy", version=3, digest=sha256(TEXT.encode()), description="Deploy a folder.", effect_class="A",
        floor=Tier.MEDIUM,
        params={
            "site": Param("site", "enum", True, ("docs", "home"), 500), "count": Param("count", "int", False, (), 9),
            "words": Param("words", "texts", False, (), 32), "note": Param("note", "text", False, (), 500),
        },
        secrets=("DEPLOY_KEY", "policy"),
        hosts=(
            Host("GET", "api.example.org:8443", "/v1/"), Host("PUT", "api.example.org:8443", "/v1/"),
            Host("HEAD", "*.example.org", "/"), Host("POST", "policy", "/"),
        ),
        lane=("site",), unique=True, admins=2, undo="put the old folder back", effects=("switch", "prune"),
        steps=(("sh", "build.sh"), ("check",)), minutes=20,
    )  # fmt: skip
    assert formula.key == "deploy@3"


def test_what_is_not_said_is_the_strictest() -> None:
    head = b'schema = 1\nname = "x"\nversion = 1\nrole = "vault"\ndescription = "d"\n'
    formula = read(head + b'[vault]\neffects = ["e"]\n')
    assert formula.effect_class == "D"
    assert formula.floor is Tier.LOW, "class D is high by the policy's ruling"
    assert (formula.secrets, formula.hosts, formula.lane, formula.effects, formula.steps) == ((), (), (), ("e",), ())
    assert (formula.unique, formula.admins, formula.undo, formula.minutes) == (False, 1, "irreversible", 10)


def test_an_int_is_bounded_by_what_toml_may_hold() -> None:
    text = TEXT.replace('{ type = "int", required = false, max = 9 }', '{ type = "int" }')
    assert read(text.encode()).params["count"] == Param("count", "int", True, (), MAX_INT)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("schema = 1", "schema = 1\nextra = 1"), ('class = "A"', 'class = "A"\nextra = 1'),
        ('class = "A"', 'class = "E"'),
        ('class = "A"', "class = 1"), ('"medium"', '"none"'), ('"medium"', "1"), ("version = 3", "version = 0"),
        ("version = 3", "version = 1000000"), ("version = 3", "version = true"), ("version = 3", 'version = "3"'),
        ("version = 3", ""), ('name = "deploy"', ""), ('name = "deploy"', 'name = "Deploy"'),
        ('name = "deploy"', f'name = "{"d" * 41}"'), ('name = "deploy"', "name = 1"), ('name = "deploy"', 'name = ""'),
        ('description = "Deploy a folder."', ""), ('"DEPLOY_KEY"', '"deploy"'), ('"DEPLOY_KEY"', "1"),
        ('secrets = ["DEPLOY_KEY", "policy"]', "secrets = 1"), ('lane = ["site"]', 'lane = ["other"]'),
        ("unique = true", "unique = 1"), ("admins = 2", "admins = 0"), ("admins = 2", "admins = 6"),
        ("admins = 2", "admins = true"), ('"put the old folder back"', "1"), ('"prune"', '"Prune"'), ('"prune"', "1"),
        ("minutes = 20", "minutes = 0"), ("minutes = 20", "minutes = 1441"), ('["check"]', "[]"), ('["check"]', "[1]"),
        ('argv = ["check"]', 'run = ["check"]'), ('argv = ["check"]', 'argv = "check"'),
        ('effects = ["switch", "prune"]', 'effects = "ab"'), ('choices = ["docs", "home"]', 'choices = "dh"'),
        ('choices = ["docs", "home"]', "choices = [1]"), ("required = false, max", "required = 0, max"),
        ('description = "Deploy a folder."', "description = 1"), ("[vault]", "[other]"),
        ('type = "enum"', 'type = "choice"'), ('type = "enum", ', ""), ("max = 9", "max = 0"),
        ("max = 9", f"max = {MAX_INT + 1}"),
        ("max = 9", "max = true"), ("count = {", "Count = {"), ("max = 9", "maximum = 9"),
        ("[vault.params]\n", "params = 1\n[other]\n"),
        ("GET,PUT api", "GET,YELL api"), ("GET,PUT api", "api"), ("GET,PUT api", "GET PUT api"), ("/v1/", "/v1?x=1"),
        (":8443", ":0"), (":8443", ":123456"), ("api.example.org", "API.example.org"),
        ("api.example.org", "-api.example.org"),
        ("schema = 1", "schema = 2"), ("schema = 1", "schema = true"), ("schema = 1\n", ""), ('"vault"', '"dev"'),
        ('role = "vault"', ""), ('name = "deploy"', 'name = "deploy-"'),
        ('"Deploy a folder."', '""'), ('"Deploy a folder."', f'"{"d" * 601}"'), ('"put the old folder back"', '""'),
        ('"put the old folder back"', f'"{"d" * 301}"'), ("schema = 1", 'schema = 1\noverrides = "x"'),
        ("schema = 1", "schema = 1\noverrides = 1"), ("minutes = 20", "minutes = 20\nturns = 1"),
        ('kind = "shell"\nargv = ["check"]', 'kind = "agent"\nargv = ["check"]'), ('id = "check"\n', ""),
        ('id = "check"', 'id = "build"'), ('id = "check"', 'id = "Check"'), ('id = "check"', f'id = "{"c" * 41}"'),
        ('id = "check"', "id = 1"), ('argv = ["check"]', 'argv = ["check"]\ncwd = "/"'), ('["check"]', '["{{ x }}"]'),
        ('["check"]', '["a{% if %}"]'), ('["check"]', '["a\\u0000b"]'), ('["check"]', '[""]'), ("[[steps]]", "[steps]"),
        ('type = "text", required', 'type = "text", choices = ["a"], required'), ('choices = ["docs", "home"], ', ""),
        ('["docs", "home"]', '["docs", ""]'), ('["docs", "home"]', f'["{"d" * 101}"]'),
        ('["docs", "home"]', str([f"c{n}" for n in range(65)]).replace("'", '"')), ('"Which."', "1"),
        ('"Which."', f'"{"w" * 301}"'), ("[limits]", "limits = 1\n[other]"), ("hosts = [", "hosts = 1 #["),
        ("*.example.org", "*"),
    ],
)  # fmt: skip
def test_what_is_not_a_formula(old: str, new: str) -> None:
    assert old in TEXT
    with pytest.raises(Refused) as raised:
        read(TEXT.replace(old, new).encode())
    assert raised.value.code == "bad-formula"


@pytest.mark.parametrize(
    ("old", "new"),
    [("version = 3", "version = 999999"), ("minutes = 20", "minutes = 1440"), ("admins = 2", "admins = 5"),
     ("max = 9", f"max = {MAX_INT}"), ('name = "deploy"', f'name = "{"d" * 40}"'),
     ('effects = ["switch", "prune"]\n', ""),
     ("admins = 2", "admins = 1"), ("max = 9", "max = 1"), ("minutes = 20", "minutes = 1"),
     ('"Deploy a folder."', f'"{"d" * 600}"'),
     ('"put the old folder back"', f'"{"d" * 300}"'), ("schema = 1", f'schema = 1\noverrides = "{"0" * 64}"'),
     ('"Which."', f'"{"w" * 300}"'), ('"Which."', '""'), ('["docs", "home"]', f'["{"d" * 100}"]'),
     ('["docs", "home"]', str([f"c{n}" for n in range(64)]).replace("'", '"')), ('["check"]', '["a { b } % c"]'),
     ('id = "check"', f'id = "{"c" * 40}"'), ('id = "check"', 'id = "c_1-2"'), ('name = "deploy"', 'name = "d"')],
)  # fmt: skip
def test_bounds_that_still_hold(old: str, new: str) -> None:
    assert read(TEXT.replace(old, new).encode())


def test_steps_or_effects_there_must_be_and_not_too_many_steps() -> None:
    head = TEXT.partition("[[steps]]")[0]
    assert read(head.encode()).steps == (), "effects alone are something to do"
    assert read(TEXT.replace('effects = ["switch", "prune"]\n', "").encode()).effects == ()
    with pytest.raises(Refused, match="neither steps nor effects"):
        read(head.replace('effects = ["switch", "prune"]\n', "").encode())

    def many(count: int) -> bytes:
        rows = (f'[[steps]]\nid = "s{n}"\nkind = "shell"\nargv = ["x"]\n' for n in range(count))
        return (head + "".join(rows)).encode()

    assert len(read(many(100)).steps) == 100
    with pytest.raises(Refused, match="steps: up to 100"):
        read(many(101))


def test_what_is_wrong_is_named() -> None:
    with pytest.raises(Refused, match="name must be text of its form; version must be a whole number"):
        read(TEXT.replace("version = 3", "version = 0").replace('"deploy"', '"D"').encode())
    with pytest.raises(Refused, match=r"limits\.turns is unknown; more is unknown; vault\.extra is unknown"):
        read(TEXT.replace("[vault]", "more = 1\n[vault]\nextra = 1").replace("minutes", "turns = 1\nminutes").encode())


def test_bytes_that_are_no_file() -> None:
    padding = b"# " + b"x" * (MAX_FORMULA - len(TEXT) - 3) + b"\n"
    exact = TEXT.encode().replace(b"schema = 1\n", b"schema = 1\n" + padding)
    assert len(exact) == MAX_FORMULA == 65536
    assert read(exact)
    for bad in (exact + b"#", b"\xff", b"x = [", b"", b"a = " + b"[" * 5000):
        with pytest.raises(Refused, match="bad-formula"):
            read(bad)


def test_every_method_is_known() -> None:
    assert METHODS == ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
    for method in METHODS:
        assert host(f"{method} example.org") == (Host(method, "example.org", "/"),)


@pytest.mark.parametrize("bad", ["", "GET", "GET ", "get example.org", "GET exa mple.org", "GET https://example.org",
5, None,
                                 "GET example.org/a b", "GET example.org/../x?y", "GET *.*.org",
                                 "GET .org"])  # fmt: skip
def test_what_is_no_host(bad: object) -> None:
    assert not fits(bad, ASKED)
    line = '"POST policy"'
    assert line in TEXT
    with pytest.raises(Refused, match=r"bad-formula: vault.hosts\[\d\] must be text"):
        read(TEXT.replace(line, json.dumps(bad).replace("null", "1")).encode())


@pytest.mark.parametrize(
    ("text", "expected"),
    [("GET a", Host("GET", "a", "/")), ("GET a.b:65535/c", Host("GET", "a.b:65535", "/c")),
    ("GET *.a.b", Host("GET", "*.a.b", "/")),
     ("GET a.b/", Host("GET", "a.b", "/")), ("GET a.b/x/y-z_1.~", Host("GET", "a.b", "/x/y-z_1.~"))],
)  # fmt: skip
def test_what_is_a_host(text: str, expected: Host) -> None:
    assert host(text) == (expected,)


# --- what a parameter takes -------------------------------------------------------------------------------------------

GOOD: dict[str, list[Any]] = {
    "text": ["x", "x" * 500, "a b; c && d", "é"],
    "name": ["v1.8.2", "A", "a_b-c.d", "x" * 100],
    "commit": ["0" * 40, "0123456789abcdef" * 2 + "01234567"],
    "path": ["a", "a/b c/d.txt", ".github/x", "x" * 200, "a..b", "...", "a/.b"],
    "host": ["example.org", "a1", "a.b:1", "a.b:65535"],
    "date": ["2026-11-21"],
    "enum": ["docs", "home"],
    "int": [0, 1, 500],
    "flag": [True, False],
    "texts": [(), ("a",), tuple("abc"), ("x",) * 500],
}
BAD: dict[str, list[Any]] = {
    "text": ["", "x" * 501, "-x", "--flag", 1, True, ("a",)],
    "name": ["", "-x", ".x", "a b", "a/b", "x" * 101, "é", "a\n", 1],
    "commit": ["", "0" * 39, "0" * 41, "G" * 40, "ABCDEF0123" * 4],
    "path": [
        "",
        "/a",
        "../a",
        "a/../b",
        "a/..",
        "./a",
        "a/./b",
        "a//b",
        "a/",
        "a ",
        " a",
        "-a",
        "a\\b",
        "x" * 201,
        "a/.",
        "..",
        ".",
    ],
    "host": ["", "a", "A.org", "a.org:", "a.org:0", "a.org:123456", "a.org/x", "-a.org", "a.org-", "a..:1:2"],
    "date": ["", "2026-1-1", "2026-11-21T", "21.11.2026"],
    "enum": ["", "Docs", "other", 1],
    "int": [-1, 501, "1", True, False, (1,)],
    "flag": [0, 1, "true", (True,)],
    "texts": ["a", ("",), ("-x",), (1,), ("a", "-b"), ("x",) * 501, 1, True],
}


@pytest.mark.parametrize("kind", TYPES)
def test_attack_26_what_each_type_takes(kind: str) -> None:
    param = Param("x", kind, True, ("docs", "home"), 500)
    formula = replace(FORMULA, params={"x": param}, lane=())
    assert set(GOOD) == set(BAD) == set(TYPES)
    for value in GOOD[kind]:
        assert formula.check(replace(ACTION, params={"x": value}, target="release")) == [], value
    for value in BAD[kind]:
        found = formula.check(replace(ACTION, params={"x": value}, target="release"))
        assert [(f.code, f.key) for f in found] == [("bad-param", "params.x")], value
        assert found[0].message


def test_a_limit_holds_for_each_type() -> None:
    for kind, good, bad in (("text", "xx", "xxx"), ("name", "xx", "xxx"), ("int", 2, 3), ("texts", ("a", "b"),
    ("a", "b", "c")),
                            ("path", "aa", "aaa")):  # fmt: skip
        formula = replace(FORMULA, params={"x": Param("x", kind, True, (), 2)}, lane=())
        assert formula.check(replace(ACTION, params={"x": good}, target="release")) == []
        assert [f.code for f in formula.check(replace(ACTION, params={"x": bad}, target="release"))] == ["bad-param"]


def test_words_of_a_wrong_value_say_what_would_be_right() -> None:
    said = {}
    for kind, bad in (
        ("flag", 1),
        ("int", -1),
        ("texts", 1),
        ("text", 1),
        ("enum", "x"),
        ("name", ""),
        ("commit", "x"),
    ):
        formula = replace(FORMULA, params={"x": Param("x", kind, True, ("docs", "home"), 7)}, lane=())
        (found,) = formula.check(replace(ACTION, params={"x": bad}, target="release"))
        said[kind] = found.message
    assert said == {
        "flag": "must be true or false", "int": "must be a whole number from 0 to 7",
        "texts": "must be a list of at most 7 texts",
        "text": "must be text, not empty, not beginning with a dash", "enum": "must be one of docs, home",
        "name": "must be text, not empty, not beginning with a dash",
        "commit": "is no commit of at most 7 characters",
    }  # fmt: skip


def test_parameters_that_are_missing_or_unknown() -> None:
    found = FORMULA.check(replace(ACTION, params={"tag": "v1", "zz": 1, "aa": 2}))
    assert [(f.code, f.key) for f in found] == [
        ("unknown-param", "params.aa"), ("unknown-param", "params.zz"), ("missing-param", "params.repo"),
    ]  # fmt: skip
    assert "draft, repo, tag" in found[0].hint
    assert replace(FORMULA, params={}, lane=()).check(ACTION)[0].hint.endswith("none")
    assert FORMULA.check(replace(ACTION, params={**ACTION.params, "draft": True})) == []


def test_the_target_follows_from_the_parameters() -> None:
    assert FORMULA.target(ACTION.params) == ACTION.target == "release:founder/hello:v1.8.2"
    assert FORMULA.target({}) == "release::"
    assert replace(FORMULA, lane=()).target(ACTION.params) == "release"
    (found,) = FORMULA.check(replace(ACTION, target="release:founder/other:v1.8.2"))
    assert (found.code, found.key) == ("wrong-target", "target")
    assert ACTION.target in found.message
    wrong = FORMULA.check(replace(ACTION, target="x", params={"tag": "v1"}))
    assert [f.code for f in wrong] == ["missing-param"], "a target is only judged where the parameters are good"


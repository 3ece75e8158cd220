"""The action file: what is refused, by which code, and that one form alone is read."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.vault.action import Action, Tier, check, read
from factory.vault.canonical import MAX_INT, Refused, toml
from tests.unit.vault.samples import ACTION, T0, actions

NAME = f"{ACTION.id}.toml"
GOOD = ACTION.write()


def values() -> dict[str, Any]:
    """The sample as plain values, in the order of the file."""
    return {
        "v": 1, "id": ACTION.id, "formula": ACTION.formula, "blast_radius": "low", "target": ACTION.target,
        "secrets": [],
        "not_before": ACTION.not_before, "expires": ACTION.expires, "reason": ACTION.reason,
        "requester": ACTION.requester, "unblocks": [], "params": dict(ACTION.params),
    }  # fmt: skip


def codes(data: bytes, name: str = NAME) -> list[tuple[str, str]]:
    action, findings = check(data, name)
    assert (action is None) == bool(findings)
    assert all(found.message for found in findings)
    if findings:
        with pytest.raises(Refused) as raised:
            read(data, name)
        assert raised.value.code == findings[0].code
        assert findings[0].message in raised.value.words
        assert raised.value.words.startswith(f"{findings[0].key}: " if findings[0].key else findings[0].message)
    else:
        assert read(data, name) == action
    return [(found.code, found.key) for found in findings]


def changed(**change: Any) -> list[tuple[str, str]]:
    """What is wrong with the sample after a change; None takes a key away."""
    made = {key: value for key, value in (values() | change).items() if value is not None}
    name = made["id"] if isinstance(made.get("id"), str) else ACTION.id
    return codes(toml(made), f"{name}.toml")


def test_the_sample_is_the_file_of_its_values() -> None:
    assert toml(values()) == GOOD
    assert codes(GOOD) == []
    assert read(GOOD, NAME) == ACTION
    assert ACTION.path == f"vault/actions/{NAME}"


@given(actions())
def test_any_action_is_read_as_it_is_written(action: Action) -> None:
    assert read(action.write(), f"{action.id}.toml") == replace(action, params=dict(sorted(action.params.items())))


def test_a_row_of_runs_is_written_only_where_there_is_one() -> None:
    assert b"runs" not in GOOD
    row = replace(ACTION, runs=3, every_hours=24)
    assert b"runs = 3\nevery_hours = 24\n" in row.write()
    assert read(row.write(), NAME) == row


def test_content_is_what_it_does_whatever_it_is_called() -> None:
    same = replace(
        ACTION, id="another-id", reason="else", requester="person:ann", blast_radius=Tier.HIGH, secrets=("A",)
    )
    assert same.content == ACTION.content
    assert replace(ACTION, params={**ACTION.params, "tag": "v2"}).content != ACTION.content
    assert replace(ACTION, formula="release@2").content != ACTION.content
    assert replace(ACTION, params=dict(reversed(ACTION.params.items()))).content == ACTION.content
    assert replace(ACTION, params=dict(reversed(ACTION.params.items()))).write() == GOOD


def test_content_is_the_same_in_every_version() -> None:
    """It stands in ledgers: with another one, what was done yesterday would be done again unseen."""
    assert ACTION.content == "37498d13b6bb4d618fb6adc2cc29fe15787b65d076fe6fdc17bc0c469af3723b"


def test_tiers_rise_in_order_and_have_one_word_each() -> None:
    assert sorted(Tier) == [Tier.LOW, Tier.MEDIUM, Tier.HIGH]
    assert [tier.word for tier in Tier] == ["low", "medium", "high"]
    assert [Tier.of(word) for word in ("low", "medium", "high", "Low", "none", "", 1, None)] == [
        Tier.LOW, Tier.MEDIUM, Tier.HIGH, None, None, None, None, None,
    ]  # fmt: skip


NEEDED = ("id", "formula", "blast_radius", "target", "secrets", "not_before", "expires", "reason", "requester",
          "unblocks", "params")  # fmt: skip


@pytest.mark.parametrize("key", NEEDED)
def test_every_key_is_needed(key: str) -> None:
    assert ("missing-key", key) in changed(**{key: None})


def test_all_missing_keys_are_told_in_order() -> None:
    found = codes(toml({"v": 1}))
    assert [key for code, key in found if code == "missing-key"] == sorted(NEEDED)


def test_attack_27_unknown_keys_at_every_level() -> None:
    assert changed(labels=["approved"]) == [("unknown-key", "labels")]
    assert changed(zz=1, aa=1) == [("unknown-key", "aa"), ("unknown-key", "zz")]
    assert changed(table={"x": 1}) == [("unknown-key", "table")]
    many = [f"zz_{letter}" for letter in "hgfedcba"]
    assert changed(**dict.fromkeys(many, 1)) == [("unknown-key", key) for key in sorted(many)]
    _, (found,) = check(toml(values() | {"labels": 1}), NAME)
    assert "secrets" in found.hint


@pytest.mark.parametrize(
    ("key", "bad", "code"),
    [
        ("v", 2, "version"), ("v", 0, "version"), ("v", True, "version"), ("v", "1", "version"),
        ("id", "A-1", "bad-id"), ("id", "-a1", "bad-id"), ("id", "a1-", "bad-id"), ("id", "a", "bad-id"),
        ("id", "a" * 65, "bad-id"), ("id", "a_1", "bad-id"), ("id", "a.1", "bad-id"), ("id", "", "bad-id"),
        ("id", "depl\u043ey", "bad-id"), ("id", "../../a", "bad-id"), ("id", 12, "bad-id"),
        ("formula", "release", "bad-formula"), ("formula", "release@0", "bad-formula"),
        ("formula", "Release@1", "bad-formula"), ("formula", "release@01", "bad-formula"),
        ("formula", "release@1000000", "bad-formula"), ("formula", "r" * 41 + "@1", "bad-formula"),
        ("formula", "rele\u0430se@1", "bad-formula"), ("formula", "1release@1", "bad-formula"),
        ("formula", 1, "bad-formula"),
        ("blast_radius", "none", "bad-tier"), ("blast_radius", "LOW", "bad-tier"), ("blast_radius", 1, "bad-tier"),
        ("blast_radius", True, "bad-tier"),
        ("target", "", "bad-target"), ("target", "-x", "bad-target"), ("target", "a b", "bad-target"),
        ("target", "x" * 301, "bad-target"), ("target", "caf\u00e9", "bad-target"), ("target", 5, "bad-target"),
        ("requester", "", "bad-requester"), ("requester", "x" * 101, "bad-requester"),
        ("requester", "a b", "bad-requester"),
        ("requester", ["a"], "bad-requester"),
        ("secrets", "A", "bad-secrets"), ("secrets", ["a"], "bad-secrets"), ("secrets", ["A", "A"], "bad-secrets"),
        ("secrets", [1], "bad-secrets"), ("secrets", ["*"], "bad-secrets"), ("secrets", ["A" * 65], "bad-secrets"),
        ("secrets", [f"A{n}" for n in range(65)], "bad-secrets"), ("secrets", ["1A"], "bad-secrets"),
        ("unblocks", ["#1"], "bad-unblocks"), ("unblocks", ["a/b#0"], "bad-unblocks"),
        ("unblocks", ["a/b"], "bad-unblocks"),
        ("unblocks", ["a/b#1", "a/b#1"], "bad-unblocks"), ("unblocks", {"a": 1}, "bad-unblocks"),
        ("unblocks", ["a/b#1234567890"], "bad-unblocks"), ("unblocks", [f"{'o' * 101}/n#1"], "bad-unblocks"),
        ("unblocks", [f"o/{'n' * 101}#1"], "bad-unblocks"),
        ("not_before", "2026-11-21T08:00:00Z", "bad-time"), ("expires", 1, "bad-time"),
        ("runs", 0, "bad-runs"), ("runs", 2, "bad-runs"), ("runs", 367, "bad-runs"), ("runs", "2", "bad-runs"),
        ("runs", True, "bad-runs"), ("every_hours", 1, "bad-runs"), ("every_hours", -1, "bad-runs"),
        ("reason", 5, "bad-text"), ("reason", "x" * 501, "bad-text"), ("reason", "a\u202eb", "bad-text"),
        ("reason", "cafe\u0301", "bad-text"),
    ],
)  # fmt: skip
def test_what_a_key_may_not_hold(key: str, bad: Any, code: str) -> None:
    found = changed(**{key: bad})
    assert (code, key if key != "every_hours" else "runs") in found
    assert {c for c, _ in found} <= {code, "id-not-name"}


@pytest.mark.parametrize(
    ("key", "good"),
    [
        ("id", "a1"), ("id", "a" * 64), ("id", "9-9"), ("formula", "r" * 40 + "@999999"), ("formula", "a-1@1"),
        ("blast_radius", "medium"), ("blast_radius", "high"), ("target", "x" * 300), ("target", "@a/b:c+d.e_f-g"),
        ("requester", "x" * 100), ("requester", "person:ann"), ("secrets", ["A", "B_2"]), ("secrets", ["A" * 64]),
        ("secrets", [f"A{n}" for n in range(64)]), ("unblocks", ["a/b#1", "a.b/c_d#123456789"]), ("reason", ""),
        ("unblocks", [f"{'o' * 100}/{'n' * 100}#1"]),
        ("reason", "x" * 500), ("reason", 'quote " and \\ and Ж'), ("params", {}),
        ("params", {"a": "x" * 2000, "b": [], "c": ["x", 1], "d": True, "e": -MAX_INT, "f": MAX_INT, "g": ""}),
        ("params", {f"p{n:02}": n for n in range(64)}), ("params", {"x": list(range(64))}), ("params", {"a" * 40: 1}),
    ],
)  # fmt: skip
def test_what_a_key_may_hold(key: str, good: Any) -> None:
    assert changed(**{key: good}) == []


@pytest.mark.parametrize(
    ("bad", "code", "key"),
    [
        ({"x": MAX_INT + 1}, "bad-type", "params.x"), ({"x": -MAX_INT - 1}, "bad-type", "params.x"),
        ({"x": 10**400}, "bad-type", "params.x"), ({"x": [True]}, "bad-type", "params.x"),
        ({"x": T0}, "bad-type", "params.x"), ({"x": "x" * 2001}, "bad-text", "params.x"),
        ({"x": ["a\u200bb"]}, "bad-text", "params.x"), ({"x": "a\u202eb"}, "bad-text", "params.x"),
        ({"x": list(range(65))}, "too-many", "params.x"), ({"x": [T0, 1]}, "bad-type", "params.x"),
        ({f"p{n}": n for n in range(65)}, "bad-params", "params"), ({"a" * 41: 1}, "bad-key", "params." + "a" * 40),
    ],
)  # fmt: skip
def test_attack_20_types_and_bounds_of_parameters(bad: dict[str, Any], code: str, key: str) -> None:
    assert changed(params=bad) == [(code, key)]


def test_params_must_be_a_table() -> None:
    assert codes(toml(values() | {"params": 1})) == [("bad-params", "params")]
    assert codes(toml(values() | {"params": "x"})) == [("bad-params", "params")]


def test_attack_20_floats_dates_and_nan_have_no_line_at_all() -> None:
    for text in ("1.5", "nan", "inf", "2026-11-21", "1e3", "08:00:00"):
        data = GOOD + f"x = {text}\n".encode()
        assert [code for code, _ in codes(data)] == ["not-canonical"]


def test_times_must_be_in_order_and_in_utc() -> None:
    assert changed(expires=ACTION.not_before) == [("bad-time", "expires")]
    assert changed(expires=ACTION.not_before - timedelta(seconds=1)) == [("bad-time", "expires")]
    assert changed(expires=ACTION.not_before + timedelta(seconds=1)) == []
    assert ("not-canonical", "") in codes(GOOD.replace(b"08:00:00Z", b"08:00:00.5Z"))
    assert ("not-canonical", "") in codes(GOOD.replace(b"2026-11-21T08:00:00Z", b"2026-11-21T08:00:00+01:00"))


def test_a_time_that_is_none_is_answered_with_one_that_is() -> None:
    _, (found,) = check(toml(values() | {"not_before": "tomorrow"}), NAME)
    assert found.hint == "2026-11-21T08:00:00Z"


def test_rows_of_runs_have_their_bounds() -> None:
    assert changed(runs=366, every_hours=1) == []
    assert changed(runs=2, every_hours=24 * 366) == []
    assert changed(runs=2, every_hours=24 * 366 + 1) == [("bad-runs", "runs")]
    assert changed(runs=366 + 1, every_hours=1) == [("bad-runs", "runs")]
    assert changed(runs=2) == [("bad-runs", "runs")]
    assert changed(runs=1) == [("not-canonical", "")], "what is the default is not written"


@pytest.mark.parametrize(
    "name", ["other.toml", f"{ACTION.id}.TOML", ACTION.id, f"{ACTION.id}.toml.toml", f"x/{NAME}", ""]
)
def test_attack_11_the_id_is_the_files_name(name: str) -> None:
    assert codes(GOOD, name) == [("id-not-name", "id")]


@given(st.integers(0, len(GOOD) - 1), st.binary(max_size=2))
def test_attack_21_any_other_bytes_say_something_else_or_are_refused(at: int, piece: bytes) -> None:
    data = GOOD[:at] + piece + GOOD[at + 1 :]
    action, _ = check(data, NAME)
    assert action is None or action.write() == data


def test_attack_21_the_same_values_in_another_order_or_quoting() -> None:
    lines = GOOD.split(b"\n")
    assert [code for code, _ in codes(b"\n".join([lines[1], lines[0], *lines[2:]]))] == ["not-canonical"]
    assert [code for code, _ in codes(GOOD.replace(b"release 1.8.2", b"release\\u0020 1.8.2"))] == ["not-canonical"]
    assert [code for code, _ in codes(GOOD.rstrip(b"\n"))] == ["not-canonical"]
    assert [code for code, _ in codes(GOOD.replace(b"\n\n[params]", b"\n[params]"))] == ["not-canonical"]
    turned = b'tag = "v1.8.2"\nrepo = "founder/hello"\n'
    assert [code for code, _ in codes(GOOD.partition(b"[params]\n")[0] + b"[params]\n" + turned)] == ["not-canonical"]
    assert [code for code, _ in codes(GOOD.replace(b"v = 1\n", b"v = 1\nv = 1\n"))] == ["not-toml"]


def test_attack_18_a_twin_in_another_form_is_no_id() -> None:
    assert ("bad-id", "id") in changed(id=unicodedata.normalize("NFD", "caf\u00e9"))
    assert ("bad-id", "id") in changed(id=unicodedata.normalize("NFC", "caf\u00e9"))


def test_a_file_of_the_older_system_is_named_and_never_guessed_at() -> None:
    old = b'# request\naction = "deploy"\nrisk = "low"\n[params]\nhost = "x"\n'
    action, findings = check(old, "x.toml")
    assert action is None
    assert [found.code for found in findings] == ["legacy", "not-canonical"]
    assert "rent-a-human" in findings[0].hint
    plain = b'action = "deploy"\n'
    assert check(plain, "x.toml")[1][0].code == "legacy"
    assert "legacy" not in [code for code, _ in codes(b'# words\nv = 1\naction = "deploy"\n')]
    assert [code for code, _ in codes(b"[[[\n")] == ["not-canonical"]
    assert codes(toml({k: v for k, v in values().items() if k != "v"})) == [
        ("legacy", "v"), ("missing-key", "v"),
    ]  # fmt: skip
    assert [code for code, _ in codes(b"# only = words\n")] == ["not-canonical"]


def test_all_problems_are_told_at_once() -> None:
    found = changed(formula="x", blast_radius="x", target="", reason="x" * 501, secrets=["a"], more=1)
    assert {code for code, _ in found} == {
        "unknown-key", "bad-formula", "bad-tier", "bad-target", "bad-secrets", "bad-text",
    }  # fmt: skip


def test_long_names_are_cut_in_what_is_told() -> None:
    _, findings = check(GOOD, "x" * 500)
    assert len(findings[0].message) < 200
    _, findings = check(toml(values() | {"params": {"k" * 300: T0}}), NAME)
    assert max(len(found.key) for found in findings) <= 47

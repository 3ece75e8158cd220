"""The one form of texts and files that the vault reads and writes."""

from __future__ import annotations

import json
import tomllib
import unicodedata
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.vault.canonical import (
    MAX_BYTES,
    Refused,
    fits,
    json_bytes,
    load,
    moment,
    plain,
    sha256,
    stamp,
    toml,
    trouble,
)

INVISIBLE = {
    "right-to-left override": "\u202e", "zero width space": "\u200b", "word joiner": "\u2060", "soft hyphen": "\u00ad",
    "NUL": "\0", "escape": "\x1b", "line end": "\n", "tab": "\t", "no-break space": "\u00a0",
    "line separator": "\u2028",
    "paragraph separator": "\u2029", "private use": "\ue000", "unassigned": "\u0378", "Hangul filler": "\u3164",
    "half-width filler": "\uffa0", "Braille blank": "\u2800", "grapheme joiner": "\u034f",
    "tag character": "\U000e0041",
    "variation selector": "\ufe0f", "variation selector supplement": "\U000e0100", "Mongolian selector": "\u180b",
    "Mongolian selector three": "\u180d", "en space": "\u2002", "Hangul choseong filler": "\u115f",
    "Hangul jungseong filler": "\u1160", "Khmer inherent vowel": "\u17b4", "Khmer vowel aa": "\u17b5",
    "lone surrogate": "\ud800",
}  # fmt: skip


@pytest.mark.parametrize("name", INVISIBLE)
def test_attack_19_what_a_reader_does_not_see(name: str) -> None:
    assert f"U+{ord(INVISIBLE[name]):04X}" in str(trouble(f"deploy{INVISIBLE[name]}now", 100))


def test_attack_19_nfc_only() -> None:
    twin = unicodedata.normalize("NFD", "café")
    assert "NFC" in str(trouble(twin, 100))
    assert trouble("café", 100) is None


def test_lengths_are_bounded() -> None:
    assert trouble("x" * 10, 10) is None
    assert trouble("x" * 11, 10) == "has 11 characters, more than 10"


@given(st.text(max_size=60), st.integers(3, 40))
def test_plain_leaves_nothing_that_troubles(text: str, limit: int) -> None:
    if any(unicodedata.category(char) == "Cs" for char in text):
        return
    assert trouble(plain(text, limit), limit) is None


@given(st.text(st.sampled_from("abc éß中"), max_size=30))
def test_plain_leaves_good_text_alone(text: str) -> None:
    assert plain(text, 30) == text


def test_plain_says_that_it_cut() -> None:
    assert plain("abcdef", 6) == "abcdef"
    assert plain("abcdefg", 6) == "abc..."
    assert plain("a\nb\u202ec") == "a b?c"
    assert len(plain("x" * 501)) == 500


scalars = st.one_of(
    st.booleans(), st.integers(-(2**70), 2**70),
    st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=30),
    st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1)).map(lambda t: t.replace(microsecond=0, tzinfo=UTC)),  # noqa: DTZ001
)  # fmt: skip
keys = st.from_regex(r"[a-z][a-z0-9_]{0,9}", fullmatch=True)
values = st.one_of(scalars, st.lists(scalars, max_size=4))
files = st.dictionaries(keys, st.one_of(values, st.dictionaries(keys, values, max_size=3)), max_size=5)


@given(files)
def test_attack_21_what_is_written_is_read_alike_by_the_strict_reader_and_by_tomllib(given: dict[str, Any]) -> None:
    data = toml(given)
    assert load(data, limit=10**6) == given == tomllib.loads(data.decode())


def test_the_form() -> None:
    when = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert toml({"t": {"b": True}, "a": 1, "s": 'x"\\', "l": (1, "y"), "d": when}) == (
        b'a = 1\ns = "x\\"\\\\"\nl = [1, "y"]\nd = 2026-01-02T03:04:05Z\n\n[t]\nb = true\n'
    )


@pytest.mark.parametrize("value", [1.5, None, b"x", [[1]], [{}], {"a": {"b": {"c": 1}}}, {1}])
def test_what_has_no_form_is_not_written(value: object) -> None:
    with pytest.raises(TypeError, match="no canonical TOML form"):
        toml({"x": value} if not isinstance(value, dict) else value)


@pytest.mark.parametrize(
    "line",
    ["# words", "a.b = 1", '"a" = 1', "a = 1 ", " a = 1", "a=1", "a = 1.5", "a = 0x10", "a = +1", "a = nan", "a = {}",
     "a = 'x'", "[[a]]", "[a.b]", "[A]", "A = 1", "a = 1_000", "a = 2026-11-21", "é = 1", "\ta = 1", "a = 1\r"],
)  # fmt: skip
def test_attack_21_and_22_other_forms_never_reach_the_parser(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tomllib, "loads", None)
    with pytest.raises(Refused) as raised:
        load(b"v = 1\n" + line.encode() + b"\n")
    assert (raised.value.code, "line 2" in raised.value.words) == ("not-canonical", True)


def test_refusals_of_a_file() -> None:
    for data, code in ((b"a = 1\n" * 3000, "too-large"), (b'a = "\xff"\n', "not-utf8"), (b"a = 1\na = 1\n", "not-toml"),
                       (b"a = [1\n", "not-canonical")):  # fmt: skip
        with pytest.raises(Refused) as raised:
            load(data)
        assert raised.value.code == code
        assert str(raised.value) == f"{code}: {raised.value.words}"
        assert trouble(raised.value.words, 200) is None
    with pytest.raises(Refused, match="position 5"):
        load(b'a = "\xff"\n')


def test_attack_22_size_is_judged_before_anything_else() -> None:
    exact = b'a = "' + b"x" * (MAX_BYTES - 7) + b'"\n'
    assert len(exact) == MAX_BYTES == 16384
    assert load(exact)
    with pytest.raises(Refused, match="16385 bytes, more than 16384"):
        load(exact + b"\n")
    assert load(exact + b"\n", limit=MAX_BYTES + 1)


@pytest.mark.parametrize("value", [b"[" * 8000 + b"]" * 8000, b"[[1]]", b"[{a.a.a = 1}]", b"{a = 1}", b'["a", {}]'])
def test_attack_22_what_nests_never_reaches_the_parser(value: bytes) -> None:
    with pytest.raises(Refused, match="not-canonical"):
        load(b"a = " + value + b"\n")


def test_moments() -> None:
    there = datetime(2026, 11, 21, 8, 0, 1, tzinfo=UTC)
    assert moment(there) == there
    assert stamp(there) == "2026-11-21T08:00:01Z"
    assert stamp(there.astimezone(timezone(timedelta(hours=5)))) == "2026-11-21T08:00:01Z"
    for bad in (there.replace(microsecond=1), there.replace(tzinfo=None), there.date(), "2026-11-21T08:00:01Z", 1, None,
                there.replace(tzinfo=timezone(timedelta(hours=1)))):  # fmt: skip
        assert moment(bad) is None


def test_whole_numbers() -> None:
    assert [fits(value, range(1, 4)) for value in (0, 1, 2, 3, 4)] == [False, True, True, True, False]
    assert not any(fits(value, range(6)) for value in (True, False, 1.0, "1", None))


def test_attack_20_canonical_json_and_digest() -> None:
    assert json_bytes({"b": [1, True, None], "a": "é"}) == b'{"a":"\\u00e9","b":[1,true,null]}'
    with pytest.raises(ValueError, match="JSON"):
        json_bytes({"a": float("nan")})
    assert json.loads(json_bytes({"a": 10**400})) == {"a": 10**400}
    assert sha256(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

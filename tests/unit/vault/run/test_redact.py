"""Twelve ways to write a value, at any place, wrapped or cut into pieces: found, and cut out where that can be."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Mapping
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.vault.run.encodings import ENCODINGS
from factory.vault.run.redact import RULES, Hit, Redactor, Stream, together

CANARY = b'c4n/ry+"k\\y%~-VALUE=="9\xc3\xa9'
WAYS: Mapping[str, Callable[[bytes], bytes]] = {
    "raw": lambda v: v,
    "base64": base64.b64encode,
    "base64url": lambda v: base64.urlsafe_b64encode(v).rstrip(b"="),
    "base32": base64.b32encode,
    "hex": lambda v: v.hex().encode(),
    "hex upper": lambda v: v.hex().upper().encode(),
    "percent": lambda v: quote(v, safe="").encode(),
    "percent twice": lambda v: quote(quote(v, safe=""), safe="").encode(),
    "json": lambda v: json.dumps(v.decode()).encode(),
    "unicode escapes": lambda v: "".join(f"\\u{ord(c):04x}" for c in v.decode()).encode(),
    "reversed": lambda v: v[::-1],
    "gzip base64": lambda v: base64.b64encode(gzip.compress(b"{" + v + b"}")),
}


def knowing(*values: bytes) -> Redactor:
    made = Redactor()
    for number, value in enumerate(values):
        made.know(f"S{number}", value)
    return made


def test_the_ways_here_are_the_encodings_there() -> None:
    assert tuple(WAYS) == ENCODINGS


@pytest.mark.parametrize("way", WAYS)
def test_a_value_is_found_and_cut_out_however_it_is_written(way: str) -> None:
    written = b"before " + WAYS[way](CANARY) + b" after"
    redactor = knowing(CANARY)
    assert Hit("S0", way) in redactor.find(written)
    cleaned, left = redactor.withheld(written)
    assert (cleaned == b"") == bool(left)
    assert not redactor.find(cleaned)
    assert knowing(b"another-value-1").find(written) == ()


@pytest.mark.parametrize("before", range(6))
@pytest.mark.parametrize("way", ["base64", "base64url", "base32"])
def test_at_every_alignment(way: str, before: int) -> None:
    written = WAYS[way](b"x" * before + CANARY + b"yz")
    assert {hit.encoding for hit in knowing(CANARY).find(written)} & {way, "base64"}


@pytest.mark.parametrize("width", [1, 4, 7, 76])
@pytest.mark.parametrize("way", WAYS)
def test_wrapped_at_a_column(way: str, width: int) -> None:
    written = WAYS[way](CANARY * 3)
    rows = b"\n".join(written[at : at + width] for at in range(0, len(written), width))
    assert knowing(CANARY).find(rows)


@pytest.mark.parametrize("between", [b" ", b":", b"-", b", "])
def test_digits_in_groups(between: bytes) -> None:
    assert knowing(CANARY).find(between.join(b"%02x" % byte for byte in CANARY))


def test_as_utf_16() -> None:
    assert knowing(b"plain-secret-1").find("plain-secret-1".encode("utf-16-le"))


def test_one_line_of_a_key_is_enough() -> None:
    key = b"-----BEGIN X-----\nMIIEvQIBADANBgkqhkiG9w0BAQ\nEFAASCBKcwggSjAgEAAoIB\n-----END X-----\n"
    assert knowing(key).find(b"log: EFAASCBKcwggSjAgEAAoIB")
    assert not knowing(key).find(b"log: EFAASCBK")


def test_a_value_too_short_to_look_for_is_no_match_for_everything() -> None:
    assert knowing(b"abc").find(b"abc in every text") == ()
    assert knowing(b"").find(b"anything") == ()


def test_rules_find_what_nobody_handed_out() -> None:
    text = b"key AKIAIOSFODNN7ABCDEFG"
    assert Redactor().find(text) == ()
    assert [hit.encoding for hit in Redactor().find(text, rules=True)] == [RULES]


def test_a_gzip_bomb_is_bounded() -> None:
    bomb = base64.b64encode(gzip.compress(b"\0" * (64 << 20)))
    assert knowing(CANARY).find(bomb) == ()


def test_two_halves_in_two_fields_are_one() -> None:
    text = CANARY.decode()
    assert knowing(CANARY).find(together([text[:9], text[9:]]))
    assert knowing(CANARY).find(together([text[9:], text[:9]]))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(WAYS)), st.lists(st.integers(1, 40), min_size=1, max_size=30), st.binary(max_size=60))
def test_in_pieces_nothing_of_it_comes_out(way: str, cuts: list[int], noise: bytes) -> None:
    redactor = knowing(CANARY)
    data = noise + b"\n" + WAYS[way](CANARY) + b"\n" + noise
    stream, out, at = Stream(redactor), b"", 0
    for cut in [*cuts, len(data)]:
        out += stream.feed(data[at : at + cut])
        at += cut
    out += stream.end()
    assert not redactor.find(out)
    assert {hit.secret for hit in stream.hits} == {"S0"}


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=12, max_size=80), st.sampled_from(sorted(set(WAYS) - {"json", "unicode escapes"})))
def test_any_value_is_found(value: bytes, way: str) -> None:
    core = value.strip(b"\r\n")
    if len(core) < 8:
        return
    assert knowing(value).find(b"<" + WAYS[way](value) + b">") or len(core) < 10


def test_what_holds_nothing_stays_as_it_is() -> None:
    redactor = knowing(CANARY)
    data = bytes(range(256)) * 4
    assert redactor.withheld(data) == (data, ())
    stream = Stream(redactor)
    assert stream.feed(data[:100]) + stream.feed(data[100:]) + stream.end() == data

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.forge.pktline import (
    fetch_request,
    ls_refs_request,
    packets,
    parse_fetch,
    parse_ls_refs,
    parse_report,
    pkt,
    push_request,
)

SHA = "a" * 40


def test_the_request_is_framed_as_git_reads_it() -> None:
    body = ls_refs_request(["refs/heads/", "refs/factory/"], "x")
    assert body == (
        b"0014command=ls-refs\n000cagent=x\n0017object-format=sha1\n0001"
        b"001bref-prefix refs/heads/\n001dref-prefix refs/factory/\n0000"
    )


@pytest.mark.parametrize(
    ("lines", "refs"),
    [
        ([], {}),
        ([f"{SHA} refs/heads/main\n"], {"refs/heads/main": SHA}),
        ([f"{SHA} HEAD symref-target:refs/heads/main\n"], {"HEAD": SHA}),
        ([f"{SHA} refs/tags/v1 peeled:{'b' * 40}\n"], {"refs/tags/v1": SHA}),
        (["unborn HEAD symref-target:refs/heads/main\n"], {}),
        ([f"{'c' * 64} refs/heads/sha256"], {"refs/heads/sha256": "c" * 64}),
    ],
)
def test_answers(lines: list[str], refs: dict[str, str]) -> None:
    assert parse_ls_refs(b"".join(map(pkt, lines)) + b"0000") == refs


@pytest.mark.parametrize(
    "data",
    [b"", b"00", b"zzzz", b"0003", b"0010short", b"<html>", pkt("ERR no such repo\n") + b"0000",
     pkt("# service=git-upload-pack\n") + b"0000", pkt(f"{SHA} refs/heads/main\n")],
)  # fmt: skip
def test_anything_else_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        parse_ls_refs(data)


@given(st.binary(max_size=200))
def test_garbage_never_does_more_than_raise(data: bytes) -> None:
    try:
        list(packets(data))
        parse_ls_refs(data)
    except ValueError:
        pass


@given(st.binary(max_size=200), st.booleans())
def test_garbage_is_neither_a_pack_nor_a_yes(data: bytes, framed: bool) -> None:
    told = b"%04x" % (len(data) + 4) + data + b"0000" if framed else data
    for parse in (parse_fetch, lambda data: parse_report(data, "refs/heads/x")):
        with pytest.raises(ValueError):
            parse(told)


def test_a_fetch_is_framed_as_git_reads_it() -> None:
    body = fetch_request([SHA], ["b" * 40], "x")
    assert body == (
        b"0012command=fetch\n000cagent=x\n0017object-format=sha1\n0001"
        b"000ethin-pack\n000eofs-delta\n0010no-progress\n"
        b"0032want " + b"a" * 40 + b"\n0032have " + b"b" * 40 + b"\n0009done\n0000"
    )


def test_a_push_is_framed_as_git_reads_it() -> None:
    body = push_request("refs/heads/x", SHA, "b" * 40, b"PACK", "x")
    line = f"{SHA} {'b' * 40} refs/heads/x\0report-status object-format=sha1 agent=x".encode()
    assert body == b"%04x" % (len(line) + 4) + line + b"0000PACK"


def band(number: int, data: bytes) -> bytes:
    return b"%04x" % (len(data) + 5) + bytes([number]) + data


def test_a_pack_is_put_together_without_the_words_of_progress() -> None:
    told = pkt("packfile\n") + band(1, b"PACK") + band(2, b"counting") + band(1, b"more") + b"0000"
    assert parse_fetch(told) == b"PACKmore"


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (pkt("ERR upload-pack: not our ref\n") + b"0000", "not our ref"),
        (pkt("packfile\n") + band(1, b"PACK") + band(3, b"died of a signal") + b"0000", "died of a signal"),
        (pkt("packfile\n") + b"0000", "without a pack"),
        (pkt("packfile\n") + band(1, b"PACK"), "framing"),
    ],
)
def test_half_a_pack_is_none(told: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_fetch(told)


REF = "refs/heads/ledger"


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (["unpack ok\n", f"ok {REF}\n"], ""),
        (["unpack ok", f"ok {REF}"], ""),
        (["unpack ok\n", f"ng {REF} fetch first\n"], "fetch first"),
        (["unpack index-pack failed\n", f"ng {REF} unpacker error\n"], "unpacker error (unpack index-pack failed)"),
        (["unpack ok\n", f"ng {REF}2 other\n", f"ok {REF}\n"], ""),
    ],
)
def test_what_the_server_says_of_a_push(lines: list[str], why: str) -> None:
    assert parse_report(b"".join(map(pkt, lines)) + b"0000", REF) == why


@pytest.mark.parametrize(
    "lines",
    [[], ["unpack ok\n"], [f"ok {REF}\n"], ["unpack failed\n", f"ok {REF}\n"], ["unpack ok\n", f"ok {REF}2\n"]],
)
def test_where_it_does_not_say_so_nothing_is_known(lines: list[str]) -> None:
    with pytest.raises(ValueError):
        parse_report(b"".join(map(pkt, lines)) + b"0000", REF)

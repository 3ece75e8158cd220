from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.forge.pktline import ls_refs_request, packets, parse_ls_refs, pkt

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

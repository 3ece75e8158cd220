"""Framing, push commands, routes, the access log: what comes from outside, taken apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.devforge import lsrefs, pktline, receive
from factory.devforge.access_log import AccessLog
from factory.devforge.api.router import Router
from factory.devforge.moves import Change
from factory.devforge.pktline import BadPacket


@given(st.lists(st.binary(min_size=1, max_size=300).filter(lambda b: not b.endswith(b"\n"))))
def test_packets_read_back(payloads: list[bytes]) -> None:
    data = b"".join(pktline.line(payload) for payload in payloads) + pktline.FLUSH
    assert list(pktline.parse(data)) == [*payloads, None]


@given(st.binary(max_size=60))
def test_garbage_is_a_bad_packet_or_packets(data: bytes) -> None:
    try:
        list(pktline.parse(data))
        lsrefs.command(data)
    except BadPacket:
        pass


def test_bands_stay_within_their_size() -> None:
    data = bytes(200_000)
    framed = pktline.band(1, data)
    at, got = 0, b""
    while at < len(framed):
        size = pktline.length(framed[at : at + 4])
        assert size <= 65520
        assert framed[at + 4] == 1
        got += framed[at + 5 : at + size]
        at += size
    assert got == data


A, B, Z = "a" * 40, "b" * 40, "0" * 40


def test_push_commands() -> None:
    first = f"{Z} {A} refs/heads/x\0 report-status atomic agent=git/2".encode()
    push = receive.parse_commands([b"shallow " + B.encode(), first, f"{A} {Z} refs/heads/y\n".encode()])
    assert push.changes == (Change("refs/heads/x", Z, A), Change("refs/heads/y", A, Z))
    assert push.capabilities == {"report-status", "atomic", "agent=git/2"}
    assert push.needs_pack
    assert not receive.parse_commands([f"{A} {Z} refs/heads/y\0".encode()]).needs_pack


@pytest.mark.parametrize(
    "line", [b"", b"x", f"{A} {B}".encode(), f"{A} short refs/x".encode(), f"{A.upper()} {B} r".encode()]
)
def test_no_push_command(line: bytes) -> None:
    with pytest.raises(BadPacket):
        receive.parse_commands([line])


def test_too_many_commands() -> None:
    with pytest.raises(BadPacket, match="more than"):
        receive.parse_commands([f"{A} {B} refs/heads/{n}".encode() for n in range(receive.MAX_COMMANDS + 1)])


def test_routes_split_before_they_decode() -> None:
    router = Router()
    for method, pattern in (
        ("GET", "/r/{o}/branches/{name...}"), ("GET", "/r/{o}/rules/{name}"), ("GET", "/r/search"), ("GET", "/r/{o}"),
        ("POST", "/r/{o}"), ("GET", "/r/{o}/rules"),
    ):  # fmt: skip
        router.add(method, pattern, "x")(lambda _call: None)  # type: ignore[arg-type, return-value]

    def found(method: str, path: str) -> tuple[str, dict[str, str]] | bool:
        route, params, known = router.find(method, path)
        return known if route is None else (route.pattern, dict(params))

    assert found("GET", "/r/search") == ("/r/search", {})
    assert found("GET", "/r/a%2Fb") == ("/r/{o}", {"o": "a/b"})
    assert found("GET", "/r/a/rules/x%2Fy") == ("/r/{o}/rules/{name}", {"o": "a", "name": "x/y"})
    assert found("GET", "/r/a/rules/x/y") is False
    assert found("GET", "/r/a/branches/x/y%2Fz") == ("/r/{o}/branches/{name...}", {"o": "a", "name": "x/y/z"})
    assert found("DELETE", "/r/a") is True
    assert found("GET", "/nothing") is False
    assert found("GET", "/r//rules") is False
    with pytest.raises(ValueError, match="twice"):
        router.add("GET", "/r/{o}", "x")(lambda _call: None)  # type: ignore[arg-type, return-value]


def test_the_access_log_turns_over(tmp_path: Path) -> None:
    log = AccessLog(tmp_path / "log", max_bytes=100)
    for number in range(30):
        log.write({"n": number})
    log.close()
    lines = [*(tmp_path / "log.1").read_text().splitlines(), *(tmp_path / "log").read_text().splitlines()]
    numbers = [json.loads(line)["n"] for line in lines]
    assert numbers == list(range(numbers[0], 30))
    assert (tmp_path / "log").stat().st_size <= 130

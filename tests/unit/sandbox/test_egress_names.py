"""Which host a TLS handshake names, and which addresses are the open internet."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.sandbox import egress
from factory.sandbox.egress import Refused, is_public, resolve, server_name


def hello(host: str | None) -> bytes:
    """A real client's first words."""
    context = ssl.create_default_context()
    context.check_hostname = host is not None
    if host is None:
        context.verify_mode = ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=host).do_handshake()
    return outgoing.read()


REAL = hello("files.example.org")


def test_a_real_handshake_names_its_host() -> None:
    assert server_name(REAL) == "files.example.org"
    assert server_name(REAL + b"what comes after the record") == "files.example.org"
    assert server_name(hello("FILES.Example.org")) == "files.example.org"
    assert server_name(hello(None)) is None


@pytest.mark.parametrize("cut", range(0, len(REAL) - 1, 7))
def test_half_a_handshake_names_nobody(cut: int) -> None:
    assert server_name(REAL[:cut]) is None


def in_one_record(message: bytes) -> bytes:
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


def test_a_name_that_goes_on_in_a_second_record_is_no_name() -> None:
    """The server would put the records together and read another name than the first one shows."""
    message = hello("pypi.org.evil.example")[5:]
    at = message.index(b"pypi.org") + len(b"pypi.org")
    assert server_name(in_one_record(message)) == "pypi.org.evil.example"
    assert server_name(in_one_record(message[:at]) + in_one_record(message[at:])) is None


def extension(kind: int, value: bytes) -> bytes:
    return kind.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value


def name_list(*names: bytes, kind: int = 0) -> bytes:
    listed = b"".join(bytes([kind]) + len(name).to_bytes(2, "big") + name for name in names)
    return len(listed).to_bytes(2, "big") + listed


def made(*extensions: bytes) -> bytes:
    joined = b"".join(extensions)
    body = b"\x03\x03" + bytes(32) + b"\0" + b"\0\x02\x13\x01" + b"\x01\0" + len(joined).to_bytes(2, "big") + joined
    return in_one_record(b"\x01" + len(body).to_bytes(3, "big") + body)


@pytest.mark.parametrize(
    ("record", "name"),
    [
        (made(extension(0, name_list(b"a.example"))), "a.example"),
        (made(extension(10, b"xx"), extension(0, name_list(b"a.example"))), "a.example"),
        (made(extension(0, name_list(b"a.example", b"b.example"))), None),
        (made(extension(0, name_list(b"a.example")), extension(0, name_list(b"b.example"))), None),
        (made(extension(0, name_list(b"a.example", kind=1))), None),
        (made(extension(0, name_list(b"a.example") + b"x")), None),
        (made(extension(0, b"")), None),
        (made(extension(0, name_list("ä.example".encode()))), None),
        (made(), None),
        (b"", None),
        (b"GET / HTTP/1.1\r\n\r\n", None),
        (b"\x16\x03\x01\xff\xff", None),
    ],
)
def test_anything_but_one_name_is_none(record: bytes, name: str | None) -> None:
    assert server_name(record) == name


@given(st.binary(max_size=200) | st.builds(lambda at, byte: REAL[:at] + bytes([byte]) + REAL[at + 1 :],
                                           st.integers(0, len(REAL) - 1), st.integers(0, 255)))  # fmt: skip
def test_garbage_is_read_without_a_word(data: bytes) -> None:
    found = server_name(data)
    assert found is None or found.encode() in data.lower()


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "192.0.2.1", "198.18.0.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fd00::1", "ff02::1",
        "::ffff:10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::1", "2002:a00:1::1", "2001:db8::1",
    ],
)  # fmt: skip
def test_no_address_of_ours_is_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "151.101.0.223", "2606:4700::1111"])
def test_addresses_of_the_open_internet_are(address: str) -> None:
    assert is_public(address)


Answers = Callable[..., list[tuple[object, ...]]]


def answering(*addresses: str) -> Answers:
    return lambda *_a, **_k: [(0, 0, 0, "", (address, 443)) for address in addresses]


def test_one_private_address_among_public_ones_refuses_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egress.socket, "getaddrinfo", answering("1.1.1.1", "10.0.0.1"))
    with pytest.raises(Refused, match=r"x\.example is 10\.0\.0\.1, which is not a public address"):
        resolve("x.example")


def test_addresses_are_tried_ipv4_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egress.socket, "getaddrinfo", answering("2606:4700::1", "9.9.9.9", "1.1.1.1", "1.1.1.1"))
    assert resolve("x.example") == ("1.1.1.1", "9.9.9.9", "2606:4700::1")

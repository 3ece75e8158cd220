"""The only way out: what it lets through, what it adds, what it takes away, and whom it asks before."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from factory.vault.policy import Inject, hosts
from factory.vault.ports import Order
from factory.vault.run.asked import Refused
from factory.vault.run.broker import Broker, connect, secured
from factory.vault.run.gate import Gate
from factory.vault.run.inside import layout
from factory.vault.run.redact import Redactor
from factory.vault.run.result import Note
from tests.integration.session.tls import TlsServer, client
from tests.integration.vault.run.house import House, Seen, formula, probe

CANARY = b"s3cr3t/canary+value=42"
HOSTS = ("GET,HEAD,POST,PUT api.test/v1/", "GET *.cdn.test", "POST other.test:8443/hook")
INJECT = {"api.test": Inject("TOKEN", "Authorization", "Bearer ")}


class Line:
    """A broker on a socket, spoken to byte by byte."""

    def __init__(self, house: House, order: Order, path: Path) -> None:
        self.order, self.said, self.path = order, [], path
        self.gate = Gate(order, house._fence)
        self.redactor = Redactor()
        self.broker = Broker(
            path, order, hosts(order.formula, order.policy), self.gate, lambda name: house.secrets[name], self.redactor,
            self.said.append, never=house.never, connector=house.outside.connect,
        )  # fmt: skip

    def raw(self, data: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10)
            sock.connect(str(self.path))
            sock.sendall(data)
            got = b""
            while piece := sock.recv(65536):
                got += piece
            return got

    def ask(
        self, method: str, url: str, body: bytes = b"", proof: str = "", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        proof = proof or layout.proof(self.broker.token)
        rows = [f"{method} {url} HTTP/1.1", "Host: x", f"Proxy-Authorization: {proof}",
                *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]  # fmt: skip
        rows += [f"Content-Length: {len(body)}"] if body else []
        head, _, data = self.raw("\r\n".join(rows).encode() + b"\r\n\r\n" + body).partition(b"\r\n\r\n")
        first, *more = head.decode("latin-1").split("\r\n")
        told = {k.lower(): v for k, v in (row.split(": ", 1) for row in more)}
        return int(first.split(" ")[1]), told, data


@pytest.fixture
def house_with(house: House) -> House:
    house.secrets["TOKEN"] = CANARY
    return house


@contextmanager
def line(house: House, *, letter: str = "C", order: Order | None = None, **more: object) -> Iterator[Line]:
    values = {"hosts": HOSTS, "inject": INJECT, "secrets": ("TOKEN",), **more}
    order = order or house.order(formula(letter=letter), **values)  # type: ignore[arg-type]
    made = Line(house, order, house.root / "b.sock")
    with made.broker:
        yield made


def test_the_credential_is_added_outside_and_never_seen_inside(house_with: House) -> None:
    def echo(seen: Seen) -> tuple[int, dict[str, str], bytes]:
        return 200, {"X-Echo": seen.headers["authorization"]}, json.dumps(seen.headers).encode()

    house_with.outside.answer = echo
    with line(house_with) as it:
        status, told, data = it.ask("GET", "http://api.test/v1/me", Authorization="Bearer mine", Accept="a/b")
    assert status == 200
    assert house_with.outside.seen[0].headers["authorization"] == f"Bearer {CANARY.decode()}"
    assert house_with.outside.seen[0].headers["accept"] == "a/b"
    assert house_with.outside.seen[0].headers["accept-encoding"] == "identity"
    assert CANARY not in data
    assert b"[TOKEN]" in data
    assert told["x-echo"] == "Bearer [TOKEN]"
    assert not it.redactor.find(data)
    assert CANARY.decode() not in "".join(it.said)


def test_without_the_stripping_the_run_would_have_it(house_with: House) -> None:
    """The same with that one check off: an echoing host hands the credential to the run."""
    house_with.outside.answer = lambda seen: (200, {}, json.dumps(seen.headers).encode())
    with line(house_with) as it:
        it.redactor.withheld = lambda data: (data, ())  # type: ignore[method-assign]
        _, _, data = it.ask("GET", "http://api.test/v1/me")
    assert CANARY in data


def test_a_credential_that_the_action_does_not_name_is_not_used(house_with: House) -> None:
    order = house_with.order(formula(), hosts=HOSTS, inject=INJECT)
    with line(house_with, order=order) as it:
        assert it.ask("GET", "http://api.test/v1/me")[0] == 200
    assert "authorization" not in house_with.outside.seen[0].headers


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("GET", "http://api.test/v1/x"), ("GET", "http://API.test/v1/x?q=1&r=%20"), ("POST", "http://api.test:443/v1/"),
        ("GET", "http://api.test:80/v1/x"), ("GET", "http://a.b.cdn.test/any"), ("POST", "http://other.test:8443/hook"),
        ("POST", "http://other.test:8443/hook/2"), ("GET", "http://api.test./v1/x"),
    ],
)  # fmt: skip
def test_let_through(house_with: House, method: str, url: str) -> None:
    with line(house_with) as it:
        assert it.ask(method, url)[0] == 200, it.said


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("DELETE", "http://api.test/v1/x"), ("GET", "http://api.test/v2/x"), ("GET", "http://api.test/v1"),
        ("GET", "http://api.test/"), ("GET", "http://evil.test/v1/"), ("GET", "http://api.test.evil.test/v1/"),
        ("GET", "http://cdn.test/"), ("POST", "http://a.cdn.test/"), ("POST", "http://other.test/hook"),
        ("POST", "http://other.test:8443/hooks"), ("GET", "http://api.test:8443/v1/"), ("GET", "https://api.test/v1/"),
        ("GET", "/v1/x"), ("GET", "http://user@api.test/v1/"), ("GET", "http://api.test/v1/../admin"),
        ("GET", "http://api.test/v1/%2e%2e/admin"), ("GET", "http://api.test/v1//x"), ("GET", "http://api.test/v1/%2fx"),
        ("GET", "http://api.test/v1/a%5cb"), ("GET", "http://api.test/v1/%00"), ("GET", "http://api.test/v1/x#y"),
        ("GET", "http://api.test/v1/%zz"), ("GET", "http://api.test/v1/%252e%252e/"), ("TRACE", "http://api.test/v1/"),
        ("CONNECT", "api.test:443"), ("GET", "http://127.0.0.1/v1/"), ("GET", "http://forge.test/v1/"),
        ("GET", "http://[::1]/v1/"), ("GET", "http://api..test/v1/"), ("GET", "http://api.test:99999/v1/"),
    ],
)  # fmt: skip
def test_refused(house_with: House, method: str, url: str) -> None:
    with line(house_with) as it:
        status, told, _ = it.ask(method, url)
        assert status == 403
        assert told["x-factory-refused"]
        assert (it.broker.noted.refused, it.broker.noted.note) == (1, Note.REFUSED)
    assert house_with.outside.seen == []
    assert house_with.outside.connected == []


@pytest.mark.parametrize(
    "data",
    [
        b"GET http://api.test/v1/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET http://api.test/v1/ HTTP/1.1\r\nA: 1\r\n B: 2\r\n\r\n", b"nonsense\r\n\r\n",
        b"GET http://api.test/v1/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"GET http://api.test/v1/ HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET http://api.test/v1/ HTTP/1.1\nHost: x\r\n\r\n", b"GET  http://api.test/v1/ HTTP/1.1\r\n\r\n",
        b"GET http://api.test/v1/ HTTP/1.1\r\nX: a\x00b\r\n\r\n",
        b"POST http://api.test/v1/ HTTP/1.1\r\nContent-Length: 1\r\n\r\nxGET http://evil.test/ HTTP/1.1\r\n\r\n",
    ],
)  # fmt: skip
def test_what_two_parsers_could_read_differently_is_refused(house_with: House, data: bytes) -> None:
    with line(house_with) as it:
        assert it.raw(data).startswith(b"HTTP/1.1 403 ")
        assert "token" not in it.said[-1]
    assert house_with.outside.seen == []


def test_headers_that_choose_or_claim_do_not_go_on(house_with: House) -> None:
    with line(house_with) as it:
        it.ask("GET", "http://api.test/v1/", Range="bytes=0-3", Cookie="a=b", Expect="y",
               Idempotency_Key="mine", Accept_Encoding="gzip", X_Own="1", If_Match='"a"')  # fmt: skip
    got = house_with.outside.seen[0].headers
    assert set(got) == {"host", "accept-encoding", "connection", "authorization", "x-own", "if-match"}
    assert got["host"] == "api.test"


def test_the_ledger_is_asked_before_every_change(house_with: House) -> None:
    with line(house_with) as it:
        for _ in range(3):
            assert it.ask("POST", "http://api.test/v1/x", b"{}")[0] == 200
        assert len(house_with.asked) == 3
        assert len(it.gate.tried) == 3
        house_with.live = lambda order: False
        status, told, _ = it.ask("POST", "http://api.test/v1/x", b"{}")
        assert (status, "no longer says" in told["x-factory-refused"]) == (403, True)
        house_with.live = lambda order: True
        assert it.ask("POST", "http://api.test/v1/x", b"{}")[0] == 403  # shut once, shut for good
    assert len(house_with.outside.seen) == 3


def test_a_reading_request_may_use_an_answer_of_the_last_seconds(house_with: House) -> None:
    with line(house_with) as it:
        for _ in range(5):
            it.ask("GET", "http://api.test/v1/x")
    assert len(house_with.asked) == 1
    assert it.gate.tried == []


def test_a_ledger_that_cannot_be_read_means_no(house_with: House) -> None:
    def broken(order: Order) -> bool:
        raise OSError("the forge is down")

    house_with.live = broken
    with line(house_with) as it:
        assert it.ask("POST", "http://api.test/v1/x")[0] == 403
        assert it.ask("GET", "http://api.test/v1/x")[0] == 403
    assert house_with.outside.seen == []


def test_a_refusal_by_the_other_side_changed_nothing(house_with: House) -> None:
    for status, tried in ((200, 1), (422, 0), (403, 0), (409, 1), (408, 1), (500, 1), (302, 1)):
        house_with.outside.answer = lambda seen, status=status: (status, {}, b"")  # type: ignore[misc]
        with line(house_with) as it:
            assert it.ask("POST", "http://api.test/v1/x")[0] == status
            assert len(it.gate.tried) == tried


def test_a_keyed_run_sends_one_request_with_its_key(house_with: House) -> None:
    with line(house_with, letter="B") as it:
        assert it.ask("POST", "http://api.test/v1/x", b"{}", Idempotency_Key="mine")[0] == 200
        assert it.ask("POST", "http://api.test/v1/x", b"{}")[0] == 200  # the same once more, after a lost answer
        assert it.ask("POST", "http://api.test/v1/x", b"{1}")[0] == 403
        assert it.ask("PUT", "http://api.test/v1/x", b"{}")[0] == 403
        assert it.ask("GET", "http://api.test/v1/x")[0] == 200
    keys = [seen.headers.get("idempotency-key") for seen in house_with.outside.seen]
    assert keys == [it.order.idem_key, it.order.idem_key, None]


def test_a_probe_only_reads(house_with: House) -> None:
    order = probe(house_with.order(formula(), hosts=HOSTS, inject=INJECT, secrets=("TOKEN",)))
    with line(house_with, order=order) as it:
        assert it.ask("GET", "http://api.test/v1/x")[0] == 200
        assert it.ask("POST", "http://api.test/v1/x")[0] == 403
    assert [seen.method for seen in house_with.outside.seen] == ["GET"]
    assert house_with.asked == []


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [({"Content-Encoding": "gzip"}, b"\x1f\x8b", 403), ({}, b"x" * (16 * 1024 * 1024 + 1), 403),
     ({"Set-Cookie": "a"}, b"", 200)],
    ids=["packed", "too large", "cookie"],
)  # fmt: skip
def test_answers_that_cannot_be_looked_into(
    house_with: House, headers: dict[str, str], body: bytes, status: int
) -> None:
    house_with.outside.answer = lambda seen: (200, headers, body)
    with line(house_with) as it:
        got, told, _ = it.ask("GET", "http://api.test/v1/x")
    assert got == status
    assert "set-cookie" not in told


def test_a_secret_that_the_answer_hides_too_well_keeps_it_back(house_with: House) -> None:
    house_with.outside.answer = lambda seen: (200, {}, base64.b64encode(gzip.compress(CANARY)))
    with line(house_with) as it:
        status, told, data = it.ask("GET", "http://api.test/v1/x")
    assert (status, data) == (403, b"")
    assert "TOKEN (gzip base64)" in told["x-factory-refused"]


def test_head_tells_the_size_and_a_body_of_none(house_with: House) -> None:
    house_with.outside.answer = lambda seen: (200, {"Content-Length": "1234", "Docker-Content-Digest": "d"}, b"")
    with line(house_with) as it:
        status, told, data = it.ask("HEAD", "http://api.test/v1/x")
    assert (status, told["content-length"], told["docker-content-digest"], data) == (200, "1234", "d", b"")


def test_a_dead_host_is_an_answer_too(house_with: House) -> None:
    house_with.outside.port = 1
    with line(house_with) as it:
        assert it.ask("POST", "http://api.test/v1/x")[0] == 502
        assert it.gate.tried == []  # it was never sent
        assert (it.broker.noted.failed, it.broker.noted.note) == (1, Note.FAILED)
        assert it.said[-1] == "broker: failed: POST api.test/v1/x: ConnectionRefusedError"


def test_leaving_cuts_what_is_under_way(house_with: House) -> None:
    come, go = threading.Event(), threading.Event()

    def slow(seen: Seen) -> tuple[int, dict[str, str], bytes]:
        come.set()
        go.wait(10)
        return 200, {}, b""

    house_with.outside.answer = slow
    with line(house_with) as it:
        head = f"GET http://api.test/v1/ HTTP/1.1\r\nProxy-Authorization: {layout.proof(it.broker.token)}\r\n\r\n"
        asking = threading.Thread(target=it.raw, args=(head.encode(),))
        asking.start()
        assert come.wait(5)
    go.set()
    asking.join(5)
    assert not asking.is_alive()


# the other end


def test_outside_it_is_tls_to_the_name_that_was_asked_for() -> None:
    with TlsServer() as server:
        with secured("api.test", server.port, ["127.0.0.1"], client()) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 2\r\n\r\nhi")
            assert b"HI" in connection.recv(1000)
        assert server.named == ["api.test"]


def test_a_certificate_is_wanted() -> None:
    with TlsServer() as server, pytest.raises(OSError):
        secured("api.test", server.port, ["127.0.0.1"], ssl.create_default_context())


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "10.0.0.1", "169.254.169.254", "0.0.0.0"])
def test_private_addresses_are_refused(name: str) -> None:
    with pytest.raises(Refused, match="not a public address"):
        connect(name, 443)

"""The way out of a sandbox: who gets through, and that every refusal is written down."""

from __future__ import annotations

import contextlib
import functools
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from factory.config.model import Ci, Environment
from factory.git import objects
from factory.git.transport import Remote
from factory.runs.model import Cause, RunState
from factory.sandbox import doorway
from factory.sandbox.doorway import reachable
from factory.sandbox.egress import EgressProxy, Refused, resolve
from tests.integration.session.house import House
from tests.integration.session.tls import CLIENT, TlsServer, client

HOST = "packages.example.org"


class Way:
    """A proxy to one TLS server, and what it said."""

    def __init__(self, folder: Path, server: TlsServer) -> None:
        self.path = folder / "egress.sock"
        self.server = server
        self.said: list[str] = []
        self.asked: list[str] = []

    def proxy(
        self, *hosts: str, resolver: Callable[[str], Sequence[str]] | None = None, **given: object
    ) -> EgressProxy:
        def local(host: str) -> Sequence[str]:
            self.asked.append(host)
            return ("127.0.0.1",)

        port = given.pop("port", self.server.port)
        assert isinstance(port, int)
        return EgressProxy(
            self.path,
            hosts,
            self.said.append,
            resolver=resolver or local,
            port=port,
            **given,  # type: ignore[arg-type]
        )

    def connect(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(10)
        with reachable(self.path) as address:
            made.connect(address)
        return made

    def ask(self, line: str) -> bytes:
        """The status line of the proxy's answer."""
        with self.connect() as made:
            made.sendall(f"{line}\r\nHost: x\r\n\r\n".encode())
            return made.recv(65536).split(b"\r\n")[0]

    @contextlib.contextmanager
    def tunnel(self, to: str, named: str | None) -> Iterator[ssl.SSLSocket]:
        """A TLS connection through the proxy to ``to`` that names ``named``."""
        with self.connect() as made:
            made.sendall(f"CONNECT {to}:443 HTTP/1.1\r\n\r\n".encode())
            assert made.recv(65536).startswith(b"HTTP/1.1 200")
            with client().wrap_socket(made, server_hostname=named) as secure:
                yield secure


@pytest.fixture
def way(tmp_path: Path) -> Iterator[Way]:
    with TlsServer() as server:
        yield Way(tmp_path, server)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def fetch(secure: ssl.SSLSocket, body: bytes = b"") -> bytes:
    secure.sendall(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    answer = b""
    while data := secure.recv(65536):
        answer += data
    return answer.partition(b"\r\n\r\n")[2]


def test_an_allowed_host_that_the_handshake_names_is_reached(way: Way) -> None:
    with way.proxy(HOST), way.tunnel(HOST, HOST) as secure:
        assert fetch(secure, b"x" * 300_000) == b"X" * 300_000
    assert way.server.named == [HOST]
    assert way.said == [f"egress: connected to {HOST} (127.0.0.1)"]


def test_names_below_a_pattern_and_in_any_case_are_the_same_host(way: Way) -> None:
    with way.proxy("*.Example.org", "pypi.org:443"):
        with way.tunnel("PACKAGES.example.org.", HOST) as secure:
            assert fetch(secure) == b"HELLO"
        assert way.ask("CONNECT example.org:443 HTTP/1.1") == b"HTTP/1.1 403 Forbidden"
        assert way.ask("CONNECT evilexample.org:443 HTTP/1.1") == b"HTTP/1.1 403 Forbidden"
        with way.tunnel("pypi.org", "pypi.org") as secure:
            assert fetch(secure) == b"HELLO"


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("CONNECT other.example.org:443 HTTP/1.1", "other.example.org is not among the allowed hosts"),
        (f"CONNECT {HOST}:80 HTTP/1.1", "only port 443 is offered"),
        (f"CONNECT {HOST}:8443 HTTP/1.1", "only port 443"),
        (f"CONNECT {HOST}:99999 HTTP/1.1", "only port 443"),
        ("CONNECT 127.0.0.1:443 HTTP/1.1", "127.0.0.1 is not among the allowed hosts"),
        ("CONNECT [::1]:443 HTTP/1.1", "only CONNECT to a host name"),
        (f"GET http://{HOST}/ HTTP/1.1", "only CONNECT to a host name"),
        (f"POST https://{HOST}/ HTTP/1.1", "only CONNECT"),
        (f"CONNECT user@{HOST}:443 HTTP/1.1", "only CONNECT"),
        (f"CONNECT {HOST}\0.evil:443 HTTP/1.1", "only CONNECT"),
        (f"CONNECT {HOST}:443 HTTP/1.1 ", "only CONNECT"),
        ("CONNECT forge.example.org:443 HTTP/1.1", "is the forge"),
    ],
)
def test_everything_else_is_refused_unresolved_and_written_down(way: Way, line: str, word: str) -> None:
    with way.proxy(HOST, "forge.example.org", never=("Forge.example.org",)) as proxy:
        assert way.ask(line) == b"HTTP/1.1 403 Forbidden"
    assert way.asked == []
    (said,) = way.said
    assert said.startswith("egress: refused: ")
    assert word in said
    assert len(proxy.refused) == 1
    assert way.server.named == []


@pytest.mark.parametrize(("named", "word"), [("other.example.org", "names other.example.org"), (None, "names no host")])
def test_a_handshake_for_another_host_gets_nowhere(way: Way, named: str | None, word: str) -> None:
    with way.proxy(HOST), pytest.raises((ssl.SSLError, OSError)), way.tunnel(HOST, named):
        pass
    assert word in way.said[0]
    assert way.server.named == []


def test_what_is_no_handshake_gets_nowhere(way: Way) -> None:
    with way.proxy(HOST), way.connect() as made:
        made.sendall(f"CONNECT {HOST}:443 HTTP/1.1\r\n\r\n".encode())
        assert made.recv(65536).startswith(b"HTTP/1.1 200")
        made.sendall(b"GET / HTTP/1.1\r\nHost: " + HOST.encode() + b"\r\n\r\n")
        assert made.recv(65536) == b""
    assert "names no host" in way.said[0]


def test_a_private_address_is_refused_by_the_real_resolver(way: Way) -> None:
    with way.proxy("localhost", resolver=resolve):
        assert way.ask("CONNECT localhost:443 HTTP/1.1") == b"HTTP/1.1 403 Forbidden"
    assert "which is not a public address" in way.said[0]
    with pytest.raises(Refused):
        resolve("127.0.0.1")


def test_the_address_that_was_checked_is_the_one_connected_to(way: Way) -> None:
    """A name server that answers differently the second time is asked once only."""
    answers = iter([("127.0.0.1",), ("127.0.0.99",)])

    def rebinding(host: str) -> Sequence[str]:
        way.asked.append(host)
        return next(answers)

    with way.proxy(HOST, resolver=rebinding), way.tunnel(HOST, HOST) as secure:
        assert fetch(secure) == b"HELLO"
    assert way.asked == [HOST]


def test_a_host_that_does_not_answer_is_a_failure_and_no_refusal(way: Way) -> None:
    def lost(_host: str) -> Sequence[str]:
        raise OSError("Name or service not known")

    with way.proxy(HOST, resolver=lost) as proxy:
        assert way.ask(f"CONNECT {HOST}:443 HTTP/1.1") == b"HTTP/1.1 502 Bad Gateway"
    assert (proxy.failures, proxy.refused) == (1, [])
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with way.proxy(HOST, port=port) as proxy, pytest.raises((ssl.SSLError, OSError)), way.tunnel(HOST, HOST):
        pass
    assert proxy.failures == 1
    assert "connecting to packages.example.org (127.0.0.1): Connection refused" in way.said[-1]


def test_the_next_address_is_tried(way: Way) -> None:
    with way.proxy(HOST, resolver=lambda _host: ("127.0.0.2", "127.0.0.1")), way.tunnel(HOST, HOST) as secure:
        assert fetch(secure) == b"HELLO"


def test_leaving_ends_every_connection_and_every_descriptor(way: Way) -> None:
    before = descriptors()
    idle = []
    with way.proxy(HOST):
        for _ in range(10):
            idle.append(way.connect())
        with way.tunnel(HOST, HOST) as secure:
            secure.sendall(b"POST / HTTP/1.1\r\n")
            began = time.monotonic()
    assert time.monotonic() - began < 3
    for one in idle:
        one.settimeout(2)
        assert one.recv(10) in (b"", b"HTTP/1.1 4")
        one.close()
    until = time.monotonic() + 5
    while descriptors() > before and time.monotonic() < until:
        threading.Event().wait(0.02)
    assert descriptors() <= before


def test_a_flood_of_connections_waits_its_turn(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorway.Doorway.__init__, "__kwdefaults__", {"most": 4})
    with way.proxy(HOST):
        idle = [way.connect() for _ in range(20)]
        deadline = time.monotonic() + 5
        while sum(t.name == "egress" for t in threading.enumerate()) < 5 and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        assert sum(t.name == "egress" for t in threading.enumerate()) == 5
        for one in idle:
            one.close()
        with way.tunnel(HOST, HOST) as secure:
            assert fetch(secure) == b"HELLO"


# ---- from inside ----------------------------------------------------------------------------------------------------

FETCH = (
    CLIENT
    + """
import sys, urllib.request
opener = urllib.request.build_opener(
    urllib.request.HTTPSHandler(context=context), urllib.request.ProxyHandler(urllib.request.getproxies())
)
for address in sys.argv[1:]:
    try:
        print(address, opener.open(address, timeout=10).read().decode())
    except OSError as error:
        print(address, type(error).__name__, getattr(error, "reason", error))
"""
)


@pytest.mark.needs_bwrap
def test_set_up_reaches_its_hosts_and_the_check_after_it_none(
    house: House, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    through = functools.partial(EgressProxy, resolver=lambda _host: ("127.0.0.1",), port=way.server.port)
    monkeypatch.setattr("factory.session.shell.EgressProxy", through)
    base = house.commit(house.base, {"fetch.py": FETCH.encode()})
    house.base = base
    objects.update_ref(house.bare, "refs/heads/main", base)
    ask = f"python3 fetch.py https://{HOST}/a https://evil.example.org/b https://forge.example.org/ http://{HOST}/c"
    environment = Environment(setup=(f"{ask} > said",), cache=("said",), egress=(HOST, "forge.example.org"))
    spec = house.spec("ci", ci=Ci(command=f"cat said; {ask}"), environment=environment, head_ref=None)
    result = house.run(spec, project_remote=Remote(str(house.bare)))
    assert result.state is RunState.SUCCEEDED, (result, house.log(result))
    said = str((result.steps[0].answer or {})["tail"]).splitlines()
    assert said[0] == f"https://{HOST}/a HELLO"
    assert "403" in said[1]
    assert said[2] == "https://forge.example.org/ HELLO"  # this project's remote is a folder: no host is the forge's
    assert "Forbidden" in said[3]
    for line in said[4:]:
        assert "HELLO" not in line
        assert "URLError" in line, line
    log = house.log(result)
    assert f"egress: connected to {HOST} (127.0.0.1)" in log
    assert "egress: refused: evil.example.org is not among the allowed hosts" in log
    assert "egress: refused: only CONNECT to a host name is offered" in log


@pytest.mark.needs_bwrap
def test_set_up_that_fails_says_which_way_was_closed_and_a_lost_network_is_infrastructure(
    house: House, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = house.commit(house.base, {"fetch.py": FETCH.encode()})
    house.base = base
    objects.update_ref(house.bare, "refs/heads/main", base)

    def ci(ask: str) -> tuple[Cause | None, str]:
        environment = Environment(setup=(f"python3 fetch.py {ask}; exit 1",), egress=(HOST,))
        result = house.run(house.spec("ci", ci=Ci(command="true"), environment=environment, head_ref=None))
        return result.cause, result.detail

    through = functools.partial(EgressProxy, resolver=lambda _host: ("127.0.0.1",), port=way.server.port)
    monkeypatch.setattr("factory.session.shell.EgressProxy", through)
    cause, detail = ci("https://evil.example.org/")
    assert cause is Cause.GATE
    assert "no way out: evil.example.org is not among the allowed hosts (packages.example.org)" in detail

    def lost(_host: str) -> Sequence[str]:
        raise OSError("Temporary failure in name resolution")

    monkeypatch.setattr("factory.session.shell.EgressProxy", functools.partial(EgressProxy, resolver=lost))
    cause, detail = ci(f"https://{HOST}/")
    assert cause is Cause.SANDBOX
    assert "connections that failed: 1" in detail

"""What can be reached from inside: addresses, sockets, parts of the kernel behind a socket's family."""

from __future__ import annotations

import contextlib
import errno
import socket
from typing import Any

from factory.sandbox.probe import Answer
from factory.sandbox.probe.searching import is_socket, walk


def loopback(given: dict[str, Any]) -> Answer:
    """The host's loopback listeners."""
    got = []
    for port in given["ports"]:
        for address in ("127.0.0.1", "::1"):
            with contextlib.suppress(OSError), socket.create_connection((address, port), 0.5):
                got.append(f"{address}:{port}")
    return bool(got), ", ".join(got) or "the host's loopback is not there"


def interfaces(_: dict[str, Any]) -> Answer:
    """Network devices, routes, names."""
    with open("/proc/net/dev", encoding="ascii") as source:
        names = [line.split(":")[0].strip() for line in source.readlines()[2:]]
    others = [name for name in names if name != "lo"]
    # Tunnel devices that a kernel gives every new namespace are down and lead nowhere; a route would lead somewhere.
    with open("/proc/net/route", encoding="ascii") as source:
        routes = len(source.readlines()) - 1
    resolved = ""
    with contextlib.suppress(OSError):
        resolved = str(socket.getaddrinfo("example.com", 80)[0][4])
    broken = routes > 0 or bool(resolved)
    return broken, f"devices {', '.join(names)}; {routes} routes; {resolved or 'no name resolves'}" + (
        f" (down: {', '.join(others)})" if others and not broken else ""
    )


def abstract_sockets(given: dict[str, Any]) -> Answer:
    """Abstract Unix sockets of the host."""
    got = []
    for name in given["abstract"]:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as s:
            s.settimeout(0.5)
            s.connect("\0" + name)
            got.append(name)
    return bool(got), ", ".join(got) or "none answers"


def host_sockets(given: dict[str, Any]) -> Answer:
    """Unix socket files of the host, by path and by search."""
    own = set(given["own_sockets"])
    found = [path for path in walk("/", skip=("/usr", "/proc")) if is_socket(path) and path not in own]
    got = []
    for path in {*found, *given["sockets"]}:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as s:
            s.settimeout(0.5)
            s.connect(path)
            got.append(path)
    return bool(got), ", ".join(got) or "none but its own"


def socket_families(_: dict[str, Any]) -> Answer:
    """Families that reach parts of the kernel no agent needs; raw sockets."""
    got = []
    for name, family in (("netlink", 16), ("packet", 17), ("alg", 38), ("vsock", 40), ("bluetooth", 31), ("xdp", 44)):
        try:
            socket.socket(
                family, socket.SOCK_RAW if name in ("netlink", "packet", "xdp") else socket.SOCK_STREAM
            ).close()
            got.append(name)
        except OSError as error:
            # Unsupported by kernel or filter is the same to an attacker; refused for lack of a right is not a wall of
            # ours.
            if error.errno not in (errno.EAFNOSUPPORT, errno.EPERM, errno.ESOCKTNOSUPPORT, errno.EPROTONOSUPPORT):
                got.append(f"{name} ({error.strerror})")
    with contextlib.suppress(OSError):
        socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).close()
        got.append("raw")
    return bool(got), ", ".join(got) or "only Unix and internet stream and datagram sockets"

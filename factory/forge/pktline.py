"""Git's pkt-line framing, as far as ``ls-refs`` of protocol v2 needs it (gitprotocol-v2(5), gitprotocol-common(5))."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

FLUSH = b"0000"
DELIM = b"0001"


def pkt(text: str) -> bytes:
    """One data packet."""
    data = text.encode()
    return b"%04x" % (len(data) + 4) + data


def ls_refs_request(prefixes: Sequence[str], agent: str) -> bytes:
    """Body of ``POST .../git-upload-pack`` that asks for the refs below ``prefixes`` (all when empty)."""
    head = pkt("command=ls-refs\n") + pkt(f"agent={agent}\n") + pkt("object-format=sha1\n")
    return head + DELIM + b"".join(pkt(f"ref-prefix {prefix}\n") for prefix in prefixes) + FLUSH


def packets(data: bytes) -> Iterator[bytes]:
    """Data packets up to the first flush. Raises ValueError on broken framing or a missing flush."""
    at = 0
    while True:
        head = data[at : at + 4]
        try:
            size = int(head, 16) if len(head) == 4 else -1
        except ValueError:
            size = -1
        if size == 0:
            return
        if size in (1, 2):
            at += 4
            continue
        if size < 4 or at + size > len(data):
            raise ValueError("broken pkt-line framing")
        yield data[at + 4 : at + size]
        at += size


def parse_ls_refs(data: bytes) -> dict[str, str]:
    """Ref name -> object id. Raises ValueError when the answer is not one of ``ls-refs`` or reports an error."""
    refs: dict[str, str] = {}
    for line in packets(data):
        text = line.decode("utf-8", "surrogateescape").rstrip("\n")
        if text.startswith("ERR "):
            raise ValueError(text[4:])
        oid, _, rest = text.partition(" ")
        name = rest.split(" ", 1)[0]
        if oid == "unborn":
            continue
        if len(oid) not in (40, 64) or not set(oid) <= set("0123456789abcdef") or not name:
            raise ValueError(f"unexpected line {text[:80]!r}")
        refs[name] = oid
    return refs

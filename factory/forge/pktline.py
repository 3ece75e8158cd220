"""Git's pkt-line framing, as far as ``ls-refs``, ``fetch`` and a push need it.

Source: gitprotocol-v2(5), gitprotocol-pack(5), gitprotocol-common(5).
"""

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


def fetch_request(wants: Sequence[str], haves: Sequence[str], agent: str) -> bytes:
    """Body of ``POST .../git-upload-pack`` that asks for all that ``wants`` hold and ``haves`` do not."""
    head = pkt("command=fetch\n") + pkt(f"agent={agent}\n") + pkt("object-format=sha1\n")
    wish = [f"want {oid}\n" for oid in wants] + [f"have {oid}\n" for oid in haves]
    words = ("thin-pack\n", "ofs-delta\n", "no-progress\n", *wish, "done\n")
    return head + DELIM + b"".join(map(pkt, words)) + FLUSH


def push_request(ref: str, old: str, new: str, pack: bytes, agent: str) -> bytes:
    """Body of ``POST .../git-receive-pack`` that moves one ref from ``old`` to ``new``, and from nothing else."""
    return pkt(f"{old} {new} {ref}\0report-status object-format=sha1 agent={agent}") + FLUSH + pack


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


def parse_fetch(data: bytes) -> bytes:
    """The pack in an answer to ``fetch``. Raises ValueError when there is none, or the server reports an error."""
    pack: list[bytes] = []
    inside = False
    for line in packets(data):
        if not inside:
            if line.startswith(b"ERR "):
                raise ValueError(_text(line[4:]))
            inside = line.rstrip(b"\n") == b"packfile"
        elif line[:1] == b"\1":
            pack.append(line[1:])
        elif line[:1] != b"\2":  # words of progress
            raise ValueError(_text(line[1:]))
    if not pack:
        raise ValueError("an answer without a pack")
    return b"".join(pack)


def parse_report(data: bytes, ref: str) -> str:
    """Why the server did not move the ref; empty when it did. Raises ValueError when the answer does not say."""
    unpacked, *rows = [_text(line) for line in packets(data)] or [""]
    if not unpacked.startswith("unpack "):
        raise ValueError(f"unexpected line {unpacked[:80]!r}")
    for row in rows:
        if row.startswith(f"ng {ref} "):
            return row.removeprefix(f"ng {ref} ") + ("" if unpacked == "unpack ok" else f" ({unpacked})")
        if row == f"ok {ref}" and unpacked == "unpack ok":
            return ""
    raise ValueError(f"no word of {ref}")


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\n")

"""What fetching asks first, answered in this process: capabilities and ``ls-refs`` of protocol v2.

An idle factory polls with exactly this request, so it must not cost a process.
"""

from __future__ import annotations

from pathlib import Path

from factory.devforge.pktline import FLUSH, line, parse
from factory.git import objects

AGENT = "agent=factory-devforge/1"
ADVERTISEMENT = (
    line("# service=git-upload-pack\n")
    + FLUSH
    + line("version 2\n")
    + line(f"{AGENT}\n")
    + line("ls-refs=unborn\n")
    + line("fetch=shallow wait-for-done\n")
    + line("server-option\n")
    + line("object-format=sha1\n")
    + FLUSH
)


def command(body: bytes) -> str:
    """``ls-refs``, ``fetch`` or another word a protocol v2 request begins with; '' when it is no such request."""
    for packet in parse(body[:200] if body[:4] == FLUSH else body):
        if packet is None:
            return ""
        word, equals, name = packet.partition(b"=")
        return name.decode("ascii", "replace") if equals and word == b"command" else ""
    return ""


def answer(repo: Path, body: bytes) -> bytes:
    """The reply to an ``ls-refs`` request."""
    words: set[bytes] = set()
    prefixes: list[str] = []
    for packet in parse(body):
        if packet is None:
            continue
        if packet.startswith(b"ref-prefix "):
            prefixes.append(packet[len(b"ref-prefix ") :].decode("utf-8", "replace"))
        else:
            words.add(packet)
    wanted = tuple(prefixes) or ("",)
    rows = objects.ref_rows(repo, wanted, peel=b"peel" in words, head=True)
    out = bytearray()
    if b"unborn" in words and (not rows or rows[0].name != "HEAD") and any("HEAD".startswith(p) for p in wanted):
        out += line(f"unborn HEAD symref-target:{objects.read_head(repo)}\n")
    for row in rows:
        text = f"{row.oid} {row.name}"
        if row.target is not None and b"symrefs" in words:
            text += f" symref-target:{row.target}"
        if row.peeled is not None:
            text += f" peeled:{row.peeled}"
        out += line(text + "\n")
    return bytes(out) + FLUSH

"""Receiving a push: commands, quarantined objects, the decision, the report. Everything but unpacking is done here.

The only process is git's own ``unpack-objects``/``index-pack --strict`` into a quarantine beside the repo: it checks
every object and that what they link to exists. Nothing enters the repo before the rules have agreed.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from factory.devforge import guard, moves
from factory.devforge.lsrefs import AGENT
from factory.devforge.moves import Change
from factory.devforge.pktline import FLUSH, BadPacket, band, line
from factory.devforge.store import repos
from factory.devforge.store.access import Actor, Mode, mode
from factory.devforge.store.database import Store
from factory.devforge.store.repos import Repo
from factory.git import objects
from factory.git.values import ZERO

CAPABILITIES = (
    "report-status report-status-v2 delete-refs quiet atomic ofs-delta push-options side-band-64k object-format=sha1 "
    + AGENT
)
MAX_COMMANDS = 1000
LOOSE_LIMIT = 100
"""Packs of fewer objects become loose objects, as git's own receive.unpackLimit has it."""
QUARANTINE = "incoming-"

_OID = re.compile(r"[0-9a-f]{40}")
_FUNNY = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/$|/\.|\.$|\.lock(?:/|$)")


@dataclass(frozen=True)
class Push:
    """What a client sent before its pack."""

    changes: tuple[Change, ...]
    capabilities: frozenset[str]

    @property
    def needs_pack(self) -> bool:
        return any(change.new != ZERO for change in self.changes)


def advertisement(repo: Path) -> bytes:
    """Refs and capabilities for ``info/refs?service=git-receive-pack``; pull request refs are hidden."""
    rows = [row for row in objects.ref_rows(repo) if not hidden(row.name)]
    out = bytearray(line("# service=git-receive-pack\n") + FLUSH)
    if not rows:
        out += line(f"{ZERO} capabilities^{{}}\0{CAPABILITIES}\n")
    for number, row in enumerate(rows):
        out += line(f"{row.oid} {row.name}" + ("" if number else f"\0{CAPABILITIES}") + "\n")
    return bytes(out) + FLUSH


def hidden(ref: str) -> bool:
    return ref.startswith("refs/pull/")


def parse_commands(packets: Sequence[bytes]) -> Push:
    """``old new ref`` lines, the first with capabilities behind a NUL."""
    changes: list[Change] = []
    capabilities: frozenset[str] = frozenset()
    for packet in packets:
        if packet.startswith((b"shallow ", b"push-cert")):
            continue  # objects are checked against what is here, not against what the client has
        head, nul, rest = packet.partition(b"\0")
        if nul:
            capabilities = frozenset(rest.decode("utf-8", "replace").split())
        parts = head.decode("utf-8", "surrogateescape").removesuffix("\n").split(" ", 2)
        if len(parts) != 3 or not _OID.fullmatch(parts[0]) or not _OID.fullmatch(parts[1]):
            raise BadPacket("not a push command")
        changes.append(Change(parts[2], parts[0], parts[1]))
        if len(changes) > MAX_COMMANDS:
            raise BadPacket(f"more than {MAX_COMMANDS} refs in one push")
    return Push(tuple(changes), capabilities)


# ---------------------------------------------------------------- quarantine


def open_quarantine(repo: Path) -> Path:
    """An empty repo inside the repo's folder that borrows its objects."""
    made = Path(tempfile.mkdtemp(prefix=QUARANTINE, dir=repo))
    (made / "objects" / "info").mkdir(parents=True)
    (made / "objects" / "pack").mkdir()
    (made / "objects" / "info" / "alternates").write_text(f"{repo / 'objects'}\n")
    (made / "refs").mkdir()
    (made / "HEAD").write_text("ref: refs/heads/none\n")
    return made


def close_quarantine(quarantine: Path) -> None:
    shutil.rmtree(quarantine, ignore_errors=True)


def sweep(home: Path) -> None:
    """Remove quarantines a killed process left."""
    for left in (home / "repos").glob(f"*/*.git/{QUARANTINE}*"):
        close_quarantine(left)


def migrate(quarantine: Path, repo: Path) -> None:
    """Move the objects into the repo, each pack before its index, so that a reader never sees half of one."""
    source, target = quarantine / "objects", repo / "objects"
    for folder in source.iterdir():
        if len(folder.name) == 2:
            (target / folder.name).mkdir(exist_ok=True)
            for loose in folder.iterdir():
                os.rename(loose, target / folder.name / loose.name)  # noqa: PTH104 replaces an equal object
    packs = sorted((source / "pack").iterdir(), key=lambda path: path.suffix == ".idx")
    for path in packs:
        if path.suffix in (".pack", ".rev", ".idx"):
            os.rename(path, target / "pack" / path.name)  # noqa: PTH104


# ---------------------------------------------------------------- decision and report


def finish(store: Store, actor: Actor, repo: Repo, push: Push, quarantine: Path | None, unpack_error: str) -> bytes:
    """Judge, move the objects, move the refs, do what follows; the bytes of the answer."""
    said: list[str] = []
    results: dict[str, str] = {}
    if unpack_error:
        results = dict.fromkeys((c.ref for c in push.changes), "unpacker error")
    else:
        with store.exclusive():
            repo = repos.by_id(store, repo.id)
            results = _decide(store, actor, repo, push, quarantine, said)
    return _report(push, results, said, unpack_error)


def _decide(
    store: Store, actor: Actor, repo: Repo, push: Push, quarantine: Path | None, said: list[str]
) -> dict[str, str]:
    at = quarantine or repo.path
    if repo.archived:
        said.append(f"repository {repo.full_name} is archived and cannot be written to")
        return dict.fromkeys((c.ref for c in push.changes), "pre-receive hook declined")
    atomic = "atomic" in push.capabilities
    failed: dict[str, str] = {}
    for change in push.changes:
        reason = _malformed(repo, change, at)
        if reason:
            failed[change.ref] = reason
    if failed and atomic:
        return {c.ref: failed.get(c.ref, "atomic push failure") for c in push.changes}
    left = [change for change in push.changes if change.ref not in failed]
    for change in left:
        refused = guard.refusal(store, actor, repo, change, at)
        if refused:
            # As with a hook: one refusal declines the whole push.
            said.append(refused)
            return failed | dict.fromkeys((c.ref for c in left), "pre-receive hook declined")
    if not left:
        return failed
    if quarantine is not None:
        migrate(quarantine, repo.path)
    return failed | moves.apply(store, repo, actor.who, left, atomic=atomic)


def _malformed(repo: Repo, change: Change, at: Path) -> str | None:
    ref = change.ref
    if not ref.startswith("refs/") or ref.count("/") < 2 or _FUNNY.search(ref) or "/." in ref:
        return "funny refname"
    if ref.startswith("refs/for/") or ref.startswith("refs/for-review/"):
        return "AGit pushes are not offered by the embedded forge: push a branch and open a pull request"
    if hidden(ref):
        return "deny updating a hidden ref"
    now = objects.read_ref(repo.path, ref) or ZERO
    if now != change.old:
        return "fetch first"
    if change.new == ZERO:
        return None if now != ZERO else "deletion of a reference that does not exist"
    kind = objects.object_kind(at, change.new)
    if kind is None:
        return "missing necessary objects"
    if change.branch is not None and kind[0] != "commit":
        return "cannot update a branch with a non-commit object"
    return None


def declined(store: Store, actor: Actor, repo: Repo) -> str | None:
    """Why not even the pack is worth reading; None when it is."""
    return guard.NO_WRITE if mode(store, actor, repo) < Mode.WRITE else None


def decline(push: Push, why: str) -> bytes:
    """The answer to a push that was not looked at."""
    return _report(push, dict.fromkeys((c.ref for c in push.changes), "pre-receive hook declined"), [why], "")


def _report(push: Push, failed: dict[str, str], said: Sequence[str], unpack_error: str) -> bytes:
    if not push.capabilities & {"report-status", "report-status-v2"}:
        return b""
    lines = bytearray(line(f"unpack {unpack_error or 'ok'}\n"))
    for change in push.changes:
        raw = change.ref.encode("utf-8", "surrogateescape")
        reason = failed.get(change.ref)
        lines += line(b"ok " + raw + b"\n" if reason is None else b"ng " + raw + b" " + reason.encode() + b"\n")
    lines += FLUSH
    if "side-band-64k" not in push.capabilities:
        return bytes(lines)
    messages = "".join(f"{text}\n" for text in said).encode()
    return (band(2, messages) if messages else b"") + band(1, bytes(lines)) + FLUSH

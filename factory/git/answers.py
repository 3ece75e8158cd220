"""Reading git's and the server's words after a failure: an outage, a refusal, something missing, or git itself."""

from __future__ import annotations

import re

from factory.errors import ForgeRefused, ForgeUnavailable, GitFailed, NotFound
from factory.git.plumbing import failure, redacted
from factory.git.remote import Remote
from factory.process.spawn import Completed

_MISSING = (
    b"couldn't find remote ref",
    b"not found",
    b"does not appear to be a git repository",
    b"does not exist",
)
_NO_LOGIN = (b"authentication failed", b"could not read username", b"could not read password")
_NOT_ALLOWED = (b"permission denied", b"host key verification failed", b"dubious ownership")
_OUTAGE = (
    b"could not resolve host", b"failed to connect", b"connection refused", b"connection timed out",
    b"couldn't connect", b"early eof", b"the remote end hung up", b"operation timed out", b"recv failure",
    b"empty reply", b"connection reset", b"operation too slow", b"unexpected disconnect", b"rpc failed",
    b"no route to host", b"network is unreachable",
)  # fmt: skip


def network_error(doing: str, remote: Remote, done: Completed, timeout_s: float) -> Exception:
    """What a failed conversation means: ForgeUnavailable, NotFound, ForgeRefused, or GitFailed when it is none of
    them.
    """
    said = failure(done, timeout_s, (remote.token,))
    what = f"{doing} {redacted(remote.url)}: {said}"
    low = done.stderr.lower()
    status = http_status(done.stderr)
    if done.timed_out or is_outage(done.stderr):
        return ForgeUnavailable(what)
    if status == 404 or any(sign in low for sign in _MISSING):
        return NotFound(what, status=404, detail=said)
    if any(sign in low for sign in _NOT_ALLOWED):
        return ForgeRefused(what, status=403, detail=said)
    if status is not None or any(sign in low for sign in _NO_LOGIN):
        return ForgeRefused(what, status=status or 401, detail=said)
    return GitFailed(what)


def is_outage(stderr: bytes) -> bool:
    """Whether the other side was not there, broke off, or said that it cannot now (5xx, 429)."""
    status = http_status(stderr)
    if status is not None:
        return status >= 500 or status == 429
    low = stderr.lower()
    return any(sign in low for sign in _OUTAGE)


def http_status(stderr: bytes) -> int | None:
    """The HTTP status git names in its error, if it names one."""
    match = re.search(rb"returned error: (\d{3})|HTTP (\d{3}) curl", stderr)
    return None if match is None else int(match[1] or match[2])


def server_words(done: Completed, remote: Remote) -> str:
    """What the server said (its ``remote:`` lines and per-ref reasons), else what git said."""
    if done.timed_out:
        return "no end in time"
    heard = redacted(done.stderr, (remote.token,)).splitlines()
    lines = [line[7:].strip() for line in heard if line.startswith("remote:")]
    for line in redacted(done.stdout, (remote.token,)).splitlines():
        if line.startswith("!\t"):
            lines.append(line.rpartition("\t")[2].strip())
    return "; ".join(line for line in lines if line)[:2000] or failure(done, 0, (remote.token,))

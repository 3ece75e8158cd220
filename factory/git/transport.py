"""Fetch and push; each ref changes by compare-and-swap, the token is in no argv, file or environment.

The token travels as an anonymous in-memory file (memfd) that only git and the helper it starts inherit. The helper
is one line of shell, configured for exactly the remote's scheme, host and port, so no redirect can talk git into
showing it elsewhere (redirects are off besides). An ``http.extraHeader`` in GIT_CONFIG_* variables would save the
server's 401 but stands in the environment of every process below.

libgit2 has no force-with-lease (libgit2#3947), so the network belongs to the git binary (style.md section 8).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from factory.errors import ForgeRefused, ForgeUnavailable, GitFailed, NotFound, RefMoved, UsageError
from factory.git.plumbing import attempt, environment, failure, redacted
from factory.git.refs import is_oid, need_oid, need_ref
from factory.process.spawn import Completed

_FETCH_TIMEOUT_S = 600.0
_PUSH_TIMEOUT_S = 300.0
_LIST_TIMEOUT_S = 60.0
_SCP_LIKE = re.compile(r"(?:[A-Za-z0-9_.][A-Za-z0-9_.-]*@)?[A-Za-z0-9][A-Za-z0-9.-]*:(?!//)[^\s].*")


@dataclass(frozen=True)
class Remote:
    """Where to talk to, and as whom. ``ssh_auth_sock`` lends a person's agent for importing their repo over ssh."""

    url: str
    username: str = ""
    token: str = field(default="", repr=False)
    ssh_auth_sock: str | None = None

    def __post_init__(self) -> None:
        scheme = self.scheme  # refuses what is no URL we speak
        if scheme in ("http", "https"):
            parts = urlsplit(self.url)
            if parts.username is not None or parts.password is not None:
                raise UsageError(
                    f"{redacted(self.url)}: the URL holds a login", hint="use Remote.parse, which takes it out"
                )
        if any(ord(letter) < 32 for letter in self.url + self.username + self.token):
            raise UsageError(f"{redacted(self.url)!r}: control characters in a URL or a login")

    @classmethod
    def parse(cls, url: str, *, username: str = "", token: str = "", ssh_auth_sock: str | None = None) -> Remote:
        """As the constructor, with a login inside an http(s) URL taken out of it."""
        parts = urlsplit(url) if url.startswith(("http://", "https://")) else None
        if parts is not None and (parts.username is not None or parts.password is not None):
            username = username or unquote(parts.username or "")
            token = token or unquote(parts.password or "")
            bare = SplitResult(parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, parts.fragment)
            url = urlunsplit(bare)
        return cls(url, username, token, ssh_auth_sock)

    @property
    def scheme(self) -> str:
        """``http``, ``https``, ``ssh`` or ``file``; UsageError for anything else (``ext::`` would run a command)."""
        for scheme in ("http", "https", "ssh", "file"):
            if self.url.startswith(f"{scheme}://"):
                return scheme
        if self.url.startswith("/"):
            return "file"
        if "::" not in self.url and _SCP_LIKE.fullmatch(self.url):
            return "ssh"
        raise UsageError(
            f"{redacted(self.url)!r} is not a repo address",
            hint="use http(s)://, ssh://, user@host:path or an absolute path",
        )

    @property
    def origin(self) -> str:
        """Scheme, host and port of an http(s) URL: all that a credential is valid for."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"


@dataclass(frozen=True)
class RefUpdate:
    """One ref of a push: from ``expected`` (None: it must not exist) to ``new`` (None: delete it)."""

    ref: str
    new: str | None
    expected: str | None

    def __post_init__(self) -> None:
        need_ref(self.ref)
        for oid in (self.new, self.expected):
            if oid is not None:
                need_oid(oid)


class PushRefused(ForgeRefused):
    """The server refused the push although nothing had moved; ``detail`` is what it said."""


def ls_remote(remote: Remote, prefixes: Sequence[str] = ("refs/",)) -> Mapping[str, str]:
    """Refs of the remote whose full name starts with one of ``prefixes`` (``HEAD`` may be one), as name -> object id.

    Raises ForgeUnavailable, ForgeRefused, NotFound.
    """
    done = _talk(None, remote, ("ls-remote", "--quiet", "--", remote.url), timeout_s=_LIST_TIMEOUT_S)
    if done.returncode != 0 or done.timed_out:
        raise _network_error("reading the refs of", remote, done, _LIST_TIMEOUT_S)
    found: dict[str, str] = {}
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        oid, _tab, name = line.partition("\t")
        if is_oid(oid) and not name.endswith("^{}") and any(name.startswith(prefix) for prefix in prefixes):
            found[name] = oid
    return found


def default_branch(remote: Remote) -> str | None:
    """The branch the remote's HEAD names, without ``refs/heads/``; None when it says none (an empty repo)."""
    done = _talk(
        None, remote, ("ls-remote", "--quiet", "--symref", "--", remote.url, "HEAD"), timeout_s=_LIST_TIMEOUT_S
    )
    if done.returncode != 0 or done.timed_out:
        raise _network_error("reading the default branch of", remote, done, _LIST_TIMEOUT_S)
    match = re.search(rb"^ref: refs/heads/(\S+)\tHEAD$", done.stdout, re.MULTILINE)
    return None if match is None else match[1].decode("utf-8", "replace")


def fetch(repo: Path, remote: Remote, refspecs: Sequence[str], *, depth: int | None = None) -> None:
    """Fetch exactly ``refspecs`` into ``repo`` (its git directory): no tags, no submodules, objects checked.

    Raises NotFound when a named ref is missing, ForgeUnavailable, ForgeRefused, GitFailed (bad objects, no space).
    """
    for refspec in refspecs:
        _check_refspec(refspec)
    options = ["--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--no-recurse-submodules"]
    if depth is not None:
        options.append(f"--depth={depth}")
    names = "".join(f"{refspec}\n" for refspec in refspecs).encode()
    done = _talk(
        repo,
        remote,
        ("fetch", *options, "--refmap=", "--stdin", "--", remote.url),
        input=names,
        timeout_s=_FETCH_TIMEOUT_S,
    )
    if done.returncode != 0 or done.timed_out:
        raise _network_error("fetching from", remote, done, _FETCH_TIMEOUT_S)


def push(repo: Path, remote: Remote, updates: Sequence[RefUpdate], *, atomic: bool = True) -> None:
    """Change refs of the remote, each only from its expected value; with ``atomic`` all of them or none.

    Returns when the remote holds all new values, also when it already did: whoever must be the only winner puts
    something unique into the commit. After anything but a clean success the remote is read before judging: git has
    reported landed pushes as rejected.

    Raises RefMoved (the message names the first ref found at another value), PushRefused or another ForgeRefused (the
    server said no), ForgeUnavailable (nothing is known of the outcome), GitFailed (an object is missing here).
    """
    if not updates:
        return
    if len({update.ref for update in updates}) != len(updates):
        raise UsageError("a push names the same ref twice")
    leases = [f"--force-with-lease={update.ref}:{update.expected or ''}" for update in updates]
    specs = [f"{update.new or ''}:{update.ref}" for update in updates]
    options = [
        "--porcelain",
        "--no-verify",
        "--no-follow-tags",
        "--recurse-submodules=no",
        *(["--atomic"] if atomic else []),
    ]
    done = _talk(repo, remote, ("push", *options, *leases, "--", remote.url, *specs), timeout_s=_PUSH_TIMEOUT_S)
    if done.returncode == 0 and not done.timed_out:
        return
    _judge_refused_push(remote, updates, done)


def _judge_refused_push(remote: Remote, updates: Sequence[RefUpdate], done: Completed) -> None:
    said = _server_words(done, remote)
    if b"bad object" in done.stderr or b"src refspec" in done.stderr:
        raise GitFailed(f"pushing to {redacted(remote.url)}: {said}")
    try:
        now = ls_remote(remote, tuple(update.ref for update in updates))
    except ForgeUnavailable as error:
        raise ForgeUnavailable(
            f"pushing to {redacted(remote.url)}: {said}; and the remote cannot be read, so the outcome is unknown"
        ) from error
    if all(now.get(update.ref) == update.new for update in updates):
        return
    for update in updates:
        found = now.get(update.ref)
        if found not in (update.expected, update.new):
            raise RefMoved(
                f"pushing {update.ref} to {redacted(remote.url)}: "
                f"expected {_short(update.expected)}, found {_short(found)}",
                hint="read it again and decide afresh",
            )
    if done.timed_out or _is_outage(done.stderr):
        raise ForgeUnavailable(f"pushing to {redacted(remote.url)}: {said}; nothing was changed")
    names = ", ".join(update.ref for update in updates)
    raise PushRefused(
        f"pushing {names} to {redacted(remote.url)}: refused: {said}",
        status=_http_status(done.stderr) or 403,
        detail=said,
    )


def _talk(
    repo: Path | None, remote: Remote, args: Sequence[str], *, timeout_s: float, input: bytes | None = None
) -> Completed:
    """One git command that may speak to ``remote`` and to nothing else."""
    config = [
        ("http.followRedirects", "false" if remote.token else "initial"),
        ("http.lowSpeedLimit", "1"),
        ("http.lowSpeedTime", "60"),
        ("core.askPass", "/bin/false"),
    ]
    extra = {"SSH_AUTH_SOCK": remote.ssh_auth_sock} if remote.ssh_auth_sock else {}
    with _credential(remote) as (credential, fds):
        env = environment(config=[*config, *credential], protocols=(remote.scheme,), extra=extra)
        return attempt(repo, *args, base_env=env, pass_fds=fds, timeout_s=timeout_s, input=input)


@contextmanager
def _credential(remote: Remote) -> Iterator[tuple[list[tuple[str, str]], tuple[int, ...]]]:
    if not remote.token or remote.scheme not in ("http", "https"):
        yield [], ()
        return
    fd = os.memfd_create("credential", os.MFD_CLOEXEC)
    try:
        os.write(fd, f"username={remote.username or 'token'}\npassword={remote.token}\n".encode())
        # Opened by name, so that every reader starts at the beginning: git may ask more than once.
        helper = f'!f() {{ test "$1" = get && cat /proc/self/fd/{fd}; }}; f'
        yield [(f"credential.{remote.origin}.helper", helper)], (fd,)
    finally:
        os.close(fd)


def _check_refspec(refspec: str) -> None:
    source, colon, target = refspec.removeprefix("+").partition(":")
    if is_oid(source) and not colon:
        return
    if not is_oid(source):
        need_ref(source.replace("*", "x", 1))
    if colon:
        need_ref(target.replace("*", "x", 1))


def _network_error(doing: str, remote: Remote, done: Completed, timeout_s: float) -> Exception:
    said = failure(done, timeout_s, (remote.token,))
    what = f"{doing} {redacted(remote.url)}: {said}"
    low = done.stderr.lower()
    status = _http_status(done.stderr)
    if done.timed_out or _is_outage(done.stderr):
        return ForgeUnavailable(what)
    if b"couldn't find remote ref" in low:
        return NotFound(what, status=404, detail=said)
    if (
        status == 404
        or b"not found" in low
        or b"does not appear to be a git repository" in low
        or b"does not exist" in low
    ):
        return NotFound(what, status=404, detail=said)
    if status is not None or b"authentication failed" in low or b"could not read username" in low:
        return ForgeRefused(what, status=status or 401, detail=said)
    if b"permission denied" in low or b"host key verification failed" in low or b"dubious ownership" in low:
        return ForgeRefused(what, status=403, detail=said)
    return GitFailed(what)


_OUTAGE = (
    b"could not resolve host", b"failed to connect", b"connection refused", b"connection timed out",
    b"couldn't connect", b"early eof", b"the remote end hung up", b"operation timed out", b"recv failure",
    b"empty reply", b"connection reset", b"operation too slow", b"unexpected disconnect", b"rpc failed",
    b"no route to host", b"network is unreachable",
)  # fmt: skip


def _is_outage(stderr: bytes) -> bool:
    status = _http_status(stderr)
    if status is not None:
        return status >= 500 or status == 429
    low = stderr.lower()
    return any(sign in low for sign in _OUTAGE)


def _http_status(stderr: bytes) -> int | None:
    match = re.search(rb"returned error: (\d{3})|HTTP (\d{3}) curl", stderr)
    return None if match is None else int(match[1] or match[2])


def _server_words(done: Completed, remote: Remote) -> str:
    """What the server said (its ``remote:`` lines and per-ref reasons), else what git said."""
    if done.timed_out:
        return "no end in time"
    lines = [
        line[7:].strip() for line in redacted(done.stderr, (remote.token,)).splitlines() if line.startswith("remote:")
    ]
    for line in redacted(done.stdout, (remote.token,)).splitlines():
        if line.startswith("!\t"):
            lines.append(line.rpartition("\t")[2].strip())
    return "; ".join(line for line in lines if line)[:2000] or failure(done, 0, (remote.token,))


def _short(oid: str | None) -> str:
    return "nothing" if oid is None else oid[:12]

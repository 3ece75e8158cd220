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
from contextlib import ExitStack, contextmanager
from pathlib import Path

from factory.errors import ForgeRefused, ForgeUnavailable, GitFailed, RefMoved, UsageError
from factory.git.answers import http_status, is_outage, network_error, server_words
from factory.git.plumbing import attempt, environment, redacted
from factory.git.refs import is_oid, need_ref
from factory.git.remote import RefUpdate, Remote
from factory.process.spawn import Completed

__all__ = ["PushRefused", "RefUpdate", "Remote", "default_branch", "fetch", "ls_remote", "push"]

_FETCH_TIMEOUT_S = 600.0
_FETCH_TRIES = 8
_OVERTAKEN = re.compile(rb"cannot lock ref .*: (?:is at \w+ but expected|reference already exists|Unable to create)")
"""Another process moved, made or is just writing the ref here."""
_PUSH_TIMEOUT_S = 300.0
_LIST_TIMEOUT_S = 60.0


class PushRefused(ForgeRefused):
    """The server refused the push although nothing had moved; ``detail`` is what it said."""


def ls_remote(
    remote: Remote, prefixes: Sequence[str] = ("refs/",), *, timeout_s: float = _LIST_TIMEOUT_S
) -> Mapping[str, str]:
    """Refs of the remote whose full name starts with one of ``prefixes`` (``HEAD`` may be one), as name -> object id.

    Raises ForgeUnavailable, ForgeRefused, NotFound.
    """
    done = _talk(None, remote, ("ls-remote", "--quiet", "--", remote.url), timeout_s=timeout_s)
    if done.returncode != 0 or done.timed_out:
        raise network_error("reading the refs of", remote, done, timeout_s)
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
        raise network_error("reading the default branch of", remote, done, _LIST_TIMEOUT_S)
    match = re.search(rb"^ref: refs/heads/(\S+)\tHEAD$", done.stdout, re.MULTILINE)
    return None if match is None else match[1].decode("utf-8", "replace")


def fetch(
    repo: Path, remote: Remote, refspecs: Sequence[str], *, depth: int | None = None,
    timeout_s: float = _FETCH_TIMEOUT_S,
) -> None:  # fmt: skip
    """Fetch exactly ``refspecs`` into ``repo`` (its git directory): no tags, no submodules, objects checked.

    Several processes may fetch the same refs at once: whoever is overtaken asks again.

    Raises NotFound when a named ref is missing, ForgeUnavailable, ForgeRefused, GitFailed (bad objects, no space).
    """
    for refspec in refspecs:
        _check_refspec(refspec)
    options = ["--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--no-recurse-submodules"]
    if depth is not None:
        options.append(f"--depth={depth}")
    names = "".join(f"{refspec}\n" for refspec in refspecs).encode()
    argv = ("fetch", *options, "--refmap=", "--stdin", "--", remote.url)
    for _ in range(_FETCH_TRIES):
        done = _talk(repo, remote, argv, input=names, timeout_s=timeout_s)
        if done.timed_out or done.returncode == 0 or not _OVERTAKEN.search(done.stderr):
            break
    if done.returncode != 0 or done.timed_out:
        raise network_error("fetching from", remote, done, timeout_s)


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
    said = server_words(done, remote)
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
    if done.timed_out or (is_outage(done.stderr) and b"[remote rejected]" not in done.stdout):
        raise ForgeUnavailable(f"pushing to {redacted(remote.url)}: {said}; nothing was changed")
    names = ", ".join(update.ref for update in updates)
    raise PushRefused(
        f"pushing {names} to {redacted(remote.url)}: refused: {said}",
        status=http_status(done.stderr) or 403,
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
    with ExitStack() as stack:
        fds: list[int] = []
        if remote.token and remote.scheme in ("http", "https"):
            login = f"username={remote.username or 'token'}\npassword={remote.token}\n"
            fds.append(stack.enter_context(_memory_file(login)))
            # Opened by name, so that every reader starts at the beginning: git may ask more than once.
            helper = f'!f() {{ test "$1" = get && cat /proc/self/fd/{fds[-1]}; }}; f'
            config.append((f"credential.{remote.origin}.helper", helper))
        if remote.scheme == "file" and args[0] != "push":
            # A person names their own repo for import, and it belongs to them, not to the daemon's user: git would
            # refuse it. Reading runs nothing of it; pushing into it would run its hooks, so there git's refusal stays.
            # The other end clears GIT_CONFIG_* variables, so the exception has to be a file.
            fds.append(stack.enter_context(_memory_file("[safe]\n\tdirectory = *\n")))
            extra["GIT_CONFIG_GLOBAL"] = f"/proc/self/fd/{fds[-1]}"
        env = environment(config=config, protocols=(remote.scheme,), extra=extra)
        return attempt(repo, *args, base_env=env, pass_fds=fds, timeout_s=timeout_s, input=input)


@contextmanager
def _memory_file(content: str) -> Iterator[int]:
    """A descriptor of an anonymous file: it has no name, and ends with the last process that holds it."""
    fd = os.memfd_create("factory", os.MFD_CLOEXEC)
    try:
        os.write(fd, content.encode())
        yield fd
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


def _short(oid: str | None) -> str:
    return "nothing" if oid is None else oid[:12]

"""The git binary on the host, in an environment of our own making.

Nothing from the machine, the user or a repo's neighbours decides what git does here: no system or global
configuration, no hooks, no fsmonitor, no credential helper, no prompt, no pager, no replace refs, no transport
unless a caller opens exactly one. A git command on the host only ever runs against repos the factory made (never a
session's clone: ``git status`` there executes the session's fsmonitor and filters, security-rules.md).
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from factory.errors import FactoryError, GitFailed
from factory.process import spawn

MINIMUM = (2, 39)
"""Oldest supported git (DESIGN section 16)."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/homebrew/bin"
_EMPTY_HOME = "/nonexistent"
_TIMEOUT_S = 120.0
_TAIL = 2000

_CONFIG: tuple[tuple[str, str], ...] = (
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.attributesFile", "/dev/null"),
    ("core.excludesFile", "/dev/null"),
    ("core.pager", "cat"),
    ("core.protectNTFS", "true"),
    ("core.protectHFS", "true"),
    ("credential.helper", ""),  # an empty value drops every helper configured before it
    ("fetch.recurseSubmodules", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("protocol.version", "2"),
    ("submodule.recurse", "false"),
    ("transfer.fsckObjects", "true"),
    ("advice.detachedHead", "false"),
)

# Faults that old, honest histories carry. They change nothing on disk, so importing such a repo must not fail on them.
_OLD_SINS = (
    "badTimezone", "missingSpaceBeforeDate", "missingSpaceBeforeEmail", "missingEmail", "missingNameBeforeEmail",
    "multipleAuthors", "zeroPaddedDate", "zeroPaddedFilemode", "nulInCommit",
)  # fmt: skip


class GitMissing(FactoryError):
    """No usable git on this machine."""

    exit_code = 4


def environment(
    *,
    config: Iterable[tuple[str, str]] = (),
    protocols: Sequence[str] = (),
    extra: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The whole environment of a git command: clean, with ``config`` on top and only ``protocols`` allowed."""
    pairs = [*_CONFIG, *((f"fetch.fsck.{sin}", "ignore") for sin in _OLD_SINS), *config]
    env = {
        "PATH": _PATH,
        "HOME": _EMPTY_HOME,
        "XDG_CONFIG_HOME": _EMPTY_HOME,
        "LC_ALL": "C",
        "TZ": "UTC",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "SSH_ASKPASS": "/bin/false",
        "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oClearAllForwardings=yes",
        "GIT_PAGER": "cat",
        "GIT_EDITOR": "/bin/false",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_CEILING_DIRECTORIES": "/",
        "GIT_ALLOW_PROTOCOL": ":".join(protocols) or "none",
        "GIT_CONFIG_COUNT": str(len(pairs)),
    }
    for number, (key, value) in enumerate(pairs):
        env[f"GIT_CONFIG_KEY_{number}"] = key
        env[f"GIT_CONFIG_VALUE_{number}"] = value
    return env | dict(extra or {})


def git(
    repo: Path | None,
    *args: str,
    input: bytes | int | None = None,
    timeout_s: float = _TIMEOUT_S,
    env: Mapping[str, str] | None = None,
    redact: Sequence[str] = (),
) -> bytes:
    """Run one git command on ``repo`` (its git directory; None for a command without one) and return its stdout.

    ``env`` is added to the clean environment. Raises GitFailed, with what git said, its secrets removed; GitMissing
    when there is no git.
    """
    done = attempt(repo, *args, input=input, timeout_s=timeout_s, env=env)
    if done.timed_out or done.returncode != 0 or done.truncated:
        raise GitFailed(f"git {args[0]} in {repo or 'no repo'}: {failure(done, timeout_s, redact)}")
    return done.stdout


def attempt(
    repo: Path | None,
    *args: str,
    input: bytes | int | None = None,
    timeout_s: float = _TIMEOUT_S,
    env: Mapping[str, str] | None = None,
    base_env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    rlimits: Mapping[str, int] | None = None,
) -> spawn.Completed:
    """Run one git command and return how it ended, whatever that is. ``base_env`` replaces the clean environment."""
    where = [] if repo is None else [f"--git-dir={repo.absolute()}"]
    return spawn.run(
        [program(), *where, *args],
        cwd="/",
        env={**(environment() if base_env is None else base_env), **(env or {})},
        input=input,
        timeout_s=timeout_s,
        pass_fds=pass_fds,
        rlimits=rlimits,
    )


def failure(done: spawn.Completed, timeout_s: float, redact: Sequence[str] = ()) -> str:
    """Why a command did not work, in one capped text without secrets."""
    if done.timed_out:
        return f"no end after {timeout_s:g} s"
    if done.truncated:
        return "it said more than can be kept"
    said = redacted(done.stderr, redact).strip()
    return said[-_TAIL:] or f"exit {done.returncode}"


def redacted(text: bytes | str, secrets: Sequence[str] = ()) -> str:
    """``text`` without the given secrets and without any userinfo in URLs."""
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    for secret in secrets:
        if secret:
            words = words.replace(secret, "[redacted]")
    return re.sub(r"(?<=://)[^/\s@'\"]+@", "[redacted]@", words)


@lru_cache(maxsize=1)
def program() -> str:
    """The path of git, checked once to be new enough. Raises GitMissing."""
    path = shutil.which("git", path=_PATH)
    if path is None:
        raise GitMissing("looking for git: it is not installed", hint="install git >= 2.39 (apt-get install git)")
    said = spawn.run([path, "version"], env=environment(), timeout_s=20).stdout.decode("ascii", "replace")
    found = version_of(said)
    if found is None or found < MINIMUM:
        raise GitMissing(f"looking for git: {path} says {said.strip()!r}", hint="git >= 2.39 is needed")
    return path


def version_of(said: str) -> tuple[int, int] | None:
    """Major and minor number out of ``git version``'s answer."""
    match = re.search(r"git version (\d+)\.(\d+)", said)
    return None if match is None else (int(match[1]), int(match[2]))

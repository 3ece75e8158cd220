"""The git binary as the vault's trusted part uses it: standard library only, nothing of the machine decides.

Beside ``plumbing.py`` on purpose: what the vault is trusted for is counted in lines, and this is all of git it needs.
The settings are those of vault-security.md, section 2.3: no configuration, hooks, filters, prompts, replace refs; the
token is in no argument, file or environment variable.
"""

import io
import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

MAX_OUTPUT = 256 * 1024 * 1024
MEMORY = 4096
"""Answers that are kept: what an object id names never changes."""
_OID = re.compile(r"[0-9a-f]{40}(?::|$)")
_ENV = {
    "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent", "LC_ALL": "C", "TZ": "UTC",
    "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_ATTR_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "/bin/false", "GIT_NO_REPLACE_OBJECTS": "1", "GIT_NO_LAZY_FETCH": "1", "GIT_OPTIONAL_LOCKS": "0",
    "GIT_LITERAL_PATHSPECS": "1"}  # fmt: skip
_CONFIG = ("core.hooksPath=/dev/null", "core.fsmonitor=false", "transfer.fsckObjects=true", "credential.helper=",
           "fetch.recurseSubmodules=false", "gc.auto=0", "maintenance.auto=false", "core.attributesFile=/dev/null",
           "protocol.version=2", "http.followRedirects=false", "http.lowSpeedTime=20",
           "http.lowSpeedLimit=1")  # fmt: skip


class GitTrouble(Exception):
    """A git command did not do what it was asked; of a push, nothing is known."""


@dataclass(frozen=True)
class Change:
    """One path that a commit changed against its first parent: ``A``, ``M``, ``D``, ``T``; modes are octal texts."""

    status: str
    mode: str
    blob: str
    path: bytes


@dataclass(frozen=True)
class Commit:
    """A commit of a first-parent history."""

    oid: str
    parents: tuple[str, ...]
    changes: tuple[Change, ...]


class Git:
    """A bare repo of our own, ``repo``, and the one remote it speaks to. Every call raises GitTrouble."""

    def __init__(self, repo: Path, url: str, token: str = "") -> None:
        self.repo, self.url, self._token = repo, url, token
        self._known: dict[object, Any] = {}
        repo.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.run("init", "--quiet", "--bare", str(repo))  # also one whose making was cut off

    def run(self, *args: str, data: bytes = b"", codes: Sequence[int] = (0,), net: bool = False,
            seconds: float = 60) -> bytes:  # fmt: skip
        """Standard output of a git command that ended with one of ``codes``."""
        parts, fd = urlsplit(self.url), -1
        config = list(_CONFIG)
        if net and self._token:
            fd = os.memfd_create("vault", os.MFD_CLOEXEC)
            os.write(fd, f"username=token\npassword={self._token}\n".encode())
            helper = f'!f() {{ test "$1" = get && cat /proc/self/fd/{fd}; }}; f'
            config.append(f"credential.{parts.scheme}://{parts.netloc}.helper={helper}")
        local = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")
        protocol = "none" if not net else "file" if not parts.scheme else "http" if local else "https"
        argv = ["git", *(word for pair in config for word in ("-c", pair)), f"--git-dir={self.repo}", *args]
        try:
            done = subprocess.run(
                argv, input=data, capture_output=True, env={**_ENV, "GIT_ALLOW_PROTOCOL": protocol}, cwd="/",
                timeout=seconds, pass_fds=() if fd < 0 else (fd,), start_new_session=True, check=False)  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise GitTrouble(f"git {args[0]}: {type(error).__name__}") from None
        finally:
            if fd >= 0:
                os.close(fd)
        if done.returncode not in codes or len(done.stdout) > MAX_OUTPUT:
            raise GitTrouble(f"git {args[0]}: {done.stderr[-400:].decode('utf-8', 'replace').strip()}")
        return done.stdout

    def text(self, *args: str, codes: Sequence[int] = (0,)) -> str:
        """One line that a command prints, empty where it failed with one of ``codes``."""
        return self.run(*args, codes=codes).decode("ascii", "replace").strip()

    def pure(self, *args: str, codes: Sequence[int] = (0,)) -> str:
        """The same, of a command whose answer only object ids decide: asked once, unless it had none."""
        return str(self._known.get(args) or self._keep(args, self.text(*args, codes=codes)))

    def _keep(self, key: object, answer: Any) -> Any:
        self._known = self._known if len(self._known) < MEMORY else {}
        self._known[key] = answer
        return answer

    def fetch(self, *branches: str) -> None:
        """Those branches as the remote has them now."""
        specs = [f"+refs/heads/{name}:refs/heads/{name}" for name in branches]
        self.run("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--refmap=", "--",
                 self.url, *specs, net=True)  # fmt: skip

    def push(self, commit: str, branch: str) -> bool:
        """Move the branch forward to the commit, never by force. True: the server said yes; False: it said no."""
        said = self.run("push", "--porcelain", "--no-verify", "--no-follow-tags", "--recurse-submodules=no", "--",
                        self.url, f"{commit}:refs/heads/{branch}", codes=(0, 1), net=True, seconds=20)  # fmt: skip
        lines = [line for line in said.split(b"\n") if f"{commit}:refs/heads/{branch}".encode() in line]
        return len(lines) == 1 and lines[0][:1] in (b" ", b"*")

    def read(self, names: Iterable[str], limit: int) -> list[bytes | None]:
        """Blobs by id or ``commit:path``; None for one that is absent, no blob, or larger than ``limit``."""
        wished = list(names)
        if all(name in self._known for name in wished):
            return [self._known[name] for name in wished]
        asked = "".join(f"{name}\n" for name in wished).encode()
        rows = [row.split() for row in self.run("cat-file", "--batch-check", data=asked).splitlines()]
        good = [len(row) == 3 and row[1] == b"blob" and int(row[2]) <= limit for row in rows]
        wanted = b"".join(row[0] + b"\n" for row, fine in zip(rows, good, strict=True) if fine)
        data = io.BytesIO(self.run("cat-file", "--batch", data=wanted) if wanted else b"")
        found: list[bytes | None] = []
        for name, row, fine in zip(wished, rows, good, strict=True):
            found.append(data.read(int(row[2]) + 1)[:-1] if fine and data.readline() else None)
            if found[-1] and _OID.match(name):
                self._keep(name, found[-1])
        return found

    def history(self, tip: str, since: str = "", *paths: str) -> list[Commit]:
        """First-parent commits of ``tip`` that are not in ``since``, oldest first, with what each changed."""
        said = self.run(
            "log", "--reverse", "--first-parent", "--diff-merges=first-parent", "--raw", "--no-abbrev", "-z",
            "--no-renames", "--full-diff", "--format=%H %P", tip, *([f"^{since}"] * bool(since)), "--",
            *paths)  # fmt: skip
        found: list[Commit] = []
        words = iter(said.split(b"\0"))
        for word in words:
            row = word.strip(b"\n ").decode("ascii", "replace")
            if row.startswith(":"):  # the word after it is a path, whatever that looks like
                _, mode, _, blob, status = row.split(" ")
                last = found.pop()
                change = Change(status, mode, blob, next(words))
                found.append(Commit(last.oid, last.parents, (*last.changes, change)))
            elif row:
                oid, *parents = row.split(" ")
                found.append(Commit(oid, tuple(parents), ()))
        return found

    def is_ancestor(self, *commits: str) -> bool:
        """Whether the last one holds all before it."""
        *old, new = commits
        return self.pure("rev-list", "--count", "--max-count=1", *old, f"^{new}", codes=(0, 128)) == "0"

    def merged_tree(self, ours: str, theirs: str) -> str:
        """The tree that merging gives; empty where they conflict or have nothing in common."""
        said = self.pure("merge-tree", "--write-tree", ours, theirs, codes=(0, 1, 128))
        return "" if "\n" in said else said

    def append(self, parent: str, files: Sequence[tuple[str, bytes]], note: str) -> list[str]:
        """A row of commits on ``parent`` (empty: none), each adding a file; ``note`` is in the last one. Their ids."""
        parts = []
        for number, (path, data) in enumerate(files, 1):
            words = f"{path}\n\n{note}\n".encode() if number == len(files) and note else f"{path}\n".encode()
            base = f"from {parent}\n" if number == 1 and parent else "" if number == 1 else f"from :{number - 1}\n"
            parts.append(
                f"commit refs/drafts/next\nmark :{number}\ncommitter dispatcher <dispatcher@factory.invalid> now\n"
                f"data {len(words)}\n".encode() + words + f"{base}M 100644 inline {path}\ndata {len(data)}\n".encode()
                + data + f"\nget-mark :{number}\n".encode())  # fmt: skip
        reset = b"" if parent else b"reset refs/drafts/next\n"
        said = self.run("fast-import", "--quiet", "--force", "--date-format=now", data=reset + b"".join(parts))
        return said.decode("ascii").split()

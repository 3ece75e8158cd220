"""Commits made by hand, as an adversary with git makes them."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Mapping
from pathlib import Path

WHO = {f"GIT_{who}_{what}": "x@y" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def git(repo: Path, *args: str, data: bytes = b"", **env: str) -> str:
    """What git prints, in a bare repo; raises CalledProcessError."""
    base = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", "GIT_DIR": str(repo), **WHO}
    done = subprocess.run(["git", *args], input=data, env={**base, **env}, capture_output=True, check=True, timeout=60)
    return done.stdout.decode().strip()


def commit_tree(
    repo: Path, files: Mapping[str, bytes | None], *parents: str, modes: Mapping[str, str] | None = None,
    tree: str = "", message: str = "x", **env: str,
) -> str:  # fmt: skip
    """A commit with the first parent's tree and these changes (None deletes), or exactly ``tree``."""
    if not tree:
        index = {"GIT_INDEX_FILE": str(repo / f"index-{secrets.token_hex(4)}")}
        if parents:
            git(repo, "read-tree", parents[0], **index)
        for path, data in files.items():
            if data is None:
                git(repo, "update-index", "--index-info", data=f"0 {'0' * 40}\t{path}\n".encode(), **index)
                continue
            mode = (modes or {}).get(path, "100644")
            blob = data.decode() if mode == "160000" else git(repo, "hash-object", "-w", "--stdin", data=data)
            git(repo, "update-index", "--add", "--cacheinfo", f"{mode},{blob},{path}", **index)
        tree = git(repo, "write-tree", **index)
    on = (word for parent in parents for word in ("-p", parent))
    return git(repo, "commit-tree", tree, "-m", message, *on, **env)

"""``factory vault audit``: the ledger from a cold clone, judged by git objects and keys, not by this host's copies."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from factory.app.choosing import project_of
from factory.app.deployment import Deployment
from factory.app.places import vault_folder
from factory.app.projects import account
from factory.app.services import require_forge
from factory.config.home import packaged
from factory.errors import ForgeError, UsageError
from factory.git.hardened import Git, GitTrouble
from factory.vault.keys import sshsig
from factory.vault.keys.errors import KeyMissing
from factory.vault.keys.hostkeys import NAMESPACE, host_key
from factory.vault.people.audit import Audit, Mark, audit
from factory.vault.watch import marks

BRANCHES = ("ledger", "main", "auto")


def audit_ledger(
    deployment: Deployment, *, project: str | None = None, keys: Sequence[Path] = (), root: str = ""
) -> dict[str, Any]:
    """Clone the ops repo anew and look at all of its ledger.

    ``keys``: public keys of the vault's hosts beside those that the ledger names, up to its first KEY_ADD or
    KEY_REVOKE. ``root``: the first commit it must have. Raises UsageError (a key file that is none), ForgeError."""
    repo, ops = project_of(deployment, project)
    require_forge(deployment)
    deployment.host.cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(prefix="audit-", dir=deployment.host.cache) as folder:
        remote = deployment.remote(account(deployment.state, ops, "factory"), ops)
        git = Git(Path(folder) / "cold.git", remote.url, remote.token)
        mark = _mark(vault_folder(deployment.state, str(ops)) / marks.MARK)  # before what it is compared with
        try:
            git.fetch(*BRANCHES)
            found, checked = audited(git, deployment.state, keys, root, mark)
        except GitTrouble as error:
            raise ForgeError(f"auditing the ledger of {ops}: {error}", hint="factory doctor") from None
    return {"project": str(repo), "ops": str(ops), "signatures": checked, **asdict(found)}


def audited(
    git: Git, state: Path, keys: Sequence[Path] = (), root: str = "", mark: Mark | None = None
) -> tuple[Audit, bool]:
    """The audit of a repo that holds the branches, and whether signatures could be looked at. Raises GitTrouble."""
    named = [_line(path) for path in keys]
    try:
        sshsig.program()
        own = [sshsig.public_of(host_key(state))] if host_key(state).exists() else []
    except KeyMissing:
        return audit(git, packaged("formulas").get, root=root, mark=mark), False

    def check(given: Sequence[tuple[str, bytes, tuple[str, ...]]]) -> Sequence[bool]:
        def one(asked: tuple[str, bytes, tuple[str, ...]]) -> bool:
            signers = [sshsig.Signer(1, key) for key in asked[2] if _is_key(key)]
            return sshsig.fits(asked[0], NAMESPACE, asked[1], signers, 1)

        with ThreadPoolExecutor(os.cpu_count() or 2) as pool:
            return list(pool.map(one, given))

    return audit(git, packaged("formulas").get, check=check, keys=named, own=own, root=root, mark=mark), True


def _is_key(text: str) -> bool:
    """What the ledger says of keys may be forged: nothing else than a key goes to who checks signatures."""
    try:
        return sshsig.public_key(text) == text
    except ValueError:
        return False


def _line(path: Path) -> str:
    try:
        return sshsig.public_key(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"reading the host key {path}: {error}", hint="give the .pub file") from None


def _mark(file: Path) -> Mark | None:
    """What this host's dispatcher remembers; None where it never read the ledger."""
    try:
        known = json.loads(file.read_bytes())
        return Mark(str(known["root"]), str(known["tip"]), int(known["count"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None

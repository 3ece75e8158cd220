"""A change of the vault's secrets on its way from the vault's home, where the keys are, to the one that may propose it.

Only ciphertexts, labels and public keys are in it. Whoever carries it can change nothing unseen: it becomes a pull
request that says who can read what, and an admin approves it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from factory.app.choosing import founder_of, project_of
from factory.app.deployment import APART, Deployment
from factory.app.editing import share
from factory.errors import Problem, UsageError
from factory.forge.values import RepoName
from factory.ops.edit import CannotEdit, Edit
from factory.vault.keys.changing import Change, Place
from factory.vault.keys.opening import plain_file

KIND = "factory.secret-offer/v1"
_PATH = re.compile(r"vault/secrets/[A-Za-z0-9_-]{1,100}\.(?:age|toml)")
_SLUG = re.compile(r"secret-[A-Za-z0-9_-]{1,100}")


def offered(ops: RepoName, place: Place, change: Change) -> dict[str, Any]:
    """The change as a value that JSON can carry."""
    files = []
    for edit in change.edits:
        before = plain_file(place.mirror, place.shelf.commit, edit.path, f"reading {edit.path}")
        after = edit.apply(before)
        files.append({
            "path": edit.path, "before": _digest(before),
            "after": None if after is None else base64.b64encode(after).decode(),
        })  # fmt: skip
    return {KIND: {"ops": str(ops), "title": change.title, "slug": change.slug, "body": change.body, "files": files}}


def propose(deployment: Deployment, data: bytes) -> dict[str, Any]:
    """Open the pull request for an offer. Raises UsageError for what is none, Conflict when the files have changed
    since it was made, ForgeError."""
    doing = "proposing a change of the secrets"
    if deployment.host.runs in ("vault", "nothing"):
        raise UsageError(f"{doing}: that is for the daemon's home", hint=APART[deployment.host.runs])
    try:
        told: Mapping[str, Any] = json.loads(data)[KIND]
        name, title, body, slug = (str(told[key]) for key in ("ops", "title", "body", "slug"))
        edits = [_edit(file) for file in told["files"]]
        if not _SLUG.fullmatch(slug) or not title.strip() or not edits:
            raise ValueError(f"{slug[:80]!r} with {len(edits)} files")
    except (ValueError, KeyError, TypeError) as error:
        why = f"{type(error).__name__}: {error!s:.200}"
        hint = "in the vault's home: factory secret set NAME | ... factory secret propose"
        raise UsageError(f"{doing}: what came in is no offer of one ({why})", hint=hint) from None
    project, ops = project_of(deployment, name)
    pull = share(
        deployment, ops, edits, " ".join(title.split())[:200], founder_of(deployment, project), slug=slug, body=body,
        replaces=True,
    )  # fmt: skip
    return {"project": str(project), "ops": str(ops), "number": None, "url": None, **pull}


def _edit(file: Mapping[str, Any]) -> Edit:
    path, before, after = str(file["path"]), file["before"], file["after"]
    if not _PATH.fullmatch(path):
        raise ValueError(f"{path[:100]!r} is no file of a secret")
    new = None if after is None else base64.b64decode(after, validate=True)

    def apply(old: bytes | None) -> bytes | None:
        if _digest(old) != before:
            raise CannotEdit(Problem(path, None, "somebody changed it meanwhile", "make the offer again"))
        return new

    return Edit(path, apply)


def _digest(data: bytes | None) -> str | None:
    return None if data is None else hashlib.sha256(data).hexdigest()

"""What a person did themselves (``vault/pending/<id>.md``), and asking the dispatcher to look now."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from factory.app.choosing import founder_of, project_of
from factory.app.deployment import Deployment
from factory.app.opsrepo import mirror, ops_write
from factory.app.places import vault_home
from factory.app.vault_opening import open_vault
from factory.app.vault_showing import facts_about
from factory.checks.secrets import guard
from factory.daemon.vault_view import pending_of
from factory.errors import Conflict, Problem, UsageError
from factory.git import objects
from factory.ops.edit import CannotEdit, Edit
from factory.ops.pending import FOLDER, finished, parse
from factory.vault.watch.wake import poke

MAIN = "refs/heads/main"


def done(
    deployment: Deployment, id: str, *, choice: str = "", login: str = "", project: str | None = None
) -> dict[str, Any]:
    """Check off something that only a person could do. Raises UsageError (no such request, no such option)."""
    repo, ops = project_of(deployment, project)
    who, path, doing = login or founder_of(deployment, repo), f"{FOLDER}{id}.md", f"finishing {id[:80]}"
    copy = mirror(deployment, ops, refresh=True)
    data = objects.read_file(copy, MAIN, path)
    there = parse(data) if data is not None else None
    if data is None or there is None:
        waiting = _waiting(deployment, project)
        hint = f"these wait: {', '.join(waiting)}" if waiting else "nothing waits for a person: factory vault list"
        raise UsageError(f"{doing}: there is no {path} in {ops}", hint=hint)
    now = datetime.now(UTC)

    def apply(old: bytes | None) -> bytes | None:
        try:
            return finished(old or b"", who, now, choice.upper())
        except ValueError as error:
            raise CannotEdit(Problem(path, None, str(error))) from error

    try:
        finished(data, who, now, choice.upper())
    except ValueError as error:
        hint = f"factory vault done {id} --choice {there.letters[0]}" if there.letters else "factory vault list"
        raise UsageError(f"{doing}: {error}", hint=hint) from error
    message = f"Done: {there.what or there.title} ({who})"
    written = ops_write(deployment, ops, [Edit(path, apply)], message, now=now, guard=guard)
    if written.problems:
        raise Conflict(f"{doing}: {written.problems[0].message}", hint="look at the file as it is now")
    return {
        "id": id, "project": str(repo), "what": there.what or there.title, "by": who, "choice": choice.upper() or None,
        "then": there.then or None, "unblocks": there.unblocks or None, "commit": written.commit,
    }  # fmt: skip


def _waiting(deployment: Deployment, project: str | None) -> list[str]:
    vault = open_vault(deployment, project=project)
    commit = objects.read_ref(vault.copy, MAIN)
    return [id for id, _ in pending_of(vault.copy, commit)] if commit is not None else []


def fire(deployment: Deployment, id: str, *, project: str | None = None) -> dict[str, Any]:
    """Have the dispatchers of this host look now. It starts nothing that would not start by itself."""
    deployment.require_vault(f"waking the dispatcher for {id[:80]}")
    vault = open_vault(deployment, project=project)
    told = facts_about(vault, vault.find(id))
    return {"id": told["id"], "stands": told["stands"], "woken": poke(vault_home(deployment.state))}

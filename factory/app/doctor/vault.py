"""The vault: do its processes run, and is the forge set as it must be, as the sentinel last saw it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from factory.app import beats
from factory.app.deployment import Deployment
from factory.app.doctor.finding import Finding, note, ok, problem
from factory.app.places import vault_folder
from factory.app.services import VAULT, running
from factory.app.vault_opening import Vault, open_vault
from factory.app.vault_showing import cooling
from factory.errors import FactoryError
from factory.forge.values import RepoName
from factory.vault.ports import Unclear
from factory.vault.watch import frozen, settings
from factory.vault.watch.asking import current

AREA = "vault"


def processes(deployment: Deployment) -> Iterator[Finding]:
    """What the vault's running processes say of themselves."""
    for service in running(deployment):
        if service.name not in VAULT or service.pid is None:
            continue
        beat = beats.read(deployment.state, service.name)
        if beat.get("trouble"):
            log = deployment.state / "services" / f"{service.name}.log"
            yield problem(AREA, service.name, beat["trouble"], f"its log is {log}")
        else:
            yield ok(AREA, service.name, f"{beat.get('polls', 0)} looks since {beat.get('started', '?')}")


def standing(vault: Vault) -> Iterator[Finding]:
    """Whether its ledger says that it is frozen, and what will change the policy by itself."""
    if vault.ledger.frozen or vault.trouble:
        yield _frozen(vault.ops, vault.ledger.frozen or vault.trouble)
    for one in cooling(vault):
        yield note(AREA, f"policy of {vault.ops}", f"a change of it is {one['words']}: {one['url']}", one["meanwhile"])


def _frozen(ops: RepoName, why: str) -> Finding:
    then = "set that right; then an admin says: factory vault unfreeze --reason ..."
    return problem(AREA, f"freeze of {ops}", why, then)


def look(deployment: Deployment, project: RepoName, ops: RepoName, now: datetime) -> Iterator[Finding]:
    """What this host and the sentinel know of one ops repo."""
    name, folder = f"settings of {ops}", vault_folder(deployment.state, str(ops))
    if why := frozen.told(folder):  # first: this host says it also where the forge shows nothing
        yield _frozen(ops, why)
    try:
        yield from standing(open_vault(deployment, project=str(project), now=now))
    except FactoryError as error:
        yield problem(AREA, f"ledger of {ops}", error.message, error.hint)
    try:
        seen = current(folder, now)
    except Unclear as unclear:
        yield note(AREA, name, str(unclear), "factory up --detach")
        return
    again = f"factory init {deployment.host.forge_url.rstrip('/')}/{project}"
    for words in seen.wrong:
        yield problem(AREA, name, words, f"{again}; until then nothing of the vault starts")
    if not seen.wrong:
        since = f"{seen.since.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
        admins = ", ".join(settings.admins(seen.facts))
        yield ok(AREA, name, f"as they must be, unchanged since {since} UTC; its admins are {admins}")

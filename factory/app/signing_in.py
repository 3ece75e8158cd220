"""How a person gets in: the embedded forge's first password, or a check of a person's own token. Nothing is stored."""

from __future__ import annotations

from typing import Any

from factory.app.choosing import founder_of, project_of
from factory.app.configuration import ops_files
from factory.app.deployment import Deployment
from factory.app.services import require_forge
from factory.config.factory import PATH, load_factory
from factory.config.model import DEFAULT_ACCOUNTS, FactoryConfig
from factory.errors import ForgeError, PolicyDenied
from factory.forge.client import ForgejoClient


def how_to_sign_in(deployment: Deployment, *, project: str | None = None) -> dict[str, Any]:
    """Where and as whom; on the embedded forge the file with the first password, while it is kept."""
    repo, ops = project_of(deployment, project)
    login = founder_of(deployment, repo)
    kept = deployment.state / "people" / login
    forge = deployment.host.forge_url.rstrip("/")
    return {
        "forge": forge,
        "sign_in": f"{forge}/user/login",
        "login": login,
        "embedded": deployment.host.embedded,
        "password_file": str(kept) if kept.exists() else None,
        "password": kept.read_text(encoding="utf-8").strip() if kept.exists() else None,
        "project": str(repo),
        "ops": str(ops),
    }


def whose(deployment: Deployment, token: str, *, project: str | None = None) -> dict[str, Any]:
    """Who a token is, and what that person may do here. Raises PolicyDenied when the forge does not take it."""
    repo, ops = project_of(deployment, project)
    require_forge(deployment)
    with ForgejoClient(deployment.host.forge_url, token) as person:
        try:
            login = person.me().login
        except ForgeError as error:
            status = getattr(error, "status", None)
            if status not in (401, 403):
                raise
            why = "the forge does not take this token" if status == 401 else "this token may not say whose it is"
            raise PolicyDenied(
                f"signing in at {deployment.host.forge_url}: {why} ({status})",
                hint="make one on the forge with the scopes write:issue, write:repository, read:user",
            ) from error
        sees = person.find_repo(ops) is not None
    files, stale = ops_files(deployment, ops)
    config = load_factory(files[PATH]) if PATH in files else None
    return {
        "forge": deployment.host.forge_url,
        "login": login,
        "project": str(repo),
        "is_bot": login in _bots(config),
        "sees_ops": sees,
        "may_approve": _listed(login, config, approve=True),
        "is_admin": _listed(login, config, approve=False),
        "stale": stale,
    }


def _listed(login: str, config: FactoryConfig | None, *, approve: bool) -> bool:
    if config is None:
        return False
    people = config.admins | (config.approvers if approve else frozenset())
    return login.lower() in {person.lower() for person in people}


def _bots(config: FactoryConfig | None) -> frozenset[str]:
    return frozenset({**DEFAULT_ACCOUNTS, **(config.accounts if config is not None else {})}.values())

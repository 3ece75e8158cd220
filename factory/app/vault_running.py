"""The vault's runner from this host's parts: sandbox, project, the account of releases, secrets, the ledger's fence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from factory.app.deployment import Deployment
from factory.app.projects import account
from factory.forge.values import RepoName
from factory.git.hardened import Git
from factory.sandbox.select import select
from factory.vault.chain import Chain
from factory.vault.ports import Order
from factory.vault.run.fence import LedgerFence
from factory.vault.run.runner import Runner
from factory.vault.run.tools import ReleaseForge, Tools
from factory.vault.run.tree import ProjectView


def make(
    deployment: Deployment, project: RepoName, ops: RepoName, *, folder: Path, instance: str,
    secret: Callable[[str, Order], bytes], wake: Callable[[], None], fence: Path | None = None,
) -> Runner:  # fmt: skip
    """The runner of one ops repo. ``folder``: its part of ``state/vault``; ``instance``: ``<host>/<hex>``; ``fence``:
    this instance's own copy of the ledger, without an ending."""
    second = fence or folder / "fence"
    state = deployment.state

    def release_forge() -> tuple[ReleaseForge, str]:
        login = account(state, ops, "release")
        return deployment.forge(login), login

    def chain() -> Chain:
        login = account(state, ops, "dispatcher")
        git = Git(second.with_suffix(".git"), deployment.remote(login, ops).url, deployment.token(login))
        return Chain(git, second.with_suffix(".json"), lambda data: "")

    view = ProjectView(
        project, lambda: deployment.remote(account(state, ops, "release"), project),
        lambda: deployment.forge(account(state, ops, "release")).repo(project).default_branch,
        deployment.host.cache / "vault" / project.owner / f"{project.name}.git",
    )  # fmt: skip
    tools = Tools(
        state=folder, host=instance.partition("/")[0], instance=instance,
        sandbox=lambda: select(deployment.host.sandbox), fence=LedgerFence(chain), secret=secret, project=view,
        forge=release_forge, never=(urlsplit(deployment.host.forge_url).hostname or "", "localhost"), wake=wake,
    )  # fmt: skip
    return Runner(tools, deployment.host.cache)

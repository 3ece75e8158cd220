"""What the ops repo of a project begins with, pushed where it is not there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from factory.app import projects
from factory.app.editing import share
from factory.app.founding import formula_lines
from factory.app.places import mirror_path
from factory.app.setting import Setting
from factory.config.factory import PATH as FACTORY
from factory.config.factory import edit_factory
from factory.config.model import Mode
from factory.git import objects
from factory.git.objects import init_bare
from factory.git.transport import RefUpdate, fetch, ls_remote, push
from factory.ops.edit import whole
from factory.ops.seed import POLICY, Seed, seed

if TYPE_CHECKING:
    import tomlkit

OPS_BRANCHES = {"auto": {"vault/actions/.gitkeep": b""}, "journal": dict[str, bytes]()}
"""Orphans, and what they begin with. The ledger begins with its first entry."""


def push_seed(setting: Setting, mode: Mode) -> str:
    """The ops repo's first commit, and the branches that only ever grow. Returns the root of trust."""
    remote = setting.deployment.remote(setting.factory, setting.ops)
    mirror = mirror_path(setting.deployment.home, str(setting.ops))
    if not mirror.exists():
        mirror.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        init_bare(mirror)
    there = ls_remote(remote, ("refs/heads/",))
    who = setting.signature()
    known = projects.load(setting.deployment.state, setting.project)
    updates = []
    root = known.seed if known is not None else ""
    if "refs/heads/main" not in there:
        root = objects.build_commit(
            mirror,
            parent=None,
            changes=_seed_files(setting, mode),
            message=f"Begin the ops repo of {setting.project}\n",
            author=who,
            committer=who,
        )
        updates.append(RefUpdate("refs/heads/main", root, None))
    elif not root:
        fetch(mirror, remote, ["+refs/heads/main:refs/heads/main"])
        root = objects.log(mirror, "refs/heads/main", first_parent=True)[-1].oid
    for branch, files in OPS_BRANCHES.items():
        if f"refs/heads/{branch}" not in there:
            first = objects.build_commit(
                mirror, parent=None, changes=files, message=f"Begin {branch}\n", author=who, committer=who
            )
            updates.append(RefUpdate(f"refs/heads/{branch}", first, None))
    if updates:
        push(mirror, remote, updates)
        setting.said(f"seed {setting.ops} ({root[:12]})")
    return root


def propose_policy(setting: Setting, mode: Mode) -> None:
    """For an ops repo that was made before there was a vault: its policy comes as any change of it does."""
    if setting.vault.root:
        return
    text = _seed_files(setting, mode)[POLICY]
    url = share(setting.deployment, setting.ops, [whole(POLICY, text)], "Begin the vault", setting.login)["url"]
    setting.notes.append(f"approve {url}; once it is merged, the same init again begins the vault's ledger")


def _people_ids(setting: Setting) -> Mapping[str, int]:
    """Of those who may write: the approvers among them. A narrow token may ask for no account by name."""
    client = setting.site.admin or setting.deployment.forge(setting.factory)
    return {user.login: user.id for user in client.writers(setting.ops)}


def _seed_files(setting: Setting, mode: Mode) -> Mapping[str, bytes]:
    told = Seed(
        project=str(setting.project),
        mode=mode,
        founder=setting.login,
        forge_url=setting.host.forge_url,
        now=setting.now,
        environment=setting.guess.environment,
        ci=setting.guess.ci,
        environment_reasons=setting.guess.environment_reasons,
        ci_reasons=setting.guess.ci_reasons,
        accounts=setting.own_accounts(),
        poll_seconds=setting.request.poll_seconds,
        ids=_people_ids(setting),
        vault=formula_lines(),
    )
    files = dict(seed(told))

    def slots(document: tomlkit.TOMLDocument) -> None:
        document["dev_slots"] = setting.request.dev_slots

    files[FACTORY] = edit_factory(files[FACTORY].decode(), slots).encode()
    return files

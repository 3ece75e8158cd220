"""Doing what a set-up found missing: accounts and repos, the first pushes, the vault, rules, webhooks, this host."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from factory.app import offering, projects, webhooks
from factory.app.asked import Done
from factory.app.founding import Founding, found
from factory.app.prepared import AdminNeeded, by_ourselves, instructions, things
from factory.app.seeding import propose_policy, push_seed
from factory.app.setting import Setting, default_mode
from factory.app.wishes import push_lines
from factory.config.home import write_private
from factory.config.host import load_host, write_host
from factory.config.model import Mode
from factory.forge.client import ForgejoClient
from factory.forge.setup.apply import apply
from factory.forge.setup.plan import plan_setup
from factory.forge.setup.steps import Propose, SetupStep
from factory.git.transport import RefUpdate, ls_remote, push


def complete(setting: Setting) -> Done:
    """Do all of it; whatever is there already is passed over. Raises AdminNeeded and what the forge raises."""
    if setting.ours and not setting.unfinished.exists():
        write_private(setting.unfinished, b"")
    _apply(setting, setting.first)
    _take_tokens(setting)
    forge = setting.site.admin or setting.deployment.forge(setting.factory)
    mode = setting.request.mode or default_mode(forge, setting.project)
    _push_code(setting)
    root = push_seed(setting, mode)
    _begin_vault(setting, forge, root)
    mode = setting.config.mode if setting.config is not None else mode
    good = frozenset(setting.accounts.values())
    second = plan_setup(setting.site.look(setting.wanted, good), setting.wanted)
    _apply(setting, second)
    _hooks(setting)
    proposals = [str(step) for step in second if isinstance(step, Propose)]
    proposals += _offer_forms(setting, mode)
    _register(setting, forge, root)
    propose_policy(setting, mode)
    if setting.request.mode not in (None, mode):
        setting.tell(
            f"the mode stays {mode.value}, as factory.toml says; change it with: factory mode {setting.request.mode}"
        )
    return setting.told(tuple(setting.steps), mode, root, tuple(proposals))


def _keep(setting: Setting, kind: str, login: str, secret: str) -> None:
    if kind == "token":
        setting.deployment.keep_token(login, secret)
    else:
        write_private(setting.host.state / "people" / login, secret.encode())


def _apply(setting: Setting, steps: tuple[SetupStep, ...]) -> None:
    prepared = setting.site.prepared
    doer = setting.site.admin or setting.site.looker
    for step in by_ourselves(steps) if prepared is not None else steps:
        apply(doer, (step,), keep=partial(_keep, setting))
        if not isinstance(step, Propose):
            setting.said(str(step))
    left = instructions(steps, prepared) if prepared is not None else ()
    if left:
        raise AdminNeeded(
            f"setting up {setting.project}: the repos are filled, but not protected yet: {things(len(left))} must be "
            f"done by an admin of {setting.host.forge_url}",
            left,
            hint="then the same again; nothing is served before",
        )


def _take_tokens(setting: Setting) -> None:
    prepared = setting.site.prepared
    for login, token in sorted(prepared.tokens.items()) if prepared is not None else ():
        if not setting.has_token(login) or setting.deployment.token(login) != token:
            setting.deployment.keep_token(login, token)
            setting.said(f"keep the token of {login}")
    for login in prepared.loose if prepared is not None else ():
        assert prepared is not None
        setting.notes.append(f"other users of this machine can read {prepared.folder / login}: delete it, it is kept")


def _push_code(setting: Setting) -> None:
    if setting.existing is not None and not setting.existing.empty:
        return
    target = setting.deployment.remote(setting.factory, setting.project)
    ref = f"refs/heads/{setting.branch}"
    if ref in ls_remote(target, (ref,)):
        return
    tip = offering.with_forms(setting.source, setting.signature())
    push(setting.source.scratch, target, [RefUpdate(ref, tip, None)])
    for line in push_lines(setting.project, setting.source):
        setting.said(line)
    if tip != setting.source.tip and setting.source.folder:
        setting.notes.append(f"the forge's {setting.branch} is one commit ahead of your folder: the issue forms")


def _begin_vault(setting: Setting, forge: ForgejoClient, root: str) -> None:
    vault = Founding(setting.deployment, setting.ops, forge.repo(setting.ops).id, setting.accounts, _ids(setting))
    setting.vault = found(vault, root, setting.site.admin, setting.now, setting.said)


def _hooks(setting: Setting) -> None:
    if setting.site.admin is None:
        setting.notes.append("no webhooks: adding one takes an admin; polling does without")
        return
    setting.notes += webhooks.ensure(
        setting.site.admin, setting.deployment, (setting.project, setting.ops), setting.request.hook_url, setting.said
    )


def _offer_forms(setting: Setting, mode: Mode) -> list[str]:
    # A folder's tip says nothing about what the forge's has.
    if setting.ours or not setting.at_home or not offering.missing(setting.source.files):
        return []
    if mode is Mode.OBSERVE:
        return [f"not proposed in mode observe: issue forms for {setting.project}"]
    url = offering.propose_forms(setting.deployment, setting.factory, setting.project, setting.source, setting.now)
    if url is not None:
        setting.said(f"propose issue forms for {setting.project}: {url}")
    return []


def _register(setting: Setting, forge: ForgejoClient, root: str) -> None:
    ids = _ids(setting)
    repos = (forge.repo(setting.project), forge.repo(setting.ops))
    state = projects.ProjectState(
        str(setting.project), str(setting.ops), root, repos[0].id, repos[1].id, setting.branch,
        dict(sorted(ids.items())), setting.login, setting.own_accounts(),
    )  # fmt: skip
    if projects.load(setting.host.state, setting.project) != state:
        projects.save(setting.host.state, state)
    served = load_host(setting.host.home)
    if str(setting.ops) not in served.ops_repos:
        write_host(replace(served, ops_repos=(*served.ops_repos, str(setting.ops))))
        setting.said(f"serve {setting.project} from this host")
    setting.unfinished.unlink(missing_ok=True)


def _ids(setting: Setting) -> dict[str, int]:
    logins = set(setting.accounts.values())
    if setting.site.admin is not None:
        return {login: user.id for login in logins if (user := setting.site.admin.user(login)) is not None}
    # A token limited to repos may not read accounts. All of ours work on the ops repo, and the sentinel sees whom;
    # but for the one that makes releases, which writes to the project alone.
    seen = setting.deployment.forge(setting.accounts["sentinel"]).collaborators(setting.ops)
    seen += setting.deployment.forge(setting.factory).writers(setting.project)
    return {user.login: user.id for user in seen if user.login in logins}

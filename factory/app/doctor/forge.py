"""The forge: does it answer, which one is it, do our tokens work, are accounts, repos and rules as they should be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from factory.app.choosing import state_of
from factory.app.deployment import Deployment
from factory.app.doctor.finding import Finding, note, ok, problem
from factory.app.services import running
from factory.app.setup import admin_of
from factory.app.vault_moving import MOVED
from factory.config.model import DEFAULT_ACCOUNTS, FactoryConfig
from factory.errors import FactoryError, ForgeError
from factory.forge.client import ForgejoClient
from factory.forge.releases import TagRule
from factory.forge.settings import differences
from factory.forge.setup.observed import observe, working_tokens
from factory.forge.setup.plan import plan_setup, tag_steps
from factory.forge.setup.steps import Propose, SetupStep
from factory.forge.values import BranchProtection, ForgeVersion, Label, RepoName
from factory.forge.versions import NEWEST, OLDEST, is_supported, missing
from factory.forge.wanted import Wanted, wanted_setup
from factory.ops.routes import unprotected_patterns
from factory.plan.labels import ALL

AREA = "forge"
REACHABLE = "reachable"


def answers(deployment: Deployment) -> Iterator[Finding]:
    """Whether it can be asked at all (of that one finding anything but ``ok`` makes the rest pointless), and what it
    cannot do."""
    url = deployment.host.forge_url
    embedded = next((s for s in running(deployment) if s.name == "forge"), None)
    if embedded is not None and embedded.pid is None:
        yield note(AREA, REACHABLE, f"the embedded forge at {url} does not run", "factory up --detach")
        return
    try:
        with ForgejoClient(url, timeout_s=5) as client:
            found = client.version()
    except ForgeError as error:
        yield problem(AREA, REACHABLE, error.message, error.hint or "factory status works without it")
        return
    said = f"{found.product} {found.text} at {url}"
    if found.product == "forgejo" and not is_supported(found):
        yield problem(AREA, REACHABLE, f"{said}; supported are Forgejo {OLDEST} to {NEWEST}")
        return
    yield ok(AREA, REACHABLE, said)
    yield from _missing(found)


def _missing(version: ForgeVersion) -> Iterator[Finding]:
    if not is_supported(version):
        yield note(AREA, "version", f"{version.product} is not tested; supported are Forgejo {OLDEST} to {NEWEST}")
    for lack in missing(version):
        yield note(AREA, "version", f"{version.product} {version.text}: {lack}")


def look(deployment: Deployment, project: RepoName, ops: RepoName, config: FactoryConfig | None) -> Iterator[Finding]:
    """Tokens, identity of the repos, and rules, of one project. Raises ForgeError."""
    again = f"factory init {deployment.host.forge_url.rstrip('/')}/{project}"
    yield from _tokens(deployment, project, again)
    yield from _identity(deployment, project, ops)
    yield from _rules(deployment, project, ops, config, again)


def _tokens(deployment: Deployment, project: RepoName, again: str) -> Iterator[Finding]:
    kept = {}
    known = state_of(deployment, project)
    duties = [duty for duty in DEFAULT_ACCOUNTS if deployment.host.has_vault or duty not in MOVED]
    logins = sorted({known.account(duty) for duty in duties})
    for login in logins:
        try:
            kept[login] = deployment.token(login)
        except FactoryError:
            continue  # said below: no token and a dead token have the same remedy
    elsewhere = {known.account("release"): RepoName.parse(known.project)}
    good = working_tokens(deployment.host.forge_url, kept, RepoName.parse(known.ops), elsewhere=elsewhere, seeing=True)
    bad = [login for login in logins if login not in good]
    if bad:
        yield problem(AREA, "tokens", f"no working token for {', '.join(bad)}", again)
    else:
        yield ok(AREA, "tokens", f"all {len(good)} accounts' tokens work")


def _identity(deployment: Deployment, project: RepoName, ops: RepoName) -> Iterator[Finding]:
    known = state_of(deployment, project)
    forge = deployment.forge(known.account("factory"))
    for name, pinned in ((project, known.repo_id), (ops, known.ops_id)):
        repo = forge.repo(name)
        if repo.id != pinned or repo.name != name:
            yield problem(
                AREA, f"repo {name}", f"it is another repo than the one set up (id {repo.id}, not {pinned})",
                "somebody renamed, deleted or replaced it: look before you go on",
            )  # fmt: skip
        elif name == ops and repo.has_actions:
            yield problem(
                AREA, f"repo {name}", "actions are on there", f"switch them off in {forge.url}/{ops}/settings"
            )
        else:
            yield ok(AREA, f"repo {name}", f"id {repo.id}, default branch {repo.default_branch}")


def _rules(
    deployment: Deployment, project: RepoName, ops: RepoName, config: FactoryConfig | None, again: str
) -> Iterator[Finding]:
    known = state_of(deployment, project)
    people = tuple(sorted(config.approvers | config.admins)) if config is not None else (known.founder,)
    forge = deployment.forge(known.account("factory"))
    accounts = {**DEFAULT_ACCOUNTS, **known.accounts}
    wanted = wanted_setup(
        project,
        ops,
        accounts=accounts,
        approvers=people,
        direct_patterns=unprotected_patterns(),
        labels=tuple(Label(0, name, color, text) for name, (color, text) in ALL.items()),
        project_branch=known.base_ref,
        contexts=config.ci.contexts if config is not None and config.ci.command else (),
        private=forge.repo(project).private,
    )
    if not deployment.host.embedded:
        yield from _read_back(deployment, wanted, accounts["sentinel"])
        return
    with admin_of(deployment.host, None) as admin:
        steps = plan_setup(observe(admin, wanted, tokens=accounts.values()), wanted)
    for step in steps:
        if isinstance(step, Propose):
            yield note(AREA, "rules", f"{step}{_why(step)}", f"{again} --protect")
        else:
            yield problem(AREA, "rules", f"not as wanted: {step}", again)
    if not steps:
        yield ok(AREA, "rules", f"accounts, permissions, labels and branch rules of {project} and {ops} are as wanted")


def _read_back(deployment: Deployment, wanted: Wanted, login: str) -> Iterator[Finding]:
    """On a forge elsewhere we are no admin: the sentinel's token reads the rules of our own repo."""
    sentinel = deployment.forge(login)
    for repo in wanted.repos:
        there = {rule.rule_name: rule for rule in sentinel.protections(repo.name)}
        wrong = [line for rule in repo.protections for line in _differs(rule, there.get(rule.rule_name))]
        if repo.taggers:
            left = tag_steps(replace(repo, protect=False), sentinel.tag_rules(repo.name))
            wrong += [f"{str(step).removeprefix('proposed only: ')}{_why(step)}" for step in left]
        if not wrong:
            yield ok(AREA, f"rules of {repo.name}", "as wanted")
        elif repo.ours:
            yield problem(
                AREA, f"rules of {repo.name}", "; ".join(wrong),
                "run the same `factory init` again, with --admin-token-file",
            )  # fmt: skip
        else:
            yield note(AREA, f"rules of {repo.name}", f"the project's own; proposed: {'; '.join(wrong)}")


def _why(step: SetupStep) -> str:
    planted = isinstance(step, Propose) and isinstance(step.rule, TagRule)
    return "; until then an account of a role can make a tag with an action's key" if planted else ""


def _differs(want: BranchProtection, have: BranchProtection | None) -> list[str]:
    if have is None:
        return [f"{want.rule_name}: there is no such rule"]
    return [f"{want.rule_name}: {line}" for line in differences(want, have)]

"""What a request comes to before anything is done: how the project is tested, what is wanted of the forge, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from factory.app import offering, projects
from factory.app.asked import Request
from factory.app.sources import Source
from factory.config.model import DEFAULT_ACCOUNTS, Ci, HostConfig
from factory.forge.values import Label, RepoName
from factory.forge.wanted import Wanted, repos_by_login, wanted_setup
from factory.ops.detect import Guess, detect
from factory.ops.routes import unprotected_patterns
from factory.plan.labels import ALL


def guessed(request: Request, files: Mapping[str, bytes]) -> Guess:
    guess = detect(files)
    if request.ci_command is None:
        return guess
    return replace(guess, ci=Ci(command=request.ci_command, contexts=guess.ci.contexts), ci_reasons=("as you said",))


def wanted_of(
    request: Request, host: HostConfig, project: RepoName, login: str, accounts: Mapping[str, str], branch: str, ci: Ci,
    *, ours: bool, approvers: Iterable[str] = (),
) -> Wanted:  # fmt: skip
    """What this request wants of the forge. ``approvers``: those whom factory.toml names already."""
    others = [known for known in projects.every(host.state) if known.project != str(project)]
    more: dict[str, tuple[RepoName, ...]] = {}
    for known in others:
        named = {**DEFAULT_ACCOUNTS, **known.accounts}
        for account, repos in repos_by_login(RepoName.parse(known.project), RepoName.parse(known.ops), named).items():
            more[account] = (*more.get(account, ()), *repos)
    return wanted_setup(
        project,
        RepoName(project.owner, f"{project.name}-ops"),
        accounts=accounts,
        approvers=tuple(approvers) or (login,),
        more_repos=more,
        direct_patterns=unprotected_patterns(),
        labels=tuple(Label(0, name, color, text) for name, (color, text) in ALL.items()),
        new_people=(login,) if host.embedded else (),
        project_branch=branch,
        contexts=ci.contexts if ci.command else (),
        private=request.private,
        # A repo that we create has no rules to respect yet.
        protect=request.protect or ours,
    )


def push_lines(project: RepoName, source: Source) -> list[str]:
    forms = " with issue forms on top" if offering.missing(source.files) else ""
    return [f"push {source.branch} ({source.tip[:12]}){forms} to {project}"]


def source_notes(source: Source) -> tuple[str, ...]:
    if not source.uncommitted:
        return ()
    what = "1 file is" if source.uncommitted == 1 else f"{source.uncommitted} files are"
    return (f"{what} not committed in {source.url}: only commits are taken over",)

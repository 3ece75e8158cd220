"""Setting a project up: accounts, repos, seeds, rules.

Every step looks first, so an interrupted set-up is completed by running it again.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import tomlkit

from factory.app import projects
from factory.app.deployment import Deployment, free_port, is_free
from factory.app.services import ensure_forge, forge_home
from factory.app.session import mirror_path
from factory.config.factory import PATH as FACTORY
from factory.config.factory import edit_factory, load_factory
from factory.config.home import create_home, write_private
from factory.config.host import host_path, load_host, write_host
from factory.config.model import DEFAULT_ACCOUNTS, Ci, Environment, HostConfig, Mode
from factory.errors import ConfigInvalid, UsageError
from factory.forge.client import ForgejoClient
from factory.forge.setup import Credentials, SetupStep, apply, observe, plan_setup, working_tokens
from factory.forge.values import Label, RepoName
from factory.forge.wanted import wanted_setup
from factory.git import objects
from factory.git.objects import init_bare
from factory.git.transport import RefUpdate, Remote, default_branch, fetch, ls_remote, push
from factory.git.values import Signature
from factory.ops.detect import detect
from factory.ops.routes import unprotected_patterns
from factory.ops.seed import Seed, seed
from factory.plan.labels import ALL

FORGE_PORT = 3000
WEB_PORT = 3080
OPS_BRANCHES = ("auto", "ledger", "journal")


@dataclass(frozen=True)
class Request:
    """What a person asked ``init`` for."""

    source: str
    """A path, or a git URL."""
    home: Path
    name: str | None = None
    login: str = "founder"
    mode: Mode | None = None
    forge_url: str | None = None
    admin_token: str | None = None
    forge_port: int | None = None
    web_port: int | None = None
    ci_command: str | None = None
    sandbox: str = "bubblewrap"
    protect: bool = False
    private: bool = True
    dev_slots: int = 1
    poll_seconds: float = 30


@dataclass
class Done:
    """What ``init`` came to, for the person's screen."""

    project: RepoName
    ops: RepoName
    forge_url: str
    mode: Mode
    steps: tuple[str, ...]
    login: str
    password: str | None
    ci: Ci
    environment: Environment
    reasons: tuple[str, ...]
    proposals: tuple[str, ...] = ()
    seed: str = ""
    notes: list[str] = field(default_factory=list)


def prepare_host(request: Request) -> HostConfig:
    """The home and its host.toml, made or completed. Raises ConfigInvalid for an existing one that says otherwise."""
    create_home(request.home)
    if host_path(request.home).exists():
        host = load_host(request.home)
        if request.forge_url is not None and request.forge_url.rstrip("/") != host.forge_url.rstrip("/"):
            raise ConfigInvalid(
                f"setting up in {request.home}: this home already belongs to the forge {host.forge_url}",
                hint="use another home for another forge: FACTORY_HOME=... factory init ...",
            )
        return host
    embedded = request.forge_url is None
    port = request.forge_port or FORGE_PORT
    if embedded and not is_free(port):
        raise UsageError(
            f"setting up the embedded forge on port {port}: another program has that port",
            hint=f"choose another one: factory init {request.source} --port {free_port()}",
        )
    host = HostConfig(
        home=request.home,
        host=_host_name(),
        forge_url=request.forge_url or f"http://127.0.0.1:{port}",
        embedded=embedded,
        forge_port=port if embedded else None,
        web_port=request.web_port or (WEB_PORT if is_free(WEB_PORT) else free_port()),
        ops_repos=(),
        sandbox=request.sandbox,
    )
    write_host(host)
    return host


def _host_name() -> str:
    name = re.sub(r"[^a-z0-9-]+", "-", socket.gethostname().lower()).strip("-")[:40].strip("-")
    return name or "host"


@contextmanager
def admin_of(host: HostConfig, token: str | None) -> Iterator[ForgejoClient]:
    """The forge as a site admin: the embedded one's own socket, or a token that is used now and never stored."""
    if host.embedded:
        ensure_forge(host)
        client = ForgejoClient("http://localhost", uds=forge_home(host.state) / "admin.sock")
    elif token:
        client = ForgejoClient(host.forge_url, token)
    else:
        raise UsageError(
            f"setting up on {host.forge_url}: this needs an admin's token, once",
            hint="put one into a file and pass --admin-token-file FILE; it is used now and not stored",
        )
    with client:
        yield client


def set_up(request: Request, *, now: datetime, said: Callable[[str], None], dry_run: bool = False) -> Done:
    """The whole of ``init``. ``said`` gets one line per thing done. Raises what its steps raise; run again to go on."""
    host = prepare_host(request)
    with admin_of(host, request.admin_token) as admin:
        source, found = _source(request, host)
        project = _project_name(request, host, source)
        ops = RepoName(project.owner, f"{project.name}-ops")
        branch = (default_branch(source) if source is not None else None) or "main"
        existing = admin.find_repo(project)
        if existing is not None and not existing.empty:
            branch = existing.default_branch
        environment, ci, reasons = found
        wanted = wanted_setup(
            project,
            ops,
            accounts=DEFAULT_ACCOUNTS,
            approvers=(request.login,),
            direct_patterns=unprotected_patterns(),
            labels=tuple(Label(0, name, color, text) for name, (color, text) in ALL.items()),
            new_people=(request.login,) if host.embedded else (),
            project_branch=branch,
            contexts=ci.contexts if ci.command else (),
            private=request.private,
            # A repo that we create has no rules to respect yet.
            protect=request.protect or existing is None or existing.empty,
        )
        deployment = Deployment(host)
        kept = {login: deployment.token(login) for login in DEFAULT_ACCOUNTS.values() if _has(deployment, login)}
        good = working_tokens(host.forge_url, kept, project)
        first = plan_setup(observe(admin, wanted.without_protections(), tokens=good), wanted.without_protections())
        if dry_run:
            rules = [str(s) for s in plan_setup(observe(admin, wanted, tokens=good), wanted)]
            mode = request.mode or Mode.SUGGEST
            return Done(
                project, ops, host.forge_url, mode, tuple(rules), request.login, None, ci, environment, reasons
            )

        def keep(kind: str, login: str, secret: str) -> None:
            if kind == "token":
                deployment.keep_token(login, secret)
            else:
                write_private(host.state / "people" / login, secret.encode())

        made = _do(admin, first, keep, said)
        mode = request.mode or _default_mode(admin, project)
        _push_code(deployment, project, source, branch, said)
        told = Seed(
            project=str(project),
            mode=mode,
            founder=request.login,
            forge_url=host.forge_url,
            now=now,
            environment=environment,
            ci=ci,
            environment_reasons=reasons,
            poll_seconds=request.poll_seconds,
        )
        root = _push_seed(deployment, ops, told, request, now, said)
        mode = _mode_in_ops(deployment, ops) or mode
        second = plan_setup(observe(admin, wanted, tokens=frozenset(DEFAULT_ACCOUNTS.values())), wanted)
        made += _do(admin, second, keep, said)
        _hooks(admin, deployment, (project, ops), said)
        ids = {login: user.id for login in DEFAULT_ACCOUNTS.values() if (user := admin.user(login)) is not None}
        repos = (admin.repo(project), admin.repo(ops))
    projects.save(
        host.state,
        projects.ProjectState(str(project), str(ops), root, repos[0].id, repos[1].id, branch, ids, request.login),
    )
    if str(ops) not in host.ops_repos:
        write_host(replace(load_host(host.home), ops_repos=(*host.ops_repos, str(ops))))
    shown = tuple(str(step) for step in (*first, *second))
    if request.mode not in (None, mode):
        said(f"the mode stays {mode.value}, as factory.toml says; change it with: factory mode {request.mode}")
    return Done(
        project, ops, host.forge_url, mode, tuple(s for s in shown if not s.startswith("proposed")), request.login,
        _password(host.state, request.login), ci, environment, reasons,
        tuple(s for s in shown if s.startswith("proposed")), root,
    )  # fmt: skip


def _mode_in_ops(deployment: Deployment, ops: RepoName) -> Mode | None:
    """What factory.toml says already: set up a second time, it is not changed. None where it is not valid."""
    mirror = mirror_path(deployment.home, str(ops))
    fetch(mirror, deployment.remote(DEFAULT_ACCOUNTS["factory"], ops), ["+refs/heads/main:refs/heads/main"])
    text = objects.read_file(mirror, "refs/heads/main", FACTORY)
    try:
        return load_factory(text).mode if text is not None else None
    except ConfigInvalid:
        return None


def _has(deployment: Deployment, login: str) -> bool:
    return (deployment.state / "tokens" / login).exists()


def _password(state: Path, login: str) -> str | None:
    file = state / "people" / login
    return file.read_text(encoding="ascii") if file.exists() else None


def _do(
    admin: ForgejoClient,
    steps: tuple[SetupStep, ...],
    keep: Callable[[str, str, str], None],
    said: Callable[[str], None],
) -> list[Credentials]:
    done = []
    for step in steps:
        done.append(apply(admin, (step,), keep=keep))
        said(str(step))
    return done


def _source(request: Request, host: HostConfig) -> tuple[Remote | None, tuple[Environment, Ci, tuple[str, ...]]]:
    """Where the code comes from (None: it is on the forge already), and what its files say about building it."""
    text = request.source
    path = Path(text).expanduser()
    if path.exists():
        remote = Remote(str(path.resolve()))
    elif text.startswith(host.forge_url.rstrip("/") + "/"):
        # It may be private: ours to read if an earlier set-up got as far as a token, else the admin's.
        reader, ours = DEFAULT_ACCOUNTS["factory"], Deployment(host)
        known = (reader, ours.token(reader)) if _has(ours, reader) else ("admin", request.admin_token or "")
        return None, _guessed(request, _files(Remote(text, *known), host))
    elif re.match(r"[a-z+]+://|[^/]+@[^/]+:", text):
        remote = Remote.parse(text)
    else:
        raise UsageError(
            f"setting up {text!r}: there is no such folder, and it is no git URL", hint="factory init PATH"
        )
    return remote, _guessed(request, _files(remote, host))


def _files(remote: Remote, host: HostConfig) -> dict[str, bytes]:
    """The top of the source's tree, fetched into a scratch repo of the cache."""
    scratch = host.cache / "import.git"
    if not scratch.exists():
        scratch.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        init_bare(scratch)
    branch = default_branch(remote)
    if branch is None:
        raise UsageError(
            f"setting up {remote.url}: it is no git repository with a commit", hint="git init && git commit there first"
        )
    fetch(scratch, remote, [f"+refs/heads/{branch}:refs/heads/{branch}"])
    found: dict[str, bytes] = {}
    for entry in objects.list_tree(scratch, f"refs/heads/{branch}", recursive=True):
        small = entry.path.count("/") <= 1 and (entry.size or 0) < 200_000
        data = objects.read_file(scratch, f"refs/heads/{branch}", entry.path) if small else b""
        found[entry.path] = data or b""
    return found


def _guessed(request: Request, files: dict[str, bytes]) -> tuple[Environment, Ci, tuple[str, ...]]:
    guess = detect(files)
    ci = guess.ci if request.ci_command is None else Ci(command=request.ci_command, contexts=guess.ci.contexts)
    return guess.environment, ci, guess.reasons


def _project_name(request: Request, host: HostConfig, source: Remote | None) -> RepoName:
    if source is None:
        return RepoName.parse(request.source.removeprefix(host.forge_url.rstrip("/") + "/").removesuffix(".git"))
    tail = re.sub(r"[^A-Za-z0-9._-]+", "-", source.url.rstrip("/").rpartition("/")[2].removesuffix(".git"))
    text = request.name or tail
    return RepoName.parse(text) if "/" in text else RepoName(request.login, text)


def _default_mode(admin: ForgejoClient, project: RepoName) -> Mode:
    """``observe`` where people already work with issues or pull requests, ``suggest`` for a new project."""
    # Asked for the pull requests of a repo without a commit, a forge answers 404.
    empty = admin.repo(project).empty
    busy = admin.issues(project, state="all") or (not empty and admin.pulls(project, state="all"))
    return Mode.OBSERVE if busy else Mode.SUGGEST


def _push_code(
    deployment: Deployment, project: RepoName, source: Remote | None, branch: str, said: Callable[[str], None]
) -> None:
    target = deployment.remote(DEFAULT_ACCOUNTS["factory"], project)
    if source is None or f"refs/heads/{branch}" in ls_remote(target, (f"refs/heads/{branch}",)):
        return
    scratch = deployment.host.cache / "import.git"
    tip = objects.read_ref(scratch, f"refs/heads/{branch}")
    assert tip is not None
    push(scratch, target, [RefUpdate(f"refs/heads/{branch}", tip, None)])
    said(f"push {branch} ({tip[:12]}) to {project}")


def _push_seed(
    deployment: Deployment, ops: RepoName, told: Seed, request: Request, now: datetime, said: Callable[[str], None]
) -> str:
    """The ops repo's first commit, and the branches that only ever grow. Returns the root of trust."""
    remote = deployment.remote(DEFAULT_ACCOUNTS["factory"], ops)
    mirror = mirror_path(deployment.home, str(ops))
    if not mirror.exists():
        mirror.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        init_bare(mirror)
    there = ls_remote(remote, ("refs/heads/",))
    who = Signature(DEFAULT_ACCOUNTS["factory"], "factory-bot@factory.invalid", int(now.timestamp()), 0)
    known = projects.load(deployment.state, RepoName.parse(told.project))
    updates = []
    root = known.seed if known is not None else ""
    if "refs/heads/main" not in there:
        files = dict(seed(told))

        def slots(document: tomlkit.TOMLDocument) -> None:
            document["dev_slots"] = request.dev_slots

        files["factory.toml"] = edit_factory(files["factory.toml"].decode(), slots).encode()
        root = objects.build_commit(
            mirror,
            parent=None,
            changes=files,
            message=f"Begin the ops repo of {told.project}\n",
            author=who,
            committer=who,
        )
        updates.append(RefUpdate("refs/heads/main", root, None))
    elif not root:
        fetch(mirror, remote, ["+refs/heads/main:refs/heads/main"])
        root = objects.log(mirror, "refs/heads/main", first_parent=True)[-1].oid
    for branch in OPS_BRANCHES:
        if f"refs/heads/{branch}" not in there:
            first = objects.build_commit(
                mirror, parent=None, changes={}, message=f"Begin {branch}\n", author=who, committer=who
            )
            updates.append(RefUpdate(f"refs/heads/{branch}", first, None))
    if updates:
        push(mirror, remote, updates)
        said(f"seed {ops} ({root[:12]})")
    return root


def _hooks(
    admin: ForgejoClient, deployment: Deployment, repos: tuple[RepoName, ...], said: Callable[[str], None]
) -> None:
    """A webhook per repo, where the forge can reach this host: a hint to look now. Polling decides without it."""
    if not deployment.host.embedded:
        return
    url = f"{deployment.web_url}/hooks/forge"
    for repo in repos:
        if any(hook.url == url for hook in admin.hooks(repo)):
            continue
        admin.create_hook(
            repo, url=url, secret=deployment.secret("webhook").decode(),
            events=("push", "issues", "issue_comment", "pull_request", "pull_request_comment", "pull_request_review"),
        )  # fmt: skip
        said(f"add the webhook of {repo} to {url}")

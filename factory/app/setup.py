"""Setting a project up: accounts, repos, seeds, rules.

Everything is looked at before anything is changed, and every step looks first, so an interrupted set-up is completed by
running it again. The looking is ``setting``, the doing ``completing``; where the code comes from is ``sources``, what
the ops repo begins with ``seeding``, webhooks ``webhooks``, issue forms ``offering``, a forge where we are no admin
``prepared``.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from shlex import quote

from factory.app import projects, webhooks
from factory.app.asked import Done, Request
from factory.app.completing import complete
from factory.app.deployment import free_port, is_free
from factory.app.prepared import read_tokens
from factory.app.projects import ProjectState
from factory.app.services import ensure_forge, folder, forge_home
from factory.app.setting import Setting
from factory.app.site import Site
from factory.app.sources import Source, address, looked_at, project_name
from factory.app.wishes import guessed, push_lines, source_notes, wanted_of
from factory.config.home import create_home
from factory.config.host import host_path, load_host, write_host
from factory.config.model import DEFAULT_ACCOUNTS, HostConfig, Mode
from factory.errors import ConfigInvalid, Conflict, ForgeRefused, PolicyDenied, UsageError
from factory.forge.client import ForgejoClient
from factory.forge.setup.observed import Observed
from factory.forge.setup.plan import plan_setup
from factory.forge.values import ForgeVersion, RepoName
from factory.process import service
from factory.process.lock import try_hold
from factory.sandbox.doorway import reachable
from factory.vault.keys.hostkeys import make_keys

FORGE_PORT = 3000
WEB_PORT = 3080
FOUNDER = "founder"
EMBEDDED = ForgeVersion("embedded", "not made yet", 15)
"""What is planned for while there is no forge to ask."""


def planned_host(request: Request) -> tuple[HostConfig, bool]:
    """The home's host.toml, and whether it is there already; nothing is written.

    Raises ConfigInvalid for an existing one of another forge, UsageError for a taken port.
    """
    if host_path(request.home).exists():
        host = load_host(request.home)
        if host.runs != "all":
            raise UsageError(
                f"setting up in {request.home}: it runs only a part of the factory (runs = \"{host.runs}\"), and a "
                "set-up needs all of its keys",
                hint="bring the vault back, set up, and move it out again: docs/how-to/two-users.md",
            )
        if request.forge_url is not None and request.forge_url.rstrip("/") != host.forge_url.rstrip("/"):
            raise ConfigInvalid(
                f"setting up in {request.home}: this home already belongs to the forge {host.forge_url}",
                hint="use another home for another forge: FACTORY_HOME=... factory init ...",
            )
        return host, True
    embedded = request.forge_url is None
    port = request.forge_port or FORGE_PORT
    if embedded and not is_free(port):
        raise UsageError(
            f"setting up the embedded forge on port {port}: another program has that port",
            hint=f"choose another one: factory init {quote(request.source)} --port {free_port()}",
        )
    host = HostConfig(
        home=request.home,
        host=_host_name(),
        forge_url=(request.forge_url or f"http://127.0.0.1:{port}").rstrip("/"),
        embedded=embedded,
        forge_port=port if embedded else None,
        web_port=request.web_port or (WEB_PORT if is_free(WEB_PORT) else free_port()),
        ops_repos=(),
        sandbox=request.sandbox,
    )
    return host, False


def _host_name() -> str:
    name = re.sub(r"[^a-z0-9-]+", "-", socket.gethostname().lower()).strip("-")[:40].strip("-")
    return name or "host"


@contextmanager
def admin_of(host: HostConfig, token: str | None) -> Iterator[ForgejoClient]:
    """The forge as a site admin: the embedded one's own socket, or a token that is used now and never stored.

    Raises UsageError without either, PolicyDenied for a token that is no admin's.
    """
    with ExitStack() as stack:
        if host.embedded:
            ensure_forge(host)
            socket = stack.enter_context(reachable(forge_home(host.state) / "admin.sock"))
            client = stack.enter_context(ForgejoClient("http://localhost", uds=Path(socket)))
        elif token:
            client = stack.enter_context(ForgejoClient(host.forge_url, token))
            _refuse_no_admin(client)
        else:
            raise UsageError(
                f"setting up on {host.forge_url}: this needs an admin's token, once",
                hint="put one into a file and pass --admin-token-file FILE; it is used now and not stored. "
                "Where you are no admin: --tokens-dir DIR",
            )
        yield client


def _refuse_no_admin(client: ForgejoClient) -> None:
    doing = f"setting up on {client.url}"
    reply = client.ask("GET", "/admin/users", doing=doing, query={"limit": "1"})
    if reply.status in (401, 403):
        why = "the forge does not take this token" if reply.status == 401 else "this token is not a site admin's"
        raise PolicyDenied(
            f"{doing}: {why} ({reply.status})",
            hint="make one as a site admin, with all scopes; where you are no admin, prepare tokens: --tokens-dir DIR",
        )
    if reply.status != 200:
        raise client.refusal(reply, doing)


def set_up(request: Request, *, now: datetime, said: Callable[[str], None], dry_run: bool = False) -> Done:
    """The whole of ``init``. ``said`` gets one line per thing done. Raises what its steps raise; run again to go on.

    With ``dry_run`` nothing is changed anywhere, no home is made and no forge started that was not there.
    """
    host, there = planned_host(request)
    with ExitStack() as stack:
        local = Path(request.source).expanduser().exists()
        on_forge = not local and request.source.startswith(host.forge_url.rstrip("/") + "/")
        source = None
        if not on_forge:
            source = stack.enter_context(looked_at(address(request.source), host.cache if there else None))
        if on_forge and host.embedded and not there:
            raise UsageError(f"setting up {request.source}: there is no forge yet", hint="factory init PATH")
        others = projects.every(host.state)
        accounts = {**DEFAULT_ACCOUNTS, **(request.accounts or (others[-1].accounts if others else {}))}
        if host.embedded:
            project = _named(request, host, source, request.login or _founder(others))
            if dry_run and not forge_home(host.state).is_dir():
                return _dry_bare(request, host, project, source, accounts)
        if host.embedded and not dry_run:
            _make_home(host, there)
            stack.enter_context(_alone(host))
        site = _connected(stack, request, host, accounts, dry_run=dry_run)
        login = _who(request, site, others)
        project = _named(request, host, source, login)
        known = projects.load(host.state, project)
        login = request.login or (known.founder if known is not None else login)
        setting = Setting(request, host, site, project, login, accounts, now, said, stack)
        if source is None:
            setting.read_source()
        else:
            setting.source = source
        setting.look()
        if dry_run:
            return setting.would_do()
        if not host.embedded:
            setting.refuse_without_admin()
            _make_home(host, there)
            stack.enter_context(_alone(host))
        return complete(setting)


def _make_home(host: HostConfig, there: bool) -> None:
    create_home(host.home)
    make_keys(host.state, host.host)
    if not there:
        write_host(host)


@contextmanager
def _alone(host: HostConfig) -> Iterator[None]:
    held = try_hold(host.state / "init.lock")
    if held is None:
        raise Conflict(f"setting up in {host.home}: another `factory init` runs there", hint="wait until it has ended")
    with held:
        yield


def _connected(
    stack: ExitStack, request: Request, host: HostConfig, accounts: Mapping[str, str], *, dry_run: bool
) -> Site:
    if request.tokens_dir is not None and not host.embedded:
        prepared = read_tokens(host.forge_url, request.tokens_dir, accounts.values())
        token = prepared.tokens.get(accounts["factory"])
        return Site(host, None, prepared, stack.enter_context(ForgejoClient(host.forge_url, token)), accounts)
    if dry_run and host.embedded and service.status("forge", folder(host.state)).pid is None:
        # Left as it was found.
        stack.callback(service.stop, "forge", folder(host.state))
    admin = stack.enter_context(admin_of(host, request.admin_token))
    return Site(host, admin, None, admin, accounts)


def _founder(others: Sequence[ProjectState]) -> str:
    return others[-1].founder if others else FOUNDER


def _who(request: Request, site: Site, others: Sequence[ProjectState]) -> str:
    """The person who approves: as said, else who set up what is here, else whose the admin's token is."""
    if request.login is not None or site.host.embedded or others:
        login = request.login or _founder(others)
    else:
        try:
            login = site.looker.me().login if site.admin is not None else ""
        except ForgeRefused:
            login = ""
    if not login:
        raise UsageError(
            f"setting up on {site.host.forge_url}: whose approval counts is not known",
            hint="say who you are there: --login YOU",
        )
    if not site.host.embedded and site.admin is not None and site.admin.user(login) is None:
        raise UsageError(
            f"setting up on {site.host.forge_url}: there is no account {login}",
            hint="say who you are there: --login YOU",
        )
    return login


def _named(request: Request, host: HostConfig, source: Source | None, login: str) -> RepoName:
    if source is None:
        path = request.source.removeprefix(host.forge_url.rstrip("/") + "/").rstrip("/").removesuffix(".git")
        try:
            project = RepoName.parse(path)
        except ValueError:
            raise UsageError(
                f"setting up {request.source}: that is no address of a repo", hint=f"{host.forge_url}/OWNER/NAME"
            ) from None
    else:
        project = project_name(request.name, source.url, login, f"factory init {quote(request.source)}")
    if any(str(project).lower() == ops.lower() for ops in host.ops_repos):
        raise UsageError(
            f"setting up {project}: that is the ops repo of a project of this home",
            hint="a factory is set up for the project; if this is another one, choose another name: --name NAME",
        )
    return project


def _dry_bare(
    request: Request, host: HostConfig, project: RepoName, source: Source | None, accounts: Mapping[str, str]
) -> Done:
    """What would be done where not even the forge is there yet."""
    assert source is not None
    login = request.login or FOUNDER
    guess = guessed(request, source.files)
    wanted = wanted_of(request, host, project, login, accounts, source.branch, guess.ci, ours=True)
    steps = [f"make the home {host.home}", f"make an embedded forge at {host.forge_url} and start it"]
    first = wanted.without_protections()
    nothing = Observed(EMBEDDED, frozenset(), {})
    steps += map(str, plan_setup(nothing, first))
    ops = wanted.repos[1].name
    steps += [*push_lines(project, source), f"seed {ops}", f"begin the ledger of {ops}"]
    steps += [str(step) for step in plan_setup(nothing, wanted) if step not in plan_setup(nothing, first)]
    url = f"http://127.0.0.1:{host.web_port}{webhooks.PATH}"
    steps += [f"add the webhook of {repo.name} to {url}, and try it" for repo in wanted.repos]
    return Done(
        project, wanted.repos[1].name, host.forge_url, request.mode or Mode.SUGGEST, tuple(steps), login, None,
        guess.ci, guess.environment, guess.reasons, notes=source_notes(source), ci_reasons=guess.ci_reasons,
        environment_reasons=guess.environment_reasons,
    )  # fmt: skip


__all__ = ["Done", "Request", "admin_of", "planned_host", "set_up"]

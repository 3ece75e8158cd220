"""Checks across the files of a deployment: each may be valid alone and still not fit the others. Defaults are on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

from factory.config.factory import FactoryShape
from factory.config.model import APPROVER_DUTIES, DEFAULT_ACCOUNTS, FactoryConfig, RoleDefinition
from factory.config.shape import Findings, meant, table, tables, texts
from factory.config.source import read
from factory.errors import Problem

DUTIES = frozenset({"factory", "ci", "vault", "dispatcher", "release", "sentinel"})
"""Accounts that no role definition names."""


def check_factory(
    text: bytes,
    path: str,
    *,
    roles: Mapping[str, RoleDefinition],
    backends: Collection[str] | None = None,
    filled: Collection[str] = (),
) -> tuple[Problem, ...]:
    """What does not fit between ``factory.toml`` and the roles. Works on a file with other problems, too.

    ``backends``: the kinds there are; None leaves them unjudged. ``filled``: roles that an agent hired on this host
    works in already, before ``factory.toml`` names it.
    """
    document = read(text, path)
    if document.data is None:
        return ()
    found = Findings(document)
    _agents(found, document.data, roles, backends, filled)
    _names(found, document.data, roles)
    _accounts(found, document.data, roles)
    _budgets(found, document.data)
    _merging(found, document.data, roles)
    return tuple(sorted(found.problems, key=lambda p: p.line or 0))


def filled_roles(host: bytes) -> frozenset[str]:
    """Roles that the agents hired on this host work in."""
    entries = table(read(host, "host.toml").data, "backends").values()
    return frozenset(role for entry in entries for _, role in texts(entry, "roles"))


def check_host(text: bytes, path: str, factory: bytes) -> tuple[Problem, ...]:
    """What does not fit between ``host.toml`` and the ``factory.toml`` it serves."""
    document = read(text, path)
    shared = read(factory, "factory.toml").data
    if document.data is None or shared is None:
        return ()
    found = Findings(document)
    agents = {a["name"]: a for _, a in tables(shared, "agents") if isinstance(a.get("name"), str)}
    backends = table(document.data, "backends")
    for name in sorted(set(agents) - set(backends)):
        message = f"agent {name} of factory.toml has no [backends.{name}]: it cannot start on this host"
        kind = agents[name].get("backend", "BACKEND")
        found.add(("backends",), message, f"`factory hire {kind} --name {name}` adds it, where this host shall run it")
    for name, entry in backends.items():
        if name not in agents and texts(entry, "roles"):
            continue  # hired here; its pull request is on the way
        if name not in agents:
            message = f"backends.{name} belongs to no agent of factory.toml"
            found.add(("backends", name), message, meant(name, agents, "agents"))
        elif isinstance(entry, dict) and entry.get("kind") != agents[name].get("backend"):
            wanted = agents[name].get("backend")
            message = f'backends.{name}.kind is "{entry.get("kind")}", but the agent\'s backend is "{wanted}"'
            found.add(("backends", name, "kind"), message, "say the same in both files")
    if document.data.get("sandbox") == "none":
        message = 'sandbox is "none": agents run with all that this user may do'
        found.add(("sandbox",), message, 'install bubblewrap and set sandbox = "bubblewrap"; `factory doctor` says how')
    return tuple(sorted(found.problems, key=lambda p: p.line or 0))


def check_roles(
    roles: Mapping[str, RoleDefinition], files: Mapping[str, tuple[str, bytes]], formulas: Mapping[str, str]
) -> tuple[Problem, ...]:
    """What does not fit between roles and formulas.

    ``files``: role -> (path, content); ``formulas``: name -> its role, empty where its file is not valid.
    """
    problems: list[Problem] = []
    for name, role in sorted(roles.items()):
        path, text = files[name]
        found = Findings(read(text, path))
        for index, formula in enumerate(role.formulas):
            if formula not in formulas:
                message = f'formulas[{index}] names "{formula}", which is not a formula'
                found.add(("formulas", index), message, meant(formula, formulas, "formulas"))
            elif formulas[formula] not in ("", name):
                message = f'formulas[{index}] names "{formula}", which belongs to the role {formulas[formula]}'
                found.add(("formulas", index), message, "a formula is run by the role it names")
        if role.active and not role.formulas:
            found.add(("active",), f"the role {name} is active but has no formula to run", "set active = false")
        problems += found.problems
    return tuple(problems)


def _agents(
    found: Findings,
    data: Mapping[str, Any],
    roles: Mapping[str, RoleDefinition],
    backends: Collection[str] | None,
    filled: Collection[str],
) -> None:
    working = set(filled)
    for index, agent in tables(data, "agents"):
        name = agent.get("name", f"agents[{index}]")
        mine = texts(agent, "roles")
        working |= {role for _, role in mine}
        if not mine:
            found.add(
                ("agents", index), f"agent {name} has no roles and will never work", 'for example roles = ["dev"]'
            )
        for at, role in mine:
            place = ("agents", index, "roles", at)
            if role not in roles:
                found.add(
                    place,
                    f'agents[{index}].roles names "{role[:60]}", which is not a role',
                    meant(role, roles, "roles"),
                )
            elif not roles[role].active:
                found.add(place, f"agents[{index}].roles names {role}, which is not active", "take it out until it is")
        kind = agent.get("backend")
        if backends is not None and isinstance(kind, str) and kind not in backends:
            message = f'agents[{index}].backend is "{kind[:60]}", which there is not'
            found.add(("agents", index, "backend"), message, meant(kind, backends, "backends"))
    if data.get("mode") != "observe":
        for role in sorted(r.name for r in roles.values() if r.active and r.name not in working):
            found.add(("agents",), f"no agent works as {role}", f"`factory hire BACKEND --roles {role}`")


def _names(found: Findings, data: Mapping[str, Any], roles: Mapping[str, RoleDefinition]) -> None:
    duties = {*roles, *DUTIES}
    for key in table(data, "accounts"):
        if key not in duties:
            found.add(
                ("accounts", key), f"accounts.{key[:60]} is for no role or duty", meant(key, duties, "roles and duties")
            )
    for key in table(data, "schedules"):
        if key not in roles:
            found.add(("schedules", key), f"schedules.{key[:60]} is for no role", meant(key, roles, "roles"))


def with_accounts(
    config: FactoryConfig, text: bytes, path: str, roles: Mapping[str, RoleDefinition]
) -> tuple[FactoryConfig, tuple[Problem, ...]]:
    """The configuration that ``text`` says, with the accounts that the role definitions name where it names none.

    Where that would make one account author and approver, or a person's account a bot's, they name nothing, and the
    problems say why.
    """
    document = read(text, path)
    found = Findings(document)
    _accounts(found, document.data or {}, roles)
    if found.problems:
        return config, tuple(found.problems)
    named = {name: role.account for name, role in roles.items() if role.account}
    return replace(config, accounts={**named, **config.accounts}), ()


def accounts(given: Mapping[str, Any], roles: Mapping[str, RoleDefinition]) -> dict[str, str]:
    """Role or duty -> login in force: factory.toml's, else the role definition's, else the usual one."""
    defined = {name: role.account for name, role in roles.items()}
    named = {name: login for name, login in given.items() if isinstance(login, str)}
    return {**DEFAULT_ACCOUNTS, **defined, **named}


def _accounts(found: Findings, data: Mapping[str, Any], roles: Mapping[str, RoleDefinition]) -> None:
    """Author and approver in one account where a role definition brings it about; ``load_factory`` judges the rest."""
    given = table(data, "accounts")
    effective = accounts(given, roles)
    alone = {**DEFAULT_ACCOUNTS, **{k: v for k, v in given.items() if isinstance(v, str)}}
    for duty in sorted(APPROVER_DUTIES & set(effective)):
        for other, login in sorted(effective.items()):
            same = login.casefold() == effective[duty].casefold()
            known = alone.get(other, "").casefold() == alone.get(duty, "").casefold()
            if other not in APPROVER_DUTIES and same and not known:
                message = f'account "{login}" would be author ({other}) and approver ({duty}) of the same work'
                found.add(
                    ("accounts",), message, f"agents/{duty}.toml or agents/{other}.toml must name another account"
                )
    bots = {login.casefold(): duty for duty, login in effective.items() if alone.get(duty) != login}
    for place in (("approvers",), ("admins",), ("trust", "people")):
        for index, login in texts(data, *place):
            if login.casefold() in bots:
                message = f'{".".join(place)}[{index}] "{login}" is the account of {bots[login.casefold()]}, a bot'
                found.add((*place, index), message, "name people here")


def _budgets(found: Findings, data: Mapping[str, Any]) -> None:
    """A smaller budget around a larger one: the larger could never be used, and nothing says so while it runs."""
    given = table(data, "budgets")
    fields = FactoryShape.model_fields["budgets"].default
    order = ("run_usd", "role_day_usd", "project_day_usd", "project_month_usd")
    values = {key: given.get(key, getattr(fields, key)) for key in order}
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values.values()):
        return
    for small, large in pairwise(order):
        if values[small] > values[large]:
            place = ("budgets", small if small in given else large)
            message = f"budgets.{small} ({values[small]:g}) is more than budgets.{large} ({values[large]:g})"
            what = "no run could ever start" if small == "run_usd" else "it could never be used up"
            found.add(place, message, f"{what}; raise {large} or lower {small}")


def _merging(found: Findings, data: Mapping[str, Any], roles: Mapping[str, RoleDefinition]) -> None:
    ci = table(data, "ci")
    contexts = [c for _, c in texts(ci, "contexts")] if "contexts" in ci else ["factory/ci"]
    has_command = bool(str(ci.get("command", "")).strip())
    if has_command and "factory/ci" not in contexts:
        message = "ci.command runs, but nothing waits for it: ci.contexts does not name factory/ci"
        found.add(("ci", "contexts"), message, 'add "factory/ci" to contexts, or take the command out')
    if not has_command and "factory/ci" in contexts and data.get("mode") != "observe":
        message = "ci.contexts waits for factory/ci, but there is no ci.command that would post it"
        found.add(("ci",), message, 'set command = "..." under [ci], or name your own CI\'s contexts')
    if not data.get("approvers") and not data.get("admins") and data.get("mode") != "observe":
        message = "nobody may approve: approvers and admins are empty"
        hint = 'no change of this file, and nothing that needs a person, could go on; set approvers = ["your-login"]'
        found.add(("mode",), message, hint)
    elif not data.get("admins"):
        found.add(("approvers",), "admins is empty: nobody may change who approves", 'set admins = ["your-login"]')
    reviewer = roles.get("reviewer")
    if data.get("mode") == "merge" and (reviewer is None or not reviewer.active):
        found.add(("mode",), 'mode is "merge", but the reviewer is not active: nothing would be merged', "activate it")

"""``factory.toml``: what all hosts of one project share. Reading, last good version, lossless edits."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from factory.config.model import (
    APPROVER_DUTIES,
    DEFAULT_ACCOUNTS,
    AgentEntry,
    Budgets,
    Ci,
    Environment,
    FactoryConfig,
    Mode,
    Trust,
)
from factory.config.schedule import EXAMPLE, parse_schedule
from factory.config.shape import Findings, Shape, refused, shaped, spelled, table, tables, texts
from factory.config.source import Document, read
from factory.config.words import Line, Login, Name, Place, StatusContext, Usd
from factory.errors import ConfigInvalid, Problem

if TYPE_CHECKING:
    import tomlkit

PATH = "factory.toml"


class TrustShape(Shape):
    """[trust]: whose words count."""

    people: list[Login] = Field(default_factory=list)
    """logins whose labels and text count, besides collaborators with write"""


class EnvironmentShape(Shape):
    """[environment]: how the project is set up; tests and sessions then run offline."""

    setup: list[Line] = Field(default_factory=list)
    """shell lines that fetch what the project needs; run when a lock file changes"""
    cache: list[Place] = Field(default_factory=list)
    """paths inside the checkout that set-up produces, such as ".venv" """
    lock_files: list[Place] = Field(default_factory=list)
    """paths inside the checkout whose change makes set-up run again"""
    egress: list[Annotated[str, Field(pattern=r"^(?:\*\.)?[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*(?::\d{1,5})?$")]] = Field(
        default_factory=list
    )
    """hosts that set-up may reach, without scheme or path: "pypi.org" """
    directory: Place = "."
    """folder of the checkout where commands run"""


class CiShape(Shape):
    """[ci]: what makes a commit green."""

    command: Annotated[str, Field(max_length=4000, pattern=r"^[^\x00]*$")] = ""
    """shell line that decides whether a commit is green"""
    contexts: list[StatusContext] = Field(default_factory=lambda: ["factory/ci"], min_length=1)
    """commit statuses required before a review and a merge"""
    minutes: Annotated[float, Field(gt=0, le=24 * 60, allow_inf_nan=False)] = 20
    """how long the command may take"""


class BudgetsShape(Shape):
    """[budgets]: USD at list price, reserved before a start and settled after it."""

    run_usd: Usd = 2.0
    """of one run; a formula's own limits.cost_usd may be lower"""
    role_day_usd: Usd = 20.0
    """of all runs of one role in a UTC day"""
    project_day_usd: Usd = 40.0
    """of all runs of the project in a UTC day"""
    project_month_usd: Usd = 400.0
    """of all runs of the project in a UTC month"""


class AgentShape(Shape):
    """[[agents]]: a hired name with its backend, model and roles."""

    name: Name
    """lower-case letters, digits and dashes, such as "cc-1" """
    backend: Name
    """kind of backend: native, claude-code, codex, ..."""
    model: Annotated[str, Field(pattern=r"^[^\x00-\x20]{1,120}$")]
    """model as the backend spells it"""
    roles: list[Name] = Field(default_factory=list)
    """roles it works in: ["dev", "reviewer"]"""


class FactoryShape(Shape):
    """factory.toml of an ops repo."""

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    """version of this file's form"""
    project: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}/[A-Za-z0-9._-]{1,100}$")]
    """the project repo as project = "owner/name" """
    mode: Literal["observe", "suggest", "merge"]
    """what the factory may do: mode = "observe", "suggest" or "merge" """
    approvers: list[Login] = Field(default_factory=list)
    """people whose approval counts in the ops repo"""
    admins: list[Login] = Field(default_factory=list)
    """people who may change who approves, and the policy"""
    poll_seconds: Annotated[float, Field(ge=0.05, le=86_400, allow_inf_nan=False)] = 30
    """seconds between two looks at the forge when nothing wakes it earlier"""
    dev_slots: Annotated[int, Field(ge=1, le=50)] = 1
    """issues worked on at the same time"""
    review_all: bool = False
    """true: every pull request is reviewed, not only those of the factory or with a request"""
    trust: TrustShape = TrustShape()
    environment: EnvironmentShape = EnvironmentShape()
    ci: CiShape = CiShape()
    budgets: BudgetsShape = BudgetsShape()
    accounts: dict[str, Login] = Field(default_factory=dict)
    """role or duty = login of its account"""
    schedules: dict[str, str] = Field(default_factory=dict)
    """role = "every 10m" or a cron expression"""
    agents: list[AgentShape] = Field(default_factory=list)


def load_factory(text: bytes, path: str = PATH, *, commit: str = "") -> FactoryConfig:
    """Read ``factory.toml``; ``commit`` is the ops commit it was read at. Raises ConfigInvalid with all problems."""
    document = read(text, path)
    shape, problems = shaped(document, FactoryShape, _judged)
    if shape is None:
        raise refused(path, problems)
    return _valid(shape, commit)


@dataclass(frozen=True)
class Current:
    """What is in force: the newest good version, and why a newer text is not it."""

    config: FactoryConfig | None
    problems: tuple[Problem, ...] = ()


def current(previous_good: FactoryConfig | None, new_text: bytes, path: str = PATH, *, commit: str = "") -> Current:
    """The configuration to work with: the new text when it is valid, else the last good version with the problems."""
    try:
        return Current(load_factory(new_text, path, commit=commit))
    except ConfigInvalid as error:
        return Current(previous_good, error.problems)


def edit_factory(text: str, change: Callable[[tomlkit.TOMLDocument], None]) -> str:
    """Apply a change to the text and keep every byte that it does not touch.

    Raises ConfigInvalid when the text is not TOML, or the result would not be a valid factory.toml.
    """
    import tomlkit  # only who edits needs it
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(text)
    except TOMLKitError as error:
        load_factory(text.encode())  # says it with line and hint
        raise ConfigInvalid(f"editing {PATH}: {error}") from error
    change(document)
    edited = tomlkit.dumps(document)
    load_factory(edited.encode())
    return edited


def with_mode(text: str, mode: Mode) -> str:
    """The text with another mode."""

    def change(document: tomlkit.TOMLDocument) -> None:
        document["mode"] = str(mode)

    return edit_factory(text, change)


def with_agent(text: str, agent: AgentEntry) -> str:
    """The text with this agent hired: a new entry, or the one of that name changed."""
    import tomlkit

    def change(document: tomlkit.TOMLDocument) -> None:
        wanted = {"name": agent.name, "backend": agent.backend, "model": agent.model, "roles": sorted(agent.roles)}
        agents = document.get("agents")
        if agents is None:
            agents = tomlkit.aot()
            document.add(tomlkit.nl())
            document.append("agents", agents)
        for entry in agents:
            if entry.get("name") == agent.name:
                for key, value in wanted.items():
                    if entry.get(key) != value:
                        entry[key] = value
                return
        table = tomlkit.table() if isinstance(agents, tomlkit.items.AoT) else tomlkit.inline_table()
        table.update(wanted)
        agents.append(table)

    return edit_factory(text, change)


def without_agent(text: str, name: str) -> str:
    """The text without the agent of that name; unchanged when there is none."""

    def change(document: tomlkit.TOMLDocument) -> None:
        agents = document.get("agents") or []
        for index in range(len(agents) - 1, -1, -1):
            if agents[index].get("name") == name:
                del agents[index]
        if "agents" in document and not agents:
            del document["agents"]

    return edit_factory(text, change)


def _judged(document: Document) -> list[Problem]:
    """What the shape alone cannot say: names given twice, accounts that would approve their own work, schedules."""
    found = Findings(document)
    data = document.data
    seen: dict[str, int] = {}
    for index, agent in tables(data, "agents"):
        name = agent.get("name")
        if isinstance(name, str) and seen.setdefault(name, index) != index:
            found.add(
                ("agents", index, "name"), f'agents[{index}].name "{name}" is already the name of agents[{seen[name]}]'
            )
    given = {duty: login for duty, login in table(data, "accounts").items() if isinstance(login, str)}
    effective = {**DEFAULT_ACCOUNTS, **given}
    bots = {login.casefold(): duty for duty, login in effective.items()}
    for duty in sorted(APPROVER_DUTIES):
        for other, login in sorted(effective.items()):
            if other not in APPROVER_DUTIES and login.casefold() == effective[duty].casefold():
                found.add(
                    ("accounts", duty if duty in given else other),
                    f'account "{login}" would be author ({other}) and approver ({duty}) of the same work',
                    f'give {duty} an account of its own; the default is "{DEFAULT_ACCOUNTS[duty]}"',
                )
    for place, hint in (
        (("approvers",), "approving is a person's act: name people here"),
        (("admins",), "deciding who approves is a person's act: name people here"),
        (("trust", "people"), "our own accounts are never trusted: take it out of the list"),
    ):
        for index, login in texts(data, *place):
            if login.casefold() in bots:
                where = (*place, index)
                found.add(where, f'{spelled(where)} "{login}" is the account of {bots[login.casefold()]}, a bot', hint)
    for role, text in table(data, "schedules").items():
        if isinstance(text, str):
            try:
                parse_schedule(text)
            except ValueError as error:
                found.add(("schedules", role), f'schedules.{role} is "{text[:60]}": {error}', EXAMPLE)
    for key in table(data, "accounts"):
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,39}", key):
            hint = "lower-case letters, digits, dashes"
            found.add(("accounts", key), f'accounts: "{key[:60]}" cannot be the name of a role or duty', hint)
    return found.problems


def _valid(shape: FactoryShape, commit: str) -> FactoryConfig:
    env, ci, budgets = shape.environment, shape.ci, shape.budgets
    return FactoryConfig(
        project=shape.project,
        mode=Mode(shape.mode),
        agents=tuple(AgentEntry(a.name, a.backend, a.model, frozenset(a.roles)) for a in shape.agents),
        accounts=dict(shape.accounts),
        approvers=frozenset(shape.approvers),
        admins=frozenset(shape.admins),
        trust=Trust(frozenset(shape.trust.people)),
        environment=Environment(
            tuple(env.setup), tuple(env.cache), tuple(env.lock_files), tuple(env.egress), env.directory
        ),
        ci=Ci(ci.command, tuple(ci.contexts), ci.minutes),
        budgets=Budgets(budgets.run_usd, budgets.role_day_usd, budgets.project_day_usd, budgets.project_month_usd),
        poll_seconds=shape.poll_seconds,
        dev_slots=shape.dev_slots,
        review_all=shape.review_all,
        schedules=dict(shape.schedules),
        commit=commit,
    )

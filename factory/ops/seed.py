"""The first commit of an ops repo: what ``factory init`` writes, from the templates in ``generators/ops``.

A template says everything a founder reads; this module gives it the values and renders it, nothing else. Templates run
in Jinja's sandbox with strict undefined names, so that a forgotten value is an error and not an empty line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from factory.config.home import data_dir
from factory.config.model import AgentEntry, Budgets, Ci, Environment, Mode
from factory.errors import ConfigInvalid
from factory.ops.dashboard import DashboardFacts, render
from factory.ops.markdown import plain
from factory.ops.toml_text import toml_value

_SUFFIX = ".j2"


@dataclass(frozen=True)
class VaultLine:
    """A formula of the vault as the first policy names it."""

    key: str
    """``name@version``."""
    digest: str
    tier: str
    description: str


@dataclass(frozen=True)
class Seed:
    """What is known about a project when its factory is set up."""

    project: str
    """``owner/name``."""
    mode: Mode
    founder: str
    """Login of the person who may approve."""
    forge_url: str
    now: datetime
    environment: Environment = field(default_factory=Environment)
    ci: Ci = field(default_factory=Ci)
    budgets: Budgets = field(default_factory=Budgets)
    environment_reasons: tuple[str, ...] = ()
    """Why the environment was guessed so; each becomes a comment line."""
    ci_reasons: tuple[str, ...] = ()
    agents: tuple[AgentEntry, ...] = ()
    accounts: Mapping[str, str] = field(default_factory=dict)
    more_people: tuple[str, ...] = ()
    """Further approvers."""
    poll_seconds: float = 30
    ids: Mapping[str, int] = field(default_factory=dict)
    """Login -> account id of the approvers. Without those of all of them there is no policy."""
    vault: tuple[VaultLine, ...] = ()


POLICY = "vault/policy.toml"


def seed(what: Seed, templates: Path | None = None) -> Mapping[str, bytes]:
    """Path -> content of the ops repo's first commit. The same values give the same bytes.

    ``templates``: a folder to use instead of the packaged ``generators/ops``. Raises ConfigInvalid for a template that
    cannot be rendered."""
    folder = templates if templates is not None else data_dir("generators") / "ops"
    project_url = f"{what.forge_url.rstrip('/')}/{what.project}"
    people = list(dict.fromkeys((what.founder, *what.more_people)))
    facts = DashboardFacts(what.project, project_url, what.mode.value, prerequisites=())
    values: dict[str, Any] = {
        "project": what.project,
        "project_url": project_url,
        "forge_url": what.forge_url,
        "mode": what.mode.value,
        "founder": what.founder,
        "people": people,
        "environment": what.environment,
        "environment_reasons": [_comment(reason) for reason in what.environment_reasons],
        "ci": what.ci,
        "ci_reasons": [_comment(reason) for reason in what.ci_reasons],
        "budgets": what.budgets,
        "agents": what.agents,
        "accounts": dict(sorted(what.accounts.items())),
        "poll_seconds": what.poll_seconds,
        "today": f"{what.now.astimezone(UTC):%Y-%m-%d}",
        "dashboard": render(facts, what.now),
        "ids": [what.ids.get(login, 0) for login in people],
        "vault": [replace(line, description=_comment(line.description)) for line in what.vault],
    }
    files = render_folder(folder, values)
    return files if all(values["ids"]) else {path: data for path, data in files.items() if path != POLICY}


def issue_templates(folder: str = ".forgejo/ISSUE_TEMPLATE") -> Mapping[str, bytes]:
    """Issue forms for the project repo, to be proposed by pull request; path -> content."""
    rendered = render_folder(data_dir("generators") / "project", {})
    return {f"{folder}/{name}": content for name, content in rendered.items()}


def render_folder(folder: Path, values: Mapping[str, object]) -> Mapping[str, bytes]:
    """Every ``*.j2`` below the folder, rendered; the path is that of the template without its suffix."""
    from jinja2 import StrictUndefined, TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    # The results are TOML, Markdown and YAML, never HTML; words of others are escaped where they are put in.
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    environment.filters["toml"] = toml_value
    found: dict[str, bytes] = {}
    for path in sorted(folder.rglob(f"*{_SUFFIX}")):
        name = path.relative_to(folder).as_posix()
        try:
            text = environment.from_string(path.read_text(encoding="utf-8")).render(values)
        except TemplateError as error:
            line = getattr(error, "lineno", None)
            raise ConfigInvalid(f"rendering {name if line is None else f'{name}:{line}'}: {error}") from error
        found[name.removesuffix(_SUFFIX)] = (text.rstrip("\n") + "\n").encode()
    if not found:
        raise ConfigInvalid(f"rendering {folder}: no template there", hint="the installation is incomplete")
    return found


def _comment(reason: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f]", " ", plain(reason, 110))

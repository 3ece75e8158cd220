"""What a host remembers of each project it serves: the seed commit that `init` pushed, and our accounts' ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from factory.config.home import write_private
from factory.config.model import DEFAULT_ACCOUNTS
from factory.forge.values import RepoName
from factory.runs.codec import compact, decode, encode, parse_json


@dataclass(frozen=True)
class ProjectState:
    """``state/projects/<owner.name>.json``."""

    project: str
    ops: str
    seed: str
    """Commit of the ops repo that ``init`` pushed: the root of trust until a listed person approved a newer one."""
    repo_id: int
    ops_id: int
    base_ref: str
    account_ids: Mapping[str, int] = field(default_factory=dict)
    founder: str = ""
    accounts: Mapping[str, str] = field(default_factory=dict)
    """Duty -> login, where ``[accounts]`` named another one than the usual."""

    def account(self, duty: str) -> str:
        """The login that acts for a duty."""
        return self.accounts.get(duty) or DEFAULT_ACCOUNTS[duty]


def path_of(state: Path, project: RepoName) -> Path:
    return state / "projects" / f"{project.owner}.{project.name}.json"


def save(state: Path, value: ProjectState) -> None:
    """Keep it, whole or not at all."""
    owner, _, name = value.project.partition("/")
    write_private(path_of(state, RepoName(owner, name)), compact(encode(value)).encode())


def load(state: Path, project: RepoName) -> ProjectState | None:
    """None when ``init`` did not get as far."""
    try:
        return decode(ProjectState, parse_json(path_of(state, project).read_bytes()))
    except FileNotFoundError:
        return None


def every(state: Path) -> tuple[ProjectState, ...]:
    """All projects this host has set up."""
    files = sorted((state / "projects").glob("*.json"))
    return tuple(decode(ProjectState, parse_json(file.read_bytes())) for file in files)


def account(state: Path, repo: RepoName, duty: str) -> str:
    """The login that acts for a duty in a project, which may be named by its ops repo. The usual one while nothing is
    known."""
    owner = RepoName(repo.owner, repo.name.removesuffix("-ops"))
    known = load(state, repo) or load(state, owner)
    return known.account(duty) if known is not None else DEFAULT_ACCOUNTS[duty]

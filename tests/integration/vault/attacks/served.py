"""One dispatcher of a keep as a test has it in hand: its process, its host, and what is seen of both from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from factory.app import beats, projects
from factory.app.deployment import Deployment
from factory.app.places import vault_folder, vault_home
from factory.app.projects import ProjectState
from factory.config.host import write_host
from factory.config.model import HostConfig
from factory.forge.values import RepoName
from factory.vault.ledger import Ledger
from factory.vault.watch.wake import poke
from tests.integration.vault.attacks import blind
from tests.integration.vault.attacks.inside import Life
from tests.integration.vault.attacks.program import Alarms, Program, refusal


@dataclass
class Host:
    """A machine with the vault's processes: ``factory init`` left it with host.toml, tokens and the project."""

    home: Path
    name: str
    forge: str
    ops: RepoName
    project: ProjectState
    tokens: Mapping[str, str]
    """Login -> token, of the accounts that act here."""

    def __post_init__(self) -> None:
        config = HostConfig(self.home, self.name, self.forge, False, None, 0, (str(self.ops),))
        self.deployment = Deployment(config)
        write_host(config)
        project = RepoName(self.ops.owner, self.ops.name.removesuffix("-ops"))
        assert self.project.project == str(project)
        projects.save(self.state, self.project)
        for login, token in self.tokens.items():
            self.deployment.keep_token(login, token)
        self.folder.mkdir(parents=True, mode=0o700)

    @property
    def state(self) -> Path:
        return self.home / "state"

    @property
    def folder(self) -> Path:
        """Of this ops repo, in the vault's part of the state."""
        return vault_folder(self.state, str(self.ops))

    def program(self, call: str, **more: Path) -> Program:
        """``more``: of its ``Life``."""
        return Program(call, Life(self.home, self.home / f"{call}.sock", self.home / f"{call}.log", **more))


class Machine(Protocol):
    """What is to be known of a host."""

    @property
    def ops(self) -> RepoName: ...
    @property
    def state(self) -> Path: ...
    @property
    def folder(self) -> Path: ...


@dataclass
class Served:
    """``before``: what must run already, begun when it does not. ``read``: the ledger as it stands on the forge now,
    by somebody else's eyes."""

    host: Machine
    program: Program
    before: Callable[[], None]
    read: Callable[[], Ledger]

    def turn(self) -> None:
        """One turn; the process begins with one, when there is none yet or other things are switched off by now.
        Raises Refused when it says that the ledger itself is not as it must be."""
        self.before()
        self.program.turn(tuple(blind.switched), self._poke)
        if refused := refusal(self.trouble):
            raise refused

    def go(self) -> None:
        """A turn that is not waited for; ``rest`` does."""
        self.before()
        self.program.go(tuple(blind.switched), self._poke)

    def rest(self) -> None:
        self.program.rest()

    def end(self) -> None:
        """It is told to end, and does; the next turn is another process with the same state."""
        self.program.end()

    def _poke(self) -> None:
        assert poke(vault_home(self.host.state)) == 1, self.program.said

    @property
    def trouble(self) -> str:
        """What ``factory status`` and ``factory doctor`` say of it."""
        told = str(beats.read(self.host.state, "dispatcher").get("trouble", ""))
        return told.removeprefix(f"{self.host.ops}: ")

    @property
    def alarms(self) -> Alarms:
        """The same, by subject."""
        return Alarms(self.trouble)

    @property
    def ledger(self) -> Ledger:
        return self.read()

    @property
    def mirror(self) -> Path:
        """Its own copy of the ops repo."""
        return self.host.folder / "repo.git"

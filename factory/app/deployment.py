"""One host's part of a factory, opened from its home: configuration, credentials, and clients made of them."""

from __future__ import annotations

import secrets
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from factory.config.home import factory_home, write_private
from factory.config.host import load_host
from factory.config.model import DEFAULT_ACCOUNTS, HostConfig
from factory.errors import ConfigInvalid, PolicyDenied, UsageError
from factory.forge.values import RepoName
from factory.git.transport import Remote

if TYPE_CHECKING:
    from factory.forge.client import ForgejoClient


APART = {
    "daemon": "the vault has a home of its own: run this as its user (docs/how-to/two-users.md)",
    "vault": "this home is the vault's alone: run this as the daemon's user (docs/how-to/two-users.md)",
    "nothing": "the vault has moved out of this home: run this where it is now (docs/how-to/two-users.md)",
}
"""Where to turn from a home that runs less than all, by what it runs."""


@dataclass
class Deployment:
    """Everything a command or the daemon needs to act as this host. Clients are made once per account."""

    host: HostConfig
    _clients: dict[str, ForgejoClient] = field(default_factory=dict)

    @classmethod
    def open(cls, home: Path | None = None) -> Deployment:
        """Raises ConfigInvalid when there is no deployment at ``home`` (default: ``$FACTORY_HOME``)."""
        return cls(load_host(home or factory_home()))

    @property
    def home(self) -> Path:
        return self.host.home

    @property
    def state(self) -> Path:
        return self.host.state

    def require_vault(self, doing: str) -> None:
        """Raise UsageError, saying where to turn, when the vault is not of this home."""
        if not self.host.has_vault:
            raise UsageError(f"{doing}: host.toml says runs = \"{self.host.runs}\"", hint=APART[self.host.runs])

    def token(self, login: str) -> str:
        """The token of one of our accounts. Raises PolicyDenied when this host has none."""
        try:
            return (self.state / "tokens" / login).read_text(encoding="ascii").strip()
        except FileNotFoundError as error:
            hint = "`factory init` on this project mints it" if self.host.runs == "all" else APART[self.host.runs]
            raise PolicyDenied(f"acting as {login}: this host has no token for it", hint=hint) from error

    def keep_token(self, login: str, token: str) -> None:
        write_private(self.state / "tokens" / login, token.encode() + b"\n")

    def tokens(self) -> tuple[str, ...]:
        """Every token value this host holds: what must never reach a log."""
        folder = self.state / "tokens"
        return tuple(file.read_text(encoding="ascii").strip() for file in folder.iterdir()) if folder.is_dir() else ()

    def forge(self, login: str) -> ForgejoClient:
        """The forge, as this account."""
        # Imported here: a session speaks git only, and the HTTP library is a third of what it would load.
        from factory.forge.client import ForgejoClient

        if login not in self._clients:
            self._clients[login] = ForgejoClient(self.host.forge_url, self.token(login))
        return self._clients[login]

    def clients(self) -> tuple[ForgejoClient, ...]:
        """The clients made so far."""
        return tuple(self._clients.values())

    def close(self) -> None:
        """End the connections of the clients made so far; asked again, they are made anew."""
        while self._clients:
            self._clients.popitem()[1].close()

    def remote(self, login: str, repo: RepoName | str) -> Remote:
        """A repo over git, as this account."""
        return Remote(f"{self.host.forge_url.rstrip('/')}/{repo}.git", login, self.token(login))

    def projects(self) -> tuple[tuple[RepoName, RepoName], ...]:
        """(project, ops repo) of each project this host serves. The ops repo of ``o/n`` is ``o/n-ops``."""
        found = []
        for text in self.host.ops_repos:
            ops = RepoName.parse(text)
            found.append((RepoName(ops.owner, ops.name.removesuffix("-ops")), ops))
        if not found:
            raise ConfigInvalid("this factory has no project yet", hint="factory init PATH")
        return tuple(found)

    def secret(self, name: str) -> bytes:
        """A random 32-byte secret of this host, made at first use (marker key, webhook secret)."""
        path = self.state / "keys" / name
        if not path.exists():
            write_private(path, secrets.token_hex(32).encode())
        return path.read_bytes()

    @property
    def web_url(self) -> str:
        return f"http://127.0.0.1:{self.host.web_port}"


ACCOUNTS: tuple[str, ...] = tuple(DEFAULT_ACCOUNTS.values())


def free_port() -> int:
    """A port nobody listens on right now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(port: int) -> bool:
    """Whether nobody listens on this loopback port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True

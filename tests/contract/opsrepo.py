"""A project and its ops repo set up on a forge as ``factory init`` does it, with every account's token at hand."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field

from factory.config.model import DEFAULT_ACCOUNTS
from factory.forge.client import ForgejoClient
from factory.forge.setup.apply import Credentials, apply
from factory.forge.setup.observed import observe
from factory.forge.setup.plan import plan_setup
from factory.forge.values import Label, RepoName
from factory.forge.wanted import Wanted, wanted_setup
from factory.ops.routes import unprotected_patterns

BRANCHES = ("main", "auto", "ledger", "journal")


@dataclass
class Done:
    """What was made. ``kept``: every secret by ``kind:login``, and the owner's token as ``owner``."""

    url: str
    wanted: Wanted
    project: RepoName
    ops: RepoName
    credentials: Credentials
    kept: dict[str, str]
    accounts: dict[str, str]
    clients: dict[str, ForgejoClient] = field(default_factory=dict)

    def login(self, duty: str) -> str:
        return self.accounts[duty]

    def client(self, duty: str) -> ForgejoClient:
        """As the account of a duty, or as ``owner``."""
        if duty not in self.clients:
            token = self.kept["owner"] if duty == "owner" else self.credentials.tokens[self.login(duty)]
            self.clients[duty] = ForgejoClient(self.url, token)
        return self.clients[duty]

    def close(self) -> None:
        for client in self.clients.values():
            client.close()


def seed(site, repo: RepoName, who: str) -> None:
    """Commits and branches before anything is protected, as the owner."""
    auth = {"token": who}
    content = b64encode(b"seed\n").decode()
    for path in ("README.md", "factory.toml"):
        made = site.call(
            "POST", f"/repos/{repo}/contents/{path}", {"content": content, "message": "Seed", "branch": "main"}, **auth
        )
        assert made.status_code == 201, made.text
    for branch in BRANCHES[1:]:
        made = site.call("POST", f"/repos/{repo}/branches", {"new_branch_name": branch, "old_ref_name": "main"}, **auth)
        assert made.status_code == 201, made.text


def set_up(site, mark: str) -> Done:
    """A whole set-up: people and bots, two repos, rules, tokens; ``mark`` ends every login."""
    owner, accounts = f"owner{mark}", {duty: f"{login}{mark}" for duty, login in DEFAULT_ACCOUNTS.items()}
    project, ops = RepoName(owner, "tally"), RepoName(owner, "tally-ops")
    wanted = wanted_setup(
        project,
        ops,
        accounts=accounts,
        approvers=[owner],
        direct_patterns=unprotected_patterns(),
        labels=[Label(0, "backlog", "0e8a16", "may be worked on")],
        new_people=[owner],
        contexts=["factory/ci"],
        protect=True,
    )
    kept: dict[str, str] = {}
    first = wanted.without_protections()

    def keep(kind: str, login: str, text: str) -> None:
        kept[f"{kind}:{login}"] = text

    credentials = apply(site.admin, plan_setup(observe(site.admin, first), first), keep=keep)
    with ForgejoClient(site.url, basic=(owner, credentials.passwords[owner])) as own:
        token = own.create_token(owner, name="seed", scopes=("write:repository", "write:issue"), as_admin=False)
    kept["owner"] = token
    seed(site, ops, token)
    seed(site, project, token)
    apply(site.admin, plan_setup(observe(site.admin, wanted, tokens=credentials.tokens), wanted))
    return Done(site.url, wanted, project, ops, credentials, kept, accounts)

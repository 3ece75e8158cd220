"""A person's signature over a vault request, or over a change of what the vault goes by: the facts and the statement,
the signing, the comment that carries it.

What is signed is built by the trusted part from git objects and the ledger, never from a text on the forge.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from factory.app.choosing import founder_of, project_of
from factory.app.deployment import Deployment
from factory.app.opsrepo import mirror, reader
from factory.app.people import as_person
from factory.errors import FactoryError, PolicyDenied, UsageError
from factory.forge.client import ForgejoClient
from factory.forge.values import Pull, RepoName
from factory.git import objects
from factory.git.hardened import Git, GitTrouble
from factory.vault.action import ID, Action, Tier, read
from factory.vault.authority import CONTROLLED, Authority, bots, controlled, in_force, oath
from factory.vault.canonical import Refused
from factory.vault.keys import sshsig
from factory.vault.keys.approving import NAMESPACE, Block, blocks, new_nonce, roll, signed_bytes
from factory.vault.keys.letters import PullLetters
from factory.vault.ledger import Ledger
from factory.vault.people.facts import facts_of, text
from factory.vault.people.replay import read_ledger
from factory.vault.people.request import branch_of, path_of
from factory.vault.people.rules import rules_at
from factory.vault.policy import ruling
from factory.vault.verify import AUTO, MAIN, identity, statement

MOST_DIFF = 64 * 1024
KEYS = ("id_ed25519_sk", "id_ecdsa_sk", "id_ed25519", "id_ecdsa")
"""In ``~/.ssh``, hardware keys first."""


@dataclass(frozen=True)
class Request:
    """What waits on a pull request, as it would be signed now."""

    deployment: Deployment
    project: RepoName
    ops: RepoName
    pull: Pull
    name: str
    """The action's id, or ``pull request N``."""
    screen: str
    """What a person is shown before."""
    statement: bytes
    needed: bool
    """Whether the policy asks for a signature on it."""
    admins: frozenset[int]


def open_request(deployment: Deployment, id: str, *, project: str | None = None) -> Request:
    """``id``: of an action, or the number of a pull request that changes the controlled set. Raises UsageError (no such
    request waits), PolicyDenied (it would be refused), ForgeError."""
    doing = f"signing {id[:80]}"
    repo, ops = project_of(deployment, project)
    if id.isdecimal() and len(id) < 10:
        return _open_change(deployment, repo, ops, int(id), f"signing pull request {id}")
    if not ID.fullmatch(id):
        raise UsageError(f"{doing}: that is no name of an action", hint="factory vault list")
    copy = mirror(deployment, ops, refresh=True)
    head = objects.read_ref(copy, f"refs/heads/{branch_of(id)}")
    forge = deployment.forge(reader(deployment, ops))
    pull = next((p for p in forge.pulls(ops) if p.head_ref == branch_of(id) and p.head_repo == ops), None)
    if head is None or pull is None or pull.head_sha != head:
        raise UsageError(f"{doing}: no request of that name waits", hint="factory vault list")
    try:
        git = Git(copy, "")
        ledger = read_ledger(git)
        authority = in_force(ledger, git)
        data = objects.read_file(copy, head, path_of(id)) or b""
        action = read(data, f"{id}.toml")
        return _request(deployment, repo, ops, pull, copy, action, data, ledger, authority)
    except Refused as refused:
        raise PolicyDenied(f"{doing}: it would be refused: {refused.words}", hint=f"factory vault show {id}") from None
    except GitTrouble as error:
        raise FactoryError(f"{doing}: reading the ledger: {error}", hint="factory doctor") from None


def _request(
    deployment: Deployment, repo: RepoName, ops: RepoName, pull: Pull, copy: Path, action: Action, data: bytes,
    ledger: Ledger, authority: Authority,
) -> Request:  # fmt: skip
    rules = rules_at(copy, authority.commit, bots(ledger))
    formula = rules.formula(action.formula)
    if formula is None or ledger.genesis is None or pull.base_ref == AUTO:
        why = f"{AUTO} takes what nobody has to approve" if pull.base_ref == AUTO else f"there is no {action.formula}"
        raise Refused("unknown-formula", why)
    policy, pinned = authority.policy, ledger.genesis.evidence
    since = datetime.now(UTC) - timedelta(days=policy.remember_days)
    same = [state for state in ledger.states.values() if state.verified.get("content") == action.content]
    repeated = any(state.started and state.started > since for state in same)
    decided = ruling(action, formula, policy, policy, repeated=repeated)
    what = identity(str(pinned["forge"]), int(pinned["repo"]), pull.base_ref, action, data, formula, policy, 1)
    return Request(
        deployment, repo, ops, pull, action.id, text(facts_of(action, formula, rules, decided)),
        statement(what, ledger.root, action.expires), decided.tier in policy.signed, policy.admins,
    )  # fmt: skip


def _open_change(deployment: Deployment, repo: RepoName, ops: RepoName, number: int, doing: str) -> Request:
    copy = mirror(deployment, ops, refresh=True)
    forge = deployment.forge(reader(deployment, ops))
    pull = next((p for p in forge.pulls(ops) if p.number == number and p.base_ref == MAIN), None)
    head = objects.read_ref(copy, f"refs/heads/{pull.head_ref}") if pull is not None else None
    if pull is None or pull.head_repo != ops or head != pull.head_sha:
        raise UsageError(f"{doing}: no such pull request into {MAIN} waits", hint="factory vault list")
    try:
        git = Git(copy, "")
        ledger = read_ledger(git)
        now, main = in_force(ledger, git), objects.read_ref(copy, f"refs/heads/{MAIN}") or ""
        tree = git.merged_tree(main, head)
        if not tree or controlled(git, main) != controlled(git, now.commit):
            why = f"{MAIN} holds a change that does not count" if tree else f"it conflicts with {MAIN}"
            raise PolicyDenied(f"{doing}: it would be refused: {why}", hint=pull.url)
        changed = [row.path for row in objects.diff_paths(copy, main, tree) if row.path.startswith(CONTROLLED)]
        if not changed:
            raise UsageError(f"{doing}: it changes nothing that the vault goes by", hint=pull.url)
        lines = [f"pull request {number} of {ops} changes what the vault goes by:", *(f"  {path}" for path in changed),
                 "", *objects.diff_text(copy, main, tree, MOST_DIFF).split("\n")]  # fmt: skip
        return Request(deployment, repo, ops, pull, f"pull request {number}", "\n".join(lines),
                       oath(ledger, controlled(git, tree)), Tier.HIGH in now.policy.signed,
                       now.policy.admins)  # fmt: skip
    except Refused as refused:
        raise PolicyDenied(f"{doing}: it would be refused: {refused.words}", hint=pull.url) from None
    except GitTrouble as error:
        raise FactoryError(f"{doing}: reading the ledger: {error}", hint="factory doctor") from None


@contextmanager
def signing_as(request: Request, token: str | None) -> Iterator[ForgejoClient]:
    """The forge as the person who signs: with their token, or on the embedded forge as the founder."""
    login = founder_of(request.deployment, request.project)
    with as_person(request.deployment, login, token) as person:
        yield person


def sign(request: Request, person: ForgejoClient, key: Path, *, agent: str = "") -> dict[str, Any]:
    """Sign as that person, check it as the dispatcher would, post it. Raises PolicyDenied, KeyMissing, ForgeError."""
    who = person.me()
    doing = f"signing {request.name} as {who.login}"
    if who.id not in request.admins:
        why = f"the policy in force does not list account {who.id} as an admin"
        raise PolicyDenied(f"{doing}: {why}", hint="factory edit vault/policy.toml")
    nonce = new_nonce()
    data = signed_bytes(request.statement, who.id, nonce)
    block = Block(who.id, nonce, sshsig.sign_in_front(key, NAMESPACE, data, agent=agent))
    known = roll(request.deployment.state / "vault" / "allowed_signers").signers
    counts = sshsig.fits(block.signature, NAMESPACE, data, known, who.id)
    words = (
        f"{who.login} signed this request as it stands (`{NAMESPACE}`, account {who.id}). Any change of it, of its "
        "formula or of the policy voids the signature."
    )
    comment = person.comment(request.ops, request.pull.number, block.write(words))
    return {
        "id": request.name,
        "project": str(request.project),
        "number": request.pull.number,
        "url": f"{request.pull.url}#issuecomment-{comment.id}",
        "signer": who.login,
        "account": who.id,
        "key": str(key),
        "allow": _allow(who.id, key),
        "counts_here": counts,
        "needed": request.needed,
        "approve": request.pull.url,
    }


def _allow(account_id: int, key: Path) -> str:
    """The line of allowed_signers that makes this key count; empty where its public half is not beside it."""
    public = key if key.suffix == ".pub" else key.with_name(f"{key.name}.pub")
    try:
        return f'{account_id} namespaces="{NAMESPACE}" {sshsig.public_key(public.read_text(encoding="utf-8"))}'
    except (OSError, ValueError):
        return ""


def signed_by(request: Request) -> frozenset[int]:
    """Accounts whose good signature stands on the pull request already, by this host's allowed_signers."""
    forge = request.deployment.forge(reader(request.deployment, request.ops))
    known = roll(request.deployment.state / "vault" / "allowed_signers").signers
    letters = PullLetters(forge, request.ops)((request.pull.number,))
    return frozenset(
        block.approver for block in blocks(letters)
        if sshsig.fits(block.signature, NAMESPACE, signed_bytes(request.statement, block.approver, block.nonce), known,
                       block.approver)
    )  # fmt: skip


def default_key(home: Path) -> Path | None:
    """The key a person most likely means: a hardware key before others."""
    return next((path for name in KEYS if (path := home / ".ssh" / name).is_file()), None)

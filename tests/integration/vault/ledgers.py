"""Ledgers to look at: one made by a real dispatcher with chance endings, and the same told otherwise."""

from __future__ import annotations

import copy
import json
import random
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from dulwich.objects import Blob, Commit, Tree
from dulwich.repo import Repo

from factory.vault.canonical import toml
from factory.vault.ports import Outcome, PullFact
from tests.integration.vault.house import FACTORY_BOT, TIERS, House, policy_bytes

Sign = Callable[[bytes], str]


@dataclass
class Step:
    """One commit of a ledger to be written. ``entry`` None: only ``more``."""

    entry: dict[str, Any] | None
    batch: int
    """Steps with the same number are pushed together."""
    raw: bytes | None = None
    """The file's bytes, where they are not what the entry gives."""
    mode: int = 0o100644
    path: str = ""
    """Where the file stands, where that is not where it belongs."""
    more: dict[str, bytes | None] = field(default_factory=dict)
    """Other files that the commit changes; None deletes."""
    second_parent: bytes | None = None
    note: str | None = None
    """In place of the signature."""


def grown(folder: Path, seed: int, actions: int) -> House:
    """A house whose dispatcher has seen a policy change and actions that ended in every way."""
    chance, house = random.Random(seed), House(folder)
    dispatcher, runner = house.dispatcher()
    ends = [Outcome("done", "did it"), Outcome("clean", 'said "no" \\ stopped'), Outcome("unclear", "?"), None]
    runner.fate = lambda order: chance.choice(ends)
    for number in range(actions):
        if number == actions // 2:
            change_policy(house)
            dispatcher.turn()
        formula = chance.choice(["alpha", "beta", "gamma", "delta"])
        more = {"runs": 2, "every_hours": 1} if number == 1 and formula == "alpha" else {}
        action = house.action(formula, place=f"p{chance.randrange(actions)}", **more)
        pull = house.open(action, "auto" if formula == "alpha" else "main")
        if chance.random() < 0.3:
            dispatcher.turn()  # seen open
        if formula != "alpha" and chance.random() < 0.8:
            house.review(pull)
        house.merge(house.pulls_[pull.number])
        for _ in range(2):
            dispatcher.turn()
            house.clockwork += 400
        if chance.random() < 0.2:
            runner.lost.add(runner.me)
            dispatcher, runner = house.dispatcher(f"d{number}", replace(runner, lost=set(runner.lost)))
    for _ in range(3):
        dispatcher.turn()
        house.clockwork += 5000
    return house


def change_policy(house: House) -> None:
    """Version 2 of the policy, proposed by factory-bot and approved by the admin."""
    head = house.commit({"vault/policy.toml": policy_bytes(2, {**TIERS, "beta": "high"})}, house.ref("heads/main"))
    number = next(house._ids)
    house.ref(f"pull/{number}/head", head)
    house.pulls_[number] = PullFact(
        number, FACTORY_BOT, "main", head, house.repo_.id, 0, house.now, False, frozenset({FACTORY_BOT}), house.now,
        None, ()
    )
    house.review(house.pulls_[number])
    house.merge(house.pulls_[number])


def steps(repo: Path) -> list[Step]:
    """The ledger as it stands, ready to be told otherwise."""
    found, batch, before = [], -1, None
    with Repo(str(repo)) as git:
        for commit in chain(git):
            (path,) = set(files(git, commit.tree)) - (set(files(git,
            git[commit.parents[0]].tree)) if commit.parents else set())  # type: ignore[attr-defined]
            entry = tomllib.loads(git[files(git, commit.tree)[path]].data.decode())  # type: ignore[attr-defined]
            batch += entry["prev"] != before or not found
            before = entry["prev"]
            found.append(Step(entry, batch))
    return found


def chain(git: Repo) -> Iterator[Commit]:
    walked, oid = [], git.refs[b"refs/heads/ledger"]
    while oid is not None:
        walked.append(git[oid])
        oid = walked[-1].parents[0] if walked[-1].parents else None  # type: ignore[attr-defined]
    return iter(reversed(walked))  # type: ignore[arg-type]


def files(git: Repo, tree: bytes, prefix: str = "") -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for name, mode, oid in git[tree].iteritems():  # type: ignore[attr-defined]
        path = prefix + name.decode()
        found |= files(git, oid, path + "/") if mode == 0o040000 else {path: oid}
    return found


def write(repo: Path, told: list[Step], sign: Sign | None = None, *, renumber: bool = True) -> str:
    """Write these steps as the branch ``ledger``; the tip. ``renumber``: as somebody would who rewrites it all: numbers
    and the commits that entries name follow."""
    root = tip = b""
    tree: dict[str, Any] = {}
    with Repo(str(repo)) as git:
        for number, step in enumerate(told):
            following = told[number + 1].batch if number + 1 < len(told) else None
            if not number or told[number - 1].batch != step.batch:
                start, digests = tip, list[str]()
            entry = copy.deepcopy(step.entry)
            if entry is not None and renumber:
                entry |= {"seq": number, "prev": start.decode()}
            data = step.raw if step.raw is not None else toml(entry) if entry is not None else b""
            if entry is not None:
                put(git, tree, step.path or f"e/{entry['id']}/{entry['seq']:08d}-{entry['kind']}.toml", data, step.mode)
            digests.append(sha256(data).hexdigest())
            for path, content in step.more.items():
                put(git, tree, path, content, 0o100644)
            commit = Commit()
            commit.tree = folder(git, tree)
            commit.parents = [oid for oid in (tip, step.second_parent) if oid]
            commit.author = commit.committer = b"d <d@factory.invalid>"
            commit.author_time = commit.commit_time = 1_800_000_000 + number
            commit.author_timezone = commit.commit_timezone = 0
            batch = json.dumps([root.decode() if start else "", start.decode(), digests], separators=(",",
            ":")).encode()
            note = step.note if step.note is not None else sign(batch) if sign and following != step.batch else ""
            commit.message = f"entry {number}\n\n{note}\n".encode()
            git.object_store.add_object(commit)
            tip, root = commit.id, root or commit.id
        git.refs[b"refs/heads/ledger"] = tip
    return tip.decode()


def put(git: Repo, tree: dict[str, Any], path: str, data: bytes | None, mode: int) -> None:
    # A tree with an empty name is refused by every git that takes it in; here the file just stands elsewhere.
    *parts, name = (part or "empty" for part in path.split("/"))
    for part in parts:
        tree = tree.setdefault(part, {})
    if data is None:
        tree.pop(name, None)
        return
    blob = Blob.from_string(data)
    git.object_store.add_object(blob)
    tree[name] = (mode, blob.id)


def folder(git: Repo, tree: dict[str, Any]) -> bytes:
    made = Tree()
    for name, inner in tree.items():
        if isinstance(inner, dict):
            made.add(name.encode(), 0o040000, folder(git, inner))
        else:
            made.add(name.encode(), *inner)
    git.object_store.add_object(made)
    return made.id



"""A second, small reading of a ledger: what it says of every action, against what really happened.

Shares no code with the trusted part: its own TOML reader, its own fold, the rules of vault-security.md 3.3 as one
expression over the kinds. What it is given beside the ledger is what the world outside saw.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pygit2

LIFE = re.compile(
    r"(?:SEEN )?"
    r"(?:REFUSED |VERIFIED (?:CLAIMED )*(?:STARTED UNKNOWN FENCED VERIFIED (?:CLAIMED )*)*"
    r"(?:REVOKED |PARKED (?:DONE |ABANDONED )?|STARTED (?:DONE |FAILED |UNKNOWN (?:FENCED "
    r"(?:DONE |PARKED (?:DONE |ABANDONED )?)?)?)?)?)?"
)
ENDS = ("REFUSED", "DONE", "FAILED", "REVOKED", "ABANDONED", "PARKED")
"""Final, or a person's turn."""


@dataclass(frozen=True)
class Effect:
    """One effect as the world outside counted it, in the order that they came in."""

    key: str
    id: str
    epoch: int
    run: str


@dataclass(frozen=True)
class Line:
    """One entry as it stands on the ledger."""

    seq: int
    kind: str
    id: str
    epoch: int
    run: str
    by: str
    evidence: Mapping[str, Any]
    parent: str = ""


def lines(repo: pygit2.Repository, tip: str, known: dict[str, Line] | None = None) -> list[Line]:
    """All entries in the order of their commits, each the only change of its commit. ``known``: by commit, from
    earlier readings of the same repo."""
    memory = {} if known is None else known
    found: list[Line] = []
    oid = tip
    while oid:
        if oid not in memory:
            memory[oid] = _line(repo, repo[oid].peel(pygit2.Commit))
        found.append(memory[oid])
        oid = memory[oid].parent
    found.reverse()
    assert [line.seq for line in found] == list(range(len(found))), "a number is missing or twice"
    return found


def _line(repo: pygit2.Repository, commit: pygit2.Commit) -> Line:
    assert len(commit.parents) < 2, f"{commit.id} is a merge"
    parent = commit.parents[0] if commit.parents else None
    diff = parent.tree.diff_to_tree(commit.tree) if parent else commit.tree.diff_to_tree(swap=True)
    (delta,) = diff.deltas
    assert delta.status_char() == "A", f"{commit.id} does not add"
    v = tomllib.loads(repo[delta.new_file.id].peel(pygit2.Blob).data.decode())
    assert delta.new_file.path == f"e/{v['id']}/{v['seq']:08d}-{v['kind']}.toml"
    above = str(parent.id) if parent else ""
    return Line(v["seq"], v["kind"], v["id"], v["epoch"], v["run"], v["by"], v["evidence"], above)


@dataclass(frozen=True)
class Report:
    """``wrong``: every rule that a ledger and its effects break, in words; ``open``: ids that have not ended."""

    wrong: tuple[str, ...]
    open: tuple[str, ...]
    ends: Mapping[str, str]
    effects: Mapping[str, int]
    """By id."""


def check(
    row: Iterable[Line], effects: Iterable[Effect], letters: Mapping[str, str], targets: Mapping[str, str]
) -> Report:
    """``letters``: effect class by id; of A and B a run may be repeated, with the same key; of C and D never.
    ``targets`` by id: behind an action that may have happened, and waits for a person, others on its target wait."""
    lives: dict[str, list[Line]] = defaultdict(list)
    nonces: Counter[str] = Counter()
    for line in row:
        if line.id != "_" and line.kind != "LATE":
            lives[line.id].append(line)
        if line.kind in ("CLAIMED", "FENCED", "VERIFIED"):
            nonces[line.run] += 1
    wrong = [f"the nonce {run} stands {count} times" for run, count in nonces.items() if count > 1]
    happened: dict[str, list[Effect]] = defaultdict(list)
    for effect in effects:
        happened[effect.id].append(effect)
    for id in letters.keys() | lives.keys() | happened.keys():
        wrong += [f"{id}: {words}" for words in _life(lives[id], happened[id], letters[id])]
    ends = {id: life[-1].kind for id, life in lives.items() if life}
    held = {targets[id] for id, life in lives.items() if ends.get(id) == "PARKED" and _began(life)}
    still = tuple(
        sorted(id for id in letters if ends.get(id) not in ENDS and not (ends.get(id) and targets[id] in held))
    )
    return Report(tuple(wrong), still, ends, {id: len(done) for id, done in happened.items() if done})


def _began(life: list[Line]) -> bool:
    return any(line.kind == "STARTED" for line in life)


def _life(life: list[Line], done: list[Effect], letter: str) -> Iterable[str]:
    words = "".join(f"{line.kind} " for line in life)
    if not LIFE.fullmatch(words):
        yield f"no such life: {words}"
    epoch, owner = 0, ""
    starts: dict[tuple[int, str], int] = {}
    for line in life:
        epoch += line.kind in ("CLAIMED", "FENCED")
        if line.epoch != epoch:
            yield f"{line.kind} is of epoch {line.epoch}, not {epoch}"
        if line.kind in ("STARTED", "DONE", "FAILED") and owner and line.run != owner:
            yield f"{line.kind} by another run"
        owner = line.run if line.kind in ("CLAIMED", "STARTED") else ""
        if line.kind == "STARTED":
            starts[line.epoch, line.run] = line.seq
    for (epoch, run), count in Counter((effect.epoch, effect.run) for effect in done).items():
        if (epoch, run) not in starts:
            yield f"an effect of run {run[:8]}, epoch {epoch}, which never started"
        if count > 1:
            yield f"run {run[:8]} had {count} effects"
    if len({effect.key for effect in done}) > 1:
        yield "its effects have different keys"
    if len(done) > 1 and letter in "CD":
        yield f"{len(done)} effects"
    end = life[-1].kind if life else "nothing"
    if end == "DONE" and not done:
        yield "DONE without effect"
    if done and letter in "CD" and end in ("VERIFIED", "CLAIMED"):
        yield f"{end}, but it had an effect"
    if done and end in ("nothing", "REFUSED", "REVOKED", "FAILED"):
        yield f"it ended as {end}, but it had an effect"

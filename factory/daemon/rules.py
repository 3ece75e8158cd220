"""What is in force for one project: configuration, formulas, roles, pauses, read from the ops repo's mirror.

A version counts only as the ledger's TRUST entries say, and before there is a ledger as a listed person approved it;
and only while it is valid: the last good one stays in force meanwhile, and every problem is told. Read again only when
main or the ledger moved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from factory.checks import CHECKS
from factory.config.check import with_accounts
from factory.config.factory import PATH, load_factory
from factory.config.home import write_private
from factory.config.model import FactoryConfig, RoleDefinition
from factory.config.role import load_roles
from factory.daemon.pauses import parse
from factory.errors import ConfigInvalid, Problem
from factory.forge.values import RepoName
from factory.forge.view import ForgeView
from factory.formula.catalog import load_formulas
from factory.formula.model import Formula
from factory.git import objects
from factory.ops.controlled import Authority, People, PeopleAt, approved, authority, history
from factory.plan.model import Pause
from factory.runs.codec import Malformed, compact, decode, encode, parse_json


@dataclass(frozen=True)
class RulesView:
    """One valid state of the rules, and what is wrong with newer ones."""

    config: FactoryConfig
    """With the accounts that role definitions name where factory.toml names none."""
    stated: tuple[FactoryConfig, bytes]
    """What factory.toml says by itself, and its text."""
    formulas: Mapping[str, Formula]
    formula_texts: Mapping[str, str]
    roles: Mapping[str, RoleDefinition]
    pauses: tuple[Pause, ...]
    problems: tuple[Problem, ...] = ()


@dataclass
class Rules:
    """The rules in force and the tip they were read at."""

    file: Path | None = None
    """Where the authority is kept: without it a cold start would fall back to the seed once the forge's view has
    forgotten the pull requests that brought newer versions."""
    view: RulesView | None = None
    authority: Authority | None = None
    _tip: tuple[str | None, object, object] = field(default=(None, None, None))
    _files: tuple[str, RulesView] | None = None
    """What the files of a commit say, and which: they are read again when another commit counts."""

    def read(
        self, mirror: Path, view: ForgeView, seed: str, ops: RepoName, bots: frozenset[str],
        trusted: Sequence[str] = (),
    ) -> RulesView:  # fmt: skip
        """Bring the rules up to date. ``trusted``: the commits that the ledger's GENESIS and TRUST name, oldest first;
        where there are any, the newest with a valid factory.toml is in force, whatever the forge says of approvals.
        Raises ConfigInvalid only when there never was a valid version."""
        tip = view.ops.refs.get("refs/heads/main")
        approvals = tuple((p.pull.number, p.pull.merged, p.pull.merge_commit, p.reviews) for p in view.ops.pulls)
        if self.view is not None and self._tip == (tip, approvals, tuple(trusted)):
            return self.view
        if tip is None:
            raise ConfigInvalid(f"reading the rules of {ops}: its main branch is gone", hint="factory doctor")
        before = self.authority or self.kept() or Authority(seed, seed)
        chain = history(mirror, before.checked, tip)
        merged = {pull.pull.merge_commit: pull for pull in view.ops.pulls if pull.pull.merged}
        pulls = [
            found
            for commit in chain.commits
            if commit.touched
            and commit.oid in merged
            and (found := approved(mirror, merged[commit.oid].pull, merged[commit.oid].reviews, commit)) is not None
        ]
        self.authority = authority(before, chain, pulls, people_at(mirror), bots)
        told = next((commit for commit in reversed(trusted) if people_at(mirror)(commit) is not None), None)
        if told is not None:
            self.authority = replace(self.authority, commit=told)
        if self._files is None or self._files[0] != self.authority.commit:
            self._files = self.authority.commit, read_rules(mirror, self.authority.commit, self.view)
        said = self._files[1]
        problems = (*self.authority.problems, *said.problems)
        self.view = replace(said, pauses=_pauses(mirror, tip), problems=problems)
        self._keep()
        self._tip = (tip, approvals, tuple(trusted))
        return self.view

    def kept(self) -> Authority | None:
        """What the last look at the ops repo came to; None when there was none (or it is not kept)."""
        try:
            return decode(Authority, parse_json(self.file.read_bytes())) if self.file is not None else None
        except (FileNotFoundError, Malformed):
            return None

    def _keep(self) -> None:
        if self.file is None or self.authority is None:
            return
        data = compact(encode(self.authority)).encode()
        if not self.file.exists() or self.file.read_bytes() != data:
            write_private(self.file, data)


def people_at(mirror: Path) -> PeopleAt:
    """Who may approve, as the factory.toml of a commit says."""

    def read(commit: str) -> People | None:
        text = objects.read_file(mirror, commit, PATH)
        try:
            config = load_factory(text, PATH, commit=commit) if text is not None else None
        except ConfigInvalid:
            return None
        return People(config.approvers, config.admins) if config is not None else None

    return read


def read_rules(mirror: Path, trusted: str, before: RulesView | None) -> RulesView:
    """Rules at ``trusted``, without pauses; what does not load keeps its last good version."""
    problems: list[Problem] = []
    stated = before.stated if before is not None else None
    try:
        text = objects.read_file(mirror, trusted, PATH)
        if text is None:
            raise ConfigInvalid(f"{PATH} is missing", (Problem(PATH, None, "the file is missing"),))
        stated = load_factory(text, PATH, commit=trusted), text
    except ConfigInvalid as error:
        if stated is None:
            raise
        problems += error.problems
    assert stated is not None
    files = {path: data for folder in ("agents", "formulas") for path, data in _files(mirror, trusted, folder)}
    roles = load_roles(files, previous=before.roles if before is not None else None)
    config, clashes = with_accounts(*stated, PATH, roles.known)
    catalog = load_formulas(
        files, roles=roles.known, checks=frozenset(CHECKS), previous=before.formulas if before is not None else None
    )
    texts = dict(before.formula_texts) if before is not None else {}
    texts = {name: texts.get(name, "") for name in catalog.formulas}
    texts |= {name: catalog.text(name).decode() for name in catalog.formulas if name not in catalog.broken}
    found = (*problems, *roles.problems, *clashes, *catalog.problems)
    return RulesView(config, stated, catalog.formulas, texts, roles.known, (), found)


def _pauses(mirror: Path, tip: str) -> tuple[Pause, ...]:
    return tuple(
        parse(path.rpartition("/")[2].removesuffix(".toml"), data) for path, data in _files(mirror, tip, "pauses")
    )


def _files(mirror: Path, commit: str, folder: str) -> list[tuple[str, bytes]]:
    """The TOML files of one folder of the ops repo; none where the folder does not exist."""
    if objects.find_entry(mirror, commit, folder) is None:
        return []
    entries = objects.list_tree(mirror, commit, folder)
    return [(e.path, objects.read_file(mirror, commit, e.path) or b"") for e in entries if e.path.endswith(".toml")]

"""The demo's vault action: watched on the ledger, approved as the admin or by whoever runs it, read back afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from factory.app.deployment import Deployment
from factory.app.people import as_person
from factory.app.places import mirror_path
from factory.app.services import ensure_forge
from factory.app.vault_deciding import approve, deciding_as, open_decision
from factory.config.model import DEFAULT_ACCOUNTS
from factory.demo.action import ActionFact
from factory.demo.example import RELEASE
from factory.errors import FactoryError, GitFailed
from factory.forge.client import ForgejoClient
from factory.forge.values import RepoName
from factory.git import objects
from factory.git.transport import Remote, fetch
from factory.ops.vault_result import FIRED, state_in
from factory.plan import reviews
from factory.vault.canonical import Refused
from factory.vault.ledger import FINAL, State
from factory.vault.people.facts import headline
from factory.vault.people.reading import BRANCH, LedgerReader, merged_action
from factory.vault.people.telling import stands, words_of

TOLD = frozenset({"VERIFIED", "STARTED", "UNKNOWN", "FENCED", "PARKED", *FINAL})
"""Kinds of entries that the live view tells."""


@dataclass
class DemoAction:
    """``by_person``: the person who runs the demo approves; it only says where."""

    deployment: Deployment
    project: RepoName
    ops: RepoName
    login: str
    password: Callable[[], str | None]
    said: Callable[[str], None]
    by_person: bool = False
    runs: bool = True
    """False: nothing can run here, so what is asked for is left waiting."""
    _reader: LedgerReader = field(default_factory=LedgerReader)
    _approved: set[str] = field(default_factory=set)
    _seen: int = 0

    # ---- while it runs ---------------------------------------------------------------------------------------------

    def look(self) -> list[str]:
        """Approve what waits; the lines that are new on the ledger. Reads the daemon's own copy: no request unless
        something waits."""
        lines = list(self._news())
        waiting = [id for id, state in self._states().items() if state.kind == "SEEN" and id not in self._approved]
        for id in waiting if self.runs else ():
            self._approved.add(id)
            if not self._approve(id):
                self._approved.discard(id)
        return lines

    def _news(self) -> Iterator[str]:
        repo = mirror_path(self.deployment.home, str(self.ops))
        try:
            self._reader.read(repo, objects.read_ref(repo, BRANCH))
        except (GitFailed, Refused):
            return  # cache/ may be deleted at any moment; the daemon fetches it anew
        for entry, _ in self._reader.entries[self._seen :]:
            if entry.kind in TOLD:
                words = words_of(State(entry.id, evidence=entry.evidence))
                yield f"vault     {entry.id} {stands(State(entry.id, entry.kind))}" + (f": {words}" if words else "")
        self._seen = len(self._reader.entries)

    def _states(self) -> dict[str, State]:
        return self._reader.ledger.states

    def _approve(self, id: str) -> bool:
        """As the admin, exactly as ``factory vault approve`` does it; False: it cannot be done just now."""
        try:
            decision = open_decision(self.deployment, id)
            if decision.facts is None:
                return False
            self.said(f"vault     {headline(decision.facts)}")
            if self.by_person:
                sign_in = f"sign in: {self.login} / {self.password()}"
                self.said(f"vault     approve it yourself: {decision.pull.url}   {sign_in}")
                return True
            with deciding_as(decision, None) as person:
                approve(decision, person)
        except FactoryError:
            return False  # the forge was killed just now, or the request is not fetched yet: the next look tries again
        self.said(f"vault     APPROVED by the demo, as {self.login}: {decision.pull.url}")
        return True

    def over(self) -> str | None:
        """None when every action that was asked for is over and told; else what it waits for."""
        states = [state for id, state in self._states().items() if id != "_"]
        if not self.runs:
            return None
        if not states:
            return "no vault action is asked for yet"
        for state in states:
            if not state.final:
                return f"{state.id} {stands(state)}"
        repo = mirror_path(self.deployment.home, str(self.ops))
        for state in states:
            if state.started and objects.read_file(repo, "refs/heads/main", f"{FIRED}{state.id}.toml") is None:
                return f"{state.id} is not written down yet"
        return None

    @property
    def kinds(self) -> frozenset[str]:
        """Of each action's last entry, as far as it is known here."""
        return frozenset(state.kind for state in self._states().values())

    @property
    def waits_for_person(self) -> bool:
        """Whether it is left to a person, and they did not say yes yet."""
        return self.by_person and any(state.kind == "SEEN" for state in self._states().values())

    # ---- reading back ----------------------------------------------------------------------------------------------

    def read(self, copies: Path) -> tuple[ActionFact, ...]:
        """From a fresh copy of the ops repo, its ledger and the forge: nothing of the run is remembered."""
        ensure_forge(self.deployment.host)
        copy = copies / "readback-ops.git"
        if not objects.is_repo(copy):
            objects.init_bare(copy)
        factory = DEFAULT_ACCOUNTS["factory"]
        remote = Remote(f"{self.deployment.host.forge_url}/{self.ops}.git", factory, self.deployment.token(factory))
        fetch(copy, remote, ["+refs/heads/*:refs/heads/*"])
        reader = LedgerReader()
        reader.read(copy, objects.read_ref(copy, BRANCH))
        with as_person(self.deployment, self.login) as founder:
            return tuple(self._fact(copy, reader, founder, id) for id in sorted(reader.ledger.states))

    def _fact(self, copy: Path, reader: LedgerReader, founder: ForgejoClient, id: str) -> ActionFact:
        entries, state = reader.of(id), reader.ledger.states[id]
        pulls = [p for p in founder.pulls(self.ops, state="all") if p.head_sha == state.verified.get("head")]
        given = founder.reviews(self.ops, pulls[0].number) if pulls else []
        head = pulls[0].head_sha if pulls else ""
        action = merged_action(copy, state)
        tag, release = founder.tag(self.project, RELEASE), founder.release_of(self.project, RELEASE)
        merge = str(state.verified.get("merge", ""))
        parents = objects.commit_info(copy, merge).parents if merge and objects.exists(copy, merge) else ()
        return ActionFact(
            id=id, tier=str(state.verified.get("tier", "")), ledger=tuple(entry.kind for entry in entries),
            epochs=tuple(entry.epoch for entry in entries if entry.kind == "STARTED"),
            approved_by=tuple(sorted(reviews.approvals(given, head, DEFAULT_ACCOUNTS["vault"]))), approved_head=head,
            merged_head=parents[1] if len(parents) == 2 else "",
            wanted_commit=str(action.params.get("commit", "")) if action is not None else "",
            tag_commit=tag.commit if tag is not None else "", releases=1 if release is not None else 0,
            assets=tuple(asset.name for asset in release.assets) if release is not None else (),
            result={key: str(value) for key, value in state.evidence.items() if key.startswith("result_")},
            told=state_in(objects.read_file(copy, "refs/heads/main", f"{FIRED}{id}.toml") or b"") or "",
        )  # fmt: skip

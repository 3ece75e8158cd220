"""The vault as one tick sees it, computed from the ops repo's mirror: nothing is asked of the forge or the dispatcher.

Read again only when what it depends on moved: the ledger, main, the heads of open requests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from factory.config.model import FactoryConfig
from factory.daemon.vault_cooling import until
from factory.forge.values import ItemState, Pull
from factory.git import objects
from factory.ops import pending
from factory.ops.vault_result import FIRED, REJECTED
from factory.plan.model import PullFacts
from factory.plan.vault import BRANCH, ActionFact, Asked, Comparison, Cooling, PendingFact, RequestFact, VaultFacts
from factory.runs.spec import SessionResult, SessionSpec
from factory.vault.action import Action, Finding, Tier
from factory.vault.action import check as check_bytes
from factory.vault.authority import FOR_ADMINS
from factory.vault.canonical import Refused
from factory.vault.ledger import Ledger, State
from factory.vault.people.facts import Facts, approval, facts_of, headline
from factory.vault.people.reading import BRANCH as LEDGER
from factory.vault.people.reading import LedgerReader, action_at, in_force, known, last_on, merged_action
from factory.vault.people.request import Unfit, Wish, draft, path_of
from factory.vault.people.rules import Rules, rules_at
from factory.vault.people.simulate import DAYS, cooling, markdown, simulate
from factory.vault.people.telling import comment, result_of, results_of, stands, words_of
from factory.vault.policy import PATH as POLICY
from factory.vault.policy import Policy, check, ruling
from factory.vault.run import human, kept

MAIN = "refs/heads/main"
FILE_PENDING, FILE_EVIDENCE = "file_pending", "file_evidence"
"""The host effect whose only trace is a file for a person, written here."""
NEVER = datetime.min.replace(tzinfo=UTC)
TAKEN_UP = timedelta(seconds=10)
"""The dispatcher says something of what was merged within this time, or it is not waited for: it polls, is away, or
cannot tell, and others are not to wait for that."""
HIDDEN = frozenset({"NEW", "SEEN"})
"""Kinds that say no more than an open pull request."""


@dataclass
class VaultView:
    """Keeps the fold of the ledger and what was read at the last tips. ``bots``: ids of our own accounts."""

    bots: frozenset[int]
    reader: LedgerReader = field(default_factory=LedgerReader)
    _rules: Rules = field(default_factory=lambda: Rules(None))
    _bases: dict[str, Policy | None] = field(default_factory=dict)
    _files: tuple[str, frozenset[str], tuple[tuple[str, pending.Pending], ...]] = ("", frozenset(), ())
    _compared: dict[tuple[str, str], str] = field(default_factory=dict)
    _heads: dict[tuple[str, str], tuple[Action | None, Sequence[Finding]]] = field(default_factory=dict)
    """What the file of an open request says, by head and id: an object's name is its content."""
    _repeated: frozenset[str] = frozenset()
    _waiting: Mapping[str, int] = field(default_factory=dict)
    _mirror: Path = field(default_factory=Path)
    _now: datetime = NEVER

    def trusted(self, mirror: Path, refs: Mapping[str, str]) -> tuple[str, ...]:
        """Commits of the controlled set that the ledger trusted, oldest first, as far as they are here; of a ledger
        that cannot be read, those up to there. Raises GitFailed."""
        try:
            ledger = self.reader.read(mirror, refs.get(LEDGER))
        except Refused:
            ledger = self.reader.ledger
        commits = [str(entry.evidence.get("commit", "")) for entry in ledger.trust]
        return tuple(commit for commit in commits if commit and objects.exists(mirror, commit))

    def look(
        self, mirror: Path, refs: Mapping[str, str], pulls: Sequence[PullFacts], config: FactoryConfig, authority: str,
        now: datetime,
    ) -> VaultFacts:  # fmt: skip
        """What is there now. ``authority``: commit whose controlled set counts where the ledger says none. Raises
        GitFailed."""
        self._mirror, self._now = mirror, now
        main = refs.get(MAIN, "")
        if main and self._files[0] != main:
            self._files = (main, _told(mirror, main), pending_of(mirror, main))
        problems: list[str] = []
        try:
            ledger = self.reader.read(mirror, refs.get(LEDGER))
            frozen = ledger.frozen
        except Refused as refused:
            ledger, frozen = self.reader.ledger, f"the ledger cannot be read: {refused.words}"
        commit = in_force(ledger, mirror) or authority
        if commit != self._rules.commit:
            self._rules, self._bases = rules_at(mirror, commit, self.bots), {}
        posted = [facts for facts in pulls if _is_ours(facts, config)]
        mine = [facts for facts in posted if facts.pull.head_ref.startswith(BRANCH)]
        if self._rules.policy is not None:
            self._repeated = known(ledger, mirror, self._rules.policy.remember_days, now, {}).repeated
        opened = [facts for facts in mine if facts.pull.state is ItemState.OPEN]
        here = {(facts.pull.head_sha, facts.pull.head_ref.removeprefix(BRANCH)) for facts in opened}
        self._heads = {key: read for key, read in self._heads.items() if key in here}
        requests = tuple(found for facts in opened if (found := self._request(ledger, facts)) is not None)
        self._waiting = Counter(request.requester for request in requests)
        heads = {facts.pull.head_sha: facts.pull.number for facts in posted}  # of a merged one the branch is gone
        ids = {facts.pull.head_ref.removeprefix(BRANCH) for facts in mine}
        if requests or self._rules.policy is not None:
            problems += self._rules.problems
        policy = self._rules.policy
        waiting = tuple(pending_fact(id, there, now) for id, there in self._files[2])
        return VaultFacts(
            requests=requests, actions=tuple(self._actions(ledger, heads)), pending=waiting,
            told=frozenset(ids & self._files[1]),
            comparisons=tuple(self._comparisons(ledger, pulls, config)), frozen=frozen, problems=tuple(problems),
            unjudged=len(list(self._unjudged(ledger, posted))),
            cooling=tuple(self._cooling(ledger, pulls, config)),
            signed=tuple(path.decode() for path in FOR_ADMINS) if policy and Tier.HIGH in policy.signed else (),
            signers=policy.admins if policy else frozenset(),
        )  # fmt: skip

    def _unjudged(self, ledger: Ledger, posted: Iterable[PullFacts]) -> Iterable[PullFacts]:
        """Those merged lately of which the ledger says no more than that they were opened. By their heads: of a merged
        one the branch is gone."""
        judged = {_head(state) for state in ledger.states.values() if state.kind not in HIDDEN}
        for facts in posted:
            pull = facts.pull
            lately = pull.merged and pull.closed_at is not None and self._now - pull.closed_at < TAKEN_UP
            if lately and pull.head_sha not in judged:
                yield facts

    # ---- requests --------------------------------------------------------------------------------------------------

    def _request(self, ledger: Ledger, facts: PullFacts) -> RequestFact | None:
        """The file of an open request, judged as people see it; None while its head is not here."""
        pull = facts.pull
        id = pull.head_ref.removeprefix(BRANCH)
        blank = RequestFact(pull.number, pull.head_sha, id)
        here = (pull.head_sha, id) in self._heads or objects.exists(self._mirror, pull.head_sha)
        if not facts.files or not here:
            return None
        if [(file.path, file.status) for file in facts.files] != [(path_of(id), "added")]:
            paths = ", ".join(sorted(file.path for file in facts.files))[:200]
            return replace(blank, code="extra-paths", words=f"it must add {path_of(id)} and nothing else, not {paths}")
        action, found = self._file(pull.head_sha, id)
        if action is None or self._rules.policy is None:
            code, words = (found[0].code, found[0].message) if found else ("no-policy", self._rules.problems[0])
            return replace(blank, code=code, words=words)
        return self._judged(blank, action, self._base(ledger, facts))

    def _file(self, head: str, id: str) -> tuple[Action | None, Sequence[Finding]]:
        if (head, id) not in self._heads:
            data = objects.read_file(self._mirror, head, path_of(id)) or b""
            self._heads[head, id] = check_bytes(data, f"{id}.toml")
        return self._heads[head, id]

    def _judged(self, blank: RequestFact, action: Action, base: Policy | None) -> RequestFact:
        rules, policy = self._rules, self._rules.policy
        assert policy is not None
        formula = rules.formula(action.formula)
        if formula is None:
            return replace(blank, code="unknown-formula", words=f"the vault has no {action.formula}")
        found = check(action, formula, policy)
        if found:
            return replace(blank, code=found[0].code, words=f"{found[0].key}: {found[0].message}")
        decided = ruling(action, formula, policy, base, repeated=action.content in self._repeated)
        shown = facts_of(action, formula, rules, decided)
        tier = decided.tier
        return replace(
            blank, tier=tier.word, need=formula.admins, listed=policy.bench(tier),
            rejecters=policy.admins | policy.approvers,
            signers=policy.admins if tier in policy.signed else frozenset(), expires=action.expires,
            headline=headline(shown), who=approval(shown), frees=action.unblocks, requester=action.requester,
        )  # fmt: skip

    def screen(self, facts: PullFacts) -> Facts | None:
        """What who approves an open request is shown, with what differs from the last time; None where that cannot be
        said. Of the last look. Raises GitFailed."""
        policy, pull = self._rules.policy, facts.pull
        if policy is None or not objects.exists(self._mirror, pull.head_sha):
            return None
        action, _ = self._file(pull.head_sha, pull.head_ref.removeprefix(BRANCH))
        formula = self._rules.formula(action.formula) if action is not None else None
        if action is None or formula is None:
            return None
        ledger = self.reader.ledger
        decided = ruling(
            action, formula, policy, self._base(ledger, facts), repeated=action.content in self._repeated
        )  # fmt: skip
        return facts_of(
            action, formula, self._rules, decided, last_on(ledger, self._mirror, action.target, action.id)
        )  # fmt: skip

    def _comparisons(self, ledger: Ledger, pulls: Sequence[PullFacts], config: FactoryConfig) -> Iterable[Comparison]:
        """What each proposed policy would have changed; of one that cannot be read, nothing."""
        for facts in _proposals(pulls, config):
            pull = facts.pull
            if not objects.exists(self._mirror, pull.head_sha):
                continue
            key = (pull.head_sha, ledger.tip)
            if key not in self._compared:
                self._compared = {key: self._compare(ledger, pull.head_sha)}
            text = self._compared[key]
            if text:
                yield Comparison(pull.number, pull.head_sha, text)

    def _cooling(self, ledger: Ledger, pulls: Sequence[PullFacts], config: FactoryConfig) -> Iterable[Cooling]:
        """Which proposed policies an admin approved that must wait still."""
        policy = self._rules.policy
        for facts in _proposals(pulls, config) if policy is not None and policy.cooling_hours else ():
            end = until(facts.pull, facts.reviews, ledger, policy) if policy is not None else None
            if end is not None and self._now < end:
                yield Cooling(facts.pull.number, facts.pull.head_sha, end)

    def _compare(self, ledger: Ledger, head: str) -> str:
        rules = rules_at(self._mirror, head, self.bots)
        if rules.policy is None:
            return ""
        since = self._now - timedelta(days=DAYS)
        found = simulate(ledger, rules, since, lambda state: merged_action(self._mirror, state))
        return "\n".join(filter(None, (markdown(found, head), cooling(self._rules.policy)))) + "\n"

    def _base(self, ledger: Ledger, facts: PullFacts) -> Policy | None:
        key = facts.pull.merge_base
        if key not in self._bases:
            self._bases[key] = base_policy(ledger, self._mirror, facts.pull, self._rules, self.bots)
        return self._bases[key]

    # ---- actions ---------------------------------------------------------------------------------------------------

    def _actions(self, ledger: Ledger, heads: Mapping[str, int]) -> Iterable[ActionFact]:
        for state in sorted(ledger.states.values(), key=lambda state: state.seq):
            if state.kind in HIDDEN or state.at is None or (state.final and state.id in self._files[1]):
                continue
            pull = state.verified.get("pull") or heads.get(_head(state))
            yield self._action(state, pull if isinstance(pull, int) else None)

    def _action(self, state: State, pull: int | None) -> ActionFact:
        assert state.at is not None
        frees = state.verified.get("unblocks")
        fact = ActionFact(
            id=state.id, kind=state.kind, seq=state.seq, at=state.at, state=stands(state),
            tier=str(state.verified.get("tier", "")), pull=pull, words=words_of(state),
            frees=tuple(map(str, frees)) if isinstance(frees, list | tuple) else (), final=state.final,
        )  # fmt: skip
        if not state.final:
            return fact
        result = result_of(state, pull, self._rules.logins)
        files = tuple(self._filed(state)) if state.kind == "DONE" else ()
        return replace(fact, file=result.path, text=result.write(), files=files, says=comment(state))

    def _filed(self, state: State) -> Iterable[tuple[str, str]]:
        """What a done action asked of a person: its file follows from the action that was approved. Or what it read."""
        action = action_at(self._mirror, str(state.verified.get("merge", "")), state.id)
        formula = self._rules.formula(action.formula) if action is not None else None
        if action is not None and formula is not None and FILE_PENDING in formula.effects and state.at is not None:
            yield human.path(action.id), human.write(human.of(action, state.at))
        if action is not None and formula is not None and FILE_EVIDENCE in formula.effects and state.at is not None:
            found = kept.file(action, state.run, state.at, results_of(state))
            if found is not None:
                yield found

    # ---- what sessions ask for -------------------------------------------------------------------------------------

    def asked(self, spec: SessionSpec, result: SessionResult) -> tuple[tuple[Asked, ...], str]:
        """The actions that a finished session asked for, ready to be proposed; or why they cannot be."""
        made: list[Asked] = []
        wrong: list[str] = []
        for number, line in enumerate(line for line in result.outbox if line.get("kind") == "vault"):
            try:
                made.append(self._draft(spec, result, line, number))
            except Unfit as unfit:
                wrong.append(f"{line.get('formula')}: {unfit}")
        return tuple(made), "; ".join(wrong)

    def _draft(self, spec: SessionSpec, result: SessionResult, line: Mapping[str, object], number: int) -> Asked:
        given = line.get("parameters")
        parameters = {str(key): str(value) for key, value in given.items()} if isinstance(given, Mapping) else {}
        policy = self._rules.policy
        wish = Wish(
            str(line.get("formula")), parameters, f"role:{spec.role}", f"{spec.run} {number}", self._now,
            unblocks=(f"{spec.project}#{spec.issue}",) if spec.issue is not None else (), run=spec.run,
            commits={"head": result.head or "", "base": spec.base},
        )  # fmt: skip
        there = known(self.reader.ledger, self._mirror, policy.remember_days if policy else 0, self._now, self._waiting)
        made = draft(wish, self._rules, there)
        return Asked(
            made.action.id, made.ruling.tier.word, made.branch, made.base, made.action.path, made.text, made.title,
            made.body, made.message,
        )  # fmt: skip


def base_policy(ledger: Ledger, mirror: Path, pull: Pull, rules: Rules, bots: frozenset[int]) -> Policy | None:
    """The policy that counted where a request branched off; None: there was none. On ``auto``, which never holds one,
    and before the ledger says anything, it is that of ``rules``."""
    if pull.base_ref != "main" or not ledger.trust or not objects.exists(mirror, pull.merge_base or "0" * 40):
        return rules.policy
    commit = in_force(ledger, mirror, pull.merge_base)
    if commit is None or commit == rules.commit:
        return None if commit is None else rules.policy
    return rules_at(mirror, commit, bots).policy


def _head(state: State) -> str:
    """The commit that was approved, as far as the ledger says it; empty: it does not."""
    return str(state.verified.get("head") or state.evidence.get("head") or "")


def _is_ours(facts: PullFacts, config: FactoryConfig) -> bool:
    return facts.pull.author.login.lower() == config.account("vault").lower()


def _proposals(pulls: Sequence[PullFacts], config: FactoryConfig) -> Iterable[PullFacts]:
    """Open ones of the factory that change the policy."""
    ours = config.account("factory").lower()
    for facts in pulls:
        mine = facts.pull.state is ItemState.OPEN and facts.pull.author.login.lower() == ours
        if mine and any(file.path == POLICY for file in facts.files):
            yield facts


def _told(mirror: Path, commit: str) -> frozenset[str]:
    """Ids whose end stands in the ops repo."""
    found = set()
    for folder in (FIRED, REJECTED):
        if objects.find_entry(mirror, commit, folder.rstrip("/")) is not None:
            names = (entry.path.rpartition("/")[2] for entry in objects.list_tree(mirror, commit, folder.rstrip("/")))
            found |= {name.removesuffix(".toml") for name in names if name.endswith(".toml")}
    return frozenset(found)


def pending_of(mirror: Path, commit: str) -> tuple[tuple[str, pending.Pending], ...]:
    """What only a person can do, and nobody did yet, by id."""
    folder = pending.FOLDER.rstrip("/")
    if objects.find_entry(mirror, commit, folder) is None:
        return ()
    found = []
    for entry in objects.list_tree(mirror, commit, folder):
        id = entry.path.rpartition("/")[2].removesuffix(".md")
        data = objects.read_file(mirror, commit, entry.path) if entry.path.endswith(".md") else None
        there = pending.parse(data) if data is not None else None
        if there is not None and not there.done:
            found.append((id, there))
    return tuple(found)


def pending_fact(id: str, there: pending.Pending, now: datetime) -> PendingFact:
    """One of them as it is to be told now; when nothing says since when, it is not told louder."""
    fact = PendingFact(id, there.what or there.title, there.since or NEVER, there.unblocks)
    if there.since is None:
        return fact
    loud = human.loudness(human.Pending(id, there.since, "", "", (), deadline=there.deadline), now)
    due = f", due {there.deadline}" if there.deadline is not None else ""
    words = {human.Loudness.REMINDED: f"it still waits{due}", human.Loudness.ESCALATED: f"it is late{due}"}
    return replace(fact, late=words.get(loud, ""))

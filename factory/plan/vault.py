"""The vault as a tick sees it: requests on open pull requests, actions on the ledger, things a person must do.

Whoever observes computes these from the ops repo and the ledger; deciding only compares them. The dispatcher decides
for itself what may start, so nothing here is leaned on for safety.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

LOW = "low"
FOLDER = "vault/actions/"
BRANCH = "vault/"


@dataclass(frozen=True)
class RequestFact:
    """An open pull request of the vault, as far as its file goes."""

    pull: int
    head: str
    id: str
    tier: str = ""
    """Empty where the file is not one that may be asked for."""
    need: int = 1
    """So many different people must approve."""
    listed: frozenset[int] = frozenset()
    """Account ids whose approval counts for the tier."""
    rejecters: frozenset[int] = frozenset()
    """Account ids whose request for changes rejects it."""
    expires: datetime | None = None
    headline: str = ""
    """One line of facts; no word of the asker."""
    who: str = ""
    """Who may approve, in words."""
    frees: tuple[str, ...] = ()
    requester: str = ""
    code: str = ""
    words: str = ""
    """Why it may not go on; empty: it may."""
    signers: frozenset[int] = frozenset()
    """Account ids of which ``need`` must sign it as well; empty: nobody must."""


@dataclass(frozen=True)
class ActionFact:
    """An action on the ledger that is not over, or whose end was not told yet."""

    id: str
    """The ledger's: ``+2`` for the second run of a repeated one."""
    kind: str
    """Kind of its last entry."""
    seq: int
    at: datetime
    state: str
    """Where it stands, in words."""
    tier: str = ""
    pull: int | None = None
    words: str = ""
    frees: tuple[str, ...] = ()
    final: bool = False
    file: str = ""
    """Of one that is over: where its result is to be written, and what."""
    text: str = ""
    files: tuple[tuple[str, str], ...] = ()
    """Further (path, text) that its end writes: what it asked of a person."""
    says: str = ""
    """The comment on its pull request."""


@dataclass(frozen=True)
class PendingFact:
    """``vault/pending/<id>.md``: something that only a person can do."""

    id: str
    what: str
    since: datetime
    frees: str = ""
    late: str = ""
    """Why it is told louder now; empty: it is not."""


@dataclass(frozen=True)
class Asked:
    """An action that a finished session asked for, ready to be proposed."""

    id: str
    tier: str
    branch: str
    base: str
    path: str
    text: str
    title: str
    body: str
    message: str


@dataclass(frozen=True)
class Comparison:
    """What a proposed policy would have changed, as a comment on its pull request."""

    pull: int
    head: str
    text: str


BRAKE = "to have nothing start meanwhile: factory vault freeze --why ..."
"""Said beside whatever a person may not want to wait for."""


@dataclass(frozen=True)
class Cooling:
    """A change of the policy that an admin approved, and that waits for its time."""

    pull: int
    head: str
    until: datetime

    @property
    def words(self) -> str:
        return f"approved, and it counts from {self.until.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ} on"


@dataclass(frozen=True)
class VaultFacts:
    """All of it. Empty where the project has no vault."""

    requests: tuple[RequestFact, ...] = ()
    actions: tuple[ActionFact, ...] = ()
    pending: tuple[PendingFact, ...] = ()
    told: frozenset[str] = frozenset()
    """Ids of pull requests in view whose result stands in the ops repo already."""
    comparisons: tuple[Comparison, ...] = ()
    cooling: tuple[Cooling, ...] = ()
    signed: tuple[str, ...] = ()
    """Paths, or beginnings of them, of the ops repo that one of ``signers`` must sign a change of."""
    signers: frozenset[int] = frozenset()
    unjudged: int = 0
    """So many were merged lately and the dispatcher has said nothing of them yet."""
    frozen: str = ""
    """Why nothing starts; empty: it does."""
    problems: tuple[str, ...] = ()

    def request(self, pull: int) -> RequestFact | None:
        return next((request for request in self.requests if request.pull == pull), None)

    def action(self, id: str) -> ActionFact | None:
        """The newest run of an action."""
        mine = [action for action in self.actions if action.id.partition("+")[0] == id]
        return max(mine, key=lambda action: action.seq, default=None)

    def standing(self, id: str) -> str:
        """Where an action stands, in words; empty where nothing is known of it (over, or never asked)."""
        action = self.action(id)
        if action is not None and action.kind not in ("NEW", "SEEN"):
            return action.state
        request = next((request for request in self.requests if request.id == id), None)
        return f"waits for the approval of {request.who}" if request is not None and request.tier != LOW else ""

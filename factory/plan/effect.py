"""Effects as values: ordered operations on one subject with their preconditions; and the plan that lists them.

An effect is decided by a pure function, stored before the first try and performed step by step; every operation can
tell afterwards, by reading, whether it was already done. ``Effect.id`` follows from the subject, the kind and the
intent's key, so deciding the same thing twice names the same effect.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from factory.config.model import Mode
from factory.plan.model import Skip
from factory.plan.operations import Operation, operation_name, read_operation
from factory.runs import codec
from factory.runs.model import Subject

SCHEMA = "factory.effect/v1"


@dataclass(frozen=True)
class Preconditions:
    """What must hold before every try of a step that was not done yet. Empty fields ask nothing."""

    repo: str = ""
    number: int | None = None
    """Issue or pull request whose state, head and labels are asked."""
    is_pull: bool = False
    head: str | None = None
    open: bool = False
    labels: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()
    modes: frozenset[Mode] = frozenset()
    """One of these; empty: any."""
    unpaused: frozenset[str] = frozenset()
    """Scopes none of which may be paused; empty asks nothing."""
    lease: str = ""
    run: str = ""
    epoch: int = 0
    """The lease must still be held by this run in this epoch."""


@dataclass(frozen=True)
class Effect:
    """One thing to do to one subject, in order."""

    id: str
    subject: Subject
    kind: str
    """``start:dev``, ``settle:ci``, ``merge``, ``status``... : for people and for the chain ``explain`` prints."""
    reason: str
    operations: tuple[Operation, ...]
    preconditions: Preconditions = Preconditions()
    run: str | None = None
    """The run it starts or settles."""

    def to_json(self) -> dict[str, object]:
        return {
            SCHEMA: {
                "id": self.id,
                "subject": codec.encode(self.subject),
                "kind": self.kind,
                "reason": self.reason,
                "operations": [{operation_name(op): codec.encode(op)} for op in self.operations],
                "preconditions": codec.encode(self.preconditions),
                "run": self.run,
            }
        }

    @classmethod
    def from_json(cls, data: object) -> Effect:
        """Raises ``codec.Malformed`` for anything that ``to_json`` did not write, another version included."""
        if not isinstance(data, dict) or list(data) != [SCHEMA]:
            raise codec.Malformed(f"reading an effect: expected exactly the key {SCHEMA!r}")
        body = data[SCHEMA]
        known = {"id", "subject", "kind", "reason", "operations", "preconditions", "run"}
        if not isinstance(body, dict) or set(body) != known:
            raise codec.Malformed(f"reading an effect: expected the fields {', '.join(sorted(known))}")
        raw = body["operations"]
        if not isinstance(raw, list):
            raise codec.Malformed("reading an effect: operations is not a list")
        return cls(
            id=codec.decode(str, body["id"], "$.id"),
            subject=codec.decode(Subject, body["subject"], "$.subject"),
            kind=codec.decode(str, body["kind"], "$.kind"),
            reason=codec.decode(str, body["reason"], "$.reason"),
            operations=tuple(read_operation(item, f"$.operations[{n}]") for n, item in enumerate(raw)),
            preconditions=codec.decode(Preconditions, body["preconditions"], "$.preconditions"),
            run=None if body["run"] is None else codec.decode(str, body["run"], "$.run"),
        )


def effect_id(subject: Subject, kind: str, key: str) -> str:
    """Idempotency key: the same intent on the same subject is the same effect."""
    return hashlib.sha256(f"{subject}\n{kind}\n{key}".encode()).hexdigest()[:24]


@dataclass(frozen=True)
class Plan:
    """All that one tick decided. ``effects`` in the order they should be performed."""

    effects: tuple[Effect, ...] = ()
    skips: tuple[Skip, ...] = ()

    def effect_for(self, subject: Subject) -> Effect | None:
        return next((effect for effect in self.effects if effect.subject == subject), None)

    def skips_for(self, subject: Subject) -> tuple[Skip, ...]:
        return tuple(skip for skip in self.skips if skip.subject == subject)

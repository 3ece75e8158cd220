"""A person decides about one request: a review on the forge with their own token, after they saw the facts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from factory.app.deployment import Deployment
from factory.app.people import as_person
from factory.app.vault_opening import Vault, open_vault
from factory.app.vault_showing import facts_about
from factory.errors import PolicyDenied, UsageError
from factory.forge.client import ForgejoClient
from factory.forge.values import ItemState, Pull, ReviewState, User
from factory.vault.action import Tier
from factory.vault.people.facts import Facts


@dataclass(frozen=True)
class Decision:
    """One waiting request, shown to a person before they say anything."""

    vault: Vault
    id: str
    pull: Pull
    facts: Facts | None
    """None: its file is not one that may be asked for."""
    wrong: tuple[str, ...]


def open_decision(deployment: Deployment, id: str, *, project: str | None = None) -> Decision:
    """The request to decide about. Raises UsageError where none of that name waits."""
    vault = open_vault(deployment, project=project)
    name = vault.find(id)
    pull = vault.pull(name)
    if pull is None or pull.state is not ItemState.OPEN:
        stands = facts_about(vault, name)["stands"]
        raise UsageError(f"deciding about {name}: it does not wait: it {stands}", hint=f"factory vault show {name}")
    action, wrong = vault.asked(name, pull)
    facts = vault.facts(action, pull) if action is not None and not wrong else None
    return Decision(vault, name, pull, facts, wrong)


@contextmanager
def deciding_as(decision: Decision, token: str | None) -> Iterator[ForgejoClient]:
    """The forge as the person: with their token, or at the embedded forge's own machine as the founder."""
    with as_person(decision.vault.deployment, decision.vault.founder(), token) as person:
        yield person


def approve(decision: Decision, person: ForgejoClient) -> dict[str, Any]:
    """Approve exactly the head that was shown. Raises PolicyDenied where the approval would not count."""
    who, doing = person.me(), f"approving {decision.id}"
    facts, pull = decision.facts, decision.pull
    hint = f"factory vault reject {decision.id} --reason ..."
    if facts is None or facts.problems:
        why = "; ".join(decision.wrong or (facts.problems if facts is not None else ())) or "its formula is not known"
        raise PolicyDenied(f"{doing}: it may not be asked for, so an approval would not count: {why}", hint=hint)
    if facts.expires <= decision.vault.now:
        raise PolicyDenied(f"{doing}: it has expired", hint=hint)
    if facts.tier is Tier.LOW and pull.base_ref != "main":
        raise PolicyDenied(f"{doing}: a low action needs nobody's approval", hint="it is merged with the next tick")
    _listed(decision, who, facts.tier, doing)
    return _reviewed(decision, person, who, ReviewState.APPROVED, "Approved after reading the facts.")


def reject(decision: Decision, person: ForgejoClient, reason: str) -> dict[str, Any]:
    """Ask for changes: the factory closes it with the next tick. Raises PolicyDenied for somebody who is not listed,
    UsageError without a reason."""
    who, doing = person.me(), f"rejecting {decision.id}"
    if not reason.strip():
        raise UsageError(f"{doing}: whoever asked wants to know why", hint="--reason 'the changelog is missing'")
    _listed(decision, who, Tier.MEDIUM, doing)
    return _reviewed(decision, person, who, ReviewState.REQUEST_CHANGES, reason.strip())


def _listed(decision: Decision, who: User, tier: Tier, doing: str) -> None:
    policy = decision.vault.rules.policy
    if policy is None:
        raise PolicyDenied(f"{doing}: {decision.vault.rules.problems[0]}", hint="factory check")
    if who.id not in policy.bench(tier):
        raise PolicyDenied(
            f"{doing} as {who.login}: the policy in force does not list account {who.id} for {tier.word} actions",
            hint=f"it lists {' and '.join(decision.vault.rules.approvers(tier))}",
        )


def _reviewed(decision: Decision, person: ForgejoClient, who: User, state: ReviewState, body: str) -> dict[str, Any]:
    pull, ops = decision.pull, decision.vault.ops
    review = person.review(ops, pull.number, state=state, body=body, commit=pull.head_sha)
    return {
        "id": decision.id, "project": str(decision.vault.project), "number": pull.number, "url": pull.url,
        "head": pull.head_sha, "review": review.id, "by": who.login, "verdict": state.value,
        "official": review.official, "tier": decision.facts.tier.word if decision.facts else None,
        "signature": bool(decision.facts and decision.facts.signed),
    }  # fmt: skip

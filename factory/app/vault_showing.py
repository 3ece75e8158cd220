"""What the vault holds, as facts for ``factory vault list`` and ``show``."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from factory.app.deployment import Deployment
from factory.app.projects import account
from factory.app.vault_opening import Vault, open_vault
from factory.daemon.vault_cooling import until
from factory.daemon.vault_view import pending_fact, pending_of
from factory.forge.values import ItemState, Pull
from factory.git import objects
from factory.plan import reviews
from factory.plan.vault import BRAKE, Cooling
from factory.vault.action import Tier
from factory.vault.canonical import stamp
from factory.vault.ledger import Entry, State
from factory.vault.people.facts import Facts, approval, as_json, headline, text
from factory.vault.people.telling import results_of, stands, words_of
from factory.vault.people.words import meaning
from factory.vault.policy import PATH as POLICY

RECENT = 20
"""Actions that are over and still listed without ``--all``."""


def listed(deployment: Deployment, *, project: str | None = None, everything: bool = False) -> dict[str, Any]:
    """What waits, what is under way, what is over (the newest first), and what a person has to do."""
    vault = open_vault(deployment, project=project)
    rows = [_request(vault, id, pull) for id, pull in vault.waiting]
    states = sorted(vault.ledger.states.values(), key=lambda state: -state.seq)
    under_way = [state for state in states if state.kind not in ("NEW", "SEEN") and not state.final]
    over = [state for state in states if state.final]
    waiting = {row["id"] for row in rows}
    rows += [_state(state) for state in under_way if state.id not in waiting]
    rows += [_state(state) for state in (over if everything else over[:RECENT])]
    main = objects.read_ref(vault.copy, "refs/heads/main") or ""
    pending = [pending_fact(id, there, vault.now) for id, there in pending_of(vault.copy, main)] if main else []
    return {
        "project": str(vault.project),
        "ops": str(vault.ops),
        "frozen": vault.frozen or None,
        "problems": list(vault.rules.problems),
        "cooling": cooling(vault),
        "actions": rows,
        "hidden": 0 if everything else max(0, len(over) - RECENT),
        "pending": [
            {"id": one.id, "what": one.what, "since": stamp(one.since), "frees": one.frees or None,
             "late": one.late or None}
            for one in pending
        ],
    }  # fmt: skip


def _request(vault: Vault, id: str, pull: Pull) -> dict[str, Any]:
    action, wrong = vault.asked(id, pull)
    facts = vault.facts(action, pull) if action is not None and not wrong else None
    return {
        "id": id, "state": "waiting", "tier": facts.tier.word if facts else None,
        "formula": action.formula if action else None, "target": action.target if action else None,
        "since": stamp(pull.created_at), "expires": stamp(action.expires) if action else None,
        "words": _waits(facts, wrong or vault.rules.problems), "frees": list(action.unblocks) if action else [],
        "number": pull.number, "url": pull.url,
    }  # fmt: skip


def _waits(facts: Facts | None, wrong: Iterable[str]) -> str:
    if facts is None:
        return f"not valid: {'; '.join(wrong) or 'its formula is not known'}"
    return f"not valid: {facts.problems[0]}" if facts.problems else headline(facts)


def _state(state: State) -> dict[str, Any]:
    v = state.verified
    frees = v.get("unblocks")
    return {
        "id": state.id, "state": state.kind.lower(), "tier": v.get("tier"), "formula": v.get("formula"),
        "target": v.get("target"), "since": _at(state.at), "expires": _at(v.get("expires")),
        "words": _said(state), "frees": list(frees) if isinstance(frees, list | tuple) else [],
        "number": v.get("pull"), "url": None,
    }  # fmt: skip


def _said(state: State) -> str:
    words = words_of(state)
    return f"{stands(state)}: {words}" if words else stands(state)


def _at(when: object) -> str | None:
    return stamp(when) if isinstance(when, datetime) else None


def shown(deployment: Deployment, id: str, *, project: str | None = None) -> dict[str, Any]:
    """All about one action: its facts, where it stands, who approved, what the ledger says. Raises UsageError."""
    vault = open_vault(deployment, project=project)
    return facts_about(vault, vault.find(id))


def facts_about(vault: Vault, id: str) -> dict[str, Any]:
    """The same of an action whose whole id is known."""
    pull = vault.pull(id)
    state = _newest(vault, id)
    action, wrong = vault.asked(id, pull) if pull is not None and not pull.merged else (None, ())
    if action is None and state is not None:
        action = vault.merged(state)
    if action is None and pull is not None and not wrong:
        action, wrong = vault.asked(id, pull)
    facts = vault.facts(action, pull if pull is not None and not pull.merged else None) if action is not None else None
    waits = pull is not None and pull.state is ItemState.OPEN
    code = str(state.evidence.get("code", "")) if state is not None else ""
    return {
        "id": id,
        "project": str(vault.project),
        "state": "waiting" if waits else state.kind.lower() if state is not None else _closed(pull),
        "stands": _stands(facts, pull, state, wrong),
        "facts": as_json(facts) if facts is not None else None,
        "screen": text(facts) if facts is not None else None,
        "problems": [*wrong, *(facts.problems if facts else ()), *(() if facts else vault.rules.problems)],
        "pull": _pull(vault, pull) if pull is not None else None,
        "code": code or None,
        "next": _next(code) if code else None,
        "result": results_of(state) if state is not None else {},
        "ledger": [_entry(entry) for entry in vault.reader.of(id)],
        "frozen": vault.frozen or None,
        "cooling": cooling(vault),
    }


def cooling(vault: Vault) -> list[dict[str, Any]]:
    """Changes of the policy that an admin approved and that wait for their time, oldest first."""
    policy = vault.rules.policy
    if policy is None or not policy.cooling_hours:
        return []
    ours, found = account(vault.deployment.state, vault.ops, "factory").lower(), []
    for pull in vault.forge.pulls(vault.ops, state="open"):
        if pull.author.login.lower() == ours and _proposes(vault, pull):
            end = until(pull, vault.forge.reviews(vault.ops, pull.number), vault.ledger, policy)
            if end is not None and vault.now < end:
                waits = Cooling(pull.number, pull.head_sha, end)
                told = {"number": pull.number, "url": pull.url, "until": stamp(end), "words": waits.words}
                found.append({**told, "meanwhile": BRAKE})
    return found


def _proposes(vault: Vault, pull: Pull) -> bool:
    """Whether its head has another policy than where it branched off, as far as both are here."""
    if not objects.exists(vault.copy, pull.head_sha) or not objects.exists(vault.copy, pull.merge_base or "0" * 40):
        return False
    before, after = (objects.read_file(vault.copy, commit, POLICY) for commit in (pull.merge_base, pull.head_sha))
    return before != after


def _newest(vault: Vault, id: str) -> State | None:
    runs = [state for state in vault.ledger.states.values() if state.id.partition("+")[0] == id]
    return max(runs, key=lambda state: state.seq, default=None)


def _closed(pull: Pull | None) -> str:
    return "merged" if pull is not None and pull.merged else "closed"


def _stands(facts: Facts | None, pull: Pull | None, state: State | None, wrong: tuple[str, ...]) -> str:
    if pull is not None and pull.state is ItemState.OPEN:
        if wrong or facts is None or facts.problems:
            return "cannot go on: " + "; ".join(wrong or (facts.problems if facts else ("its formula is not known",)))
        if facts.tier is Tier.LOW and pull.base_ref == "auto":
            return "is merged with the next tick: a low action needs nobody"
        return f"waits for the approval of {approval(facts)}"
    if state is not None and state.kind != "SEEN":
        return _said(state)
    merged = pull is not None and pull.merged
    return "is merged; the dispatcher has not looked at it yet" if merged else "was closed without a merge"


def _pull(vault: Vault, pull: Pull) -> dict[str, Any]:
    given = vault.forge.reviews(vault.ops, pull.number)
    return {
        "number": pull.number, "url": pull.url, "head": pull.head_sha, "base": pull.base_ref, "merged": pull.merged,
        "approved_by": sorted(reviews.approvals(given, pull.head_sha, pull.author.login)),
        "rejected_by": sorted(reviews.rejections(given)),
    }  # fmt: skip


def _next(code: str) -> dict[str, str]:
    told = meaning(code)
    return {"why": told.words, "asker": told.asker, "approver": told.approver}


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "seq": entry.seq, "id": entry.id, "kind": entry.kind, "epoch": entry.epoch, "at": stamp(entry.at),
        "by": entry.by, "words": str(entry.evidence.get("words", "")) or None,
    }  # fmt: skip

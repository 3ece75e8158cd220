"""How an action stands or ended, in words: for its pull request, the ops repo and the dashboard. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from factory.ops.markdown import escaped, quoted
from factory.ops.vault_result import VaultResult
from factory.vault.ledger import State
from factory.vault.people.facts import prose
from factory.vault.people.words import STATES, meaning

_FACTS = ("formula", "tier", "target", "requester", "merge", "policy_version")
_RESULT = "result_"


def stands(state: State) -> str:
    """Where it stands; what a person can do follows where there is something."""
    return STATES.get(state.kind, state.kind.lower())


def words_of(state: State) -> str:
    """What the last entry says of itself."""
    words = str(state.evidence.get("words", ""))
    return "" if words.rstrip(".") in stands(state) else words


def result_of(state: State, pull: int | None, logins: Mapping[int, str]) -> VaultResult:
    """The file that repeats how it ended. ``logins``: account ids as people know them."""
    facts = {key: state.verified[key] for key in _FACTS if isinstance(state.verified.get(key), str | int)}
    approvers = state.verified.get("approvers")
    if isinstance(approvers, list | tuple) and approvers:
        facts["approvers"] = ", ".join(logins.get(number, f"account {number}") for number in approvers)
    if log := state.evidence.get("log_sha256"):
        facts["log_sha256"] = str(log)
    if state.at is None:
        raise ValueError(f"{state.id} has no entry on the ledger")
    return VaultResult(
        state.id, state.kind.lower(), state.at, state.started is not None, words_of(state),
        str(state.evidence.get("code", "")), pull, facts, results_of(state),
    )  # fmt: skip


def results_of(state: State) -> dict[str, str]:
    """The typed fields a run left."""
    found = state.evidence.items()
    return {key.removeprefix(_RESULT): str(value) for key, value in found if key.startswith(_RESULT)}


def comment(state: State) -> str:
    """What its pull request is told at the end: what happened, and what asker and approver can do."""
    number = state.id.partition("+")[2]
    what = f"Run {number} of it" if number else "It"
    lines = [f"**{what} {stands(state)}.**"]
    if words := words_of(state):
        lines += ["", quoted(words, 500)]
    if code := str(state.evidence.get("code", "")):
        told = meaning(code)
        lines += [
            "", f"Why: {prose(told.words, 300)} (`{escaped(code, 40)}`). Nothing was done.", "",
            f"- who asked can: {told.asker}", f"- who approves can: {told.approver}",
        ]  # fmt: skip
    lines += ["", *(f"- {escaped(key, 60)}: {quoted(value, 300)}" for key, value in results_of(state).items())]
    if log := state.evidence.get("log_sha256"):
        lines += ["", f"The whole log is with the dispatcher; its SHA-256 is `{escaped(str(log), 64)}`."]
    return "\n".join(lines).strip() + "\n"

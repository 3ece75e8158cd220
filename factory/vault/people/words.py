"""What a refusal means, in words for who asked and for who approves. One row per code of the trusted part.

The ledger keeps the code and what exactly was wrong; here stands what to do about it. A test holds that no code of the
trusted part is without its row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Meaning:
    """``asker`` and ``approver``: what each can do next."""

    words: str
    asker: str
    approver: str


_AGAIN = "ask again: `factory vault request`"
_LOOK = "nothing was done; look before you approve the next one"
_ADMIN = "an admin must put it right before anything can start"


def _file(words: str) -> Meaning:
    """Something wrong with the file itself."""
    return Meaning(words, _AGAIN, "nothing: the file was not one the vault takes")


def _forged(words: str) -> Meaning:
    """Something that does not happen by itself."""
    return Meaning(words, _AGAIN, "look who merged it: this does not happen in the ordinary way")


def _approval(words: str, what: str) -> Meaning:
    return Meaning(words, "ask again; the approval did not count", what)


MEANINGS: Mapping[str, Meaning] = {
    # the file
    "legacy": _file("it is an action of the older form, which is never run"),
    "too-large": _file("its file is larger than an action may be"),
    "not-utf8": _file("its file is not text"),
    "not-toml": _file("its file is not TOML"),
    "not-canonical": _file("its file is not in the one form the factory writes"),
    "version": _file("its file is of another version"),
    "unknown-key": _file("it holds a key that no action has"),
    "missing-key": _file("it lacks a key that every action has"),
    "bad-id": _file("its id is not one"),
    "id-not-name": _file("its id is not the name of its file"),
    "bad-name": _file("its file has not the name of an action"),
    "bad-formula": _file("its formula cannot be read"),
    "bad-tier": _file("its blast radius is not low, medium or high"),
    "bad-target": _file("its target is not one"),
    "bad-requester": _file("it does not say who asks"),
    "bad-time": _file("its times are not moments in UTC, the first before the second"),
    "bad-secrets": _file("its secrets are not a list of names"),
    "bad-unblocks": _file("what it unblocks is not a list of references"),
    "bad-runs": _file("how often it is to run is not within the bounds"),
    "bad-params": _file("its parameters are not one small table"),
    "bad-key": _file("a parameter has a name that none may have"),
    "bad-type": _file("a parameter is neither text, whole number, truth value nor list"),
    "bad-text": _file("a text holds characters that a reader does not see, or is too long"),
    "too-many": _file("a list is longer than it may be"),
    # what formula and policy say
    "unknown-formula": Meaning("the policy does not name its formula", "ask with one that `factory formula list` shows",
                               "an admin may add the formula to vault/policy.toml"),
    "formula-override": Meaning("the ops repo's formula was written to replace another version of the packaged one",
                                "nothing; an admin must act", "`factory check` says what its line overrides must be"),
    "formula-digest": Meaning("the formula's file is not the one that the policy names", "nothing; an admin must act",
                              "an admin reads the file and sets its new digest in vault/policy.toml"),
    "unknown-param": _file("the formula takes no such parameter"),
    "missing-param": _file("the formula needs a parameter that is missing"),
    "bad-param": _file("a parameter is not what the formula takes"),
    "wrong-target": _file("its target is not what its parameters say"),
    "secret-not-allowed": Meaning("it asks for a secret that this formula is not given", _AGAIN,
                                  "an admin may give it in vault/policy.toml"),
    "too-many-runs": Meaning("it asks for more runs than one approval may stand for", "ask for fewer",
                             "an admin may raise max_runs of the formula in vault/policy.toml"),
    "too-long": Meaning("it would stay open for longer than the policy allows", "ask with a nearer end", _LOOK),
    "too-many-pending": Meaning("too many requests of this asker wait already", "wait until one is decided",
                                "approve or reject what waits: `factory vault list`"),
    "duplicate": Meaning("the same was done already, and this formula does it once", "nothing: it is done", _LOOK),
    "begun-anew": Meaning("the vault was begun anew by its operator: what was asked before is void", _AGAIN, _LOOK),
    "no-policy": Meaning("no policy is in force, and without one everything is refused", "nothing; an admin must act",
                         "add vault/policy.toml with `factory edit`, and approve it"),
    "bad-policy": Meaning("the policy cannot be read", "nothing; an admin must act", "`factory check` says why"),
    "bad-recipients": Meaning("vault/secrets/recipients.toml cannot be read, so nobody knows whose keys count",
                              "nothing; an admin must act", "put it back with `factory edit`, and propose it again"),
    "policy-rollback": Meaning("the policy would go back to an older version", "raise its version", _LOOK),
    "cooling": Meaning("a change of the policy waits so many hours after its approval (`cooling_hours`)",
                       "nothing: it counts from the time that is named on",
                       "nothing; who objects asks for changes on its pull request, or stops everything: "
                       "`factory vault freeze`"),
    "tainted-base": Meaning("it was merged onto a change of the controlled set that does not count", _AGAIN,
                            "put the controlled files back with `factory edit`, approve that, and propose it again"),
    "unexplained": _forged("a change of the controlled set is no merge of a pull request"),
    # the merge
    "not-a-merge": _forged("the commit that added it is not the merge of a pull request"),
    "not-on-branch": _forged("its merge is not on the branch any more"),
    "extra-paths": _forged("its pull request changed more than the one file"),
    "not-an-addition": _forged("its pull request did not add a plain file"),
    "wrong-merge": _forged("the merge holds something else than merging that head gives"),
    "head-moved": _approval("what was merged is not what was approved: the branch moved after the approval",
                            "look at the new head, then approve exactly that"),
    "no-pull-request": _forged("no single pull request has the head that was merged"),
    "foreign-head": _forged("it came from a fork, or was pushed for review without a branch"),
    "foreign-poster": _forged("another account than the vault's posted its pull request"),
    "wrong-branch": Meaning("it was merged where only low actions are, and is not low", _AGAIN, _LOOK),
    # the approval
    "no-approval": _approval("nobody approved it", "approve the next one on the forge: `factory vault approve ID`"),
    "more-approvals": _approval("more different people must approve it", "another listed person approves too"),
    "changes-requested": Meaning("a listed person asked for changes", "read what they said, then ask again",
                                 "nothing: that is a rejection"),
    "approver-not-listed": _approval("who approved it is not listed for its tier",
                                     "somebody listed approves: `factory vault show ID` names them"),
    "approver-barred": _approval("who approved it posted or wrote it", "another listed person approves"),
    "approval-dismissed": _approval("the approval was dismissed", "approve again"),
    "approval-stale": _approval("the approval is stale", "approve the present head"),
    "approval-unofficial": _approval("the forge does not count the approval as official",
                                     "`factory doctor` says what is wrong with the branch's rule"),
    "approved-before-push": _approval("the approval is older than the last push or reopening", "approve again"),
    "approver-gone": _approval("who approved it is not active any more, or may not write any more",
                               "another listed person approves"),
    "signature-missing": _approval("its tier also needs an admin's signature", "`factory vault sign ID`, then approve"),
    # the moment
    "expired": Meaning("it expired before it could start", _AGAIN, "nothing: approve sooner next time"),
    "settings-wrong": Meaning("the forge's rules are not as they must be", "wait, then ask again",
                              f"`factory doctor` says what; {_ADMIN}"),
    "settings-changed": Meaning("while it was open, the ops repo's rules or people changed, or nobody watched", _AGAIN,
                                "if the change was meant, approve it when it is asked for again"),
    "changed": _forged("what was about to start is not what was verified"),
    # the ledger itself
    "ledger-gone": Meaning("the ledger lost entries that this host saw on it", "wait", _ADMIN),
    "bad-entry": Meaning("the ledger holds an entry that may not be there", "wait", _ADMIN),
    # before the merge
    "rejected": Meaning("a listed person rejected it", "read why, then ask again where that is answered", "nothing"),
    "closed": Meaning("its pull request was closed without a merge", _AGAIN, "nothing"),
}  # fmt: skip


def meaning(code: str) -> Meaning:
    """What the code means; one that nobody knows is told as such."""
    return MEANINGS.get(code, Meaning(f"the vault says {code or 'no'}", _AGAIN, "`factory vault show ID` says more"))


STATES: Mapping[str, str] = {
    "NEW": "is asked for", "SEEN": "waits for its approval", "VERIFIED": "is approved and verified, and starts next",
    "CLAIMED": "is about to start", "STARTED": "runs", "DONE": "is done", "FAILED": "failed; nothing was changed",
    "REFUSED": "was refused", "REVOKED": "was stopped before its start",
    "UNKNOWN": "was cut off; whether it was done is not known yet",
    "FENCED": "was cut off; the factory finds out whether it was done",
    "PARKED": "waits for a person: `factory vault settle ID`", "ABANDONED": "was given up by a person",
}  # fmt: skip
"""Where an action stands, by the kind of its last entry."""

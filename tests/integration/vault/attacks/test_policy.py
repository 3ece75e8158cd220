"""Attacks on the policy: loosened beside the action, loosened before it, brought back from the past."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from factory.vault import authority, gather
from factory.vault.canonical import Refused, sha256
from factory.vault.verify import Case
from tests.integration.vault.attacks.blind import Blind
from tests.integration.vault.attacks.keep import APPROVER, Keep
from tests.integration.vault.attacks.raid import effects, raid, refused
from tests.integration.vault.attacks.register import Seen, attack


@attack(8, "The policy changed by the same pull request", forge="allows", vault="extra-paths",
        check="a request adds one file and nothing else")  # fmt: skip
def test_attack_8_policy_in_the_same_pull_request(own: Keep, off: Blind) -> Seen:
    looser = iter(range(2, 9))

    def act() -> str:
        action = own.action("gamma")
        asked = own.ask(action, extra={"vault/policy.toml": own.policy(next(looser), {"gamma": "low"})})
        own.review(asked)
        own.merged(asked)
        return action.id

    def one_file(case: Case) -> Case:
        mine = tuple(change for change in case.merge.changes if change.path.startswith(b"vault/actions/"))
        return replace(case, merge=replace(case.merge, changes=mine))

    return raid(own, act, lambda: off.case(one_file))


@attack(9, "The policy loosened first, with the approval of somebody who is no admin", forge="allows",
        vault="approver-not-listed", check="a policy counts when an admin of the one before approved it")  # fmt: skip
def test_attack_9_policy_loosened_first(own: Keep, off: Blind) -> Seen:
    def act() -> str:
        asked = own.ask(own.action("gamma"))
        own.review(asked, APPROVER)
        own.merged(asked)
        return asked.id

    own.edit({"vault/policy.toml": own.policy(2, {"gamma": "medium"})}, by=APPROVER)
    forge, code = refused(own, act)
    assert any("does not count" in words for words in own.dispatch().alarms.values())
    assert len(own.dispatch().ledger.trust) == 1
    off.approved_for_trust()
    own.edit({"README.md": b"# moved on\n"})
    own.dispatch().turn()
    assert len(own.dispatch().ledger.trust) == 2
    assert effects(own, act()) == 1
    return Seen(forge, code)


@attack(10, "Back to an older version of the policy", forge="allows", vault="policy-rollback",
        check="a policy's version only grows")  # fmt: skip
def test_attack_10_policy_rollback(own: Keep, off: Blind) -> Seen:
    own.edit({"vault/policy.toml": own.policy(2, {"gamma": "high"})})
    dispatcher = own.dispatch()
    dispatcher.turn()
    assert [entry.evidence["policy_version"] for entry in dispatcher.ledger.trust] == [1, 2]
    own.edit({"vault/policy.toml": own.policy(1)})
    codes = []
    real = gather.trust

    def told(*args: Any) -> dict[str, object]:
        try:
            return real(*args)
        except Refused as refused:
            codes.append(refused.code)
            raise

    off.patch.setattr(gather, "trust", told)
    dispatcher.turn()
    assert len(dispatcher.ledger.trust) == 2
    read = authority.read
    off.patch.setattr(authority, "read", lambda data, bots: replace(read(data, bots), version=time.monotonic_ns()))
    own.run(1)
    dispatcher.turn()
    assert dispatcher.ledger.trust[-1].evidence["policy_digest"] == sha256(own.policy(1))
    return Seen("allows", codes[0])

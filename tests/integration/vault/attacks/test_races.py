"""Attack 1 as a race: the attacker asks again and again whether there is an approval, and pushes once there is."""

from __future__ import annotations

import contextlib
import threading
from base64 import b64encode
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from factory.errors import FactoryError
from factory.forge.client import ForgejoClient
from factory.vault.action import Action
from tests.contract.conftest import Site
from tests.integration.vault.attacks.blind import Blind
from tests.integration.vault.attacks.keep import FACTORY, VAULT, Asked, Keep
from tests.integration.vault.attacks.raid import effects
from tests.integration.vault.attacks.register import RUNS, Seen, attack
from tests.integration.vault.commits import git
from tests.soak_report import counts

POLL_S = 0.01
AT_ONCE = 10
"""Rounds before the dispatcher has a turn."""
LONG_S = 60.0


@dataclass
class Attacker:
    """With an account that may write to the branch: another reason than the one that was approved."""

    keep: Keep
    asked: Asked
    action: Action
    seen: threading.Event = field(default_factory=threading.Event)
    pushed: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    got_in: bool = False

    def run(self) -> None:
        keep, path = self.keep, f"/repos/{self.keep.ops}/contents/{self.action.path}"
        data = b64encode(replace(self.action, reason="something else").write()).decode()
        try:
            with closing(ForgejoClient(keep.site.url, keep.site.tokens[keep.site.login(FACTORY)])) as client:
                known = client.send("GET", f"{path}?ref={self.asked.branch}", doing="looking")
                body = {"content": data, "sha": known["sha"], "branch": self.asked.branch, "message": "x"}
                while not client.reviews(keep.ops, self.asked.number):
                    if self.over.wait(POLL_S):
                        return
                self.seen.set()
                client.send("PUT", path, doing="pushing", body=body)
                self.got_in = True
        except FactoryError:
            self.got_in = False  # too late: the branch is not as it was, or gone
        finally:
            self.seen.set()
            self.pushed.set()


def raced(keep: Keep, number: int) -> tuple[Asked, bool]:
    """One request, approved and merged at once, or when the attacker has seen that, or has pushed; and whether the
    attacker's push got in. What a merge answers is not asked: who pushes right after it makes it look like another."""
    action = keep.action("gamma")
    asked = keep.ask(action)
    attacker = Attacker(keep, asked, action)
    thread = threading.Thread(target=attacker.run)
    thread.start()
    try:
        client = keep.site.client("founder")
        client.send("POST", f"/repos/{keep.ops}/pulls/{asked.number}/reviews", doing="approving",
                    body={"event": "APPROVED", "commit_id": asked.head})  # fmt: skip
        if number % 3:
            assert (attacker.seen if number % 3 == 1 else attacker.pushed).wait(LONG_S)
        with contextlib.suppress(FactoryError):
            keep.site.client(VAULT).merge(keep.ops, asked.number, head=asked.head, title="t", message="m")
        now = keep.tip(asked.branch)
        there = keep.tip(f"refs/pull/{asked.number}/head")
        if keep.forge_home is not None and now == there != asked.head:  # all the same, by who broke into the forge
            keep.still_fresh(asked)
            keep.merge_wrongly(replace(asked, head=now))
    finally:
        attacker.over.set()
        thread.join(LONG_S)
    return asked, attacker.got_in


def merged(keep: Keep) -> set[str]:
    """Heads that were merged into main."""
    keep.tip("main")
    told = git(keep.work.repo, "rev-list", "--first-parent", "--merges", "--parents", keep.tip("main"))
    return {line.split()[2] for line in told.splitlines()}


@attack(1, "Pushed in the moment of the approval, by who asks for it every 10 ms, while it is merged",
        vault="what starts is what was approved", check="an approval is for the head that was merged")  # fmt: skip
@pytest.mark.parametrize("rounds", counts(10, 200))
def test_attack_1_pushed_while_it_is_merged(
    town: tuple[Site, Path | None], tmp_path: Path, off: Blind, rounds: int
) -> Seen:
    own = Keep(town[0], tmp_path, town[1], more="per_requester_day = 9999\n[per_day]\nhigh = 9999\n")
    got_in: Counter[bool] = Counter()
    heads: dict[str, str] = {}
    for number in range(rounds):
        asked, pushed = raced(own, number)
        heads[asked.id] = asked.head
        got_in[pushed] += 1
        if number % AT_ONCE == AT_ONCE - 1 or number == rounds - 1:
            own.dispatch().turn()
    orders = own.runner().orders
    assert len(orders) == len({order.id for order in orders}), "and once"
    for order in orders:
        assert order.action == own.actions[order.id]
    there, ledger = merged(own), own.ledger()
    started, approved = {order.id for order in orders}, {id for id, head in heads.items() if head in there}
    assert started <= approved, got_in
    # A real forge that got to the push before the merge and is done with it after: the request's ref is at the push for
    # good, and nothing tells which request was merged.
    lost = {id: ledger.state(id).evidence.get("code") for id in approved - started}
    assert set(lost.values()) <= {"no-pull-request"} if own.forge_home is None else not lost, lost
    codes = {str(ledger.state(id).evidence.get("code", "")) for id, head in heads.items() if head not in there}
    assert codes <= {"", "head-moved", "approved-before-push", "approval-dismissed"}
    assert orders, got_in
    assert got_in[True], got_in
    off.review("commit", "at", "dismissed", "stale")
    asked = own.ask(own.action("gamma"))
    own.review(asked)
    other = replace(own.actions[asked.id], reason="something else")
    now = replace(asked, head=own.write(FACTORY, asked.branch, {other.path: other.write()}))
    own.merged(now)
    ran = effects(own, asked.id) == 1 and own.runner().orders[-1].action == other
    return Seen("-", "what starts is what was approved", RUNS if ran else "it did not run")

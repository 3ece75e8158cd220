"""What the daemon sees of the vault, read from real git beside a real dispatcher."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from factory.daemon import vault_view
from factory.daemon.vault_view import VaultView
from factory.forge.values import ItemState, User
from factory.plan.model import PullFacts
from factory.plan.vault import Asked, VaultFacts
from factory.runs.codec import decode, encode
from factory.testing import builders as b
from factory.vault.action import Action, Tier
from factory.vault.people import rules
from factory.vault.ports import Outcome, PullFact
from factory.vault.run import kept
from tests.integration.vault.house import (
    ADMIN,
    APPROVER,
    LETTERS,
    NOW,
    VAULT_BOT,
    House,
    Runner,
    formula_bytes,
    policy_bytes,
)


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr(rules, "packaged", lambda name: {name: formula_bytes(name) for name in LETTERS})
    return House(tmp_path)


class Seen:
    """A view and the pull requests it is shown."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.view = VaultView(frozenset({VAULT_BOT}))
        self.pulls: dict[int, PullFacts] = {}

    def show(self, action: Action, pull: PullFact, **changes: object) -> None:
        files = changes.pop("files", [b.file(action.path, status="added", deletions=0)])
        base = self.house.git.text("merge-base", pull.head_sha, self.house.ref(f"heads/{pull.base}"))
        values = {"by": "vault-bot", "head_ref": f"vault/{action.id}", "head_repo": b.OPS, "head_sha": pull.head_sha,
                  "base_ref": pull.base, "merge_base": base, "files": files, **changes}  # fmt: skip
        self.pulls[pull.number] = b.pull(pull.number, **values)

    def merged(self, pull: PullFact) -> None:
        facts = self.pulls[pull.number]
        closed = replace(facts.pull, merged=True, state=ItemState.CLOSED, closed_at=self.house.now)
        self.pulls[pull.number] = replace(facts, pull=closed, files=())

    def look(self) -> VaultFacts:
        lines = self.house.git.run("for-each-ref", "--format=%(refname) %(objectname)").decode().splitlines()
        refs = dict(line.split(" ") for line in lines)
        seed = self.house.ref("heads/main")
        facts = self.view.look(self.house.remote, refs, tuple(self.pulls.values()), b.config(), seed, self.house.now)
        assert decode(VaultFacts, encode(facts)) == facts  # it is part of a World, which is kept and replayed
        return facts


@pytest.fixture
def seen(house: House) -> Seen:
    return Seen(house)


def test_an_open_request_is_judged_as_the_dispatcher_will(house: House, seen: Seen) -> None:
    action = house.action("beta", unblocks=("founder/tally#3",))
    pull = house.open(action)
    seen.show(action, pull)
    (request,) = seen.look().requests
    assert (request.tier, request.listed, request.rejecters, request.code) == ("medium", {1, 2}, {1, 2}, "")
    assert request.headline == "beta@1 on beta:here (medium) waits for account 1 or account 2"
    assert (request.frees, request.expires) == (("founder/tally#3",), action.expires)


def test_what_was_merged_and_not_taken_up_yet_is_counted(house: House, seen: Seen) -> None:
    """By what was approved: of a merged one the branch is gone. After a while nobody waits for a dispatcher."""
    one, other = house.action("beta"), house.action("beta", target="beta:there")
    for merged, action in enumerate((one, other)):
        pull = house.review(house.open(action))
        seen.show(action, pull)
        assert seen.look().unjudged == merged
        house.merge(pull)
        seen.merged(pull)
    assert seen.look().unjudged == 2
    house.now += vault_view.TAKEN_UP
    assert seen.look().unjudged == 0, "no dispatcher is waited for"
    house.now -= vault_view.TAKEN_UP
    dispatcher, _ = house.dispatcher()
    dispatcher.turn()
    assert seen.look().unjudged == 0


def test_who_must_sign_is_seen(house: House, seen: Seen) -> None:
    assert (seen.look().signed, seen.look().signers) == ((), {1})
    data = policy_bytes(2).replace(b"version = 2\n", b'version = 2\nrequire_signature = ["medium", "high"]\n')
    house.adopt(data)
    action = house.action("beta")
    pull = house.open(action)
    seen.show(action, pull)
    facts = seen.look()
    assert (facts.signed, facts.signers) == (("vault/policy.toml", "vault/secrets", "factory.toml"), {1})
    assert [request.signers for request in facts.requests] == [{1}]


def test_a_request_under_an_older_policy_keeps_its_tier(house: House, seen: Seen) -> None:
    """R6: the policy where it branched off counts too, so loosening it later lowers nothing."""
    action = house.action("gamma")
    pull = house.open(action)
    seen.show(action, pull)
    assert [r.tier for r in seen.look().requests] == ["high"]
    looser = policy_bytes(2, {"gamma": "medium"})
    main = house.commit({"vault/policy.toml": looser}, house.ref("heads/main"))
    house.ref("heads/main", main)
    assert [r.tier for r in seen.look().requests] == ["high"]  # nothing says yet that it counts


UNFIT = {
    "two files": ({}, [b.file("README.md"), b.file("x", status="added")], "extra-paths"),
    "another name": ({}, [b.file("vault/actions/other.toml", status="added")], "extra-paths"),
    "no canonical file": ({"data": b"v=1\n"}, None, "not-canonical"),
    "no such formula": ({"formula": "omega"}, None, "unknown-formula"),
    "open for too long": ({"expires": NOW + timedelta(days=40)}, None, "too-long"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNFIT)
def test_what_may_not_be_asked_says_why(house: House, seen: Seen, name: str) -> None:
    changes, files, code = UNFIT[name]
    data = changes.get("data")
    formula = str(changes.get("formula", "beta"))
    action = house.action(formula, **{k: v for k, v in changes.items() if k not in ("data", "formula")})
    pull = house.open(action, data=data if isinstance(data, bytes) else None)
    seen.show(action, pull, **({} if files is None else {"files": files}))
    (request,) = seen.look().requests
    assert request.code == code
    assert request.words
    assert request.tier == ""


def test_a_request_whose_head_is_not_here_yet_is_left_out(house: House, seen: Seen) -> None:
    action = house.action()
    seen.show(action, house.open(action), head_sha="e" * 40)
    assert seen.look().requests == ()


def test_an_action_is_followed_from_its_verification_to_its_end(house: House, seen: Seen) -> None:
    action = house.action("beta")
    pull = house.open(action)
    seen.show(action, pull)
    dispatcher, _ = house.dispatcher(runner=Runner(fate=lambda order: None))
    dispatcher.turn()
    assert seen.look().actions == ()  # SEEN says no more than the open pull request
    house.review(pull)
    house.merge(pull)
    seen.merged(pull)
    dispatcher.turn()
    (running,) = seen.look().actions
    assert (running.kind, running.state, running.pull, running.final, running.file) == (
        "STARTED", "runs", pull.number, False, "",
    )  # fmt: skip
    assert seen.look().standing(action.id) == "runs"


def end(house: House, seen: Seen, outcome: Outcome, **more: object) -> tuple[Action, PullFact]:
    action = house.action("beta", **more)
    pull = house.open(action)
    seen.show(action, pull)
    house.review(pull)
    house.merge(pull)
    seen.merged(pull)
    dispatcher, _ = house.dispatcher(runner=Runner(fate=lambda order: outcome))
    dispatcher.turn()
    dispatcher.turn()
    return action, pull


def test_an_end_is_written_down_with_its_result_and_told(house: House, seen: Seen) -> None:
    outcome = Outcome("done", "did it", {"url": "http://x.test/v1"}, "f" * 64)
    action, pull = end(house, seen, outcome)
    (over,) = seen.look().actions
    assert (over.kind, over.file, over.pull) == ("DONE", f"vault/fired/{action.id}.toml", pull.number)
    assert '[result]\nurl = "http://x.test/v1"\n' in over.text
    assert 'tier = "medium"\n' in over.text
    assert over.says.startswith("**It is done.**\n\n`did it`\n")
    assert "- url: `http://x.test/v1`" in over.says
    house.ref("heads/main", house.commit({over.file: over.text.encode()}, house.ref("heads/main")))
    later = seen.look()
    assert later.actions == ()
    assert later.told == {action.id}


def test_a_failure_that_changed_nothing_was_fired_all_the_same(house: House, seen: Seen) -> None:
    action, _ = end(house, seen, Outcome("clean", "no such host"))
    (over,) = seen.look().actions
    assert (over.kind, over.file) == ("FAILED", f"vault/fired/{action.id}.toml")
    assert "failed; nothing was changed" in over.says


def test_a_refusal_is_told_with_what_each_can_do(house: House, seen: Seen) -> None:
    action = house.action("gamma")
    pull = house.open(action)
    seen.show(action, pull)
    house.merge(pull)  # by whoever: nobody approved it
    seen.merged(pull)
    house.dispatcher()[0].turn()
    (over,) = seen.look().actions
    assert (over.kind, over.pull, over.file) == ("REFUSED", pull.number, f"vault/rejected/{action.id}.toml")
    assert 'code = "no-approval"\n' in over.text
    assert "Why: nobody approved it (`no-approval`). Nothing was done." in over.says
    assert "- who asked can: ask again" in over.says
    assert "- who approves can: approve the next one" in over.says


def test_a_broken_ledger_is_told_and_stops_nobody(house: House, seen: Seen) -> None:
    seen.look()
    house.ref("heads/ledger", house.commit({"e/a/x.toml": b"?"}, house.ref("heads/ledger")))
    assert seen.look().frozen.startswith("the ledger cannot be read: ")
    assert seen.look().frozen.startswith("the ledger cannot be read: ")


def test_a_proposed_policy_is_compared_with_what_was_done(house: House, seen: Seen) -> None:
    end(house, seen, Outcome("done", "did it"))
    head = house.commit({"vault/policy.toml": policy_bytes(2, {"alpha": "low"})}, house.ref("heads/main"))
    house.ref("heads/edit/policy", head)
    files = [b.file("vault/policy.toml")]
    seen.pulls[90] = b.pull(90, by="factory-bot", head_ref="edit/policy", head_repo=b.OPS, head_sha=head, files=files)
    (told,) = seen.look().comparisons
    assert (told.pull, told.head) == (90, head)
    assert "| refused | medium | refused: formula: the policy does not name beta@1 |" in told.text
    broken = house.commit({"vault/policy.toml": b"v = 1\n"}, house.ref("heads/main"))
    seen.pulls[90] = b.pull(90, by="factory-bot", head_ref="edit/policy", head_repo=b.OPS, head_sha=broken, files=files)
    assert seen.look().comparisons == ()


def test_an_approved_policy_waits_and_says_until_when(house: House, seen: Seen) -> None:
    """As long as the policy in force says, from an admin's approval of that head on; not in the vault's first day."""
    house.adopt(policy_bytes(2, more="cooling_hours = 24\n"))
    head = house.commit({"vault/policy.toml": policy_bytes(3, more="cooling_hours = 0\n")}, house.ref("heads/main"))
    house.ref("heads/edit/policy", head)

    def waits(at: datetime, *who: int, **changes: object) -> list[datetime]:
        given = [b.review(number=n, commit=head, at=at, **changes) for n in range(len(who))]
        given = [replace(one, author=User(id, f"user{id}")) for one, id in zip(given, who, strict=True)]
        seen.pulls[90] = b.pull(90, by="factory-bot", head_ref="edit/policy", head_repo=b.OPS, head_sha=head,
                                files=[b.file("vault/policy.toml")], reviews=given)  # fmt: skip
        return [one.until for one in seen.look().cooling]

    assert waits(house.now, ADMIN) == [], "the vault is a day old at most"
    house.now += timedelta(days=2)
    assert waits(house.now, ADMIN) == [house.now + timedelta(hours=24)]
    assert waits(house.now, APPROVER) == waits(house.now, ADMIN, dismissed=True) == waits(house.now) == []
    assert waits(house.now - timedelta(hours=24), ADMIN) == []
    assert "It counts 24 hours after an admin approved it" in seen.look().comparisons[0].text


def test_things_for_a_person_are_listed_until_they_are_done(house: House, seen: Seen) -> None:
    waiting = b"# Request: A domain\n\n## Unblocks\n\nfounder/tally#3\n\n## Waiting since\n\n2026-11-27\n"
    done = b"# Request: A card\n\n## Done\n\n2026-11-27 by founder\n"
    files = {"vault/pending/domain.md": waiting, "vault/pending/card.md": done, "vault/pending/notes.txt": b"x"}
    house.ref("heads/main", house.commit(files, house.ref("heads/main")))
    (one,) = seen.look().pending
    assert (one.id, one.what, one.frees) == ("domain", "A domain", "founder/tally#3")


def test_what_an_action_asks_of_a_person_becomes_its_file(
    house: House, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vault_view, "FILE_PENDING", "stand_in")
    action, _ = end(house, seen, Outcome("done", "filed"))
    (over,) = seen.look().actions
    ((path, text),) = over.files
    assert path == f"vault/pending/{action.id}.md"
    assert f"factory vault done {action.id}" in text


def test_what_an_action_read_becomes_the_days_evidence(
    house: House, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vault_view, "FILE_EVIDENCE", "stand_in")
    monkeypatch.setattr(kept, "_kind", lambda action: action.params["place"])  # this house's formulas have no kind
    action, _ = end(house, seen, Outcome("done", "read", {"value": '{"status":200,"run":"forged"}'}))
    (over,) = seen.look().actions
    ((path, text),) = over.files
    assert path == f"evidence/here/{over.at:%Y-%m-%d}.json"
    told = json.loads(text)
    assert (told["status"], told["action"], told["taint"]) == (200, action.id, "outside")
    assert told["run"] != "forged"


def test_a_request_for_a_person_gets_louder(house: House, seen: Seen) -> None:
    text = b"# Request: A domain\n\n## Waiting since\n\n2026-11-27\n\n## Deadline\n\n2026-12-02\n"
    house.ref("heads/main", house.commit({"vault/pending/domain.md": text}, house.ref("heads/main")))
    said = []
    for days in (0, 3, 6):
        house.now = NOW + timedelta(days=days)
        said += [one.late for one in seen.look().pending]
    assert said == ["", "it still waits, due 2026-12-02", "it is late, due 2026-12-02"]


def asked(seen: Seen, *lines: dict[str, object]) -> tuple[tuple[Asked, ...], str]:
    seen.look()
    spec = b.spec()
    left = b.result(spec, head="a" * 40, outbox=tuple({"kind": "vault", **line} for line in lines))
    return seen.view.asked(spec, left)


def test_what_a_session_asks_becomes_a_proposal(seen: Seen) -> None:
    (one,), wrong = asked(seen, {"formula": "gamma", "parameters": {"place": "moon", "reason": "it is far"}})
    assert wrong == ""
    assert (one.tier, one.base, one.path) == ("high", "main", f"vault/actions/{one.id}.toml")
    assert 'requester = "role:dev"\n' in one.text
    assert 'unblocks = ["acme/tally#1"]\n' in one.text
    assert "it is far" in one.body.partition("Untrusted")[2]
    again, _ = asked(seen, {"formula": "gamma", "parameters": {"place": "moon", "reason": "it is far"}})
    assert again == (one,)


def test_what_it_may_not_ask_is_said_for_each(seen: Seen) -> None:
    made, wrong = asked(seen, {"formula": "gamma", "parameters": {}}, {"formula": "omega", "parameters": {}})
    assert made == ()
    assert wrong == (
        "gamma: params.place: gamma@1 needs it; "
        "omega: formula: the vault has no omega (it has alpha@1, beta@1, delta@1, gamma@1)"
    )


def test_the_same_content_soon_again_rises_by_a_tier(house: House, seen: Seen) -> None:
    end(house, seen, Outcome("done", "did it"), blast_radius=Tier.MEDIUM)
    (one,), _ = asked(seen, {"formula": "beta", "parameters": {"place": "here"}})
    assert one.tier == "high"
    assert "- **Last time** 2026-11-28-beta-0001, DONE" in one.body

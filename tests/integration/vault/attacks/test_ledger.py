"""Attacks on the ledger and on when things happen: other forges, races, lost replies, clocks, a stolen token."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from factory.git.hardened import Git, GitTrouble
from factory.vault import chain, gather, verify
from factory.vault.canonical import Refused
from factory.vault.gather import Gather
from factory.vault.ledger import AFTER, ALL, Entry, Ledger
from factory.vault.watch.wired import WiredGit
from tests.contract.conftest import Site, fresh
from tests.integration.vault.attacks.blind import Blind
from tests.integration.vault.attacks.keep import DISPATCHER, FOUNDER, VAULT, Asked, Keep
from tests.integration.vault.attacks.raid import effects, raid, refused
from tests.integration.vault.attacks.register import Seen, attack

Town = tuple[Site, Path | None]


def approved(keep: Keep, formula: str = "gamma", **more: object) -> Asked:
    asked = keep.ask(keep.action(formula, **more))
    keep.review(asked)
    keep.merged(asked)
    return asked


@attack(15, "A signed approval of one forge, shown to another", forge="allows", vault="signature-missing",
        check="what is signed names forge, repo and ledger")  # fmt: skip
def test_attack_15_an_approval_of_another_forge(town: Town, tmp_path: Path, off: Blind) -> Seen:
    more = 'require_signature = ["high"]\n'
    here, there = (Keep(town[0], tmp_path / name, town[1], more=more) for name in ("here", "there"))
    signed, founder = tmp_path / "signed", frozenset({there.ids[FOUNDER]})

    def of_there(statement: bytes, pulls: tuple[int, ...]) -> frozenset[int]:
        with signed.open("ab") as file:
            file.write(statement + b"\n")
        return founder

    there.signed_by(of_there)
    here.signed_by(lambda statement, pulls: founder if statement in signed.read_bytes().splitlines() else frozenset())

    def act() -> str:
        """The same file at the same place; there it is approved and signed, here somebody forges the approval."""
        asked = approved(there)
        assert effects(there, asked.id) == 1
        action = there.actions[asked.id]
        copy = here.ask(action)
        here.review(copy)  # what who broke into this forge would write
        here.merged(copy)
        return asked.id

    def anywhere() -> None:
        off.patch.setattr(gather, "statement", lambda what, root, expires: verify.statement(
            {**what, "repo": 0, "forge": "", "policy_digest": ""}, "", expires))  # fmt: skip

    return raid(here, act, anywhere)


def test_attack_15_the_key_for_providers_is_another_one_on_another_ledger(town: Town, tmp_path: Path) -> None:
    """The same bytes in another repo: digest and idem_key differ, and so does what a provider is told."""
    here, there = (Keep(town[0], tmp_path / name, town[1]) for name in ("here", "there"))
    action = here.action("gamma")
    keys = []
    for keep in (here, there):
        asked = keep.ask(action)
        keep.review(asked)
        keep.merged(asked)
        assert effects(keep, action.id) == 1
        keys.append(keep.runner().orders[-1].idem_key)
    assert len(set(keys)) == 2


@attack(47, "Two dispatchers claim and start the same action", forge="blocks", vault="it starts once",
        check="an entry is only pushed onto the tip it was judged on")  # fmt: skip
def test_attack_47_two_dispatchers_race(own: Keep, off: Blind) -> Seen:
    def starts(asked: Asked) -> int:
        """The second one takes its whole turn while the first is about to push its claim."""
        first, one = own.dispatcher()
        second, two = own.dispatcher()
        real, mine = WiredGit.push, str(first.mirror)
        doors = [own.root / fresh("door") for _ in range(2)]
        for door in doors:
            os.mkfifo(door)

        def push(git: WiredGit, commit: str, branch: str) -> bool:
            claiming = b"-CLAIMED.toml" in git.run("show", "--name-only", "--format=", commit)
            if str(git.repo) == mine and claiming and doors[0].exists():
                doors[0].write_bytes(b"at the door")
                doors[0].unlink()
                doors[1].read_bytes()
            return real(git, commit, branch)

        off.patch.setattr(WiredGit, "push", push)
        first.go()
        assert doors[0].read_bytes() == b"at the door"
        second.turn()
        doors[1].write_bytes(b"go on")
        first.rest()
        return len([order for order in (*one.orders, *two.orders) if order.id == asked.id])

    assert starts(approved(own)) == 1

    url = own.url(DISPATCHER)

    def forced(git: WiredGit, commit: str, branch: str) -> bool:
        git.run("push", "--quiet", "--force", "--", url, f"{commit}:refs/heads/{branch}", net=True)
        return True

    own.site.admin.delete_protection(own.ops, "ledge[r]")
    off.patch.setattr(WiredGit, "push", forced)
    off.settings()
    assert starts(approved(own)) == 2
    return Seen("blocks", "it starts once")


@attack(49, "The reply to a push is lost", forge="allows", vault="it starts once",
        off="cannot: the next try does not fit the ledger; what is lost is the run", check="the branch is read again: "
        "does it hold our commit?")  # fmt: skip
def test_attack_49_a_lost_reply(own: Keep, off: Blind) -> Seen:
    real = WiredGit.push

    def push(git: WiredGit, commit: str, branch: str) -> bool:
        real(git, commit, branch)
        raise GitTrouble("the connection was cut")

    def starts(asked: Asked) -> int:
        _, runner = own.run(1)
        return len([order for order in runner.orders if order.id == asked.id])

    asked = approved(own)
    off.patch.setattr(WiredGit, "push", push)
    assert starts(asked) == 1
    ours: set[str] = set()
    append, is_ancestor = Git.append, Git.is_ancestor

    def drafts(git: Git, *args: Any) -> list[str]:
        made = append(git, *args)
        ours.update(made)
        return made

    off.patch.setattr(Git, "append", drafts)
    off.patch.setattr(Git, "is_ancestor", lambda git, old, *new: (
        not (old in ours and new == (old,)) and is_ancestor(git, old, *new)))  # fmt: skip
    assert starts(approved(own)) == 0
    return Seen("allows", "it starts once", "cannot: the next try does not fit the ledger; what is lost is the run")


@attack(50, "A lock that a killed push left on the forge's ledger", forge="blocks", vault="waits",
        off="cannot: what is not on the ledger does not exist for the runner",
        check="nothing starts before its STARTED stands on the branch")  # fmt: skip
def test_attack_50_a_ledger_that_takes_nothing(own: Keep, off: Blind) -> Seen:
    off.patch.setattr(chain, "TRIES", 1)  # the server waits for the lock itself each time
    asked = approved(own)
    lock = own.bare() / "refs" / "heads" / "ledger.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    assert effects(own, asked.id) == 0
    assert "the ledger did not take it" in own.dispatch().alarms["forge"]
    lock.unlink()
    assert effects(own, asked.id) == 1
    return Seen("blocks", "waits", "cannot: what is not on the ledger does not exist for the runner")


@attack(51, "An expired approval, and this host's clock set back", vault="expired", forge="allows",
        check="the later of the forge's clock and ours counts, and they may differ by two minutes")  # fmt: skip
def test_attack_51_the_clock_set_back(own: Keep, off: Blind) -> Seen:
    """The clock is the dispatcher process's own; the forge's goes on."""

    def act() -> str:
        own.skew, now = -timedelta(days=2), datetime.now(UTC).replace(microsecond=0)
        more = {"not_before": now - timedelta(days=3), "expires": now - timedelta(days=1)}
        return approved(own, **more).id

    def first() -> str:
        id = act()
        assert effects(own, id) == 0
        assert "set them right" in own.dispatch().alarms[id]
        assert own.dispatch().ledger.state(id).kind == "NEW", "a clock that is wrong decides nothing"
        for own.skew in (-timedelta(seconds=100), timedelta(seconds=100)):
            own.dispatch().turn()
        return id

    forge, code = refused(own, first)
    off.patch.setattr(Gather, "now", lambda self: self._h.clock())
    assert effects(own, act()) == 1
    return Seen(forge, code)


def thief(keep: Keep) -> Callable[..., None]:
    """Appends to the ledger with the dispatcher's token, from elsewhere, whatever its own rules say."""
    chain = keep.chain(fresh("thief"), DISPATCHER)

    def append(kind: str, id: str, evidence: dict[str, Any], **more: Any) -> None:
        now = datetime.now(UTC).replace(microsecond=0)
        state = chain.sync().state(id)
        values = {"epoch": state.epoch, "digest": state.digest or "f" * 64, **more}
        entry = Entry(kind, id, secrets.token_hex(16), "thief/1", now, evidence=evidence, **values)
        assert len(chain.append([entry])) == 1

    return append


def looks_verified(keep: Keep, asked: Asked, merge: str) -> dict[str, Any]:
    """The evidence of a verdict that nobody gave."""
    from factory.vault.canonical import sha256
    from tests.integration.vault.house import formula_bytes

    action, now = keep.actions[asked.id], datetime.now(UTC).replace(microsecond=0)
    return {
        "merge": merge, "head": asked.head, "base": "refs/heads/main", "pull": asked.number,
        "blob_sha256": sha256(action.write()), "formula": action.formula, "class": "C", "minutes": 10,
        "formula_digest": sha256(formula_bytes("gamma") or b""), "policy_version": 1, "policy_digest": "0" * 64,
        "trust": "0" * 40, "tier": "low", "reasons": [], "approvers": [keep.ids[FOUNDER]], "target": action.target,
        "requester": action.requester, "content": action.content, "unblocks": [], "runs": 1, "every_hours": 0,
        "not_before": now - timedelta(hours=1), "expires": now + timedelta(hours=5), "settings": "0" * 64,
    }  # fmt: skip


@attack(53, "A stolen dispatcher token writes that an action was verified", forge="allows", vault="no-approval",
        check="everything is looked at again right before the start")  # fmt: skip
@pytest.mark.parametrize("further", [(), ("CLAIMED", "STARTED")], ids=["verified", "started"])
def test_attack_53_a_forged_verdict(own: Keep, off: Blind, further: tuple[str, ...]) -> Seen:
    own.dispatch().turn()

    def act() -> str:
        asked, run = own.ask(own.action("gamma")), secrets.token_hex(16)
        own.merged(asked)
        chain, now = own.chain(fresh("thief"), DISPATCHER), datetime.now(UTC).replace(microsecond=0)
        chain.sync()
        evidence = looks_verified(own, asked, own.tip("main"))
        made = [Entry("VERIFIED", asked.id, secrets.token_hex(16), "thief/1", now, 0, "f" * 64, evidence)]
        made += [Entry(kind, asked.id, run, "thief/1", now, 1, "f" * 64) for kind in further]
        assert len(chain.append(made)) == len(made)
        own.runner().lost.add("thief/1")
        return asked.id

    id = act()
    for _ in range(6):
        own.dispatch().turn()
        own.clockwork += 400
    assert [order for order in own.runner().orders if order.id == id and not order.probe] == []
    state = own.dispatch().ledger.state(id)
    assert state.kind in ("REVOKED", "PARKED"), state
    code = str(state.evidence["code"])
    off.approval()
    id = act()
    for _ in range(6):
        own.dispatch().turn()
        own.clockwork += 400
    assert [order for order in own.runner().orders if order.id == id and not order.probe]
    return Seen("allows", code)


@attack(53, "A stolen dispatcher token writes of an action that nobody asked for", forge="allows",
        vault="frozen", off="cannot: there is no file that says what to do",
        check="what was merged is on main; what is started is read from the commit that added it")  # fmt: skip
def test_attack_53_an_action_of_nobody(own: Keep, off: Blind) -> Seen:
    action = own.action("gamma")
    asked = Asked(action.id, 1, "", "0" * 40, "main")
    thief(own)("VERIFIED", action.id, looks_verified(own, asked, "0" * 40))
    assert effects(own, action.id) == 0
    assert "rewritten" in own.dispatch().ledger.frozen
    off.patch.setattr(Gather, "rewritten", lambda self: False)
    thief(own)("UNFREEZE", ALL, {"words": "go on"}, epoch=0)
    assert refused(own, lambda: action.id)[1] == "not-on-branch"
    return Seen("allows", "frozen", "cannot: there is no file that says what to do")


@attack(53, "A stolen dispatcher token brings an older policy back", forge="allows", vault="bad-entry",
        check="no TRUST goes back to an older version")  # fmt: skip
def test_attack_53_a_forged_trust(own: Keep, off: Blind) -> Seen:
    own.edit({"vault/policy.toml": own.policy(2, dict.fromkeys(("alpha", "beta", "gamma"), "high"))})
    own.dispatch().turn()
    assert len(own.dispatch().ledger.trust) == 2
    genesis = own.dispatch().ledger.trust[0].evidence
    evidence = {key: genesis[key] for key in ("commit", "policy_digest", "policy_version", "controlled")}
    with pytest.raises(AssertionError):
        thief(own)("TRUST", ALL, {**evidence, "pull": 1, "approvers": [own.ids[FOUNDER]]}, epoch=2)
    real = Ledger.why_not
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ledger, "why_not", lambda self, entry: "" if entry.kind == "TRUST" else real(self, entry))
        thief(own)("TRUST", ALL, {**evidence, "pull": 1, "approvers": [own.ids[FOUNDER]]}, epoch=2)
    asked = own.ask(own.action("gamma"))
    own.review(asked)
    own.merged(asked)
    with pytest.raises(Refused) as no:
        own.dispatch().turn()
    assert own.runner().orders == []
    off.patch.setattr(Ledger, "why_not", lambda self, entry: "" if entry.kind == "TRUST" else real(self, entry))
    assert effects(own, asked.id) == 1
    return Seen("allows", no.value.code)


@attack(65, "An entry of the ledger is deleted, or changed", forge="allows", vault="bad-entry",
        off="cannot: what counts is what each commit added", check="a commit of the ledger adds one file")  # fmt: skip
@pytest.mark.parametrize("how", ["deleted", "changed", "two at once", "a merge"])
def test_attack_65_ledger_tampering(own: Keep, how: str) -> Seen:
    asked = own.ask(own.action("gamma"))
    own.merged(asked)
    assert effects(own, asked.id) == 0
    assert own.dispatch().ledger.state(asked.id).kind == "REFUSED"
    tip, path = own.tip("ledger"), own.dispatch().ledger
    name = f"e/{asked.id}/{path.state(asked.id).seq:08d}-REFUSED.toml"
    made = {
        "deleted": lambda: own.commit({name: None}, tip),
        "changed": lambda: own.commit({name: b"v = 1\n"}, tip),
        "two at once": lambda: own.commit({"e/a": b"1", "e/b": b"2"}, tip),
        "a merge": lambda: own.commit({"e/a": b"1"}, tip, own.tip("main")),
    }[how]()
    assert not own.push(DISPATCHER, f"{made}:refs/heads/ledger")
    other = approved(own)
    with pytest.raises(Refused) as no:
        own.dispatch().turn()
    with pytest.raises(Refused):
        own.run(1)
    assert own.runner().orders == []
    assert own.dispatch().ledger.state(other.id).kind == "NEW"
    return Seen("allows", no.value.code, "cannot: what counts is what each commit added")


@attack(65, "The ledger is put back to an older state", forge="blocks", vault="ledger-gone",
        check="what this host saw on it must still be there")  # fmt: skip
def test_attack_65_an_older_ledger(own: Keep, off: Blind) -> Seen:
    asked = approved(own)
    early = own.tip("ledger")
    assert effects(own, asked.id) == 1
    own.dispatch().turn()
    for who in (DISPATCHER, FOUNDER, VAULT):
        assert own.push(who, f"+{early}:refs/heads/ledger")
        assert own.push(who, ":refs/heads/ledger")
    own.wrongly("ledger", early)
    with pytest.raises(Refused) as no:
        own.dispatch().turn()
    before = len(own.runner().orders)
    own.dispatch().end()
    with pytest.raises(Refused, match="the ledger lost entries that this host saw on it"):
        own.dispatch().turn()
    assert len(own.runner().orders) == before
    blind, second = own.dispatcher()  # of a host that never saw it
    blind.turn()
    assert len(second.orders) == 1
    assert second.orders[0].idem_key == own.runner().orders[0].idem_key, "a provider that knows the key does it once"
    return Seen("blocks", no.value.code)


def test_the_table_of_states_is_what_these_attacks_are_measured_against() -> None:
    assert set(AFTER) == {"SEEN", "VERIFIED", "REFUSED", "CLAIMED", "STARTED", "DONE", "FAILED", "UNKNOWN", "FENCED",
                          "PARKED", "ABANDONED", "REVOKED"}  # fmt: skip


"""Rules about main's history, each broken once: of a push a forge compares the two ends, and nothing in between."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from factory.git.hardened import Commit, Git
from factory.vault import dispatch, gather
from factory.vault.action import Action
from factory.vault.authority import Authority, bots
from factory.vault.canonical import sha256
from factory.vault.ledger import Ledger
from factory.vault.people.audit import audit
from factory.vault.policy import MAX_POLICY, PATH, read
from factory.vault.watch import explained
from tests.integration.vault.attacks.blind import Blind
from tests.integration.vault.attacks.keep import APPROVER, FACTORY, FOUNDER, Asked, Keep
from tests.integration.vault.attacks.pace import the_next_second
from tests.integration.vault.attacks.raid import effects
from tests.integration.vault.attacks.register import RUNS, Seen, rule
from tests.integration.vault.house import formula_bytes

LOST = "it happens: what people approved is refused, and nobody is told"
NEVER = "it happens: what people approved is never done"
PINNED = "cannot: the policy names its digest, and the policy is as of the last TRUST, too"
HOUR = timedelta(hours=1)
unexplained = explained.unexplained


def approved(keep: Keep, action: Action) -> Asked:
    asked = keep.ask(action)
    keep.review(asked)
    keep.merged(asked)
    return asked


def swapped(keep: Keep, first: str) -> None:
    """A plain push by a writer of data: all that is on main, and one file of the dashboard; what was main's tip is the
    second parent."""
    main = keep.tip("main")
    tree = keep.work.text("rev-parse", f"{keep.commit({'README.md': main.encode()}, main)}^{{tree}}")
    assert not keep.push(FACTORY, f"{keep.commit({}, first, main, tree=tree)}:refs/heads/main")


def newest(ledger: Ledger, git: Git, before: str = "") -> Authority:
    """The policy of the highest number that ever stood on main."""
    found = []
    for commit in git.history("refs/heads/main", "", PATH):
        data = git.read([f"{commit.oid}:{PATH}"], MAX_POLICY)[0]
        found.append(Authority(commit.oid, read(data or b"", bots(ledger))))
    return max(found, key=lambda one: one.policy.version)


def anywhere(commits: Iterable[Commit], since: str, *more: Any) -> list[Commit]:
    """Whatever the history leads to."""
    row = list(commits)
    return unexplained(row, row[0].parents[0] if row and row[0].parents else since, *more)


def in_line(git: Git, *commits: str) -> bool:
    """Whether the last one has all before it on its first-parent history."""
    *old, new = commits
    return {*old} <= {*git.run("rev-list", "--first-parent", new).decode("ascii").split()}


@rule("A push can hide a loosened policy, what is merged under it, and that both were taken back: the policy counts as"
      " of a TRUST, and the vault is frozen", forge="allows", vault="approver-not-listed",
      check="which policy counts stands on the ledger, whatever main's history holds")  # fmt: skip
def test_rule_loosened_and_taken_back_in_one_push(own: Keep, off: Blind) -> Seen:
    def act(version: int) -> str:
        asked = own.ask(own.action("gamma"))
        own.review(asked, APPROVER)
        main, path = own.tip("main"), own.actions[asked.id].path
        own.tip(f"refs/pull/{asked.number}/head")
        files: Mapping[str, bytes] = {PATH: own.policy(version, admins=(FOUNDER, APPROVER))}
        loose = own.commit(files, main)
        merged = own.commit({}, loose, asked.head, tree=own.work.merged_tree(loose, asked.head))
        last = own.commit({PATH: own.policy(), path: None, "README.md": merged.encode()}, merged)
        assert not own.push(FACTORY, f"{last}:refs/heads/main"), "the forge sees a new dashboard"
        return asked.id

    id = act(2)
    assert effects(own, id) == 0
    ledger = own.dispatch().ledger
    assert ledger.frozen.startswith("nobody explains commit")
    assert len(ledger.trust) == 1
    own.thaw()
    off.patch.setattr(explained, "unexplained", lambda *_: [])
    assert effects(own, act(3)) == 0, "also where nobody looks at main"
    off.patch.setattr(gather, "in_force", newest)
    off.patch.setattr(dispatch, "in_force", newest)
    assert effects(own, act(4)) == 1
    return Seen("allows", str(ledger.state(id).evidence["code"]), RUNS)


@rule("A merge with swapped parents hides from main's history what was merged before it: the vault is frozen",
      forge="allows", vault="frozen", off=LOST,
      check="what is new on main leads step by step to what was looked at")  # fmt: skip
def test_rule_a_merge_with_swapped_parents(own: Keep, off: Blind) -> Seen:
    first = own.tip("main")
    good = approved(own, own.action("gamma"))
    assert effects(own, good.id) == 1
    swapped(own, first)
    waiting = approved(own, own.action("gamma"))
    assert effects(own, waiting.id) == 0
    assert own.dispatch().ledger.frozen.startswith("nobody explains commit")
    own.thaw()
    assert effects(own, waiting.id) == 1, "what was merged afterwards is where it should be"
    off.patch.setattr(explained, "unexplained", anywhere)
    hidden = approved(own, own.action("gamma"))
    swapped(own, first)
    assert effects(own, hidden.id) == 0
    served = own.dispatch()
    lost = served.ledger.state(hidden.id).kind == "REFUSED" and not served.ledger.frozen and not served.alarms
    return Seen("allows", "frozen", LOST if lost else f"{served.ledger.state(hidden.id)} {served.alarms}")


@rule("A merge is recorded when it is first seen, and then looked for anywhere in the branch: one with swapped parents"
      " hides nothing that was verified", forge="allows", vault="it happens once", off=NEVER,
      check="the merge that the ledger names is the one that is judged again")  # fmt: skip
def test_rule_a_merge_that_was_recorded_is_not_hidden(own: Keep, off: Blind) -> Seen:
    first, soon = own.tip("main"), datetime.now(UTC).replace(microsecond=0) + HOUR
    waiting = [approved(own, own.action("gamma", not_before=soon + wait)) for wait in (0 * HOUR, HOUR, 2 * HOUR)]
    assert [effects(own, asked.id) for asked in waiting] == [0, 0, 0]
    assert {own.dispatch().ledger.state(asked.id).kind for asked in waiting} == {"VERIFIED"}
    swapped(own, first)
    own.dispatch().turn()
    own.thaw()
    own.pass_by(HOUR)
    assert effects(own, waiting[0].id) == 1
    own.dispatch().end()  # another one knows only what the ledger and main say
    own.pass_by(HOUR)
    assert effects(own, waiting[1].id) == 1
    assert effects(own, waiting[0].id) == 1, "and it stays at one"
    found = audit(Git(own.bare(), ""), formula_bytes)
    assert found.faults == (), "what was main once is what the ledger says of it"
    off.patch.setattr(Git, "is_ancestor", in_line)
    own.pass_by(HOUR)
    lost = effects(own, waiting[2].id) == 0 and own.dispatch().ledger.state(waiting[2].id).kind == "REVOKED"
    return Seen("allows", "it happens once", NEVER if lost else "")


@rule("Formulas are of the controlled set: what was pushed since the last TRUST does not count", forge="blocks",
      vault="the run gets what was trusted", off=PINNED,
      check="formulas are read at the commit that the ledger names")  # fmt: skip
def test_rule_formulas_as_of_the_last_trust(own: Keep, off: Blind) -> Seen:
    """One of the attacker's own, which says of which version of the packaged one it takes the place."""
    packaged = formula_bytes("gamma") or b""
    mine = f'overrides = "{sha256(packaged)}"\n'.encode() + packaged.replace(b"Stands for any", b"Mine, not any")
    made = own.commit({"formulas/gamma.toml": mine}, own.tip("main"))
    own.said.append(own.push(FACTORY, f"{made}:refs/heads/main"))
    assert "Not allowed to push to protected branch main" in own.said[-1]
    own.site.admin.delete_protection(own.ops, "mai[n]")
    assert not own.push(FACTORY, f"{made}:refs/heads/main")
    own.protect()
    assert effects(own, approved(own, own.action("gamma")).id) == 0, "that the rule was off is seen as well"
    assert own.dispatch().ledger.frozen.startswith("nobody explains commit"), "and what was pushed"
    own.thaw()
    own.dispatch().turn()
    the_next_second(own.site.client(FOUNDER))  # what is asked for within the second of a change counts as unwatched
    id = approved(own, own.action("gamma")).id
    assert effects(own, id) == 1
    assert own.runner().orders[-1].formula.digest == sha256(packaged)
    off.patch.setattr(gather, "in_force", of_main)
    off.patch.setattr(dispatch, "in_force", of_main)
    worse = approved(own, own.action("gamma")).id
    assert effects(own, worse) == 0
    code = own.dispatch().ledger.state(worse).evidence["code"]
    return Seen("blocks", "the run gets what was trusted", PINNED if code == "formula-digest" else str(code))


def of_main(ledger: Ledger, git: Git, before: str = "") -> Authority:
    """What stands on main now."""
    tip = git.text("rev-parse", "refs/heads/main")
    return Authority(tip, read(git.read([f"{tip}:{PATH}"], MAX_POLICY)[0] or b"", bots(ledger)))

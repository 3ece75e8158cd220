"""Rules about what stands on the ops repo's main, each broken once: forge and sentinel are real processes."""

from __future__ import annotations

import secrets
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from factory.app.editing import open_file, share
from factory.app.opsrepo import ops_edit
from factory.app.people import as_person
from factory.app.services import forge_home
from factory.errors import PolicyDenied
from factory.forge.values import ReviewState
from factory.ops.edit import whole
from factory.ops.routes import Route, route
from factory.runs.entry import encode_entry
from factory.runs.journal import ops_commit, segment_path
from factory.vault.approval import Verdict
from factory.vault.watch import explained
from tests.integration.vault.attacks.blind import Blind
from tests.integration.vault.attacks.register import RUNS, Seen, rule
from tests.integration.vault.attacks.served import Served
from tests.integration.vault.commits import commit_tree, git
from tests.integration.vault.watch.conftest import Asked, House

RAN = ["STARTED", "DONE"]
WORDS = "nobody explains commit"


def merged(house: House) -> Asked:
    """A low request that may run."""
    asked = house.ask()
    house.merge(asked)
    return asked


def write(house: House, login: str, path: str) -> str:
    """A commit straight onto main with an account's own token."""
    body = {"content": b64encode(secrets.token_bytes(8)).decode(), "message": "Write", "branch": "main"}
    made = house.bot(login).send("POST", f"/repos/{house.ops}/contents/{path}", doing="test", body=body)
    oid: str = made["commit"]["sha"]
    return oid


def edit(house: House, path: str, *, approved: bool) -> tuple[int, str]:
    """A change that is a person's to approve, as the factory proposes it: its number and head."""
    branch = f"edit/{secrets.token_hex(4)}"
    factory = house.bot("factory-bot")
    body = {"content": b64encode(b"x\n").decode(), "message": "Write", "branch": "main", "new_branch": branch}
    made = factory.send("POST", f"/repos/{house.ops}/contents/{path}", doing="test", body=body)
    head = str(made["commit"]["sha"])
    number = factory.create_pull(house.ops, head=branch, base="main", title="Write", body="").number
    if approved:
        with as_person(house.deployment, "founder") as founder:
            founder.review(house.ops, number, state=ReviewState.APPROVED, body="", commit=head)
    return number, head


@rule("A commit on main that neither an approved merge nor the journal explains freezes the vault", forge="allows",
      vault="frozen", check="what is new on main is listed on the journal, or merges what people approved")  # fmt: skip
def test_rule_a_commit_on_main_that_nobody_explains(watched: House, serving: Served, off: Blind) -> Seen:
    """A stolen token of the vault's account writes where data goes, as the forge lets every writer."""
    listed = ops_edit(watched.deployment, watched.ops, {"diary/2026-11-28.md": b"# A day\n"}, "Write the diary")
    assert listed
    assert watched.fired(serving, merged(watched))[-2:] == RAN, "what the factory writes itself is on the journal"
    foreign = write(watched, "vault-bot", "vault/fired/2026-11-28-never-0001.toml")
    waiting = merged(watched)
    assert not set(RAN) & set(watched.fired(serving, waiting))
    assert serving.ledger.frozen.startswith(f"{WORDS} {foreign[:12]}")
    watched.write("UNFREEZE", "the test looked")  # as an admin does it who looked
    assert watched.fired(serving, waiting)[-2:] == RAN, "an admin saw it: it is not frozen for that again"
    off.patch.setattr(explained, "unexplained", lambda *_: [])
    write(watched, "vault-bot", "vault/fired/2026-11-28-never-0002.toml")
    ran = watched.fired(serving, merged(watched))[-2:] == RAN
    return Seen("allows", "frozen", RUNS if ran else "")


@rule("evidence/ is written by check steps only, and with the end of an action that read it: no edit, proposal or "
      "outbox of the factory gets there, and what an account pushes there freezes the vault", forge="allows",
      vault="frozen",
      check="the writer and the proposer of the ops repo refuse the folder; what they did not write is on no journal")
def test_rule_evidence_is_written_by_checks_only(watched: House, serving: Served, off: Blind) -> Seen:
    """By the factory's own ways, and by a stolen token of one of its accounts past them. What a person approves as a
    pull request of their own making stays theirs."""
    path = "evidence/uptime/2026-11-28.json"
    assert route(path) is Route.DIRECT, "the forge lets every writer"
    for way in (
        lambda: ops_edit(watched.deployment, watched.ops, {path: b"{}"}, "Found by a session"),
        lambda: open_file(watched.deployment, path),
        lambda: share(watched.deployment, watched.ops, [whole(path, b"{}")], "A role wants it", "dev-bot"),
    ):
        with pytest.raises(PolicyDenied, match="found by checks and actions"):
            way()
    foreign = write(watched, "factory-bot", path)
    waiting = merged(watched)
    assert not set(RAN) & set(watched.fired(serving, waiting))
    assert serving.ledger.frozen.startswith(f"{WORDS} {foreign[:12]}")
    watched.write("UNFREEZE", "the test looked")
    assert watched.fired(serving, waiting)[-2:] == RAN
    off.patch.setattr(explained, "unexplained", lambda *_: [])
    write(watched, "vault-bot", "evidence/uptime/2026-11-29.json")
    ran = watched.fired(serving, merged(watched))[-2:] == RAN
    return Seen("allows", "frozen", RUNS if ran else "")


@rule("A merge on main that nobody approved freezes the vault", forge="blocks", vault="frozen",
      check="it merges a head that people in force approved, and holds what merging gives")  # fmt: skip
def test_rule_a_merge_on_main_that_nobody_approved(watched: House, serving: Served, off: Blind) -> Seen:
    """Of something that is neither an action nor of the controlled set: those have a verdict of their own."""
    number, head = edit(watched, f"notes/{secrets.token_hex(4)}.md", approved=True)
    watched.bot("factory-bot").merge(watched.ops, number, head=head, title="Merge", message="approved")
    assert watched.fired(serving, merged(watched))[-2:] == RAN
    assert not serving.ledger.frozen

    def forced() -> str:
        _, head = edit(watched, f"notes/{secrets.token_hex(4)}.md", approved=False)
        bare = forge_home(watched.state) / "repos" / watched.ops.owner / f"{watched.ops.name}.git"
        main = git(bare, "rev-parse", "refs/heads/main")
        made = commit_tree(bare, {}, main, head, tree=git(bare, "merge-tree", "--write-tree", main, head))
        git(bare, "update-ref", "refs/heads/main", made)
        return made

    oid = forced()
    waiting = merged(watched)
    assert not set(RAN) & set(watched.fired(serving, waiting))
    assert serving.ledger.frozen.startswith(f"{WORDS} {oid[:12]}")
    watched.write("UNFREEZE", "the test looked")  # as an admin does it who looked
    assert watched.fired(serving, waiting)[-2:] == RAN
    off.patch.setattr(explained, "judge", lambda *_: Verdict((1,)))
    forced()
    ran = watched.fired(serving, merged(watched))[-2:] == RAN
    return Seen("blocks", "frozen", RUNS if ran else "")


@rule("Nothing is merged into journal: what comes by a merge explains nothing", forge="blocks", vault="frozen",
      check="the journal's commits have one parent and add segments; of any other reading no line counts")  # fmt: skip
def test_rule_a_merge_into_the_journal_explains_nothing(watched: House, serving: Served, off: Blind) -> Seen:
    """Who broke into the forge writes on main, and lists it on the journal by a merge."""
    bare = forge_home(watched.state) / "repos" / watched.ops.owner / f"{watched.ops.name}.git"
    journal = git(bare, "rev-parse", "refs/heads/journal")

    def listed(number: int) -> str:
        oid, now = write(watched, "vault-bot", f"vault/fired/2026-11-28-never-1{number:03}.toml"), datetime.now(UTC)
        line = encode_entry(ops_commit(now, "elsewhere", commit=oid, paths=["vault/fired/x.toml"], why="x")) + "\n"
        head = commit_tree(bare, {segment_path("elsewhere", number, now): line.encode()}, journal)
        made = commit_tree(bare, {}, journal, head, tree=git(bare, "rev-parse", f"{head}^{{tree}}"))
        git(bare, "update-ref", "refs/heads/journal", made)
        return oid

    oid, waiting = listed(1), merged(watched)
    try:
        assert not set(RAN) & set(watched.fired(serving, waiting))
        assert serving.ledger.frozen.startswith(f"{WORDS} {oid[:12]}")
        watched.write("UNFREEZE", "the test looked")  # as an admin does it who looked
        assert watched.fired(serving, waiting)[-2:] == RAN
        real = explained.entries_since
        off.patch.setattr(explained, "entries_since", lambda *args, **more: replace(real(*args, **more), problems=()))
        listed(2)
        ran = watched.fired(serving, merged(watched))[-2:] == RAN
    finally:
        git(bare, "update-ref", "refs/heads/journal", journal)
    return Seen("blocks", "frozen", RUNS if ran else "")

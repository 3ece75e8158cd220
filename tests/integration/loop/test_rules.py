"""How the rules change: a person's edit, one approval, the merge of exactly that, and nothing else takes effect."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from factory.app.dispatcher import Serving
from factory.app.editing import change_file, open_file
from factory.app.opsrepo import factory_signature, ops_edit
from factory.app.places import vault_folder, vault_home
from factory.app.services import ensure_watch
from factory.daemon.vault_view import VaultView
from factory.daemon.wake import Wake
from factory.errors import ForgeRefused
from factory.forge.values import Pull, ReviewState
from factory.git import objects
from factory.git.transport import RefUpdate, fetch, push
from factory.vault.watch.instance import enlist
from tests.integration.loop.house import Build, House
from tests.integration.vault.attacks.register import RUNS, Seen, rule


@pytest.fixture(scope="module")
def house(build: Build) -> Iterator[House]:
    house = build()
    deployment = house.deployment
    ensure_watch(deployment.host, "sentinel")
    folders = [vault_folder(deployment.state, str(house.ops))]
    with enlist(vault_home(deployment.state), folders, deployment.host.host) as instance:
        serving = Serving(deployment, house.project, house.ops, instance, Wake())
        house.dispatcher = serving.made()
        house.tick()
        yield house
        serving.close()


def edited(house: House, path: str, change: tuple[str, str]) -> Pull:
    """Propose a change of one file as the founder does with ``factory edit``."""
    opened = open_file(house.deployment, path)
    text = (opened.text or b"").decode()
    assert change[0] in text
    facts = change_file(house.deployment, opened, text.replace(*change).encode())
    assert facts["route"] == "person"
    return house.founder.pull(house.ops, facts["number"])


def approve(house: House, pull: Pull) -> None:
    """The founder's one act."""
    house.founder.review(house.ops, pull.number, state=ReviewState.APPROVED, commit=pull.head_sha, body="yes")


def copy(house: House, folder: Path) -> Path:
    repo = folder / "look.git"
    if not repo.exists():
        objects.init_bare(repo)
    fetch(repo, house.deployment.remote("factory-bot", house.ops), ["+refs/heads/*:refs/heads/*"])
    return repo


def poll_in_force(house: House) -> float:
    return house.tick(2).world.config.poll_seconds


def poll(house: House, seconds: int) -> Pull:
    """Propose another poll interval."""
    text = (open_file(house.deployment, "factory.toml").text or b"").decode()
    found = re.search(r"poll_seconds = \d+", text)
    assert found
    return edited(house, "factory.toml", (found[0], f"poll_seconds = {seconds}"))


def merged(house: House, pull: Pull) -> bool:
    return house.founder.pull(house.ops, pull.number).merged


@contextmanager
def without_the_forges_rule(house: House) -> Iterator[None]:
    """As an admin of the forge who switches the protection of main off for a moment."""
    (kept,) = (r for r in house.admin.protections(house.ops) if r.rule_name == "mai[n]")
    house.admin.delete_protection(house.ops, "mai[n]")
    yield
    house.admin.set_protection(house.ops, kept)


def test_one_approval_of_a_solo_admin_changes_factory_toml(house: House) -> None:
    before = poll_in_force(house)
    pull = poll(house, 17)
    assert pull.author.login == "factory-bot"
    assert "Requested-by: founder" in pull.body
    assert poll_in_force(house) == before != 17
    assert not merged(house, pull)
    approve(house, pull)
    house.until("it is merged", lambda: merged(house, pull), 20)
    assert poll_in_force(house) == 17


@rule("The daemon, too, goes by the controlled set as of the last TRUST", forge="allows",
      vault="the version before it stays in force",
      check="the commit that the ledger names is in force, whatever the forge says of an approval")  # fmt: skip
def test_rule_the_daemon_goes_by_the_last_trust(house: House, monkeypatch: pytest.MonkeyPatch) -> Seen:
    """An approval that only the forge vouches for: the vault has not judged it."""
    before, dispatcher = poll_in_force(house), house.dispatcher

    def unjudged(seconds: int) -> float:
        """What is in force once that was approved and merged, and no dispatcher has looked."""
        house.dispatcher = None
        pull = poll(house, seconds)
        approve(house, pull)
        house.until("it is merged", lambda: merged(house, pull), 20)
        found = poll_in_force(house)
        house.dispatcher = dispatcher
        return found

    assert unjudged(41) == before
    assert poll_in_force(house) == 41
    monkeypatch.setattr(VaultView, "trusted", lambda *_: ())
    without = unjudged(43)
    return Seen("allows", "the version before it stays in force", RUNS if without == 43 else f"it stays {without}")


def test_thirty_dashboard_commits_between_approval_and_merge_change_nothing(house: House, tmp_path: Path) -> None:
    pull = edited(house, "VISION.md", ("\n", "\nAn example that stays small.\n"))
    approve(house, pull)
    tips = [
        ops_edit(house.deployment, house.ops, {"dashboard/noise.svg": f"<svg>{n}</svg>".encode()}, f"Noise {n}")
        for n in range(30)
    ]
    assert len(set(tips)) == 30
    house.until("it is merged", lambda: merged(house, pull), 20)

    repo = copy(house, tmp_path)
    merge = house.founder.pull(house.ops, pull.number).merge_commit
    assert merge is not None
    before, head = objects.commit_info(repo, merge).parents
    assert head == pull.head_sha
    assert all(tip is not None and objects.is_ancestor(repo, tip, before) for tip in tips)
    assert [c.path for c in objects.diff_paths(repo, before, merge)] == ["VISION.md"]
    proposed = objects.read_file(repo, pull.head_sha, "VISION.md")
    assert proposed is not None
    assert b"An example that stays small." in proposed
    assert objects.read_file(repo, merge, "VISION.md") == proposed
    assert objects.read_file(repo, "refs/heads/main", "dashboard/noise.svg") == b"<svg>29</svg>"


def test_a_bot_cannot_approve(house: House) -> None:
    before = poll_in_force(house)
    pull = poll(house, 1)
    told = {"state": ReviewState.APPROVED, "commit": pull.head_sha, "body": "me"}
    with pytest.raises(ForgeRefused):
        house.bot("factory-bot").review(house.ops, pull.number, **told)
    for bot in ("vault-bot", "review-bot"):
        with suppress(ForgeRefused):  # whether or not it may say so
            house.bot(bot).review(house.ops, pull.number, **told)
    assert poll_in_force(house) == before
    assert not merged(house, pull)

    # Even merged by force it does not count.
    forced = {"Do": "merge", "head_commit_id": pull.head_sha, "force_merge": True}
    with without_the_forges_rule(house):
        house.admin.send("POST", f"/repos/{house.ops}/pulls/{pull.number}/merge", doing="forcing it", body=forced)
    assert merged(house, pull)
    house.said.clear()
    assert poll_in_force(house) == before
    assert any("nobody listed in the version in force approved" in line for line in house.said), house.said

    # An approval on top of it shows the approver only what differs from the forced version: it does not count either.
    # Once the file is as it was in force, everything goes its usual way.
    for seconds, counts in ((19, before), (before, before), (23, 23)):
        again = poll(house, int(seconds))
        approve(house, again)
        house.until("it is merged", lambda pull=again: merged(house, pull), 20)  # type: ignore[misc]
        assert poll_in_force(house) == counts


def test_a_push_that_nobody_approved_takes_no_effect(house: House, tmp_path: Path) -> None:
    before = poll_in_force(house)
    repo = copy(house, tmp_path)
    tip = objects.read_ref(repo, "refs/heads/main")
    assert tip is not None
    text = objects.read_file(repo, tip, "factory.toml")
    assert text is not None
    changed = re.sub(rb"poll_seconds = \d+", b"poll_seconds = 2", text)
    who = factory_signature()
    commit = objects.build_commit(
        repo, parent=tip, changes={"factory.toml": changed}, message="Quietly\n", author=who, committer=who
    )
    remote = house.deployment.remote("factory-bot", house.ops)
    with pytest.raises(ForgeRefused, match="protected"):
        push(repo, remote, [RefUpdate("refs/heads/main", commit, tip)])
    assert poll_in_force(house) == before

    with without_the_forges_rule(house):
        push(repo, remote, [RefUpdate("refs/heads/main", commit, tip)])
    house.said.clear()
    assert poll_in_force(house) == before
    assert any("no merged pull request brought it" in line for line in house.said), house.said

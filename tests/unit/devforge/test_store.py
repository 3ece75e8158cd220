"""Rules of the store that need no process: transactions, tokens, statuses, rules of branches, reviews that count."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from factory.devforge.auth import Doorkeeper
from factory.devforge.errors import Refusal, Unauthorized
from factory.devforge.store import (
    access,
    orgs,
    protections,
    releases,
    repos,
    reviews,
    statuses,
    tag_rules,
    tokens,
    users,
)
from factory.devforge.store.access import Actor, Mode
from factory.devforge.store.database import Store
from factory.devforge.store.protections import Rule
from factory.devforge.store.repos import Repo
from factory.devforge.store.reviews import Review
from factory.devforge.store.schema import SCHEMA, VERSION


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "home", clock=lambda: 1_700_000_000.5)
    yield made
    made.close()


@pytest.fixture
def repo(store: Store) -> Repo:
    return repos.create(store, user(store, "ann"), name="r", private=True)


def user(store: Store, login: str, password: str = "") -> users.User:
    return users.find(store, login) or users.create(store, login=login, email=f"{login}@x.test", password=password)


def test_a_transaction_is_all_or_nothing_and_tells_afterwards(store: Store) -> None:
    told: list[str] = []

    def fail() -> None:
        with store.tx():
            user(store, "gone")
            store.after_commit(lambda: told.append("gone"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert users.find(store, "gone") is None
    with store.tx():
        with store.tx():
            user(store, "kept")
            store.after_commit(lambda: told.append(str(users.find(store, "kept"))[:4]))
        assert told == []
    assert told == ["User"]


def test_readers_see_whole_transactions_only(store: Store) -> None:
    seen: list[bool] = []

    def look() -> None:
        seen.append(users.find(store, "late") is not None)

    with store.tx():
        user(store, "late")
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    look()
    assert seen == [False, True]


@pytest.mark.parametrize(
    "name", ["", "a b", "-x", "x.", "a..b", "api", "USER", "x.git", "ä", "a" * 41, "_faults", "ann"]
)
def test_names_nobody_can_have(store: Store, name: str) -> None:
    user(store, "ann")
    with pytest.raises(Refusal) as caught:
        users.create(store, login=name, email="z@x.test")
    assert caught.value.status == 422


def test_tokens(store: Store, repo: Repo) -> None:
    ann = user(store, "ann")
    token, secret = tokens.mint(store, ann, name="t", scopes=["write:issue", "READ:repository"])
    assert len(secret) == 40
    assert int(secret, 16) >= 0
    assert token.last_eight == secret[-8:]
    found = tokens.by_secret(store, secret)
    assert found is not None
    assert found[1].scopes == {"write:issue", "read:repository"}
    assert tokens.by_secret(store, "0" * 40) is None
    for scopes in ([], ["public-only"], ["write:everything"], ["repo"]):
        with pytest.raises(Refusal) as caught:
            tokens.mint(store, ann, name="u", scopes=scopes)
        assert caught.value.status == 400
    for name, more in (("t", {}), ("v", {"repos": [repo.id]})):
        with pytest.raises(Refusal) as caught:
            tokens.mint(store, ann, name=name, scopes=["read:user"], **more)
        assert caught.value.status == 400
    tokens.revoke(store, ann, "t")
    assert tokens.by_secret(store, secret) is None


@pytest.mark.parametrize(
    ("scopes", "category", "write", "allowed"),
    [
        (None, "admin", True, True),
        (["all"], "admin", True, True),
        (["write:issue"], "issue", False, True),
        (["read:issue"], "issue", True, False),
        (["write:issue"], "repository", False, False),
    ],
)
def test_scopes(scopes: list[str] | None, category: str, write: bool, allowed: bool) -> None:
    actor = Actor(scopes=None if scopes is None else frozenset(scopes))
    assert actor.has_scope(category, write) is allowed


def test_modes(store: Store, repo: Repo) -> None:
    dev, org_owner = user(store, "dev"), user(store, "boss")
    assert access.user_mode(store, None, repo) == Mode.NONE
    assert access.user_mode(store, dev, repo) == Mode.NONE
    assert access.user_mode(store, user(store, "ann"), repo) == Mode.OWNER
    repos.set_collaborator(store, repo, "dev", "owner")  # not a word: added with write
    assert access.user_mode(store, dev, repo) == Mode.WRITE
    repos.set_collaborator(store, repo, "dev", "none")  # not a word: left as it is
    repos.set_collaborator(store, repo, "DEV", "read")
    assert access.user_mode(store, dev, repo) == Mode.READ
    public = repos.create(store, user(store, "ann"), name="open")
    assert access.user_mode(store, None, public) == Mode.READ
    assert access.user_mode(store, replace(dev, restricted=1), public) == Mode.NONE
    org = orgs.create(store, org_owner, name="acme")
    theirs = repos.create(store, org, name="r", private=True)
    team = orgs.create_team(
        store, org, name="t", permission="write", units={"repo.issues": "write", "repo.code": "read"}
    )
    store.insert("team_members", team_id=team.id, user_id=dev.id)
    assert access.user_mode(store, dev, theirs, "issues") == Mode.NONE
    store.insert("team_repos", team_id=team.id, repo_id=theirs.id)
    modes = [access.user_mode(store, dev, theirs, unit) for unit in ("issues", "code", "pulls")]
    assert modes == [Mode.WRITE, Mode.READ, Mode.NONE]
    assert access.user_mode(store, org_owner, theirs) == Mode.OWNER


def test_a_token_for_some_repos_sees_others_only_if_public(store: Store, repo: Repo) -> None:
    ann = replace(user(store, "ann"), is_admin=1)
    public = repos.create(store, ann, name="open")
    limited = Actor(user=ann, repos=frozenset({public.id}))
    assert access.mode(store, limited, repo) == Mode.NONE
    assert access.mode(store, replace(limited, repos=frozenset({repo.id})), public) == Mode.READ
    assert access.mode(store, limited, public) == Mode.OWNER
    assert not limited.site_admin
    stranger = repos.create(store, user(store, "zed"), name="zr", private=True)
    assert access.mode(store, Actor(user=ann), stranger) == Mode.OWNER
    assert access.mode(store, Actor(user=ann, repos=frozenset({stranger.id})), stranger) == Mode.NONE
    assert access.mode(store, Actor(user=ann, scopes=frozenset({"all", "public-only"})), repo) == Mode.NONE


def test_the_doorkeeper_never_repeats_a_secret(store: Store) -> None:
    user(store, "ann", "correct-horse-1")
    door = Doorkeeper()
    assert door.identify(store, "").user is None
    assert door.identify(store, "Digest x").user is None
    for header in ("token " + "f" * 40, "Bearer short", "Basic !!!", "Basic YW5u", "Basic YW5uOndyb25nLXBhc3M="):
        with pytest.raises(Unauthorized) as caught:
            door.identify(store, header)
        assert "f" * 40 not in caught.value.message
        assert "wrong-pass" not in caught.value.message
    assert door.identify(store, "Basic YW5uOmNvcnJlY3QtaG9yc2UtMQ==").by_password


@pytest.mark.parametrize(
    ("posted", "contexts", "state"),
    [
        ([], [], ""),
        ([("ci", "success")], [], "success"),
        ([("ci", "success"), ("lint", "pending")], [], "pending"),
        ([("ci", "success")], ["ci"], "success"),
        ([("ci", "failure"), ("ci", "success")], ["ci"], "success"),
        ([("ci", "success"), ("ci", "error")], ["ci"], "error"),
        ([("other", "success")], ["ci"], "pending"),
        ([("ci/a/b", "success"), ("ci/c", "warning")], ["ci/*"], "warning"),
        ([("ci", "nonsense")], ["ci"], "pending"),
        ([("ci", "success")], ["ci", "lint"], "pending"),
        ([("ci[1]", "success")], ["ci[1]"], "success"),
    ],
)
def test_the_status_gate(
    store: Store, repo: Repo, posted: list[tuple[str, str]], contexts: list[str], state: str
) -> None:
    for context, word in posted:
        statuses.add(
            store, repo, user(store, "ann"), "a" * 40, state=word, context=context, description="", target_url=""
        )
    assert statuses.gate(store, repo, "a" * 40, contexts) == state


def rule(store: Store, repo: Repo, name: str, **fields: object) -> Rule:
    return protections.save(store, replace(Rule(0, repo.id, name, 0, 0), **fields))  # type: ignore[arg-type]


def test_exact_names_come_first_then_creation(store: Store, repo: Repo) -> None:
    rule(store, repo, "**", required_approvals=1)
    rule(store, repo, "mai[n]", required_approvals=2)
    rule(store, repo, "Main", required_approvals=3)

    def approvals(branch: str) -> int:
        found = protections.for_branch(store, repo, branch)
        assert found is not None
        return found.required_approvals

    assert [approvals(branch) for branch in ("main", "MAIN", "other", "a/b")] == [3, 3, 1, 1]
    with pytest.raises(Refusal) as caught:
        rule(store, repo, "**")
    assert (caught.value.status, caught.value.message) == (403, "Branch protection already exist")


def test_whitelists_bind_everybody_and_lose_those_without_rights(store: Store, repo: Repo) -> None:
    ann, dev, out = user(store, "ann"), user(store, "dev"), user(store, "out")
    repos.set_collaborator(store, repo, "dev", "write")
    assert protections.writers(store, repo, ["dev", "out", "ann"]) == (ann.id, dev.id)
    assert protections.reviewers(store, repo, ["dev", "out"]) == (dev.id,)
    with pytest.raises(Refusal) as caught:
        protections.writers(store, repo, ["nobody"])
    assert caught.value.status == 422
    listed = rule(store, repo, "mai[n]", enable_merge_whitelist=True, merge_users=(dev.id, out.id),
                  enable_approvals_whitelist=True, approval_users=(dev.id,))  # fmt: skip
    assert protections.may_merge(store, listed, repo, dev)
    assert not protections.may_merge(store, listed, repo, ann)  # the owner, and a site admin too
    assert not protections.may_merge(store, listed, repo, replace(ann, is_admin=1))
    assert not protections.may_merge(store, listed, repo, out)  # listed, but no longer a writer
    assert not protections.is_official(store, listed, repo, ann)
    assert protections.is_official(store, None, repo, ann)
    assert not protections.may_push(store, listed, repo, replace(ann, is_admin=1))


def made(state: str, **fields: object) -> Review:
    base = Review(1, 1, 1, None, state, "", "", "", True, False, False, 0, 0)
    return replace(base, **fields)  # type: ignore[arg-type]


def test_what_counts_for_merging() -> None:
    found = [
        made("APPROVED"),
        made("APPROVED", official=False),
        made("APPROVED", dismissed=True),
        made("APPROVED", stale=True),
        made("COMMENT"),
    ]
    assert (reviews.approvals(found, False), reviews.approvals(found, True)) == (2, 1)
    assert not reviews.rejected(found)
    assert reviews.rejected([made("REQUEST_CHANGES", stale=True)])
    assert not reviews.rejected([made("REQUEST_CHANGES", dismissed=True), made("REQUEST_CHANGES", official=False)])
    assert reviews.requested([made("REQUEST_REVIEW")])
    assert not reviews.requested([made("REQUEST_REVIEW", official=False)])


def test_a_forge_of_an_older_version_keeps_what_it_has(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    old = sqlite3.connect(home / "forge.db")
    old.executescript(SCHEMA + "PRAGMA user_version=1;")
    old.execute("INSERT INTO users (login, created) VALUES ('ann', 1)")
    old.commit()
    old.close()
    for _ in range(2):
        store = Store(home)
        assert users.find(store, "ann") is not None
        assert store.value("SELECT count(*) FROM releases") == 0
        assert store.value("PRAGMA user_version") == VERSION
        store.close()


def test_a_forge_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    Store(tmp_path).close()
    newer = sqlite3.connect(tmp_path / "forge.db")
    newer.execute(f"PRAGMA user_version={VERSION + 1}")
    newer.close()
    with pytest.raises(RuntimeError, match="this forge knows"):
        Store(tmp_path)


def test_files_that_no_release_names_go_at_the_next_start(store: Store, repo: Repo) -> None:
    ann = user(store, "ann")
    made = releases.create(store, repo, ann, tag="v1", title="v1")
    kept = releases.add(store, made, ann, "a", b"kept")
    (store.home / "assets" / "left-over").write_bytes(b"x")
    releases.sweep(store)
    assert [path.name for path in (store.home / "assets").iterdir()] == [kept.uuid]
    with store.tx():
        releases.delete(store, made)
    assert list((store.home / "assets").iterdir()) == []


@pytest.mark.parametrize(
    ("pattern", "tag", "covered"),
    [("v*", "v1/2", True), ("v*", "x", False), ("/^v[0-9]+$/", "v12", True), ("/^v[0-9]+$/", "v1.2", False),
     ("/([/", "anything", True)],
)  # fmt: skip
def test_what_a_tag_rule_covers(store: Store, repo: Repo, pattern: str, tag: str, covered: bool) -> None:
    ann, bob = user(store, "ann"), user(store, "bob")
    tag_rules.create(store, repo, pattern, [ann.id], [])
    assert tag_rules.may(store, repo, ann, tag)
    assert tag_rules.may(store, repo, bob, tag) is not covered

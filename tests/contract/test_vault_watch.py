"""What the vault reads from a forge: the facts of a pull request, who may write, the settings the sentinel watches."""

from __future__ import annotations

import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from factory.errors import ForgeRefused
from factory.forge.client import ForgejoClient
from factory.forge.retry import Backoff
from factory.forge.values import RepoName, ReviewState, TimelineEvent, User
from factory.ops.routes import unprotected_patterns
from factory.vault.ports import Unclear
from factory.vault.watch import record
from factory.vault.watch.forge_reads import ForgeReads
from factory.vault.watch.sentinel import Post
from factory.vault.watch.settings import Expected, admins, writers
from tests.contract.conftest import fresh, soon
from tests.contract.opsrepo import Done, set_up

MERGE = {"style": "merge", "title": "t", "message": "m"}


@pytest.fixture(scope="module")
def done(site) -> Iterator[Done]:
    made = set_up(site, f"-{fresh('w')}")
    yield made
    made.close()


def reads(done: Done) -> ForgeReads:
    """As the dispatcher, with the narrow token that set-up minted for it."""
    return ForgeReads(done.client("dispatcher"), done.ops)


def ids(site, done: Done) -> dict[str, int]:
    logins = {**{duty: done.login(duty) for duty in done.accounts}, "owner": done.ops.owner}
    return {duty: site.admin.user(login).id for duty, login in logins.items()}


def write(site, done: Done, duty: str, branch: str, path: str, *, new: bool = False, **more: object) -> str:
    body: dict[str, object] = {"content": b64encode(fresh("x").encode()).decode(), "message": "m", **more}
    body |= {"branch": "main", "new_branch": branch} if new else {"branch": branch}
    token = done.kept["owner"] if duty == "owner" else done.credentials.tokens[done.login(duty)]
    made = site.call("POST", f"/repos/{done.ops}/contents/{path}", body, token=token)
    assert made.status_code == 201, made.text
    sha: str = made.json()["commit"]["sha"]
    return sha


def request(site, done: Done, *, base: str = "main", duty: str = "vault", **more: object) -> tuple[int, str, str]:
    """A request as vault-bot posts it: number, branch, head."""
    branch = f"vault/{fresh('a')}"
    head = write(site, done, duty, branch, f"vault/actions/{branch[6:]}.toml", new=True, **more)
    pull = done.client(duty).create_pull(done.ops, head=branch, base=base, title="Request", body="")
    return pull.number, branch, head


def approve(done: Done, number: int, head: str) -> None:
    done.client("owner").review(done.ops, number, state=ReviewState.APPROVED, body="", commit=head)


def named(site, done: Done, number: int, commit: str) -> list[TimelineEvent]:
    """The timeline, once a push names that commit."""
    look = partial(done.client("vault").timeline, done.ops, number)
    return soon(site, look, lambda events: any(commit in event.detail for event in events))


def later(done: Done, than: datetime) -> None:
    """Until the forge's clock, which tells whole seconds, has passed that moment."""
    deadline = time.monotonic() + 10
    while reads(done).now() <= than:
        assert time.monotonic() < deadline
        time.sleep(0.05)


# pull requests


def test_the_facts_of_a_request(site, done: Done) -> None:
    number, _, head = request(site, done)
    approve(done, number, head)
    (fact,) = reads(done).pulls(head)
    who = ids(site, done)
    assert (fact.number, fact.poster, fact.base, fact.head_sha) == (number, who["vault"], "main", head)
    assert (fact.head_repo, fact.flow, fact.merged, fact.moved) == (reads(done).repo().id, 0, False, None)
    assert fact.contributors == {who["vault"]}
    assert fact.pushed == fact.opened
    (review,) = fact.reviews
    assert (review.user, review.state, review.commit) == (who["owner"], "APPROVED", head)
    assert (review.official, review.stale, review.dismissed) == (True, False, False)
    assert review.id > 0
    assert fact.opened <= review.at <= reads(done).now()


def test_the_narrow_token_is_enough(site, done: Done) -> None:
    """Each answer comes with the dispatcher's own token, which may not ask for other people's rights."""
    _, _, head = request(site, done)
    own = reads(done)
    assert own.pulls(head)
    assert own.humans(frozenset(ids(site, done).values()))
    assert abs(own.now() - datetime.now(UTC)) < timedelta(seconds=120)
    with pytest.raises(ForgeRefused, match="403"):
        done.client("dispatcher").permission(done.ops, done.ops.owner)
    with pytest.raises(ForgeRefused, match="403"):
        done.client("dispatcher").protections(done.ops)


def test_a_burst_asks_once_a_second_what_all_requests_share(site, done: Done) -> None:
    """What is said of one request is asked each time, and a request that is new is found at once."""
    _, _, head = request(site, done)
    clock = [0.0]
    client = done.client("dispatcher")
    own = ForgeReads(client, done.ops, clock=lambda: clock[0])

    def asked(what: Callable[[], object]) -> int:
        before = client.requests
        assert what()
        return client.requests - before

    def all_of_it() -> list[int]:
        everybody = frozenset(ids(site, done).values())
        return [asked(what) for what in (lambda: own.pulls(head), lambda: own.humans(everybody), own.now)]

    first, again = all_of_it(), all_of_it()
    assert (again[1], again[2]) == (0, 0)
    assert again[0] == first[0] - 1 == 4
    _, _, newer = request(site, done)
    assert [fact.head_sha for fact in own.pulls(newer)] == [newer]
    clock[0] = 1.0
    assert all_of_it() == first


def test_what_is_asked_ahead_is_what_would_be_told_and_counts_once(site, done: Done) -> None:
    """Of several requests at once; what happens after an answer was given out shows in the next one."""
    made = [request(site, done) for _ in range(3)]
    heads = [head for _, _, head in made]
    client = done.client("dispatcher")
    own = ForgeReads(client, done.ops)
    own.ahead([*heads, "", "f" * 40])
    for thread in [one for one in threading.enumerate() if one.name.startswith("ahead ")]:
        thread.join()
    asked = client.requests
    told = [own.pulls(head) for head in (*heads, "f" * 40)]
    assert client.requests == asked, "all of it was asked before"
    assert told == [*(reads(done).pulls(head) for head in heads), ()]
    own.ahead(heads)
    own.refs("refs/heads/main")  # the next turn
    number, _, head = made[0]
    approve(done, number, head)
    assert [len(fact.reviews) for fact in own.pulls(head)] == [1]
    own.ahead(heads)
    assert [len(fact.reviews) for fact in own.pulls(head)] == [1]
    approve(done, number, head)
    assert [len(fact.reviews) for fact in own.pulls(head)] == [2]


def test_attack_1_a_push_after_the_approval_shows(site, done: Done) -> None:
    number, branch, head = request(site, done)
    approve(done, number, head)
    new = write(site, done, "factory", branch, f"vault/actions/{fresh('b')}.toml")
    both = {ids(site, done)["vault"], ids(site, done)["factory"]}
    # None while a real forge has not got to the push.
    (fact,) = soon(site, lambda: reads(done).pulls(new), lambda facts: [one.contributors for one in facts] == [both])
    assert (fact.head_sha, fact.reviews[0].commit) == (new, head)
    assert fact.pushed >= fact.reviews[0].at


def test_attack_4_what_no_push_names_may_be_a_reviewers(site, done: Done) -> None:
    """The forge looks at no push while a pull request is closed: its timeline never names who made it."""
    number, branch, _ = request(site, done)
    nobody, vault = {"name": "Nobody", "email": "nobody@example.invalid"}, done.client("vault")
    other = vault.create_pull(done.ops, head=branch, base="auto", title="Stays open", body="").number
    vault.edit_pull(done.ops, number, state="closed")
    unnamed = write(site, done, "owner", branch, f"vault/actions/{fresh('b')}.toml", author=nobody, committer=nobody)
    named(site, done, other, unnamed)  # so a real forge got to the push, and passed the closed one over
    vault.edit_pull(done.ops, number, state="open")
    head = write(site, done, "factory", branch, f"vault/actions/{fresh('c')}.toml")
    assert not any(unnamed in event.detail for event in named(site, done, number, head))
    who = ids(site, done)
    (fact,) = [one for one in reads(done).pulls(head) if one.number == number]
    assert (fact.head_sha, fact.contributors) == (head, {who["vault"], who["factory"]})
    approve(done, number, head)
    (fact,) = [one for one in reads(done).pulls(head) if one.number == number]
    assert fact.contributors == {who["vault"], who["factory"], who["owner"]}


def test_attack_5_a_changed_target_shows(site, done: Done) -> None:
    number, _, head = request(site, done, base="auto")
    approve(done, number, head)
    (before,) = reads(done).pulls(head)
    assert (before.base, before.moved) == ("auto", None)
    body = {"base": "main"}
    assert done.client("vault").send("PATCH", f"/repos/{done.ops}/pulls/{number}", doing="test", body=body)
    (fact,) = reads(done).pulls(head)
    assert fact.base == "main"
    assert fact.moved is not None
    assert fact.moved > fact.reviews[0].at


def test_attack_6_closing_and_reopening_shows(site, done: Done) -> None:
    number, _, head = request(site, done)
    approve(done, number, head)
    for state in ("closed", "open"):
        done.client("vault").edit_pull(done.ops, number, state=state)
    (fact,) = reads(done).pulls(head)
    assert fact.moved is not None
    assert fact.moved > fact.reviews[0].at


def test_attack_38_an_address_in_a_commit_only_takes_a_right_away(site, done: Done) -> None:
    """Anybody can write the owner's address into a commit. It makes the owner a contributor, whose approval does not
    count, and no reviewer."""
    me = site.call("GET", "/user", token=site.token("founder", "read:user")).json()
    named = {"name": "The Admin", "email": me["email"]}
    _, _, head = request(site, done, author=named, committer=named)
    (fact,) = reads(done).pulls(head)
    assert me["id"] in fact.contributors
    assert ids(site, done)["vault"] == fact.poster
    assert fact.reviews == ()


def test_attack_39_who_merged_and_when_is_not_read(site, done: Done) -> None:
    """The forge can be brought to name anybody as the merger; the facts are the same, bit for bit."""
    number, _, head = request(site, done)
    approve(done, number, head)
    done.client("vault").merge(done.ops, number, head=head, **MERGE)
    (honest,) = reads(done).pulls(head)
    assert honest.merged

    class Lying(ForgejoClient):
        def pull(self, repo, number):
            told = super().pull(repo, number)
            return replace(told, merged_by=User(1, "admin"), closed_at=None, merge_commit="0" * 40, labels=frozenset())

    with Lying(site.url, done.credentials.tokens[done.login("dispatcher")]) as client:
        assert ForgeReads(client, done.ops).pulls(head) == (honest,)


def test_a_branch_that_goes_on_after_its_merge_changes_nothing(site, done: Done) -> None:
    """The forge tells where the branch stands now: any writer could make a merged request look like another one."""
    number, branch, head = request(site, done)
    approve(done, number, head)
    done.client("vault").merge(done.ops, number, head=head, **MERGE)
    write(site, done, "factory", branch, f"vault/actions/{fresh('c')}.toml")
    assert done.client("owner").pull(done.ops, number).head_sha != head
    assert done.client("owner").ls_refs(done.ops, ["refs/pull/"])[f"refs/pull/{number}/head"] == head
    (fact,) = reads(done).pulls(head)
    assert fact.head_sha == head


def test_a_dismissed_approval_reads_as_one(site, done: Done) -> None:
    """Finding 3: its state alone still says APPROVED."""
    number, _, head = request(site, done)
    approve(done, number, head)
    (review,) = done.client("owner").reviews(done.ops, number)
    done.client("owner").send(
        "POST", f"/repos/{done.ops}/pulls/{number}/reviews/{review.id}/dismissals", doing="test", body={"message": "no"}
    )
    (fact,) = reads(done).pulls(head)
    assert (fact.reviews[0].state, fact.reviews[0].dismissed) == ("APPROVED", True)


def test_attack_46_a_withdrawn_approval_is_gone_at_the_next_read(site, done: Done) -> None:
    number, _, head = request(site, done)
    approve(done, number, head)
    (review,) = done.client("owner").reviews(done.ops, number)
    assert site.call(
        "DELETE", f"/repos/{done.ops}/pulls/{number}/reviews/{review.id}", token=done.kept["owner"]
    ).status_code == 204  # fmt: skip
    (fact,) = reads(done).pulls(head)
    assert fact.reviews == ()


def test_what_is_not_there_is_left_out_and_what_does_not_answer_is_unclear(site, done: Done) -> None:
    number, _, head = request(site, done)
    assert [fact.number for fact in reads(done).pulls(head)] == [number]
    assert reads(done).pulls("1" * 40) == ()
    token = done.credentials.tokens[done.login("dispatcher")]
    with ForgejoClient(site.url, token) as client:
        elsewhere = ForgeReads(client, RepoName(done.ops.owner, "gone"))
        for ask in (elsewhere.repo, lambda: elsewhere.pulls("1" * 40), lambda: elsewhere.humans(frozenset({1}))):
            with pytest.raises(Unclear):
                ask()
    with ForgejoClient("http://127.0.0.1:9", token, reads=Backoff(0.01, 1, 0.01, 0.02)) as client:
        away = ForgeReads(client, done.ops)
        asks: list[Callable[[], object]] = [
            away.repo, away.now, lambda: away.pulls("1" * 40), lambda: away.humans(frozenset({1}))
        ]  # fmt: skip
        for ask in asks:
            with pytest.raises(Unclear, match="cannot reach the forge"):
                ask()


# people


def test_attack_44_who_lost_the_right_to_write_is_no_human_any_more(site, done: Done) -> None:
    login = site.account(fresh("person"))
    number = site.admin.user(login).id
    asked = frozenset({number, 999_999, ids(site, done)["dev"], ids(site, done)["owner"]})
    assert number not in reads(done).humans(asked)
    site.admin.set_collaborator(done.ops, login, "write")
    assert reads(done).humans(asked) == {number, ids(site, done)["owner"]}
    site.admin.remove_collaborator(done.ops, login)
    assert reads(done).humans(asked) == {ids(site, done)["owner"]}


def test_attack_45_a_name_that_somebody_else_took_finds_nobody(site, done: Done) -> None:
    login = site.account(fresh("person"))
    first = site.admin.user(login).id
    site.admin.set_collaborator(done.ops, login, "write")
    assert reads(done).humans(frozenset({first})) == {first}
    assert site.admin.ask("DELETE", f"/admin/users/{login}", doing="test", query={"purge": "true"}).status == 204
    second = site.admin.create_user(login, email=f"{login}@else.invalid", password="aA1-another-one").id
    site.admin.set_collaborator(done.ops, login, "write")
    assert second != first
    assert reads(done).humans(frozenset({first, second})) == {second}
    site.admin.remove_collaborator(done.ops, login)


def test_the_sentinel_must_have_seen_the_right_too(site, done: Done) -> None:
    """Of an organisation's repo a forge lists teams that only read: there its list alone would be too long."""
    owner, client, other = ids(site, done)["owner"], done.client("dispatcher"), 999_999
    asked = frozenset({owner, other})
    assert ForgeReads(client, done.ops, lambda: asked).humans(asked) == {owner}
    assert ForgeReads(client, done.ops, lambda: frozenset({other})).humans(asked) == frozenset()


# settings


@pytest.fixture(scope="module")
def post(site, done: Done, tmp_path_factory: pytest.TempPathFactory) -> Post:
    """The sentinel's eye on the ops repo, with the token that set-up minted for it."""
    expected = Expected(done.ops, site.admin.repo(done.ops).id, done.accounts, unprotected_patterns())
    return Post(expected, done.client("sentinel"), tmp_path_factory.mktemp("vault"))


def test_after_set_up_all_is_as_it_must_be(site, done: Done, post: Post) -> None:
    seen = post.look(whole=True, poll_seconds=60)
    assert seen.wrong == ()
    assert seen.told().wrong == ""
    assert admins(seen.facts) == tuple(sorted((done.ops.owner, done.login("sentinel"))))
    who = ids(site, done)
    wanted = {who[duty] for duty in ("owner", "sentinel", "factory", "vault", "dispatcher")}
    assert writers(seen.facts) == wanted
    again = post.look(whole=True, poll_seconds=60)
    assert (again.digest, again.generation, again.since) == (seen.digest, seen.generation, seen.since)
    assert record.read(post.folder) == again


def test_a_look_costs_four_requests_while_nothing_changes(site, done: Done, post: Post) -> None:
    post.look(whole=True, poll_seconds=60)
    before = post.client.requests
    post.look(whole=False, poll_seconds=60)
    assert post.client.requests - before == 4


def _weaken(key: str, value: object):
    def change(site, done: Done) -> str:
        rule = done.wanted.repos[1].protections[0]
        site.admin.set_protection(done.ops, replace(rule, **{key: value}))
        return key

    return change


def _repair(site, done: Done) -> None:
    for rule in done.wanted.repos[1].protections:
        site.admin.set_protection(done.ops, rule)


def _without(site, done: Done) -> str:
    site.admin.delete_protection(done.ops, "ledge[r]")
    return "ledger is not protected"


def _raised(site, done: Done) -> str:
    site.admin.set_collaborator(done.ops, done.login("dev"), "write")
    return f"{done.login('dev')} has write on it, not read"


def _squash(site, done: Done) -> str:
    site.admin.edit_repo(done.ops, allow_squash_merge=True)
    return "other ways of merging are allowed: allow_squash_merge"


def _actions(site, done: Done) -> str:
    site.admin.edit_repo(done.ops, has_actions=True)
    return "actions are switched on"


def _winner(site, done: Done) -> str:
    rule = replace(done.wanted.repos[1].protections[2], rule_name="ledger", push_whitelist_usernames=())
    site.admin.set_protection(done.ops, rule)
    return "the rule ledger wins over ledge[r]"


CHANGES = [
    _weaken("required_approvals", 0), _weaken("enable_push", True), _weaken("unprotected_file_patterns", "vault/**"),
    _weaken("apply_to_admins", False), _without, _raised, _squash, _actions, _winner,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_attack_35_a_weakened_setting_is_seen_and_also_one_that_was_put_back(
    site, done: Done, post: Post, change: Callable[..., str]
) -> None:
    before = post.look(whole=True, poll_seconds=60)
    words = change(site, done)
    during = post.look(whole=True, poll_seconds=60)
    assert words in during.told().wrong
    assert during.generation > before.generation
    assert during.since > before.at, "from the change on, of which the forge tells the second"
    assert during.changes[-1].words
    _repair(site, done)
    site.admin.delete_protection(done.ops, "ledger")
    site.admin.set_collaborator(done.ops, done.login("dev"), "read")
    site.admin.only_merge(done.ops)
    site.admin.edit_repo(done.ops, has_actions=False)
    after = post.look(whole=True, poll_seconds=60)
    assert after.wrong == ()
    assert after.generation > during.generation
    assert after.changed_since(before.generation)


def test_attack_35_a_rule_changed_and_put_back_between_two_looks_is_seen(site, done: Done, post: Post) -> None:
    """The forge tells when a rule was last changed. Without that time in the facts, nothing would differ."""
    before = post.look(whole=True, poll_seconds=60)
    later(done, before.at)
    _weaken("required_approvals", 0)(site, done)
    _repair(site, done)
    after = post.look(whole=True, poll_seconds=60)
    assert after.wrong == ()
    assert after.generation > before.generation
    assert any("changed and put back" in words for words in after.changed_since(before.generation))

    def timeless(facts):
        return [{k: v for k, v in rule.items() if not k.endswith("_at")} for rule in facts["rules"]]

    assert timeless(after.facts) == timeless(before.facts)


def test_attack_53_the_dispatchers_token_writes_the_ledger_and_nothing_else(site, done: Done) -> None:
    token = done.credentials.tokens[done.login("dispatcher")]
    number, _, head = request(site, done)
    client = done.client("dispatcher")
    assert not client.review(done.ops, number, state=ReviewState.APPROVED, body="", commit=head).official
    with pytest.raises(ForgeRefused):
        client.merge(done.ops, number, head=head, **MERGE)
    body = {"content": b64encode(b"x").decode(), "message": "m"}
    for target in ("main", "auto", "journal"):
        path = f"/repos/{done.ops}/contents/vault/actions/{fresh('d')}.toml"
        assert site.call("POST", path, {**body, "branch": target}, token=token).status_code >= 400
    assert site.call("PATCH", f"/repos/{done.ops}", {"has_actions": True}, token=token).status_code >= 400
    rule = f"/repos/{done.ops}/branch_protections/mai[n]"
    assert site.call("DELETE", rule, token=token).status_code >= 400
    person = f"/repos/{done.ops}/collaborators/{done.login('dev')}"
    assert site.call("PUT", person, {"permission": "admin"}, token=token).status_code >= 400
    assert site.call("GET", f"/repos/{done.project}", token=token).status_code == 404


EVERYBODY = ("factory", "vault", "dispatcher", "dev", "reviewer", "owner")


@pytest.mark.parametrize("branch", ["ledger", "journal", "auto"])
def test_a_pull_request_into_ledger_journal_or_auto_by_every_account(site, done: Done, branch: str) -> None:
    """Whoever may propose one: nobody merges it, but vault-bot into ``auto``; and the refusal says so in words."""
    head = fresh("into")
    write(site, done, "vault", head, f"e/x/{fresh('e')}.toml", new=True)
    number = done.client("dev").create_pull(done.ops, head=head, base=branch, title="x", body="").number
    sha = done.client("owner").pull(done.ops, number).head_sha
    approve(done, number, sha)
    before = done.client("owner").ls_refs(done.ops, [f"refs/heads/{branch}"])
    for duty in EVERYBODY:
        if (duty, branch) == ("vault", "auto"):
            continue
        with pytest.raises(ForgeRefused, match="User not allowed to merge PR"):
            done.client(duty).merge(done.ops, number, head=sha, **MERGE)
        with pytest.raises(ForgeRefused):
            done.client(duty).send(
                "POST", f"/repos/{done.ops}/pulls/{number}/merge", doing="test",
                body={"Do": "merge", "force_merge": True, "head_commit_id": sha},
            )  # fmt: skip
    assert done.client("owner").ls_refs(done.ops, [f"refs/heads/{branch}"]) == before
    done.client("vault").edit_pull(done.ops, number, state="closed")



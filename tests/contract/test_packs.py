"""The dispatcher's git over the forge client: what it fetches and pushes is what git would have, in fewer requests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex

import pytest

from factory.forge.client import ForgejoClient
from factory.forge.values import RepoName
from factory.git.hardened import Git, GitTrouble
from factory.git.values import ZERO
from factory.vault.watch.forge_reads import ForgeReads
from factory.vault.watch.wired import WiredGit
from tests.contract.conftest import Site

LEDGER = "ledger"


@pytest.fixture
def repo(site: Site) -> RepoName:
    return site.repo(labels=())


@pytest.fixture
def client(site: Site) -> Iterator[ForgejoClient]:
    with ForgejoClient(site.url, site.token("founder", "write:repository")) as made:
        yield made


@pytest.fixture
def git(site: Site, client: ForgejoClient, repo: RepoName, tmp_path: Path) -> WiredGit:
    return wired(site, client, repo, tmp_path / "mine.git")


def wired(site: Site, client: ForgejoClient, repo: RepoName, place: Path) -> WiredGit:
    return WiredGit(place, f"{site.url}/{repo}.git", site.token("founder", "write:repository"), client, repo)


def tip(client: ForgejoClient, repo: RepoName, branch: str = LEDGER) -> str:
    ref = f"refs/heads/{branch}"
    return client.ls_refs(repo, (ref,)).get(ref, "")


def files(*names: str) -> list[tuple[str, bytes]]:
    return [(f"e/{name}", f"{name}\n".encode()) for name in names]


def test_a_ledger_is_begun_and_gone_on_with(git: WiredGit, client: ForgejoClient, repo: RepoName) -> None:
    first = git.append("", files("a"), "")
    before, commands = client.requests, git.commands
    assert git.push(first[-1], LEDGER)
    more = git.append(first[-1], files("b", "c"), "signed")
    assert git.push(more[-1], LEDGER)
    assert tip(client, repo) == more[-1]
    assert (client.requests - before - 1, git.commands - commands, git.appended) == (2, 0, 3), "one request for each"
    other = Git(git.repo.parent / "theirs.git", git.url, git._token)
    other.fetch(LEDGER)
    assert [commit.oid for commit in other.history(more[-1])] == [*first, *more]
    assert other.read([f"{more[-1]}:e/c"], 99) == [b"c\n"]


def test_who_is_overtaken_is_told_no(site: Site, client: ForgejoClient, repo: RepoName, tmp_path: Path) -> None:
    one, two = (wired(site, client, repo, tmp_path / name) for name in ("one.git", "two.git"))
    first = one.append("", files("a"), "")[-1]
    assert one.push(first, LEDGER)
    assert not two.push(two.append("", files("z"), "")[-1], LEDGER), "it was there already"
    two.fetch(LEDGER)
    assert two.push(two.append(first, files("b"), "")[-1], LEDGER)
    won = tip(client, repo)
    late = one.append(first, files("c"), "")[-1]
    assert not one.push(late, LEDGER)
    assert tip(client, repo) == won
    one.fetch(LEDGER)
    assert one.text("rev-parse", f"refs/heads/{LEDGER}") == won
    assert one.push(one.append(won, files("c"), "")[-1], LEDGER)


def test_what_is_new_is_fetched_and_nothing_else(
    git: WiredGit, site: Site, client: ForgejoClient, repo: RepoName
) -> None:
    git.fetch("main")  # the first time git does it
    commands = git.commands
    new = site.commit(repo, "main", {"a.txt": "new\n"})
    before = client.requests
    git.fetch("main")
    assert (client.requests - before, git.commands) == (2, commands)
    assert git.text("rev-parse", "refs/heads/main") == new
    assert git.read([f"{new}:a.txt"], 99) == [b"new\n"]
    git.fetch("main")
    assert client.requests - before == 3, "nothing new is one request"
    git.run("fsck", "--strict", "--no-dangling")


def test_several_branches_and_one_of_our_own_making(
    git: WiredGit, site: Site, client: ForgejoClient, repo: RepoName
) -> None:
    mine = git.append("", files("a"), "")[-1]
    assert git.push(mine, LEDGER)
    git.fetch("main", LEDGER)
    new = site.commit(repo, "main", {"b.txt": "b\n"})
    more = git.append(mine, files("b"), "")[-1]
    assert git.push(more, LEDGER)
    git.fetch("main", LEDGER)
    assert git.text("for-each-ref", "--format=%(objectname)", "refs/heads/").split() == [more, new]


def test_what_was_told_of_refs_is_not_asked_again_until_something_is_pushed(
    site: Site, client: ForgejoClient, repo: RepoName, tmp_path: Path
) -> None:
    reads = ForgeReads(client, repo)
    git = WiredGit(tmp_path / "told.git", f"{site.url}/{repo}.git", site.token("founder", "write:repository"), client,
                   repo, reads.told)  # fmt: skip
    git.fetch("main")

    def asked() -> int:
        before = client.requests
        git.fetch("main")
        return client.requests - before

    new = site.commit(repo, "main", {"a.txt": "1\n"})
    assert reads.refs("refs/heads/main") == {"refs/heads/main": new}
    assert (asked(), git.text("rev-parse", "refs/heads/main")) == (1, new), "the pack, and not once more what is there"
    assert asked() == 0
    assert git.push(git.append("", files("a"), "")[-1], LEDGER)
    newest = site.commit(repo, "main", {"a.txt": "2\n"})
    assert (asked(), git.text("rev-parse", "refs/heads/main")) == (2, newest), "it may be otherwise by now"
    reads.refs("refs/heads/auto")
    assert asked() == 1, "of another ref nothing was told"


def test_a_large_change_comes_as_one_pack(git: WiredGit, site: Site, client: ForgejoClient, repo: RepoName) -> None:
    git.fetch("main")
    new = site.commit(repo, "main", {f"many/{number}.txt": f"{number}\n" for number in range(120)})
    git.fetch("main")
    assert list((git.repo / "objects" / "pack").glob("*.pack"))
    assert git.read([f"{new}:many/119.txt"], 99) == [b"119\n"]
    git.run("fsck", "--strict", "--no-dangling")


def test_what_is_too_large_for_one_answer_is_left_to_git(
    site: Site, repo: RepoName, client: ForgejoClient, tmp_path: Path
) -> None:
    with ForgejoClient(site.url, site.token("founder", "write:repository"), most_bytes=20_000) as small:
        git = wired(site, small, repo, tmp_path / "small.git")
        git.fetch("main")
        commands = git.commands
        new = site.commit(repo, "main", {"noise.txt": token_hex(40_000)})
        git.fetch("main")
        assert (git.text("rev-parse", "refs/heads/main"), git.commands) == (new, commands + 1)
        more = site.commit(repo, "main", {"a.txt": "little\n"})
        git.fetch("main")
        assert (git.text("rev-parse", "refs/heads/main"), git.commands) == (more, commands + 1)


def test_a_branch_that_went_back_is_followed(git: WiredGit, site: Site, client: ForgejoClient, repo: RepoName) -> None:
    """Whether that may be is not git's to say: who reads it refuses it."""
    git.fetch("main")
    old = tip(client, repo, "main")
    site.commit(repo, "main", {"a.txt": "new\n"})
    git.fetch("main")
    git.run("push", "--force", "--quiet", git.url, f"{old}:refs/heads/main", net=True)
    git.fetch("main")
    assert git.text("rev-parse", "refs/heads/main") == old


def test_a_branch_that_is_gone_is_trouble(git: WiredGit, client: ForgejoClient, repo: RepoName) -> None:
    first = git.append("", files("a"), "")[-1]
    assert git.push(first, LEDGER)
    git.fetch(LEDGER)
    client.delete_branch(repo, LEDGER)
    with pytest.raises(GitTrouble, match=f"could not find remote ref refs/heads/{LEDGER}"):
        git.fetch(LEDGER)
    with pytest.raises(GitTrouble):
        git.fetch("never-was")


def test_a_repo_that_is_gone_or_a_token_without_the_right_is_trouble(
    git: WiredGit, site: Site, client: ForgejoClient, repo: RepoName, tmp_path: Path
) -> None:
    git.fetch("main")
    with ForgejoClient(site.url, site.token("reader", "read:repository")) as narrow:
        other = wired(site, narrow, repo, tmp_path / "narrow.git")
        draft = other.append("", files("a"), "")[-1]
        with pytest.raises(GitTrouble):
            other.push(draft, LEDGER)
    assert tip(client, repo) == ""
    assert site.call("DELETE", f"/repos/{repo}").status_code == 204
    with pytest.raises(GitTrouble):
        git.fetch("main")
    with pytest.raises(GitTrouble):
        git.push(git.append("", files("a"), "")[-1], LEDGER)


def test_what_a_rule_forbids_is_a_no(git: WiredGit, site: Site, client: ForgejoClient, repo: RepoName) -> None:
    rule = {"rule_name": "ledge[r]", "enable_push": False}
    assert site.call("POST", f"/repos/{repo}/branch_protections", rule).status_code == 201
    first = git.append("", files("a"), "")[-1]
    assert not git.push(first, LEDGER)
    assert client.push_pack(repo, f"refs/heads/{LEDGER}", ZERO, first, git.run(
        "pack-objects", "--revs", "--stdout", "-q", data=f"{first}\n".encode())) != ""  # fmt: skip
    assert tip(client, repo) == ""

"""Cloning, fetching and pushing with an ordinary git client, and what a push is refused."""

from __future__ import annotations

import hashlib
import subprocess
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

World = Git = Any
Clone = Callable[..., Git]


def refusal(git: Git, *argv: str) -> str:
    done = git("push", *argv, check=False)
    assert done.returncode != 0, done.stderr
    return done.stderr


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_clone_push_and_fetch_in_every_protocol(
    world: World, clone: Clone, tmp_path: Path, protocol: int, git_at: Git
) -> None:
    repo = world.repo()
    git = clone(repo)
    sha = git.commit(a="1")
    git("push", "-q", "origin", "HEAD:main", protocol=protocol)
    (tmp_path / "second").mkdir()
    other = git_at(tmp_path / "second")
    other("clone", "-q", world.remote(repo), ".", protocol=protocol)
    assert other("rev-parse", "HEAD").stdout.strip() == sha
    more = git.commit(b="2")
    git("push", "-q", "origin", "HEAD:main")
    other("fetch", "-q", protocol=protocol)
    assert other("rev-parse", "origin/main").stdout.strip() == more
    listed = other("ls-remote", "origin", protocol=protocol).stdout
    assert f"{more}\tHEAD" in listed
    assert f"{more}\trefs/heads/main" in listed


def test_an_empty_repo_is_cloned_and_filled(world: World, clone: Clone) -> None:
    repo = world.repo(init=False)
    git = clone(repo)
    assert git("symbolic-ref", "HEAD").stdout.strip() == "refs/heads/main"
    git.commit(a="1")
    git("push", "-q", "origin", "HEAD:refs/heads/trunk")
    found = world.ok("ann", "GET", f"/repos/{repo}")
    assert (found["empty"], found["default_branch"]) == (False, "trunk")
    assert "ref: refs/heads/trunk\tHEAD" in git("ls-remote", "--symref", "origin").stdout


def test_tags_shallow_clones_and_large_pushes(world: World, clone: Clone, tmp_path: Path, git_at: Git) -> None:
    repo = world.repo()
    git = clone(repo)
    git.commit(**{f"f{n}": f"{n}\n" * 50 for n in range(150)})  # past the limit up to which objects are unpacked
    git("tag", "-a", "v1", "-m", "one")
    git("push", "-q", "origin", "HEAD:main", "v1")
    assert list((world.bare(repo) / "objects/pack").glob("*.pack"))
    git("-C", str(world.bare(repo)), "fsck", "--strict")
    peeled = git("ls-remote", "origin", "refs/tags/*").stdout
    assert "refs/tags/v1^{}" in peeled
    shallow = git_at(tmp_path)
    shallow("clone", "-q", "--depth=1", world.remote(repo), "s")
    part = git_at(tmp_path / "s")
    part.commit(z="1")
    part("push", "-q", "origin", "HEAD:refs/heads/from-shallow")
    assert world.ok("ann", "GET", f"/repos/{repo}/branches/from-shallow")["name"] == "from-shallow"
    world.ok("ann", "POST", f"/repos/{repo}/tags", {"tag_name": "v2", "target": "main", "message": "two"})
    git("fetch", "-q", "--tags", "origin")
    assert git("cat-file", "-t", "v2").stdout.strip() == "tag"


def test_who_may_clone_and_push(world: World, clone: Clone, tmp_path: Path, git_at: Git) -> None:
    repo, public = world.repo(reader="read", writer="write"), world.repo(private=False)
    world.token("stranger")
    probe = git_at(tmp_path)
    assert "Authentication failed" in probe("ls-remote", world.remote(repo, "ann", "0" * 40), check=False).stderr
    assert "could not read Username" in probe("ls-remote", world.remote(repo, None), check=False).stderr
    assert "not found" in probe("ls-remote", world.remote(repo, "stranger"), check=False).stderr
    assert probe("ls-remote", world.remote(public, None)).stdout
    assert probe("ls-remote", world.remote(repo, "reader")).stdout
    for login in ("ann", "anybody"):  # a token as password works with any user name
        assert probe("ls-remote", world.remote(repo, login, world.token("writer"))).stdout
    assert probe("ls-remote", world.remote(repo, "writer", "correct-horse-1")).stdout
    read_only = world.token("writer", "read:repository")
    assert probe("ls-remote", world.remote(repo, "writer", read_only)).stdout
    git = clone(repo)
    git.commit(a="1")
    assert "User permission denied for writing." in refusal(git, world.remote(repo, "reader"), "HEAD:refs/heads/x")
    assert "403" in refusal(git, world.remote(repo, "writer", read_only), "HEAD:refs/heads/x")
    issues_only = world.token("writer", "write:issue")
    assert "403" in probe("ls-remote", world.remote(repo, "writer", issues_only), check=False).stderr
    elsewhere = world.token("writer", "write:repository", repositories=[{"owner": "ann", "name": public.split("/")[1]}])
    assert "not found" in probe("ls-remote", world.remote(repo, "writer", elsewhere), check=False).stderr
    git("push", "-q", world.remote(repo, "writer"), "HEAD:refs/heads/x")


def protect(world: World, repo: str, **fields: Any) -> None:
    world.ok("ann", "POST", f"/repos/{repo}/branch_protections", {"rule_name": "mai[n]", **fields})


def test_a_protected_branch_takes_no_push_from_anybody(world: World, clone: Clone) -> None:
    repo = world.repo(dev="write")
    git = clone(repo)
    git.commit(a="1")
    git("push", "-q", "origin", "HEAD:main")
    protect(world, repo)
    git.commit(a="2")
    for who in ("ann", "dev"):
        said = refusal(git, world.remote(repo, who), "HEAD:main")
        assert "remote: Not allowed to push to protected branch main" in said
        assert "pre-receive hook declined" in said
    git("reset", "-q", "--hard", "HEAD~2")
    git.commit(a="3")
    assert "branch main is protected from force push" in refusal(git, "-f", "origin", "HEAD:main")
    assert "branch main is the default branch and cannot be deleted" in refusal(git, "origin", ":main")
    world.ok("ann", "POST", f"/repos/{repo}/branch_protections", {"rule_name": "keep/*"})
    # A new branch under a rule is a push to it too.
    assert "Not allowed to push to protected branch keep/x" in refusal(git, "origin", "HEAD:keep/x")
    git("push", "-q", "origin", "HEAD:refs/heads/keep/deep/er")  # one star stays within a segment
    assert "declined" in refusal(git, "origin", "HEAD:refs/heads/other", "HEAD:main", "--force")
    assert world.call("ann", "GET", f"/repos/{repo}/branches/other").status_code == 404


def test_push_whitelist_and_file_patterns(world: World, clone: Clone) -> None:
    repo = world.repo(dev="write", bot="write")
    git = clone(repo)
    whitelist = {"enable_push": True, "enable_push_whitelist": True, "push_whitelist_usernames": ["bot"]}
    patterns = {"protected_file_patterns": "*.lock;ci/**", "unprotected_file_patterns": "docs/**;README.md"}
    protect(world, repo, **whitelist, **patterns)
    git.commit(code="1")
    assert "Not allowed to push" in refusal(git, world.remote(repo, "dev"), "HEAD:main")
    git("push", "-q", world.remote(repo, "bot"), "HEAD:main")
    git.commit(docs__a__b="1")
    git("push", "-q", world.remote(repo, "dev"), "HEAD:main")
    git.commit(docs__a__b="2", code="2")
    assert "Not allowed to push" in refusal(git, world.remote(repo, "dev"), "HEAD:main")
    git("reset", "-q", "--hard", "HEAD~1")
    git.commit(ci__run="x")
    said = refusal(git, world.remote(repo, "bot"), "HEAD:main")
    assert "branch main is protected from changing file ci/run" in said


def test_renaming_a_file_out_of_a_protected_pattern_counts_as_changing_it(world: World, clone: Clone) -> None:
    """Stricter than Forgejo, which looks at the new name only."""
    repo = world.repo()
    git = clone(repo)
    git.commit(ci__run="a long enough text to be found again\n" * 5)
    git("push", "-q", "origin", "HEAD:main")
    protect(world, repo, enable_push=True, protected_file_patterns="ci/**")
    git("mv", "ci/run", "elsewhere")
    git("commit", "-qm", "move")
    assert "protected from changing file ci/run" in refusal(git, "origin", "HEAD:main")


def test_atomic_and_leased_pushes(world: World, clone: Clone) -> None:
    repo = world.repo()
    git = clone(repo)
    one = git.commit(a="1")
    git("push", "-q", "origin", "HEAD:main")
    git.commit(a="2")
    git("push", "-q", "origin", "HEAD:refs/heads/b")
    git("update-ref", "refs/remotes/origin/b", one)
    git("checkout", "-q", "--detach", one)
    two = git.commit(c="1")
    lease = f"--force-with-lease=refs/heads/b:{one}"
    assert "stale info" in refusal(git, lease, "origin", f"{two}:refs/heads/b")
    # The lease is checked by the client; a racing writer is caught by the server's compare-and-swap.
    body = pkt(f"{one} {two} refs/heads/b\0report-status atomic") + pkt(f"{'0' * 40} {two} refs/heads/n") + b"0000"
    answer = post(world, repo, "git-receive-pack", body + empty_pack())
    assert b"ng refs/heads/b" in answer
    assert b"ng refs/heads/n" in answer
    assert world.call("ann", "GET", f"/repos/{repo}/branches/n").status_code == 404
    git("push", "-q", "--atomic", "origin", f"{two}:refs/heads/n1", f"{two}:refs/heads/n2")
    assert {b["name"] for b in world.ok("ann", "GET", f"/repos/{repo}/branches")} == {"main", "b", "n1", "n2"}


def test_refs_outside_heads_and_tags(world: World, clone: Clone) -> None:
    repo = world.repo(reader="read")
    git = clone(repo)
    sha = git.commit(a="1")
    lease = "refs/factory/leases/issue-1"
    git("push", "-q", f"--force-with-lease={lease}:", "origin", f"HEAD:{lease}")
    assert refusal(git, f"--force-with-lease={lease}:", "origin", f"HEAD~1:{lease}")
    git("push", "-q", "origin", "HEAD:refs/notes/x")
    assert f"{sha}\t{lease}" in git("ls-remote", "origin", "refs/factory/*").stdout
    assert "denied" in refusal(git, world.remote(repo, "reader"), f":{lease}")
    git("push", "-q", "origin", f":{lease}")
    assert git("ls-remote", "origin", "refs/factory/*").stdout == ""
    assert "hidden ref" in refusal(git, "origin", "HEAD:refs/pull/1/head")
    assert "AGit" in refusal(git, "origin", "HEAD:refs/for/main/topic")
    git("push", "-q", "origin", "HEAD:refs/heads/a/b")
    assert "rejected" in refusal(git, "origin", "HEAD:refs/heads/a")


def test_pull_refs_can_be_fetched_and_are_not_advertised_for_pushing(world: World, clone: Clone) -> None:
    repo = world.repo()
    git = clone(repo)
    sha = git.commit(a="1")
    git("push", "-q", "origin", "HEAD:refs/heads/fix")
    number = world.ok("ann", "POST", f"/repos/{repo}/pulls", {"head": "fix", "base": "main", "title": "t"})["number"]
    git("fetch", "-q", "origin", f"refs/pull/{number}/head")
    assert git("rev-parse", "FETCH_HEAD").stdout.strip() == sha
    advertised = httpx.get(
        f"{world.url}/{repo}.git/info/refs?service=git-receive-pack", auth=("ann", world.token("ann"))
    ).text
    assert "refs/heads/fix" in advertised
    assert "refs/pull" not in advertised


# ---------------------------------------------------------------- hostile input


def pkt(text: str) -> bytes:
    return b"%04x" % (len(text) + 4) + text.encode()


def empty_pack() -> bytes:
    head = b"PACK\0\0\0\2\0\0\0\0"
    return head + hashlib.sha1(head).digest()


def post(world: World, repo: str, service: str, body: bytes, expect: int = 200, **headers: str) -> bytes:
    done = httpx.post(
        f"{world.url}/{repo}.git/{service}", content=body, auth=("ann", world.token("ann")), headers=headers, timeout=20
    )
    assert done.status_code == expect, done.text
    return done.content


def test_a_broken_push_changes_nothing(world: World, clone: Clone) -> None:
    repo = world.repo()
    before = world.ok("ann", "GET", f"/repos/{repo}/git/refs")
    new = "1" * 40
    create = pkt(f"{'0' * 40} {new} refs/heads/evil\0report-status")
    for body, status in (
        (b"zzzz", 400),
        (pkt("nonsense"), 400),
        (b"fff0abc", 400),
    ):
        post(world, repo, "git-receive-pack", body, status)
    for body, said in (
        (create + b"0000", b"the pack is missing"),
        (create + b"0000" + b"PACK\0\0\0\2\0\0\0\1garbage", b"unpack "),
        (create + b"0000" + empty_pack(), b"missing necessary objects"),
        (pkt(f"{'0' * 40} {new} refs/heads/../x\0report-status") + b"0000" + empty_pack(), b"funny refname"),
        (pkt(f"{'0' * 40} {new} HEAD\0report-status") + b"0000" + empty_pack(), b"funny refname"),
        (pkt(f"{'2' * 40} {'0' * 40} refs/heads/main\0report-status") + b"0000", b"fetch first"),
    ):
        answer = post(world, repo, "git-receive-pack", body)
        assert said in answer, answer
        assert b"ng " in answer
    assert world.ok("ann", "GET", f"/repos/{repo}/git/refs") == before
    assert not list(world.bare(repo).glob("incoming-*"))


def test_a_pack_with_a_forbidden_tree_or_missing_parents_is_refused(world: World, clone: Clone) -> None:
    repo = world.repo()
    git = clone(repo)
    blob = git("hash-object", "-w", "README.md").stdout.strip()
    entry = b"100644 .git\0" + bytes.fromhex(blob)
    raw = git.folder / "raw"
    raw.write_bytes(entry)
    tree = git("hash-object", "-w", "-t", "tree", "--literally", "raw").stdout.strip()
    raw.unlink()
    bad = git("commit-tree", tree, "-m", "x").stdout.strip()
    assert "unpacker error" in refusal(git, "origin", f"{bad}:refs/heads/bad")
    # The parent exists here only, and the pack does not carry it.
    parent = git.commit(a="1")
    child = git.commit(a="2")
    names = f"{child}\n^{parent}\n"
    data = subprocess.run(
        ["git", "pack-objects", "--revs", "--stdout", "-q"], cwd=git.folder, input=names.encode(), capture_output=True,
        check=True,
    ).stdout  # fmt: skip
    body = pkt(f"{'0' * 40} {child} refs/heads/torn\0report-status") + b"0000" + data
    answer = post(world, repo, "git-receive-pack", body)
    assert b"ng refs/heads/torn" in answer
    assert not (world.bare(repo) / "refs/heads/torn").exists()


def test_gzipped_requests_and_bombs(world: World) -> None:
    repo = world.repo()
    body = pkt("command=ls-refs\n") + pkt("object-format=sha1") + b"0001" + pkt("ref-prefix refs/heads/\n") + b"0000"
    deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = deflate.compress(body) + deflate.flush()
    headers = {"Git-Protocol": "version=2", "Content-Encoding": "gzip"}
    assert b"refs/heads/main" in post(world, repo, "git-upload-pack", packed, **headers)
    deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = deflate.compress(b"0" * 64 * 1024 * 1024) + deflate.flush()
    post(world, repo, "git-upload-pack", bomb, 413, **headers)
    post(world, repo, "git-upload-pack", b"not gzip", 400, **headers)


def test_listing_refs_starts_no_process(world: World) -> None:
    repo = world.repo()
    children = Path(f"/proc/{world.process.pid}/task/{world.process.pid}/children")
    body = pkt("command=ls-refs\n") + b"0001" + pkt("symrefs\n") + pkt("peel\n") + b"0000"
    before = cpu_children(world.process.pid)
    for _ in range(50):
        found = post(world, repo, "git-upload-pack", body, **{"Git-Protocol": "version=2"})
        assert b"HEAD symref-target:refs/heads/main" in found
        assert children.read_text() == ""
    assert cpu_children(world.process.pid) == before
    tip = world.ok("ann", "GET", f"/repos/{repo}/branches/main")["commit"]["id"]
    fetch = pkt("command=fetch") + b"0001" + pkt(f"want {tip}\n") + pkt("done\n") + b"0000"
    assert b"PACK" in post(world, repo, "git-upload-pack", fetch, **{"Git-Protocol": "version=2"})
    assert cpu_children(world.process.pid) != before  # a process does show


def cpu_children(pid: int) -> list[str]:
    """CPU time of reaped children and minor faults of children: any child at all shows in the latter."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return [fields[8], fields[10], fields[13], fields[14]]


# ---------------------------------------------------------------- races


def test_of_sixteen_pushers_to_one_branch_each_landing_is_on_top_of_the_last(
    world: World, tmp_path: Path, git_at: Git
) -> None:
    repo = world.repo()

    def push(number: int) -> str | None:
        folder = tmp_path / f"p{number}"
        folder.mkdir()
        git = git_at(folder)
        git("clone", "-q", world.remote(repo), ".")
        git.commit(**{f"f{number}": "x"})
        for _ in range(40):
            if git("push", "-q", "origin", "HEAD:main", check=False).returncode == 0:
                return git("rev-parse", "HEAD").stdout.strip()
            git("pull", "-q", "--rebase", "origin", "main")
        return None

    with ThreadPoolExecutor(16) as pool:
        landed = list(pool.map(push, range(16)))
    assert None not in landed
    check = git_at(tmp_path)
    check("clone", "-q", world.remote(repo), "check")
    history = git_at(tmp_path / "check")("log", "--format=%H").stdout.split()
    assert len(history) == 17
    assert set(landed) <= set(history)
    check("-C", str(world.bare(repo)), "fsck", "--strict")

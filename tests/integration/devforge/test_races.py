"""Several at once: merges of siblings, a push against a merge, claims of one name."""

from __future__ import annotations

import base64
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

World = Any


def propose(world: World, repo: str, name: str, text: str = "x") -> tuple[int, str]:
    """A pull request that adds one file: (number, head)."""
    body = {"content": base64.b64encode(text.encode()).decode(), "new_branch": name, "message": name}
    sha = world.ok("dev", "POST", f"/repos/{repo}/contents/{name}.txt", body)["commit"]["sha"]
    made = world.ok("dev", "POST", f"/repos/{repo}/pulls", {"head": name, "base": "main", "title": name})
    return made["number"], sha


def together(count: int, action: Any) -> list[Any]:
    barrier = threading.Barrier(count)

    def run(number: int) -> Any:
        barrier.wait()
        return action(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def test_sibling_merges_all_land_one_after_the_other(world: World, clone: Any) -> None:
    """Stricter than Forgejo, where the loser gets 409 or "try again later"."""
    repo = world.repo(dev="write")
    proposed = [propose(world, repo, f"b{n}") for n in range(8)]

    def merge(number: int) -> int:
        pull, sha = proposed[number]
        path = f"/repos/{repo}/pulls/{pull}/merge"
        status: int = world.call("ann", "POST", path, {"Do": "merge", "head_commit_id": sha}).status_code
        return status

    assert together(8, merge) == [200] * 8
    git = clone(repo)
    assert len(git("log", "--first-parent", "--format=%H").stdout.split()) == 9
    assert all((git.folder / f"b{n}.txt").exists() for n in range(8))


def test_one_pull_request_is_merged_once(world: World) -> None:
    repo = world.repo(dev="write")
    number, sha = propose(world, repo, "fix")
    path = f"/repos/{repo}/pulls/{number}/merge"
    answers = together(6, lambda _n: world.call("ann", "POST", path, {"Do": "merge", "head_commit_id": sha}))
    assert sorted(answer.status_code for answer in answers) == [200, 405, 405, 405, 405, 405]
    assert len(world.ok("ann", "GET", f"/repos/{repo}/commits")) == 3


def test_what_nobody_reviewed_is_never_merged(world: World, clone: Any) -> None:
    """Forgejo marks approvals stale some time after the push; here before it returns (reference, section 4.1)."""
    repo = world.repo(dev="write", rev="write")
    rule = {"rule_name": "mai[n]", "required_approvals": 1, "dismiss_stale_approvals": True}
    world.ok("ann", "POST", f"/repos/{repo}/branch_protections", rule)
    git = clone(repo, "dev")
    for turn in range(6):
        number, sha = propose(world, repo, f"turn{turn}")
        review = {"event": "APPROVED", "commit_id": sha}
        world.ok("rev", "POST", f"/repos/{repo}/pulls/{number}/reviews", review)
        git("fetch", "-q", "origin")
        git("checkout", "-q", "-B", f"turn{turn}", f"origin/turn{turn}")
        unseen = git.commit(**{f"evil{turn}": "x"})

        def act(who: int, number: int = number, turn: int = turn) -> int:
            if who == 0:
                return int(git("push", "-q", "origin", f"turn{turn}", check=False).returncode)
            # From before the push is read to after it has landed; without head_commit_id: the forge alone must hold.
            time.sleep(turn * 0.03)
            return int(world.call("ann", "POST", f"/repos/{repo}/pulls/{number}/merge", {"Do": "merge"}).status_code)

        together(4, act)
        assert (
            git("-C", str(world.bare(repo)), "merge-base", "--is-ancestor", unseen, "main", check=False).returncode == 1
        )
        pull = world.ok("ann", "GET", f"/repos/{repo}/pulls/{number}")
        (approval,) = world.ok("ann", "GET", f"/repos/{repo}/pulls/{number}/reviews")
        assert pull["merged"] or (approval["stale"] and approval["dismissed"])


def test_a_name_is_claimed_by_one(world: World) -> None:
    """Branch creation is the compare-and-swap people build locks on."""
    repo = world.repo()
    body = {"new_branch_name": "lock", "old_ref_name": "main"}
    answers = together(6, lambda _n: world.call("ann", "POST", f"/repos/{repo}/branches", body).status_code)
    assert sorted(answers) == [201, 409, 409, 409, 409, 409]
    titles = together(6, lambda n: world.ok("ann", "POST", f"/repos/{repo}/issues", {"title": f"t{n}"})["number"])
    assert sorted(titles) == [1, 2, 3, 4, 5, 6]


def test_a_file_is_changed_by_one(world: World) -> None:
    repo = world.repo()
    sha = world.ok("ann", "GET", f"/repos/{repo}/contents/README.md")["sha"]

    def change(number: int) -> int:
        content = base64.b64encode(str(number).encode()).decode()
        body = {"content": content, "sha": sha, "message": "m"}
        status: int = world.call("ann", "PUT", f"/repos/{repo}/contents/README.md", body).status_code
        return status

    assert sorted(together(6, change)) == [200, 409, 409, 409, 409, 409]

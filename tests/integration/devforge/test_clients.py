"""Other git clients: the one on ``PATH``, those that ``FACTORY_TEST_GIT`` names (paths with ``:`` between), dulwich;
and many at once."""

from __future__ import annotations

import io
import os
import subprocess
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dulwich
import pytest
from dulwich import client as dulwich_client
from dulwich import porcelain
from dulwich.pack import pack_objects_to_data
from dulwich.repo import Repo as DulwichRepo

from factory.devforge import agreement
from factory.git import objects
from factory.git.values import Signature
from tests.soak_report import counts, record

OTHERS = [path for path in os.environ.get("FACTORY_TEST_GIT", "").split(os.pathsep) if path]
PROGRAMS = ["git", *OTHERS]
PUSHERS = 16
FULL = 1000
BRANCH = "refs/heads/main"
PERSON = b"A <a@example.test>"
WHO = Signature("A", "a@example.test", 1_700_000_000)


def run(program: str, folder: Path, *argv: str, check: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
    env = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.test", "GIT_COMMITTER_NAME": "A",
        "GIT_COMMITTER_EMAIL": "a@example.test", "LC_ALL": "C", **more,
    }  # fmt: skip
    done = subprocess.run(
        [program, *argv], cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert not check or done.returncode == 0, f"{argv}: {done.stderr}"
    return done


def version(program: str) -> str:
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()[2]


@pytest.mark.parametrize("program", PROGRAMS)
def test_git_clones_and_pushes_with_a_token(world: Any, tmp_path: Path, program: str) -> None:
    repo = world.repo()
    folder = tmp_path / "w"
    trace = {"GIT_TRACE_PACKET": "1"}
    seen = run(program, tmp_path, "-c", "protocol.version=2", "clone", "-q", world.remote(repo), "w", **trace).stderr
    assert "version 2" in seen
    assert "ls-refs" in seen
    for n in range(3):
        (folder / f"f{n}").write_text("x" * n)
        run(program, folder, "add", ".")
        run(program, folder, "commit", "-q", "-m", f"m{n}")
        run(program, folder, "push", "-q", "origin", "HEAD:main")
    run(program, folder, "push", "-q", "origin", "HEAD:refs/heads/a/b", "HEAD:refs/factory/x", "HEAD:refs/tags/t")
    run(program, folder, "push", "-q", "origin", ":refs/heads/a/b")
    run(program, tmp_path, "clone", "-q", "--depth=1", "--no-single-branch", world.remote(repo), "shallow")
    run(program, tmp_path / "shallow", "fetch", "-q", "--unshallow")
    tips = {run(program, tmp_path / name, "rev-parse", "HEAD").stdout for name in ("w", "shallow")}
    assert len(tips) == 1
    assert "refs/tags/t" in run(program, folder, "ls-remote", "origin").stdout
    partial = run(program, tmp_path, "clone", "-q", "--filter=blob:none", world.remote(repo), "partial", check=False)
    assert partial.returncode == 0, partial.stderr
    assert (tmp_path / "partial" / "f2").read_text() == "xx"
    wrong = run(program, tmp_path, "ls-remote", world.remote(repo, "ann", "0" * 40), check=False)
    assert "Authentication failed" in wrong.stderr
    run(program, world.bare(repo), "fsck", "--strict")
    record(f"git {version(program)} clones (v2, shallow, partial) and pushes", done=1, full=1, result="passed")


@pytest.mark.parametrize("protocol", [0, 2])
def test_dulwich_clones_and_pushes_with_a_token(world: Any, tmp_path: Path, protocol: int) -> None:
    repo = world.repo()
    url, login = f"{world.url}/{repo}.git", {"username": "ann", "password": world.token("ann")}
    work = porcelain.clone(url, str(tmp_path / "w"), protocol_version=protocol, errstream=io.BytesIO(), **login)
    (tmp_path / "w" / "new.txt").write_text("from dulwich\n")
    porcelain.add(work, [str(tmp_path / "w" / "new.txt")])
    made = porcelain.commit(work, message=b"from dulwich", author=PERSON, committer=PERSON)
    silent = {"outstream": io.BytesIO(), "errstream": io.BytesIO()}
    porcelain.push(work, url, "HEAD:refs/heads/main", **silent, **login)
    assert objects.read_ref(world.bare(repo), "refs/heads/main") == made.decode()
    world.ok("ann", "POST", f"/repos/{repo}/contents/more.txt", {"content": "eA==", "message": "m"})
    porcelain.pull(work, url, "refs/heads/main", protocol_version=protocol, **silent, **login)
    assert (tmp_path / "w" / "more.txt").read_text() == "x"
    at = work.head()
    world.ok("ann", "POST", f"/repos/{repo}/branch_protections", {"rule_name": "mai[n]"})
    porcelain.commit(work, message=b"refused", author=PERSON, committer=PERSON)
    told = porcelain.push(work, url, "HEAD:refs/heads/main", **silent, **login).ref_status
    assert "pre-receive hook declined" in str((told or {})[b"refs/heads/main"])
    assert objects.read_ref(world.bare(repo), "refs/heads/main") == at.decode()
    work.close()
    with pytest.raises(dulwich_client.HTTPUnauthorized):
        porcelain.ls_remote(url, username="ann", password="0" * 40)
    version = ".".join(str(part) for part in dulwich.__version__)
    record(f"dulwich {version} clones, pulls and pushes, protocol v{protocol}", done=1, full=1, result="passed")


# ---------------------------------------------------------------- many at one branch


class Race:
    """Every round, sixteen clients that all saw the same tip push a commit of their own onto it, all at once."""

    def __init__(self, world: Any, folder: Path) -> None:
        self.world, self.folder = world, folder
        self.repo = world.repo()
        self.bare = world.bare(self.repo)
        self.tip = objects.read_ref(self.bare, BRANCH) or ""
        self.local = folder / "local.git"
        run("git", folder, "clone", "-q", "--bare", world.remote(self.repo), str(self.local))
        login = {"username": "ann", "password": world.token("ann")}
        self._clients = [dulwich_client.HttpGitClient(world.url, **login) for _ in range(PUSHERS)]

    def round(self, number: int, pool: ThreadPoolExecutor, programs: list[str]) -> str:
        """One round; each of ``programs`` is one client, the others are dulwich. Returns how the winner pushed."""
        commits = [self._commit(f"{number}-{n}") for n in range(PUSHERS)]
        packs = self._packs(commits)
        together = threading.Barrier(PUSHERS - len(programs))

        def push(n: int) -> bool:
            if n < len(programs):
                return self._by_git(programs[n], commits[n])
            return self._by_dulwich(self._clients[n], commits[n], packs[n], together)

        won = [n for n, said_yes in enumerate(pool.map(push, range(PUSHERS))) if said_yes]
        assert len(won) == 1, f"round {number}: {won}"
        self.tip = objects.read_ref(self.bare, BRANCH) or ""
        assert self.tip == commits[won[0]]
        return programs[won[0]] if won[0] < len(programs) else "dulwich"

    def _commit(self, name: str) -> str:
        return objects.build_commit(
            self.local, parent=self.tip, changes={"turn.txt": name.encode()}, message=name, author=WHO, committer=WHO
        )

    def _packs(self, commits: list[str]) -> list[list[Any]]:
        """The three objects of each commit that the forge lacks."""
        with DulwichRepo(str(self.local)) as local:
            found = []
            for sha in commits:
                commit = local[sha.encode()]
                tree = local[commit.tree]
                found.append([commit, tree, local[tree[b"turn.txt"][1]]])
            return found

    def _by_git(self, program: str, sha: str) -> bool:
        done = run(program, self.local, "push", "-q", self.world.remote(self.repo), f"{sha}:{BRANCH}", check=False)
        assert done.returncode == 0 or "rejected" in done.stderr, done.stderr
        return done.returncode == 0

    def _by_dulwich(self, client: Any, sha: str, pack: list[Any], together: threading.Barrier) -> bool:
        ref = BRANCH.encode()
        late = False

        def update(refs: dict[bytes, bytes]) -> dict[bytes, bytes]:
            nonlocal late
            late = refs[ref] != self.tip.encode()  # dulwich does not ask for a fast-forward: somebody already won
            together.wait()
            return {} if late else {ref: sha.encode()}

        done = client.send_pack(f"/{self.repo}.git", update, lambda *_, **__: pack_objects_to_data(pack))
        if late:
            return False
        said = (done.ref_status or {}).get(ref)
        assert said is None or "fetch first" in said, said
        return said is None


@pytest.mark.parametrize("rounds", counts(20, FULL))
def test_of_sixteen_pushers_to_one_branch_one_wins(world: Any, tmp_path: Path, rounds: int) -> None:
    race = Race(world, tmp_path)
    winners: Counter[str] = Counter()
    with ThreadPoolExecutor(PUSHERS) as pool:
        for number in range(rounds):
            winners[race.round(number, pool, PROGRAMS)] += 1
            if number % 100 == 99:
                run("git", race.bare, "fsck", "--strict")
    run("git", race.bare, "fsck", "--strict")
    assert objects.count_commits(race.bare, BRANCH) == rounds + 1
    assert agreement.findings(world.home) == []
    record(
        f"{PUSHERS} concurrent pushers to one branch ({len(PROGRAMS)} git, the rest dulwich), rounds",
        done=rounds, full=FULL, tally={"git": rounds - winners["dulwich"], "dulwich": winners["dulwich"]},
        result="exactly one won each round (git {git:,}, dulwich {dulwich:,}); `git fsck` clean, no commit lost",
        more=", ".join(f"git {version(program)}" for program in OTHERS),
    )  # fmt: skip

"""``factory demo`` of the installed wheel, judged with git and HTTP alone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.acceptance.conftest import Installed, Ran, end, share
from tests.acceptance.looking import Looker, git, wait_for

pytestmark = pytest.mark.needs_bwrap


@dataclass(frozen=True)
class Finished:
    """A demo that ran to its end and is kept."""

    home: Path
    ran: Ran
    told: dict[str, Any]
    look: Looker
    main: Path
    """A clone of the project."""


@pytest.fixture(scope="module")
def demo(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    folder = tmp_path_factory.mktemp("demo")
    home = folder / "home"
    try:
        ran = installed.run("demo", "--json", "--keep", "--home", home, home=folder / "unused", timeout=300)
        told = ran.facts()
        look = Looker(
            told["forge"]["url"], told["login"], told["password"], told["project"]["repo"], told["ops"]["repo"], folder
        )
        yield Finished(home, ran, told, look, look.clone(told["project"]["repo"]))
        look.close()
    finally:
        end(installed, home)


def test_it_ends_in_time_and_says_the_agreed_facts(demo: Finished) -> None:
    assert json.loads(demo.ran.out).keys() == {"factory.demo/v1"}
    assert demo.told.keys() >= {"seconds", "pulls", "forge", "project", "ops", "idle_tick", "action"}
    assert demo.told["seconds"] < demo.ran.seconds < 90 * share()
    for pull in demo.told["pulls"]:
        assert pull.keys() >= {"number", "issue", "head", "merge", "reviews", "statuses"}
        assert all(review.keys() >= {"verdict", "head"} for review in pull["reviews"])
        assert all(status.keys() >= {"context", "state", "sha"} for status in pull["statuses"])


def test_what_it_says_is_what_the_forge_says(demo: Finished) -> None:
    there = demo.look.pulls()
    assert [p["number"] for p in there] == [p["number"] for p in demo.told["pulls"]]
    for pull, told in zip(there, demo.told["pulls"], strict=True):
        assert (pull["merged"], pull["head"]["sha"], pull["merge_commit_sha"]) == (True, told["head"], told["merge"])
        reviews = [(r["state"], r["commit_id"]) for r in demo.look.reviews(pull["number"])]
        assert reviews == [(r["verdict"], r["head"]) for r in told["reviews"]]
        for status in told["statuses"]:
            assert demo.look.states(status["sha"])[-1] == status["state"]


def test_three_issues_became_three_merges_in_main(demo: Finished) -> None:
    issues, pulls = demo.look.issues(), demo.look.pulls()
    assert [i["state"] for i in issues] == ["closed"] * 3
    assert len(pulls) == 3
    merges = git(demo.main, "log", "--merges", "--format=%H %P", "origin/main").splitlines()
    assert len(merges) == 3
    by_commit = {line.split()[0]: line.split()[2] for line in merges}
    assert by_commit == {p["merge_commit_sha"]: p["head"]["sha"] for p in pulls}
    closes = {int(re.search(r"(?mi)^(?:closes|fixes) #(\d+)", p["body"])[1]): p for p in pulls}  # type: ignore[index]
    assert closes.keys() == {i["number"] for i in issues}
    for pull in pulls:
        assert (pull["user"]["login"], pull["merged_by"]["login"]) == ("dev-bot", "factory-bot")
        told = git(demo.main, "log", "-1", "--format=%(trailers)", pull["merge_commit_sha"])
        assert {line.split(":")[0] for line in told.splitlines()} >= {"Factory-Run", "Factory-Formula", "Factory-Cost"}


def test_the_dependency_was_merged_before_what_waits_for_it_began(demo: Finished) -> None:
    by_title = {p["title"]: p for p in demo.look.pulls()}
    (first,) = (p for title, p in by_title.items() if "median" in title)
    (last,) = (p for title, p in by_title.items() if "summary" in title)
    git(demo.main, "merge-base", "--is-ancestor", first["merge_commit_sha"], last["head"]["sha"])


def test_a_head_was_red_and_its_successor_green(demo: Finished) -> None:
    red = []
    for pull in demo.look.pulls():
        base = git(demo.main, "merge-base", f"{pull['merge_commit_sha']}^1", pull["head"]["sha"])
        heads = git(demo.main, "rev-list", "--reverse", f"{base}..{pull['head']['sha']}").split()
        states = {sha: demo.look.states(sha) for sha in heads}
        assert states[pull["head"]["sha"]] == ["success"]
        red += [sha for sha, seen in states.items() if seen == ["failure"]]
    assert len(red) == 1
    # It really is: the tests fail on that tree and pass on main.
    assert _suite(demo.main, red[0]) != 0
    assert _suite(demo.main, "origin/main") == 0


def test_every_head_was_approved_by_another_account_and_one_was_first_refused(demo: Finished) -> None:
    refused = 0
    for pull in demo.look.pulls():
        *before, last = demo.look.reviews(pull["number"])
        assert (last["state"], last["commit_id"]) == ("APPROVED", pull["head"]["sha"])
        assert last["user"]["login"] == "review-bot" != pull["user"]["login"]
        for review in before:
            assert review["state"] == "REQUEST_CHANGES"
            assert review["commit_id"] != pull["head"]["sha"]
            git(demo.main, "merge-base", "--is-ancestor", review["commit_id"], pull["head"]["sha"])
            refused += 1
    assert refused == 1


def test_a_release_waited_for_an_admin_and_was_made_once(demo: Finished) -> None:
    action = demo.told["action"]
    assert action.keys() >= {"id", "tier", "ledger"}
    assert (action["tier"], action["ledger"]) == ("high", ["SEEN", "VERIFIED", "CLAIMED", "STARTED", "DONE"])
    # What the ledger says, read with git alone.
    ops = demo.look.clone(demo.look.ops, mirror=True)
    names = git(ops, "ls-tree", "-r", "--name-only", "ledger", f"e/{action['id']}/").splitlines()
    assert [name.rpartition("-")[2].removesuffix(".toml") for name in sorted(names)] == action["ledger"]
    # Asked for by the vault's account, approved by the admin at the merged head, after it had waited.
    (pull,) = (p for p in demo.look.pulls(demo.look.ops) if p["user"]["login"] == "vault-bot")
    (review,) = demo.look.every(f"/repos/{demo.look.ops}/pulls/{pull['number']}/reviews")
    assert (review["user"]["login"], review["state"]) == ("founder", "APPROVED")
    assert review["commit_id"] == pull["head"]["sha"]
    assert (pull["merged"], pull["merged_by"]["login"]) == (True, "vault-bot")
    assert "APPROVED by the demo, as founder" in demo.ran.err
    assert demo.ran.err.index("(high) waits for founder") < demo.ran.err.index("APPROVED by the demo")
    # The effect: one annotated tag on a commit of main, one release with one archive.
    (release,) = demo.look.every(f"/repos/{demo.look.project}/releases")
    assert (release["tag_name"], len(release["assets"])) == ("v0.2.0", 1)
    assert git(demo.main, "cat-file", "-t", "v0.2.0") == "tag"
    commit = git(demo.main, "rev-parse", "v0.2.0^{commit}")
    assert commit == action["commit"]
    git(demo.main, "merge-base", "--is-ancestor", commit, "origin/main")
    # And it is told: on the pull request, and in the ops repo.
    comments = demo.look.every(f"/repos/{demo.look.ops}/issues/{pull['number']}/comments")
    assert ["**It is done.**" in c["body"] for c in comments if c["user"]["login"] == "vault-bot"] == [True]
    fired = git(ops, "show", f"main:vault/fired/{action['id']}.toml")
    assert 'state = "done"' in fired


def test_nothing_is_there_twice(demo: Finished) -> None:
    assert demo.look.duplicates() == []


def test_the_code_does_what_the_issues_asked(demo: Finished) -> None:
    def tally(text: str) -> str:
        argv = [sys.executable, "-m", "tally", "--summary"]
        return subprocess.run(argv, cwd=demo.main, input=text, capture_output=True, text=True, check=True).stdout

    git(demo.main, "checkout", "-q", "origin/main")
    assert tally("1, 2 3\n6") == "n=4 mean=3.0 spread=5.0 median=2.5\n"
    assert tally("") == "n=0\n"


def test_an_idle_tick_costs_three_requests_and_nothing_else(demo: Finished, installed: Installed) -> None:
    idle = demo.told["idle_tick"]
    assert idle["forge_requests"] <= 3
    assert (idle["processes"], idle["model_calls"]) == (0, 0)
    # The same, counted here: the forge's own access log over the daemon's own count of ticks.
    log, beat = Path(demo.told["forge"]["home"]) / "access.log", demo.home / "state" / "daemon.json"

    def ticks() -> int:
        return int(json.loads(beat.read_bytes())["ticks"])

    services = demo.home / "state" / "services"
    pids = [json.loads((services / f"{name}.pid").read_bytes())["pid"] for name in ("daemon", "forge", "gateway")]
    started: set[int] = set()

    def children() -> set[int]:
        return {child.pid for pid in pids for child in psutil.Process(pid).children(recursive=True)}

    def ten_passed() -> bool:
        started.update(children() - there)
        return ticks() >= began + 10

    first = ticks()
    wait_for("a tick", lambda: ticks() > first)
    began, lines, there = ticks(), len(log.read_bytes().splitlines()), children()
    wait_for("ten more ticks", ten_passed)
    passed = ticks() - began
    assert started == set()
    who = [json.loads(line)["user"] for line in log.read_bytes().splitlines()[lines:]]
    # The vault's processes look by themselves, and are counted apart.
    ours = [user for user in who if user not in ("sentinel-bot", "dispatcher-bot")]
    assert len(ours) <= 3 * passed
    # And by the daemon's own account, which a person sees.
    told = installed.run("status", "--json", home=demo.home).facts()
    assert told["up"]
    recent = told["recent_ticks"]
    assert len(recent) == 10
    assert {(t["forge_requests"], t["processes"], t["model_calls"]) for t in recent} == {(3, 0, 0)}


def test_down_stops_it_and_up_brings_it_back(demo: Finished, installed: Installed) -> None:
    """Last in this file: the demo's home is an ordinary one."""
    installed.run("down", home=demo.home)
    with pytest.raises(httpx.TransportError):
        httpx.get(demo.look.url)
    installed.run("up", "--detach", home=demo.home)
    assert len(demo.look.pulls()) == 3
    assert demo.look.duplicates() == []


def _suite(clone: Path, commit: str) -> int:
    git(clone, "checkout", "-q", "--force", commit)
    argv = [sys.executable, "-m", "unittest", "-q"]
    return subprocess.run(argv, cwd=clone, capture_output=True, check=False).returncode


@pytest.mark.soak
@pytest.mark.skipif(not os.environ.get("FACTORY_SOAK"), reason="a long form: FACTORY_SOAK=1")
def test_the_release_may_be_left_to_the_person(installed: Installed, tmp_path: Path) -> None:
    """It says where and with which login, waits, and goes on once that person approved with those."""
    argv = [installed.program, "demo", "--json", "--approve-myself", "--home", tmp_path / "home"]
    with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
        running = subprocess.Popen(argv, env=installed.env(tmp_path / "home"), cwd=tmp_path, stdout=out, stderr=err)
    place = r"approve it yourself: (http://\S+?)/(\S+/\S+)/pulls/(\d+) +sign in: (\S+) / (\S+)"

    def asked() -> re.Match[str] | None:
        return re.search(place, (tmp_path / "err").read_text(encoding="utf-8"))

    try:
        wait_for("the demo to ask", lambda: asked() is not None, 200)
        found = asked()
        assert found is not None
        url, repo, number, login, password = found.groups()
        time.sleep(5)
        assert running.poll() is None, "it waits for the person"
        look = Looker(url, login, password, "founder/tally", repo, tmp_path)
        head = look.get(f"/repos/{repo}/pulls/{number}")["head"]["sha"]
        said = {"event": "APPROVED", "body": "I read it.", "commit_id": head}
        look.post(f"/repos/{repo}/pulls/{number}/reviews", said)
        look.close()
        assert running.wait(200) == 0
    finally:
        running.kill()
        running.wait()
    told = json.loads((tmp_path / "out").read_bytes())["factory.demo/v1"]
    assert told["action"]["ledger"] == ["SEEN", "VERIFIED", "CLAIMED", "STARTED", "DONE"]
    assert "APPROVED by the demo" not in (tmp_path / "err").read_text(encoding="utf-8")

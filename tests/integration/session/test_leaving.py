"""What leaves a session, and what does not: each test is one whole session in a real sandbox."""

from __future__ import annotations

import json

import pytest

from factory.git import objects
from factory.runs.model import Cause, RunState
from factory.runs.spec import SessionResult
from tests.integration.session.house import COMMIT, House, emit, run_call, says

pytestmark = pytest.mark.needs_bwrap

TOKEN = "ghp_" + "a1B2" * 9
OUT = "/run/factory/out"


def refused(house: House, result: SessionResult, *words: str) -> None:
    """It failed at the gate for these reasons, nothing can be pushed, and no word repeats a secret."""
    assert (result.state, result.cause, result.head) == (RunState.FAILED, Cause.GATE, None), result
    for word in words:
        assert word in result.detail
    assert not house.folders_of(result).quarantine.exists()
    assert TOKEN not in repr(result)
    assert house.refs() == {"refs/heads/main": house.base}


def test_commits_leave_under_the_roles_name_with_harmless_messages(house: House) -> None:
    message = "Add y\n\nFixes #7, cc @ann [skip ci]\n\nSigned-off-by: Eve <e@x>\nFactory-Run: r1"
    result = house.dev(
        run_call(f"echo y = 2 >> app.py; git add -A; git commit -q --author='Eve <e@x>' -m '{message}'"),
        run_call(f"echo z = 3 >> app.py; {COMMIT}; echo left > behind.txt"),
        emit("pull", title="Add y", body="It adds y."),
        says(),
    )
    assert (result.state, result.commits) == (RunState.SUCCEEDED, 2), house.log(result)
    assert result.leftovers == ("?? behind.txt",)
    assert result.outbox == ({"kind": "pull", "title": "Add y", "body": "It adds y."},)
    assert result.usage.requests == 4
    quarantine = house.folders_of(result).quarantine
    second, first = objects.log(quarantine, str(result.head), exclude=[house.base])
    for info in (first, second):
        assert (info.author.name, info.author.email) == ("dev-bot", "dev-bot@factory.invalid")
        assert info.committer == info.author
    assert first.parents == (house.base,)
    assert first.message.splitlines()[0] == "Add y"
    for dead in ("Fixes #7", "@ann", "[skip ci]", "Signed-off-by:", "Factory-Run:"):
        assert dead not in first.message
    assert house.left(result, "app.py") == b"x = 1\ny = 2\nz = 3\n"
    assert house.refs() == {"refs/heads/main": house.base}  # pushing is the daemon's, later


def test_what_a_session_did_stays_in_no_folder_but_its_own(house: House) -> None:
    result = house.dev(run_call(COMMIT + " --allow-empty"), says())
    folders = house.folders_of(result)
    assert not folders.cache.exists()
    assert sorted(path.name for path in folders.state.iterdir()) == ["lock", "quarantine.git", "result.json"]
    assert not list((house.home / "cache" / "runs").iterdir())


@pytest.mark.parametrize(
    ("commands", "words"),
    [
        pytest.param(f"echo 'key = {TOKEN}' > config.py; {COMMIT}", ["config.py:1", "a GitHub token"], id="added"),
        pytest.param(
            f"echo 'key = {TOKEN}' > config.py; {COMMIT}; git rm -q config.py; {COMMIT}",
            ["config.py:1", "a GitHub token"], id="only in history",
        ),
        pytest.param(
            f"printf 'key = {TOKEN}\\0' > data.bin; {COMMIT}", ["data.bin", "a GitHub token"], id="in a binary"
        ),
        pytest.param(
            f"printf '{TOKEN}' | sed 's/./&\\x00/g' > wide.txt; {COMMIT}", ["wide.txt", "a GitHub token"], id="wide"
        ),
        pytest.param(
            f"echo y >> app.py; git commit -qam 'Add\n\nuse {TOKEN}'",
            ["message of commit", "line 3", "a GitHub token"], id="in a message",
        ),
        pytest.param(
            f"git rm -q app.py; ln -s README.md app.py; {COMMIT}; rm app.py; echo {TOKEN} > app.py; {COMMIT}",
            ["app.py:1", "a GitHub token"], id="by way of a link",
        ),
    ],
)  # fmt: skip
def test_a_secret_fails_the_run_and_is_named_by_place(house: House, commands: str, words: list[str]) -> None:
    result = house.dev(run_call(commands), says())
    refused(house, result, *words)


def test_a_secret_in_what_it_asks_for_fails_the_run(house: House) -> None:
    result = house.dev(
        run_call(f"echo y >> app.py; {COMMIT}"), emit("pull", title="x", body=f"the key is {TOKEN}"), says()
    )
    assert (result.cause, result.outbox) == (Cause.GATE, ())
    assert "request 1 (pull) holds what looks like a GitHub token" in result.detail
    assert TOKEN not in repr(result)


@pytest.mark.parametrize(
    ("commands", "words"),
    [
        pytest.param(f"ln -s /etc/passwd leak; {COMMIT}", ["symlink"], id="link-out"),
        pytest.param(
            "b=$(git hash-object -w app.py); git update-index --add --cacheinfo 100644,$b,.GIT/hooks/x 2>&1 || "
            "git -c core.protectNTFS=false -c core.protectHFS=false update-index --add --cacheinfo 100644,$b,git~1; "
            "git -c core.protectNTFS=false commit -qm x",
            ["hasDotgit"], id="dot-git-name",
        ),
        pytest.param(f"cp app.py APP.py; {COMMIT}", ["APP.py"], id="case-twin"),
        pytest.param(
            "git update-index --add --cacheinfo 160000,$(git rev-parse HEAD),sub; git commit -qm x", ["sub"],
            id="submodule",
        ),
        pytest.param(
            f"head -c 6000000 /dev/zero | tr '\\0' x > big.txt; {COMMIT}", ["big.txt: has 6,000,000 bytes"], id="huge"
        ),
        pytest.param(f"mkdir node_modules; echo 1 > node_modules/a; {COMMIT}", ["node_modules/a"], id="clutter"),
        pytest.param(
            "git checkout -q --orphan other; git commit -qm root; git branch -f fix/issue-1; "
            "git checkout -q fix/issue-1",
            ["does not descend"], id="rewritten-history",
        ),
    ],
)  # fmt: skip
def test_what_hurts_elsewhere_does_not_leave(house: House, commands: str, words: list[str]) -> None:
    refused(house, house.dev(run_call(commands), says()), *words)


@pytest.mark.parametrize(
    ("act", "words"),
    [
        pytest.param(f"ln -sfn /etc/passwd {OUT}/outbox.jsonl", ["outbox.jsonl"], id="outbox-is-a-link"),
        pytest.param(f"mkfifo {OUT}/outbox.jsonl", ["outbox.jsonl is not a regular file"], id="outbox-is-a-pipe"),
        pytest.param(f"mkdir -p {OUT}/work.pack", ["packed: packing: Is a directory"], id="pack-is-a-folder"),
        pytest.param(f"mkdir -p {OUT}/.head.json.new", ["head.json"], id="head-cannot-be-written"),
        pytest.param(
            f"dd if=/dev/zero of={OUT}/outbox.jsonl bs=1M count=5 2>/dev/null", ["larger than"], id="huge-outbox"
        ),
    ],
)
def test_out_of_a_hostile_out_folder_comes_nothing(house: House, act: str, words: list[str]) -> None:
    result = house.dev(run_call(f"echo y >> app.py; {COMMIT}; {act}"), says())
    assert (result.state, result.head) == (RunState.FAILED, None), (result, house.log(result))
    assert result.cause in (Cause.GATE, Cause.BACKEND)
    assert any(word in result.detail + house.log(result) for word in words), result.detail
    assert "root:" not in result.detail


def test_exceeding_a_grant_fails_the_run(house: House) -> None:
    line = json.dumps({"kind": "issue", "title": "t", "body": "b", "labels": []})
    result = house.dev(run_call(f"echo y >> app.py; {COMMIT}; echo '{line}' >> {OUT}/outbox.jsonl"), says())
    assert (result.cause, result.head, result.outbox) == (Cause.GATE, None, ())
    assert "not granted" in result.detail


def test_no_commit_and_no_refusal_is_no_success(house: House) -> None:
    result = house.dev(run_call("echo y >> app.py"), says("I did it."))
    assert (result.cause, result.leftovers) == (Cause.NO_CHANGES, (" M app.py",))


def test_a_refusal_needs_no_commit(house: House) -> None:
    result = house.dev(emit("refuse", reason="too-large", body="Too much."), says())
    assert (result.state, result.head) == (RunState.SUCCEEDED, None)
    assert result.outbox[0]["reason"] == "too-large"


def test_commits_on_another_branch_do_not_leave(house: House) -> None:
    result = house.dev(run_call(f"git checkout -q -b mine; echo y >> app.py; {COMMIT}"), says())
    assert result.cause is Cause.NO_CHANGES


def test_a_conflict_run_keeps_what_others_committed(house: House) -> None:
    """It merges the base branch: those commits stay as they are, and are not judged as its own."""
    upstream = house.commit(house.base, {"theirs.py": b"t = 1\n" * 30_000, "app.py": b"x = 2\n"}, "Theirs\n")
    theirs = house.commit(upstream, {"token.txt": TOKEN.encode() + b"\n"}, "Theirs with a secret\n")
    mine = house.commit(house.base, {"app.py": b"x = 3\n"}, "Mine\n")
    objects.update_ref(house.bare, "refs/heads/main", theirs)
    objects.create_ref(house.bare, "refs/heads/fix/issue-1", mine)
    result = house.dev(
        run_call("git merge -q main; echo 'x = 5' > app.py; git add -A; git commit -qm 'Merge main'"), says(),
        base=theirs, head=mine,
    )  # fmt: skip
    assert (result.state, result.commits) == (RunState.SUCCEEDED, 1), (result, house.log(result))
    info = objects.commit_info(house.folders_of(result).quarantine, str(result.head))
    assert info.parents == (mine, theirs)
    assert info.author.name == "dev-bot"
    assert house.left(result, "app.py") == b"x = 5\n"


def test_a_conflict_run_cannot_hide_a_secret_in_its_merge(house: House) -> None:
    theirs = house.commit(house.base, {"app.py": b"x = 2\n"}, "Theirs\n")
    mine = house.commit(house.base, {"app.py": b"x = 3\n"}, "Mine\n")
    objects.update_ref(house.bare, "refs/heads/main", theirs)
    objects.create_ref(house.bare, "refs/heads/fix/issue-1", mine)
    result = house.dev(
        run_call(f"git merge -q main; echo '{TOKEN}' > app.py; git add -A; git commit -qm 'Merge'"),
        run_call("echo 'x = 5' > app.py; git commit -qam 'Clean'"),
        says(), base=theirs, head=mine,
    )  # fmt: skip
    assert (result.cause, result.head) == (Cause.GATE, None)
    assert "app.py:1: looks like a GitHub token" in result.detail
    assert TOKEN not in repr(result)

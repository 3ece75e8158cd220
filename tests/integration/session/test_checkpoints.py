"""What survives a session that is killed, and who goes on from it."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from factory.daemon.ports import QuarantinePushes
from factory.git import objects
from factory.git.transport import Remote
from factory.runs.codec import dumps
from factory.runs.model import Cause, RunState
from factory.runs.spec import SessionSpec
from tests.integration.session.house import COMMIT, DEV, House, emit, run_call, says, wait_until

pytestmark = pytest.mark.needs_bwrap

WIP = "refs/factory/wip/"


def wip(spec: SessionSpec) -> str:
    return f"{WIP}{spec.run}"


def saved(house: House, spec: SessionSpec) -> str:
    """The checkpoint of that run, once there is one."""
    return str(wait_until(lambda: house.refs().get(wip(spec))))


def killed(house: House, command: str) -> SessionSpec:
    """A session that committed, was saved, and was then killed -9 with all it started."""
    house.checkpoint_s = 0.3
    spec = house.spec()
    house.model.script_for(spec.alias, [run_call(f"{command}; sleep 60"), says()])
    with house.start(spec) as process:
        saved(house, spec)
        process.send_signal(signal.SIGKILL)
    return spec


def test_a_session_killed_after_a_checkpoint_is_gone_on_with(house: House) -> None:
    lost = killed(house, f"echo y = 1 >> app.py; {COMMIT}; echo lost >> app.py")
    assert not house.folders(lost).result.exists()
    checkpoint = house.refs()[wip(lost)]
    info = objects.commit_info(house.bare, checkpoint)
    assert (info.author.name, info.parents) == ("dev-bot", (house.base,))
    again = house.spec(resume=checkpoint)
    house.model.script_for(again.alias, [run_call(f"cat app.py; echo z = 2 >> app.py; {COMMIT}"), says()])
    result = house.run(again)
    assert (result.state, result.commits) == (RunState.SUCCEEDED, 2), house.log(result)
    assert house.left(result, "app.py") == b"x = 1\ny = 1\nz = 2\n"
    assert f"going on from {checkpoint}" in house.log(result)


def test_a_lineage_has_one_checkpoint_and_the_pushed_branch_has_none(house: House) -> None:
    lost = killed(house, f"echo y >> app.py; {COMMIT}")
    again = house.spec(resume=house.refs()[wip(lost)])
    go = f"echo z >> app.py; {COMMIT}; until test -e /run/factory/out/go; do sleep 0.05; done"
    house.model.script_for(again.alias, [run_call(go), says()])
    folders = house.folders(again)
    with house.start(again) as process:
        saved(house, again)
        assert wip(lost) not in house.refs()
        (folders.round("implement", 0) / "out" / "go").touch()
        assert process.wait(20) == 0
    result = house.result(again)
    assert (result.state, result.commits) == (RunState.SUCCEEDED, 2)
    assert wip(again) in house.refs()  # what is not pushed yet is not forgotten yet
    land(house, again, str(result.head))
    assert house.refs() == {"refs/heads/main": house.base, "refs/heads/fix/issue-1": result.head}
    land(house, again, str(result.head))


def land(house: House, spec: SessionSpec, head: str) -> None:
    """The push as the daemon does it."""
    house.folders(spec).spec.write_bytes(dumps(spec).encode())
    pushes = QuarantinePushes(house.home, lambda _account, _repo: Remote(str(house.bare)))
    pushes.push(spec.project, spec.account, spec.run, "fix/issue-1", head, None)


def test_resumed_and_not_saved_again_the_old_checkpoint_goes_with_the_push(house: House) -> None:
    lost = killed(house, f"echo y >> app.py; {COMMIT}")
    house.checkpoint_s = 60
    again = house.spec(resume=house.refs()[wip(lost)])
    house.model.script_for(again.alias, [says()])
    result = house.run(again)
    assert (result.state, result.commits) == (RunState.SUCCEEDED, 1)
    assert wip(lost) in house.refs()
    land(house, again, str(result.head))
    assert set(house.refs()) == {"refs/heads/main", "refs/heads/fix/issue-1"}


def test_a_push_whose_view_was_deleted_finds_its_objects_again(house: House) -> None:
    """cache/ may go at any time, also between a session's end and its push."""
    spec = house.spec()
    house.model.script_for(spec.alias, [run_call(f"echo y >> app.py; {COMMIT}"), says()])
    result = house.run(spec)
    (house.home / "cache").rename(house.home / "cache-of-before")
    land(house, spec, str(result.head))
    assert house.refs()["refs/heads/fix/issue-1"] == result.head


@pytest.mark.parametrize("what", ["gone", "no commit", "elsewhere"])
def test_a_checkpoint_of_no_use_is_said_and_the_run_begins_anew(house: House, what: str) -> None:
    resume = {
        "gone": "1" * 40,
        "no commit": objects.commit_info(house.bare, house.base).tree,
        "elsewhere": house.commit(None, {"app.py": b"planted\n"}),
    }[what]
    if what == "elsewhere":
        objects.create_ref(house.bare, f"{WIP}r-somebody", resume)
    result = house.dev(run_call(f"echo y >> app.py; {COMMIT}"), says(), resume=resume)
    assert (result.state, result.commits) == (RunState.SUCCEEDED, 1), result
    assert "of no use" in house.log(result)
    assert house.left(result, "app.py") == b"x = 1\ny\n"


def test_a_planted_checkpoint_is_judged_as_if_the_session_had_made_it(house: House) -> None:
    planted = house.commit(house.base, {"key.txt": b"ghp_" + b"a1B2" * 9 + b"\n"})
    objects.create_ref(house.bare, f"{WIP}r-somebody", planted)
    result = house.dev(run_call(f"echo y >> app.py; {COMMIT}"), says(), resume=planted)
    assert (result.cause, result.head) == (Cause.GATE, None)
    assert "key.txt:1" in result.detail


def test_what_the_machine_broke_is_saved_to_its_last_commit(house: House) -> None:
    """The backend dies: the next attempt is of the same round and goes on from there."""
    result = house.dev(run_call(f"echo y >> app.py; {COMMIT}"), {"error": {"status": 400, "message": "no"}})
    assert result.cause is Cause.BACKEND, result
    checkpoint = house.refs()[f"{WIP}{result.run}"]
    assert objects.read_file(house.bare, checkpoint, "app.py") == b"x = 1\ny\n"


@pytest.mark.parametrize("ending", ["refused", "gate", "silent"])
def test_nothing_is_kept_that_nobody_goes_on_from(house: House, ending: str) -> None:
    house.checkpoint_s = 0.2
    work = f"echo y >> app.py; {COMMIT}; until test -e /run/factory/out/go; do sleep 0.02; done; "
    turns = {
        "refused": [run_call(work + "git reset -q --hard HEAD~1"), emit("refuse", reason="unclear", body="b"), says()],
        "gate": [run_call(work + f"echo 'ghp_{'a1B2' * 9}' > k; {COMMIT}"), says()],
        "silent": [run_call(work + "sleep 30"), says()],
    }[ending]
    text = DEV.replace("idle_seconds = 60", "idle_seconds = 2") if ending == "silent" else DEV
    spec = house.spec(text=text)
    house.model.script_for(spec.alias, turns)
    with house.start(spec) as process:
        saved(house, spec)
        (house.folders(spec).round("implement", 0) / "out" / "go").touch()
        assert process.wait(20) == 0
    result = house.result(spec)
    assert result.cause is {"refused": None, "gate": Cause.GATE, "silent": Cause.INACTIVITY}[ending], result
    assert house.refs() == {"refs/heads/main": house.base}, house.log(spec)


def test_a_secret_is_in_no_checkpoint(house: House) -> None:
    house.checkpoint_s = 0.2
    wait = "until test -e /run/factory/out/{name}; do sleep 0.02; done; "
    spec = house.spec()
    commands = f"echo 'ghp_{'a1B2' * 9}' > k; {COMMIT}; " + wait.format(name="go")
    house.model.script_for(spec.alias, [run_call(commands), says()])
    with house.start(spec) as process:
        wait_until(lambda: house.folders(spec).log.exists() and "no checkpoint this time" in house.log(spec))
        assert house.refs() == {"refs/heads/main": house.base}
        (house.folders(spec).round("implement", 0) / "out" / "go").touch()
        assert process.wait(20) == 0
    assert house.refs() == {"refs/heads/main": house.base}
    assert "ghp_a1B2" not in house.log(spec).replace(commands, "")


def test_a_run_begun_again_under_its_own_name_saves_over_what_it_left(house: House) -> None:
    spec = killed(house, f"echo y >> app.py; {COMMIT}")
    first = house.refs()[wip(spec)]
    with house.start(spec) as process:
        second = wait_until(lambda: (now := house.refs().get(wip(spec))) != first and now)
        assert objects.commit_info(house.bare, second).parents == (house.base,)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert house.result(spec).cause is Cause.CANCELLED


def test_a_forge_that_hangs_keeps_nobody_from_watching(house: House, tmp_path: Path) -> None:
    """The push of a checkpoint is stuck: silence is still noticed, and a cancel ends that push too."""
    hook = house.bare / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/stuck\nexec sleep 4747\n")
    hook.chmod(0o755)
    house.checkpoint_s = 0.2
    spec = house.spec()
    house.model.script_for(spec.alias, [run_call(f"echo y >> app.py; {COMMIT}; sleep 60"), says()])
    with house.start(spec) as process:
        wait_until((tmp_path / "stuck").exists)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert time.monotonic() - began < 4
    assert house.result(spec).cause is Cause.CANCELLED
    assert not [
        path for path in Path("/proc").glob("[0-9]*/cmdline") if b"sleep\x004747" in read_or_nothing(path)
    ]  # fmt: skip


def read_or_nothing(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""

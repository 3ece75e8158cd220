"""The project's environment: built once, seen read-only, offline after; a head that changes it gets its own."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from factory.config.model import Ci, Environment
from factory.git import objects
from factory.process.lock import hold
from factory.runs.model import Cause, RunState
from factory.runs.spec import SessionResult
from tests.integration.session.house import CI, COMMIT, House, run_call, says

pytestmark = pytest.mark.needs_bwrap

COUNTED = Environment(
    setup=("mkdir -p deps", "cp lock.txt deps/lock", "date +%s%N > deps/built"),
    cache=("deps",),
    lock_files=("lock.txt",),
)


@pytest.fixture
def base(house: House) -> str:
    base = house.commit(house.base, {"lock.txt": b"one\n"})
    objects.update_ref(house.bare, "refs/heads/main", base)
    house.base = base
    return base


def ci(house: House, command: str, environment: Environment = COUNTED, **fields: Any) -> SessionResult:
    return house.run(house.spec("ci", ci=Ci(command=command), environment=environment, **{"head_ref": None, **fields}))


def tail(result: SessionResult) -> str:
    (step,) = result.steps
    return str((step.answer or {}).get("tail"))


def environments(house: House) -> list[Path]:
    return sorted((house.home / "cache" / "environments" / "o.project").glob("*/ready"))


def head(house: House, changes: dict[str, bytes | None], branch: str = "fix/issue-1") -> dict[str, str]:
    made = house.commit(house.base, changes)
    objects.update_ref(house.bare, f"refs/heads/{branch}", made)
    return {"head": made, "head_ref": branch}


def test_it_is_built_once_and_shared_while_the_lock_file_stays(house: House, base: str) -> None:
    first = ci(house, "cat deps/built deps/lock")
    assert first.state is RunState.SUCCEEDED, house.log(first)
    second = ci(house, "cat deps/built deps/lock", **head(house, {"app.py": b"x = 2\n"}))
    assert tail(first) == tail(second)
    assert "one" in tail(first)
    assert len(environments(house)) == 1
    third = house.dev(run_call("cat deps/built; cp deps/built .; " + COMMIT), says(), environment=COUNTED)
    assert third.state is RunState.SUCCEEDED, house.log(third)
    assert house.left(third, "built") == tail(first).splitlines()[0].encode() + b"\n"
    assert house.left(third, "deps/built") is None


def test_a_head_that_changes_the_lock_file_gets_its_own_and_changes_nobody_elses(house: House, base: str) -> None:
    ci(house, "true")
    changed = head(house, {"lock.txt": b"evil\n"})
    own = ci(house, "cat deps/lock", **changed)
    assert "evil" in tail(own)
    assert len(environments(house)) == 2
    assert "one" in tail(ci(house, "cat deps/lock", **head(house, {"app.py": b"x = 9\n"}, "fix/issue-2")))
    again = head(house, {"lock.txt": b"evil\n", "app.py": b"x = 3\n"}, "fix/issue-3")
    ci(house, "true", **again)
    assert len(environments(house)) == 3  # another head, the same lock file: what set-up does may differ


def test_a_head_cannot_prepare_what_others_are_judged_with(house: House, base: str) -> None:
    """The first to need it is a head with another set-up script; the shared cache is built from the base even so."""
    environment = Environment(setup=("sh setup.sh",), cache=("deps",), lock_files=("lock.txt",))
    good = house.commit(house.base, {"setup.sh": b"mkdir deps; echo good > deps/who\n"})
    objects.update_ref(house.bare, "refs/heads/main", good)
    house.base = good
    evil = head(house, {"setup.sh": b"mkdir deps; echo evil > deps/who\n"})
    assert tail(ci(house, "cat deps/who", environment, **evil)) == "good"
    assert tail(ci(house, "cat deps/who", environment)) == "good"


def test_it_is_read_only_inside(house: House, base: str) -> None:
    result = ci(house, "echo more > deps/lock || echo kept; rm -rf deps 2>/dev/null || cat deps/lock")
    assert "kept" in tail(result)
    assert "one" in tail(result)
    (ready,) = environments(house)
    assert (ready.parent / "made" / "deps" / "lock").read_text() == "one\n"


def test_what_set_up_made_private_is_readable_and_nothing_in_it_is_privileged(house: House, base: str) -> None:
    environment = Environment(
        setup=("mkdir deps; echo x > deps/closed; chmod 0 deps/closed; cp /bin/true deps/tool; chmod 4755 deps/tool",),
        cache=("deps",),
    )
    result = ci(house, "cat deps/closed && deps/tool && stat -c %a deps/tool", environment)
    assert tail(result).split() == ["x", "755"]


def test_two_runs_at_once_build_it_once(house: House, base: str) -> None:
    slow = Environment(setup=("sleep 1", *COUNTED.setup), cache=("deps",), lock_files=("lock.txt",))
    specs = [house.spec("ci", ci=Ci(command="cat deps/built"), environment=slow, head_ref=None) for _ in range(2)]
    processes = [house.start(spec) for spec in specs]
    for process in processes:
        with process:
            assert process.wait(40) == 0
    first, second = (house.result(spec) for spec in specs)
    assert tail(first) == tail(second)
    assert len(environments(house)) == 1
    assert sum("setting up the environment" in house.log(spec) for spec in specs) == 1


def test_a_failing_command_is_named_with_what_it_said(house: House, base: str) -> None:
    environment = Environment(
        setup=("echo fine", "echo 'no matching distribution' >&2; sh -c 'exit 4'", "touch never"), cache=("deps",)
    )
    result = ci(house, "true", environment)
    (step,) = result.steps
    assert (result.state, result.cause, step.step, step.ok) == (RunState.FAILED, Cause.GATE, "environment", False)
    for word in ("echo 'no matching distribution' >&2; sh -c 'exit 4'`: exit 4", "\nfine", "no matching distribution"):
        assert word in step.detail
    assert "setting up the project's environment" in result.detail
    assert not environments(house)
    again = ci(house, "cat deps/x", Environment(setup=("mkdir deps; echo up > deps/x",), cache=("deps",)))
    assert tail(again) == "up"


def test_set_up_that_fails_at_a_head_is_red_and_not_infrastructure(house: House, base: str) -> None:
    """What settle makes of it: a red status that shows the log, so that a fix run is told what to mend."""
    from datetime import UTC, datetime

    from factory.forge.values import CheckState
    from factory.formula.load import load_formula
    from factory.plan.operations import FinishRun, PostStatus
    from factory.plan.settle import settle
    from factory.runs.model import RunRecord

    environment = Environment(setup=("grep -q one lock.txt",), lock_files=("lock.txt",))
    spec = house.spec("ci", ci=Ci(command="true"), environment=environment, **head(house, {"lock.txt": b"broken\n"}))
    result = house.run(spec)
    now = datetime.now(UTC)
    record = RunRecord(
        run=spec.run, formula="ci", role="ci", agent="", account="a", subject=spec.subject, issue=1, round=1,
        state=RunState.RUNNING, host="h", epoch=1, started_at=now,
    )  # fmt: skip
    effect = settle(
        spec, result, load_formula(CI.encode(), "formulas/ci.toml"), record, lease="l", now=now, factory_account="f"
    )
    status, finish = effect.operations
    assert isinstance(status, PostStatus)
    assert isinstance(finish, FinishRun)
    assert status.state is CheckState.FAILURE
    assert "grep -q one lock.txt" in status.description
    assert finish.record.fact("ci") == "failure"


@pytest.mark.parametrize(
    ("setup", "cache", "word"),
    [
        ("ln -s /etc deps", "deps", "but a link"),
        ("mkdir real; ln -s real deps", "deps", "but a link"),
        ("ln -s /etc a", "a/ssl", "did not make a/ssl"),
        ("true", "deps", "did not make deps"),
        ("ln -s loop loop", "loop", "did not make loop"),
    ],
)
def test_a_cache_that_is_a_link_or_missing_is_refused(
    house: House, base: str, setup: str, cache: str, word: str
) -> None:
    result = ci(house, "true", Environment(setup=(setup,), cache=(cache,)))
    assert (result.state, result.cause) == (RunState.FAILED, Cause.GATE)
    assert word in result.detail
    assert not environments(house)


def test_a_virtual_environment_works_offline_where_it_was_made(house: House, base: str) -> None:
    environment = Environment(
        setup=(
            "python3 -m venv --without-pip .venv",
            "site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path(\"purelib\"))')",
            "echo 'def hello(): return 42' > $site/greeting.py",
            "printf '#!/work/.venv/bin/python\\nimport greeting; print(greeting.hello())\\n' > .venv/bin/greet",
            "chmod +x .venv/bin/greet",
        ),
        cache=(".venv",),
        lock_files=("lock.txt",),
    )
    command = ".venv/bin/greet; . .venv/bin/activate; python -c 'import greeting, sys; print(sys.prefix)'"
    result = ci(house, command, environment)
    assert tail(result).split() == ["42", "/work/.venv"], tail(result)
    made = house.dev(run_call(f".venv/bin/greet > said; {COMMIT}"), says(), environment=environment)
    assert made.state is RunState.SUCCEEDED, made
    assert house.left(made, "said") == b"42\n"


def test_commands_run_in_the_projects_folder(house: House, base: str) -> None:
    environment = Environment(setup=("pwd > where",), cache=("sub/where",), directory="sub")
    made = house.commit(house.base, {"sub/x": b"1\n"})
    objects.update_ref(house.bare, "refs/heads/main", made)
    house.base = made
    assert tail(ci(house, "pwd; cat where", environment)).split() == ["/work/sub", "/work/sub"]


def test_a_killed_set_up_is_built_afresh(house: House, base: str) -> None:
    ci(house, "true")
    (ready,) = environments(house)
    ready.unlink()
    (ready.parent / "made" / "deps" / "lock").write_text("half\n")
    assert tail(ci(house, "cat deps/lock")) == "one"


def test_waiting_for_another_set_up_is_bounded_by_the_run(house: House, base: str) -> None:
    ci(house, "true")
    (ready,) = environments(house)
    with hold(ready.parent.with_suffix(".lock")):
        result = ci(house, "true", text=CI.replace("minutes = 2", "minutes = 0.01"))
    assert (result.state, result.cause) == (RunState.FAILED, Cause.SANDBOX)
    assert "waiting for another run" in result.detail


def test_a_run_whose_environment_was_deleted_is_not_red(house: House, base: str) -> None:
    import shutil

    spec = house.spec("ci", ci=Ci(command="touch up; sleep 1; cat deps/lock"), environment=COUNTED, head_ref=None)
    up = house.folders(spec).cache / "clone-tests" / "up"

    def delete() -> None:
        while not up.exists():
            threading.Event().wait(0.02)
        shutil.rmtree(house.home / "cache" / "environments")

    thread = threading.Thread(target=delete)
    thread.start()
    result = house.run(spec)
    thread.join()
    assert (result.state, result.cause) == (RunState.FAILED, Cause.LOST), result


def test_a_path_of_any_name_is_kept_out_of_the_commits(house: House, base: str) -> None:
    name = "my [deps] * !#"
    environment = Environment(setup=(f"mkdir '{name}'; touch '{name}/x'",), cache=(name,))
    result = house.dev(run_call(f"ls '{name}'; touch new; {COMMIT}"), says(), environment=environment)
    assert result.state is RunState.SUCCEEDED, (result, house.log(result))
    quarantine = house.folders_of(result).quarantine
    paths = {change.path for change in objects.diff_paths(quarantine, base, str(result.head))}
    assert paths == {"new"}


def test_without_set_up_there_is_none(house: House) -> None:
    ci(house, "true", Environment(cache=("deps",)))
    assert not (house.home / "cache" / "environments").exists()

"""``none``: no wall, but a tidy start and an end that takes the children along."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from pathlib import Path

import pytest

from factory.process.spawn import send_signal
from factory.sandbox.bare import Bare
from factory.sandbox.protocol import Bind, Confinement, Limits


def confinement(work: Path, script: str) -> Confinement:
    return Confinement(
        argv=("/bin/sh", "-c", script),
        env={"TOKEN": "t", "FILE": "/work/file"},
        cwd="/work",
        binds=(Bind(work, "/work", writable=True),),
        sockets=(),
        tmpfs={"/scratch": 1 << 20},
        limits=Limits(memory_bytes=1 << 30, pids=64, file_bytes=1 << 20),
        owner_paths=(work,),
    )


def run(work: Path, script: str) -> tuple[int | None, str]:
    with tempfile.TemporaryFile() as said:
        with Bare().start(confinement(work, script), stdout=said.fileno(), stderr=said.fileno()) as child:
            code = child.wait(20)
        said.seek(0)
        return code, said.read().decode()


def test_places_are_mapped_and_nothing_else_of_the_environment_arrives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_HOST", "x")
    code, said = run(tmp_path, 'pwd; echo "$FILE $HOME"; env | cut -d= -f1 | sort | tr "\\n" " "; exit 3')
    here, mapped, names = said.splitlines()
    assert (code, here) == (3, str(tmp_path))
    file, home = mapped.split()
    assert file == f"{tmp_path}/file"
    assert home.endswith("/home/agent")
    assert not Path(home).exists()  # scratch goes with the session
    assert "SECRET_OF_THE_HOST" not in names
    assert {"TOKEN", "FACTORY_PATHS"} <= set(names.split())


def test_what_was_left_running_ends_with_it(tmp_path: Path) -> None:
    code, said = run(
        tmp_path, "setsid sh -c 'trap \"\" TERM; echo $$ > pid; sleep 60' & while [ ! -s pid ]; do :; done; cat pid"
    )
    assert code == 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(said), 0)


def test_sigterm_is_passed_on(tmp_path: Path) -> None:
    c = confinement(tmp_path, "trap 'exit 9' TERM; touch up; while :; do sleep 0.02; done")
    with Bare().start(c, stdout=2, stderr=2) as child:
        deadline = time.monotonic() + 10
        while not (tmp_path / "up").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        send_signal(child, signal.SIGTERM)
        assert child.wait(5) == 9


def test_program_that_cannot_be_started(tmp_path: Path) -> None:
    c = confinement(tmp_path, "")
    with tempfile.TemporaryFile() as said:
        missing = Confinement(("/nowhere/x",), c.env, c.cwd, c.binds, (), {}, c.limits, ())
        with Bare().start(missing, stdout=said.fileno(), stderr=said.fileno()) as child:
            assert child.wait(10) == 125
        said.seek(0)
        assert b"factory sandbox: not started: [Errno 2]" in said.read()

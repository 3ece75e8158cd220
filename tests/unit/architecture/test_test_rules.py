"""The rules of tests/conftest.py bite: each is broken once, in a pytest of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.architecture.source import ROOT

STARTER = """
import json, os, signal, sys
import hypothesis, pytest, pytest_httpserver, xdist.plugin
for line in sys.stdin:
    case = json.loads(line)
    child = os.fork()
    if not child:
        signal.alarm(120)
        os.chdir(case["folder"])
        os.environ.clear()
        os.environ.update(case["environment"])
        out = os.open("said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.exit(pytest.main(case["words"]))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Imports pytest and what it loads once, which takes longer than any case; each case is a fork with its own folder and
environment, where neither our conftest nor anything of this run was ever loaded."""


Run = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def starter() -> Iterator[subprocess.Popen[str]]:
    """Waits for cases, a line each; answers with the exit code."""
    with subprocess.Popen(
        [sys.executable, "-c", STARTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={"PATH": os.environ["PATH"]}, cwd="/",
    ) as started:  # fmt: skip
        yield started
        assert started.stdin is not None
        started.stdin.close()


@pytest.fixture
def run(starter: subprocess.Popen[str], tmp_path: Path) -> Run:
    """Runs a test file under a copy of our conftest; the exit code and what was printed."""

    def begun(text: str, *words: str, **variables: str) -> tuple[int, str]:
        shutil.copy(ROOT / "tests" / "conftest.py", tmp_path / "conftest.py")
        (tmp_path / "test_it.py").write_text("import os, socket\nimport pytest\n" + text, encoding="utf-8")
        case = {
            "folder": str(tmp_path), "words": ["-q", "-p", "no:cacheprovider", "-rs", *words, "test_it.py"],
            "environment": {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **variables},
        }  # fmt: skip
        assert starter.stdin is not None
        assert starter.stdout is not None
        starter.stdin.write(json.dumps(case) + "\n")
        starter.stdin.flush()
        code = int(starter.stdout.readline())
        return code, (tmp_path / "said").read_text(encoding="utf-8")

    return begun


@pytest.mark.parametrize(
    "way",
    [
        "socket.create_connection(('192.0.2.1', 9), timeout=0.1)",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 9))",
        "socket.socket(socket.AF_INET6).connect(('2001:db8::1', 9))",
        "socket.getaddrinfo('example.com', 80)",
        "import httpx; httpx.get('http://192.0.2.1/', timeout=0.1)",
    ],
)
def test_leaving_loopback_fails_even_when_it_is_caught(run: Run, way: str) -> None:
    caught = f"def test_it():\n    try:\n        {way}\n    except Exception:\n        pass\n"
    code, said = run(caught)
    assert code == 1
    assert "left loopback" in said


def test_loopback_is_free(run: Run) -> None:
    text = """
def test_it():
    with socket.create_server(('127.0.0.1', 0)) as server:
        socket.create_connection(('localhost', server.getsockname()[1])).close()
"""
    assert run(text)[0] == 0


def test_nothing_of_the_owner_comes_in(run: Run, tmp_path: Path) -> None:
    text = """
import subprocess
from pathlib import Path
def test_it():
    assert os.listdir(Path.home()) == []
    owners = {'FACTORY_HOME', 'HTTPS_PROXY', 'http_proxy', 'GIT_DIR', 'ANTHROPIC_API_KEY', 'PYTHONDONTWRITEBYTECODE'}
    assert not owners & set(os.environ)
    assert os.environ['FACTORY_TEST_X'] == '1'
    told = subprocess.run(['git', 'config', '--list'], capture_output=True, text=True, cwd='/')
    assert told.stdout == ''
"""
    (tmp_path / ".gitconfig").write_text("[user]\nname = Owner\n", encoding="utf-8")
    code, said = run(
        text, HOME=str(tmp_path), FACTORY_HOME="/x", FACTORY_TEST_X="1", HTTPS_PROXY="http://p",
        http_proxy="http://p", GIT_DIR="/x", ANTHROPIC_API_KEY="sk",
    )  # fmt: skip
    assert code == 0, said


SKIPS = """
@pytest.mark.skip(reason='{reason}')
def test_it():
    pass
"""


@pytest.mark.parametrize("words", [(), ("-n", "1")])
def test_an_unstated_skip_fails_the_run_in_ci(run: Run, words: tuple[str, ...]) -> None:
    text = SKIPS.format(reason="chromium is absent")
    assert run(text, *words)[0] == 0
    code, said = run(text, *words, FACTORY_CI="1")
    assert code == 1
    assert "not stated" in said
    assert "chromium is absent" in said


def test_what_only_root_can_do_may_be_skipped_by_others_only(run: Run) -> None:
    code, _ = run(SKIPS.format(reason="only root can give files away"), FACTORY_CI="1")
    assert code == (1 if os.geteuid() == 0 else 0)


def test_a_module_skipped_as_a_whole_counts(run: Run) -> None:
    code, said = run("pytest.importorskip('no_such_module')", FACTORY_CI="1")
    assert code == 1, said


LEAVES = """
import subprocess, sys
from pathlib import Path
def test_it(tmp_path):
    with open('pid', 'w') as told:
        started = subprocess.Popen(
            [sys.executable, '-c', 'import time; time.sleep(300)', str(tmp_path)], start_new_session=True, env={{}}
        )
        told.write(str(started.pid))
    started.returncode = 0  # no warning: it is meant to go on
    {then}
"""


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_a_test_leaves_running_fails_the_run_and_is_ended(run: Run, tmp_path: Path) -> None:
    code, said = run(LEAVES.format(then=""))
    assert code == 1, said
    assert "left running" in said
    assert not lives(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("words", [(), ("-n", "1")])
def test_what_a_killed_suite_leaves_running_is_ended(run: Run, tmp_path: Path, words: tuple[str, ...]) -> None:
    run(LEAVES.format(then="os.kill(os.getpid(), 9)"), *words)
    pid, until = int((tmp_path / "pid").read_text()), time.monotonic() + 30
    while lives(pid):
        assert time.monotonic() < until
        time.sleep(0.05)

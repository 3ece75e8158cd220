"""The native loop as a process, against the gateway's replay, over the bridge that sandboxes use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import zipapp
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import factory.sandbox.inside
import factory.session.inside
from factory.backends import backend
from factory.backends.protocol import BackendOutcome, Done, Event, LaunchRequest, Text, ToolCall, ToolResult
from factory.sandbox.inside.bridge import Bridge
from factory.testing.gateway_process import GatewayProcess, grant

WAITING = "echo {n} >> log; until test -e go{n}; do sleep 0.02; done"
COMMIT = "git init -q . && git add . && git -c user.name=a -c user.email=a@b commit -qm x; git log --format=%s"
HEAD = 'schema = 1\nkind = "scripted"\n'


def turn(n: int, text: str = "", **fields: Any) -> str:
    lines = [f'[[turn]]\nformula = "dev"\nstep = "implement"\nturn = {n}\ntext = {json.dumps(text)}']
    lines += [f"expect = {json.dumps(fields[name])}" for name in ("expect",) if name in fields]
    for tool, given in fields.get("calls", ()):
        lines.append(f"[[turn.call]]\ntool = {json.dumps(tool)}")
        lines += ["[turn.call.input]", *(f"{key} = {json.dumps(value)}" for key, value in given.items())]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The part that runs inside, packed with nothing but itself: what a sandbox has."""
    root = tmp_path_factory.mktemp("pyz")
    place = root / "src" / "factory" / "session" / "inside"
    place.mkdir(parents=True)
    below = root / "src" / "factory" / "sandbox" / "inside"
    below.mkdir(parents=True)
    for package, folder in ((factory.session.inside, place), (factory.sandbox.inside, below)):
        for source in Path(package.__path__[0]).glob("*.py"):
            (folder / source.name).write_bytes(source.read_bytes())
    for folder in (place.parent, below.parent, place.parent.parent):
        (folder / "__init__.py").touch()
    target = root / "inside.pyz"
    zipapp.create_archive(root / "src", target, main="factory.session.inside.__main__:main")
    return target


class Run:
    """One registered run of the native backend on a working copy."""

    def __init__(self, gateway: GatewayProcess, kind: str, pyz: Path, folder: Path) -> None:
        self.gateway = gateway
        self.backend = backend(kind)
        self.pyz = pyz
        self.work = folder / "work"
        self.work.mkdir(exist_ok=True)
        self.prompt = folder / "prompt.md"
        self.prompt.write_text("please add median", encoding="utf-8")

    def start(
        self, *, may_edit: bool = True, max_turns: int = 20, path: str = "", **fields: Any
    ) -> subprocess.Popen[bytes]:
        registration = self.gateway.control.register(grant(**fields))
        bridge = Bridge([(0, str(registration.socket))])
        bridge.start()
        request = LaunchRequest(
            run="r",
            model="m1",
            token=registration.token,
            gateway_port=bridge.ports[0],
            prompt_path=str(self.prompt),
            system="Extra words.",
            may_edit=may_edit,
            max_turns=max_turns,
            max_cost_usd=None,
            home=str(self.prompt.parent),
            python=sys.executable,
            inside_pyz=str(self.pyz),
            tool_paths={},
            is_root_inside=False,
            root=str(self.work),
        )
        launch = self.backend.launch(request)
        for name, text in launch.home_files.items():
            (self.prompt.parent / name).write_text(text, encoding="utf-8")
        assert registration.token not in " ".join(launch.argv)
        env = {"PATH": f"{path}:/usr/bin:/bin", "HOME": str(self.prompt.parent), **launch.env}
        return subprocess.Popen(launch.argv, env=env, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)

    def end(self, process: subprocess.Popen[bytes]) -> tuple[list[Event], BackendOutcome]:
        out, _ = process.communicate(timeout=60)
        parser = self.backend.parser()
        events = [event for line in out.splitlines() for event in parser.feed(line)]
        return events, self.backend.outcome(process.returncode, events)

    def __call__(self, **fields: Any) -> tuple[list[Event], BackendOutcome]:
        return self.end(self.start(**fields))


@pytest.fixture(params=["native", "native-openai"])
def run(
    request: pytest.FixtureRequest, start: Callable[..., GatewayProcess], pyz: Path, tmp_path: Path
) -> Callable[..., Run]:
    def make(*turns: str) -> Run:
        script = tmp_path / "loop.toml"
        script.write_text(HEAD + "".join(turns), encoding="utf-8")
        api = "openai" if request.param == "native-openai" else "anthropic"
        return Run(start({"name": "b", "api": api, "replay": str(script)}), request.param, pyz, tmp_path)

    return make


def test_tools_really_happen_and_the_end_is_ok(run: Callable[..., Run]) -> None:
    task = run(
        turn(
            0,
            "I will look.",
            expect="please add median",
            calls=[
                ("write", {"path": "src/a.py", "content": "one\ntwo\n"}),
                ("edit", {"path": "src/a.py", "old": "two", "new": "three"}),
                ("run", {"command": COMMIT}),
            ],
        ),
        turn(1, calls=[("search", {"pattern": "thr.e"}), ("read", {"path": "src/a.py"})], expect=["replaced 1", "x"]),
        turn(2, '{"done": true}', expect=["src/a.py:2: three", "one\nthree"]),
    )
    events, outcome = task()
    assert outcome.ok, outcome
    assert (task.work / "src" / "a.py").read_text(encoding="utf-8") == "one\nthree\n"
    assert [event.name for event in events if isinstance(event, ToolCall)] == ["write", "edit", "run", "search", "read"]
    assert not any(event.is_error for event in events if isinstance(event, ToolResult))
    assert [event.text for event in events if isinstance(event, Text) and event.final] == ['{"done": true}']
    assert task.gateway.control.answer(grant().run) == '{"done": true}'
    assert task.gateway.control.usage(grant().run).requests == 3


def test_a_failing_command_is_told_and_the_model_goes_on(run: Callable[..., Run]) -> None:
    task = run(
        turn(0, calls=[("run", {"command": "echo out; echo err >&2; exit 3"}), ("nope", {})]),
        turn(1, "sorry", expect=["out\nerr", "exit code 3"]),
    )
    script = task.gateway.home.parent / "loop.toml"
    script.write_text(script.read_text(encoding="utf-8").replace('tool = "nope"', 'tool = "read"'), encoding="utf-8")
    task.gateway.control.reload()
    events, outcome = task()
    assert outcome.ok, outcome
    assert [event.is_error for event in events if isinstance(event, ToolResult)] == [True, True]


def test_no_progress_ends_it(run: Callable[..., Run]) -> None:
    task = run(*(turn(n, calls=[("run", {"command": "exit 1"})]) for n in range(5)))
    events, outcome = task()
    assert (outcome.ok, outcome.cause) == (False, "inactivity")
    assert "three times" in outcome.detail or "3 times" in outcome.detail
    assert len([event for event in events if isinstance(event, ToolCall)]) == 3


def test_turns_end_it(run: Callable[..., Run]) -> None:
    task = run(*(turn(n, calls=[("run", {"command": f"echo {n}"})]) for n in range(5)))
    assert task(max_turns=2)[1].cause == "max-turns"
    assert task.gateway.control.usage(grant().run).requests == 2


def test_a_mismatch_is_not_retried(run: Callable[..., Run]) -> None:
    task = run(turn(0, "x", expect="something else"))
    _, outcome = task()
    assert (outcome.ok, outcome.cause) == (False, "backend")
    assert "something else" in outcome.detail
    assert len(task.gateway.control.usage(grant().run).facts) == 1


def test_a_quota_error_ends_it_at_once(run: Callable[..., Run]) -> None:
    body = turn(0, "x").replace('text = "x"', "error = { status = 429, retry_after = 3000 }")
    assert run(body)()[1].cause == "quota"


def test_a_review_only_reads_and_only_in_the_working_copy(run: Callable[..., Run], tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("outside", encoding="utf-8")
    task = run(
        turn(
            0,
            calls=[
                ("read", {"path": "../secret"}),
                ("read", {"path": str(tmp_path / "secret")}),
                ("read", {"path": "link"}),
                ("search", {"pattern": "outside"}),
                ("search", {"pattern": "o", "path": "/etc"}),
                ("read", {"path": "in.txt"}),
            ],
        ),
        turn(1, "verdict", expect=["is outside", "nothing found", "inner"]),
    )  # fmt: skip
    (task.work / "in.txt").write_text("inner", encoding="utf-8")
    (task.work / "link").symlink_to(tmp_path / "secret")
    events, outcome = task(may_edit=False, tools=("read", "search"))
    assert outcome.ok, outcome
    results = [event for event in events if isinstance(event, ToolResult)]
    assert [result.is_error for result in results] == [True, True, True, False, True, False]
    assert not any("outside\n" in result.text or result.text == "outside" for result in results)
    # With editing granted, the same reads succeed: in a dev step the sandbox is the wall.
    assert not next(event for event in task()[0] if isinstance(event, ToolResult)).is_error


def test_a_review_has_no_tool_that_acts(run: Callable[..., Run]) -> None:
    task = run(turn(0, calls=[("run", {"command": "touch x"})]))
    _, outcome = task(may_edit=False)
    assert "does not offer" in outcome.detail
    assert not (task.work / "x").exists()


def test_a_gateway_killed_and_restarted_in_mid_session_is_not_noticed(run: Callable[..., Run]) -> None:
    task = run(
        *(turn(n, calls=[("run", {"command": WAITING.format(n=n)})]) for n in range(3)),
        turn(3, "done"),
    )  # fmt: skip
    process = task.start()
    for n in range(3):
        _until_it_ends_with(task.work / "log", f"{n}\n")
        task.gateway.kill()
        (task.work / f"go{n}").touch()
        task.gateway.start()
    events, outcome = task.end(process)
    assert outcome.ok, (outcome, events)
    assert (task.work / "log").read_text(encoding="utf-8") == "0\n1\n2\n"
    used = task.gateway.control.usage(grant().run)
    assert used.requests == 4
    assert task.gateway.control.answer(grant().run) == "done"


def test_the_token_is_not_passed_on_to_commands(run: Callable[..., Run]) -> None:
    task = run(turn(0, calls=[("run", {"command": "env; cat /proc/$PPID/environ | tr '\\0' '\\n'"})]), turn(1, "ok"))
    events, outcome = task()
    assert outcome.ok
    own = next(event for event in events if isinstance(event, ToolResult)).text.split("PWD=")[0]
    assert "fgw-" not in own


def test_emit_is_called_with_its_options(run: Callable[..., Run], tmp_path: Path) -> None:
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "emit").write_text('#!/bin/sh\nfor a in "$@"; do echo "<$a>"; done; cat\n', encoding="utf-8")
    (bin_ / "emit").chmod(0o755)
    fields = {"kind": "issue", "title": "--odd title", "body": "line 1\nline 2", "labels": ["tech-debt"]}
    task = run(
        turn(0, calls=[("emit", fields)]),
        turn(1, "ok", expect=["<issue>\n<--title=--odd title>\n<--label=tech-debt>\n<--body-file=->\nline 1\nline 2"]),
    )
    _, outcome = task(path=str(bin_))
    assert outcome.ok, outcome


def test_long_output_and_stuck_commands_are_bounded(run: Callable[..., Run]) -> None:
    task = run(
        turn(0, calls=[
            ("run", {"command": "yes 0123456789 | head -c 3000000; echo THE END"}),
            ("run", {"command": "sleep 100 & echo started; sleep 100", "timeout_s": 1}),
            ("run", {"command": "sleep 100 >/dev/null 2>&1 & echo quick"}),
        ]),
        turn(1, "ok", expect=["characters left out", "THE END", "started", "stopped after 1 s", "quick"]),
    )  # fmt: skip
    events, outcome = task()
    assert outcome.ok, outcome
    done = next(event for event in events if isinstance(event, Done))
    assert done.turns == 2


def _until_it_ends_with(path: Path, text: str) -> None:
    tick = threading.Event()
    for _ in range(1000):
        if path.exists() and path.read_text(encoding="utf-8").endswith(text):
            return
        tick.wait(0.02)
    raise AssertionError(f"{path} never ended with {text!r}")


def test_a_run_starts_without_third_party_modules(pyz: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(pyz), "native", "--help"], capture_output=True, env={}, cwd=os.sep, check=False
    )
    assert done.returncode == 0, done.stderr

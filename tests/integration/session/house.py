"""A house for one session without a forge: a bare repo as the project, a real gateway that replays a script, a real
sandbox. Also a program, so that a session can be killed: ``house.py HOME RUN`` executes the run that was told there.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from factory.app.session import Gateway
from factory.backends import backend
from factory.backends.protocol import Backend
from factory.formula.load import load_formula
from factory.gateway.control import GatewayControl
from factory.git import objects
from factory.git.transport import Remote
from factory.git.values import Signature
from factory.process.lock import hold
from factory.runs.codec import dumps, loads
from factory.runs.model import Subject
from factory.runs.spec import SessionResult, SessionSpec
from factory.sandbox.bubblewrap import Bubblewrap
from factory.sandbox.protocol import Sandbox
from factory.session.execute import execute
from factory.session.folders import RunFolders
from factory.session.inside_pyz import build
from factory.session.ports import SessionPorts
from factory.session.stopped import Stopped
from factory.testing.gateway_process import GatewayProcess

NUMBERS = itertools.count(1)
WHO = Signature("Ann", "ann@example.invalid", 1_700_000_000)
FILES = {"README.md": b"# demo\n", "app.py": b"x = 1\n", "test.sh": b"grep -q 'x = ' app.py\n"}
COMMIT = "git add -A && git commit -qm 'Do it'"

DEV = """
schema = 1
name = "dev"
version = 1
role = "dev"
description = "Work."
[limits]
minutes = 2
idle_seconds = 60
[grants]
commits = true
pull_request = true
refuse = true
comments = { max = 1 }
[[steps]]
id = "implement"
kind = "agent"
prompt = "Do it."
"""
REVIEW = """
schema = 1
name = "review-pr"
version = 1
role = "reviewer"
description = "Judge."
[limits]
minutes = 2
idle_seconds = 60
[grants]
review = true
[[steps]]
id = "facts"
kind = "check"
uses = ["diff-scan", "secrets"]
[[steps]]
id = "judge"
kind = "agent"
needs = ["facts"]
output = "verdict"
writes = false
prompt = "Judge it."
"""
CI = """
schema = 1
name = "ci"
version = 1
role = "ci"
description = "Run the tests."
[limits]
minutes = 2
idle_seconds = 60
[grants]
statuses = ["factory/ci"]
[[steps]]
id = "tests"
kind = "shell"
argv = ["/bin/sh", "-ec", "{{ ci.command }}"]
"""
FORMULAS = {"dev": DEV, "review-pr": REVIEW, "ci": CI}


def run_call(command: str, **given: Any) -> dict[str, Any]:
    """A turn that runs a shell command."""
    return {"call": [{"tool": "run", "input": {"command": command, **given}}]}


def emit(kind: str, **given: Any) -> dict[str, Any]:
    """A turn that asks the factory for something."""
    return {"call": [{"tool": "emit", "input": {"kind": kind, **given}}]}


def says(text: str = "done") -> dict[str, Any]:
    """A turn that ends the talk."""
    return {"text": text}


def as_toml(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(k)} = {as_toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    return json.dumps(value)


@dataclass
class Model:
    """The gateway process and its script: every test adds its own conversation, under an alias of its own."""

    gateway: GatewayProcess
    script: Path
    turns: list[str] = field(default_factory=list)

    @classmethod
    def start(cls, folder: Path, **options: Any) -> Model:
        folder.mkdir(parents=True, exist_ok=True)
        script = folder / "script.toml"
        script.write_text('schema = 1\nkind = "scripted"\n')
        gateway = GatewayProcess(
            folder / "g", [{"name": "hand", "api": "anthropic", "replay": str(script), "slots": 4, **options}]
        )
        gateway.start()
        return cls(gateway, script)

    def script_for(
        self, alias: str, turns: Sequence[Mapping[str, Any]], *, formula: str = "dev", step: str = "implement",
        round: int = 1, answer: int = 0,
    ) -> None:  # fmt: skip
        for number, turn in enumerate(turns):
            key = {"formula": formula, "step": step, "alias": alias, "round": round, "answer": answer, "turn": number}
            self.turns.append("[[turn]]\n" + "\n".join(f"{k} = {as_toml(v)}" for k, v in {**key, **turn}.items()))
        self.script.write_text('schema = 1\nkind = "scripted"\n' + "\n".join(self.turns) + "\n")
        self.gateway.control.reload()


@dataclass
class House:
    """One project and one home."""

    root: Path
    model: Model
    sandbox: Sandbox = field(default_factory=Bubblewrap)
    backend: Backend = field(default_factory=lambda: backend("native"))
    checkpoint_s: float = 60.0
    patience_s: float = 5

    def __post_init__(self) -> None:
        self.home = self.root / "home"
        self.bare = self.root / "forge" / "project.git"
        for folder in (self.home, self.home / "state", self.home / "cache"):
            folder.mkdir(mode=0o700, parents=True)
        objects.init_bare(self.bare)
        self.base = self.commit(None, FILES)
        objects.create_ref(self.bare, "refs/heads/main", self.base)
        self.remote = Remote(str(self.bare))

    def commit(self, parent: str | None, changes: Mapping[str, bytes | None], message: str = "Base\n") -> str:
        return objects.build_commit(
            self.bare, parent=parent, changes=changes, message=message, author=WHO, committer=WHO
        )

    def refs(self) -> dict[str, str]:
        return objects.list_refs(self.bare)

    def spec(self, formula: str = "dev", alias: str = "", *, text: str | None = None, **fields: Any) -> SessionSpec:
        number = next(NUMBERS)
        text = FORMULAS[formula] if text is None else text
        told: dict[str, Any] = {
            "run": f"r20260101T{number:09d}-{os.getpid():08x}",
            "project": "o/project", "ops": "o/project-ops", "formula": formula, "formula_digest": "",
            "formula_text": text, "role": "dev", "agent": "hand", "account": "dev-bot",
            "subject": Subject("o/project", "issue", "1"), "issue": 1, "alias": alias or f"a{number}", "round": 1,
            "base_ref": "main", "base": self.base, "head_ref": "fix/issue-1", "head": None, "backend": "native",
            "model": "m1",
        }  # fmt: skip
        return SessionSpec(**{**told, **fields})

    def ports(self, **changes: Any) -> SessionPorts:
        made = SessionPorts(
            home=self.home,
            sandbox=self.sandbox,
            project_remote=self.remote,
            gateway=Gateway(GatewayControl(self.model.gateway.socket, patience_s=self.patience_s)),
            backend=self.backend,
            tool_paths={},
            pyz=build(self.home / "cache" / "inside"),
            mirror=None,
            tool_mounts=(),
            known_secrets=lambda: (),
            checkpoint_s=self.checkpoint_s,
        )
        return replace(made, **changes)

    def run(self, spec: SessionSpec, *, stopped: Stopped | None = None, **changes: Any) -> SessionResult:
        """Execute here and now. The run's lock is held as ``factory session exec`` holds it."""
        formula = load_formula(spec.formula_text.encode(), f"formulas/{spec.formula}.toml")
        folders = self.folders(spec)
        folders.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        with hold(folders.lock) as lock:
            return execute(spec, formula, self.ports(**changes), stopped=stopped or Stopped(), lock_fd=lock.fileno())

    def dev(self, *turns: Mapping[str, Any], **fields: Any) -> SessionResult:
        """One dev session that plays these turns."""
        spec = self.spec(**fields)
        self.model.script_for(spec.alias, turns)
        return self.run(spec)

    def start(self, spec: SessionSpec) -> subprocess.Popen[bytes]:
        """Execute in a process of its own, to be killed."""
        folders = self.folders(spec)
        folders.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        folders.spec.write_bytes(dumps(spec).encode())
        argv = [sys.executable, __file__, str(self.root), str(self.model.gateway.home), str(self.checkpoint_s)]
        with (self.root / "driver.err").open("ab") as errors:
            return subprocess.Popen(
                [*argv, spec.run],
                env={"PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1"},
                stderr=errors,
                start_new_session=True,
            )

    def result(self, spec: SessionSpec) -> SessionResult:
        return loads(SessionResult, self.folders(spec).result.read_bytes())

    def folders(self, spec: SessionSpec) -> RunFolders:
        return RunFolders(self.home, spec.run)

    def folders_of(self, result: SessionResult) -> RunFolders:
        return RunFolders(self.home, result.run)

    def log(self, of: SessionSpec | SessionResult) -> str:
        return RunFolders(self.home, of.run).log.read_text()

    def left(self, of: SessionResult | SessionSpec, path: str) -> bytes | None:
        """A file of the head that a run left."""
        quarantine = RunFolders(self.home, of.run).quarantine
        head = objects.read_ref(quarantine, "refs/factory/leaving")
        assert head is not None
        return objects.read_file(quarantine, head, path)

    def close(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)


def wait_until(what: Callable[[], object], seconds: float = 20.0) -> Any:
    """The first true answer of ``what``. Asked again and again: nothing says when it comes."""
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.02)
    return found


def processes_of(run: str) -> list[int]:
    """Processes that say this run's name in their command line, or whose environment or working folder holds it."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                told = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if run.encode() in told:
                found.append(int(entry.name))
    return found


def main(root: str, gateway: str, checkpoint_s: str, run: str) -> None:
    house = object.__new__(House)
    house.root, house.home = Path(root), Path(root) / "home"
    house.sandbox, house.backend = Bubblewrap(), backend("native")
    house.checkpoint_s, house.patience_s = float(checkpoint_s), 5
    house.remote = Remote(str(house.root / "forge" / "project.git"))
    process = object.__new__(GatewayProcess)
    process.socket = Path(gateway) / "control.sock"
    house.model = Model(process, Path("unused"))
    spec = loads(SessionSpec, RunFolders(house.home, run).spec.read_bytes())
    with Stopped().listening(sweeps=True) as stopped:
        house.run(spec, stopped=stopped)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    main(*sys.argv[1:])

"""The first process inside: bridge, backend, emit, checkpoints and the final pack, in a real sandbox with real git."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from factory.process.spawn import Child, send_signal
from factory.sandbox.bare import Bare
from factory.sandbox.bubblewrap import Bubblewrap
from factory.sandbox.protocol import Bind, Confinement, Limits, Sandbox
from factory.session.inside import outbox
from factory.session.inside_pyz import build

pytestmark = pytest.mark.needs_bwrap

GIT_ENV = {
    "PATH": "/usr/bin:/bin",
    "GIT_CONFIG_NOSYSTEM": "1",
    "HOME": "/nonexistent",
    **{
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "A"), ("EMAIL", "a@b"))
    },
}
REF = "refs/heads/fix/issue-1"
COMMIT = "git -c user.name=B -c user.email=b@c commit -qam work"


class Session:
    """The folders of one start, and what is in them afterwards."""

    def __init__(self, root: Path, pyz: Path) -> None:
        self.work, self.inside, self.out, self.view = (root / name for name in ("work", "in", "out", "view"))
        self.socket = root / "gateway.sock"
        for folder in (self.view, self.inside, self.out):
            folder.mkdir()
        git(self.view, "init", "-q", "-b", "main")
        (self.view / "file").write_text("line\n" * 50)
        git(self.view, "add", ".")
        git(self.view, "commit", "-qm", "base")
        self.base = git(self.view, "rev-parse", "HEAD")
        git(root, "clone", "-q", "--shared", str(self.view), str(self.work))
        git(self.work, "checkout", "-q", "-b", "fix/issue-1")
        (self.work / ".git/objects/info/alternates").write_text("/run/factory/objects\n")
        shutil.copy(pyz, self.inside / "inside.pyz")
        (self.inside / "grants.json").write_text(json.dumps({"pull_request": True, "comments": {"max": 1}}))
        self.said = ""

    def start(
        self, sandbox: Sandbox, script: str, *, bridge: bool = False, writable: bool = True, **spec: Any
    ) -> Child:
        told = {
            "run": "r1",
            "argv": ["/bin/sh", "-c", script],
            "env": {"STEP": "1"},
            "cwd": "/work",
            "home_files": {".agent/config": "from the spec"},
            "bridges": [{"port": 8790, "socket": "/run/factory/gateway.sock"}] if bridge else [],
            "work": {"ref": REF, "base": self.base},
            "checkpoint_s": 60,
            **spec,
        }
        (self.inside / "spec.json").write_text(json.dumps(told))
        c = Confinement(
            argv=(sandbox.python(), "-I", "-S", "/run/factory/in/inside.pyz", "boot"),
            env={},
            cwd="/work",
            binds=(
                Bind(self.work, "/work", writable=writable),
                Bind(self.view / ".git/objects", "/run/factory/objects"),
                Bind(self.inside, "/run/factory/in"),
                Bind(self.out, "/run/factory/out", writable=True),
            ),
            sockets=(Bind(self.socket, "/run/factory/gateway.sock"),) if bridge else (),
            tmpfs={},
            limits=Limits(memory_bytes=1 << 30, pids=128, file_bytes=256 << 20),
            owner_paths=(self.work, self.out) if writable else (self.out,),
        )
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        return sandbox.start(c, stdout=self._file.fileno(), stderr=self._file.fileno())

    def run(self, sandbox: Sandbox, script: str, **spec: Any) -> int | None:
        with self.start(sandbox, script, **spec) as child:
            return self.finish(child)

    def finish(self, child: Child) -> int | None:
        code = child.wait(30)
        self._file.seek(0)
        self.said = self._file.read().decode()
        self._file.close()
        return code

    def told(self, name: str) -> dict[str, Any]:
        return dict(json.loads((self.out / name).read_text()))

    def ingested(self, folder: Path) -> str:
        """The head of the pack, after taking it into a fresh repository that borrows only the view."""
        git(folder.parent, "init", "-q", "--bare", str(folder))
        (folder / "objects/info/alternates").write_text(f"{self.view / '.git/objects'}\n")
        pack = (self.out / "work.pack").read_bytes()
        head = self.told("head.json")
        assert (len(pack), hashlib.sha256(pack).hexdigest()) == (head["pack_bytes"], head["pack_sha256"])
        argv = ["git", "-C", str(folder), "index-pack", "--stdin", "--fix-thin", "--strict"]
        subprocess.run(argv, input=pack, env=GIT_ENV, check=True, capture_output=True)
        return git(folder, "rev-parse", f"{head['head']}^{{commit}}")


def git(folder: Path, *argv: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *argv], env=GIT_ENV, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("pyz"))


@pytest.fixture
def session(folder: Path, pyz: Path) -> Session:
    return Session(folder, pyz)


@pytest.fixture
def gateway(session: Session) -> Iterator[None]:
    """Answers each connection, once the other side has said all, with how many bytes came and as many again."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(session.socket))
        listener.listen(64)

        def answer(connection: socket.socket) -> None:
            with connection:
                count = 0
                while data := connection.recv(65536):
                    count += len(data)
                connection.sendall(b"%d\n" % count + b"y" * count)

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("sandbox", [Bubblewrap(), Bare()], ids=["bubblewrap", "none"])
def test_commits_leave_as_a_pack_and_the_rest_is_reported(session: Session, tmp_path: Path, sandbox: Sandbox) -> None:
    script = (
        f"echo more >> file; {COMMIT}; echo 1 > 'odd name'; echo 2 >> file; cat ~/.agent/config; echo \" $STEP\"; pwd"
    )
    assert session.run(sandbox, script) == 0, session.said
    assert "from the spec 1\n" in session.said
    end = session.told("exit.json")
    assert {key: end[key] for key in end if key != "seconds"} == {
        "returncode": 0,
        "signal": None,
        "error": None,
        "commits": 1,
        "leftovers": [" M file", "?? odd name"],
        "leftovers_more": 0,
        "pack_error": None,
        "stray_head": None,
    }
    head = session.told("head.json")
    assert (head["ref"], head["base"], head["generation"]) == (REF, session.base, 1)
    assert session.ingested(tmp_path / "quarantine") == head["head"]


def test_no_commit_leaves_no_pack(session: Session) -> None:
    assert session.run(Bubblewrap(), "echo changed >> file; exit 5") == 5
    assert session.told("exit.json")["returncode"] == 5
    assert session.told("exit.json")["commits"] == 0
    assert session.told("head.json")["head"] == session.base
    assert not (session.out / "work.pack").exists()


def test_commits_elsewhere_are_named(session: Session) -> None:
    assert session.run(Bubblewrap(), f"git checkout -q -b other; echo x >> file; {COMMIT}") == 0
    end = session.told("exit.json")
    assert end["commits"] == 0
    assert end["stray_head"] == git(session.work, "-c", "safe.directory=*", "rev-parse", "other")


def test_work_that_cannot_be_packed_is_said(session: Session) -> None:
    assert session.run(Bubblewrap(), "rm -rf .git") == 0
    assert session.told("exit.json")["pack_error"] == f"{REF} names no commit"


def test_program_that_does_not_exist(session: Session) -> None:
    assert session.run(Bubblewrap(), "", argv=["no-such-agent"]) == 127
    assert "no program 'no-such-agent' on PATH" in session.told("exit.json")["error"]
    assert "boot: starting no-such-agent" in session.said


def test_checkpoints_follow_the_work_and_stay_consistent(session: Session, tmp_path: Path) -> None:
    """Killed without warning, the session has lost nothing but what came after the last checkpoint."""
    script = f"for i in 1 2 3; do echo $i >> file; {COMMIT}; sleep 0.4; done; touch done; sleep 60"
    with session.start(Bubblewrap(), script, checkpoint_s=0.1) as child:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if (session.work / "done").exists() and session.told("head.json")["generation"] == 3:
                break
            time.sleep(0.02)
        os.kill(child.pid, signal.SIGKILL)
        session.finish(child)
    assert not (session.out / "exit.json").exists()
    assert (
        git(
            tmp_path,
            "-C",
            "quarantine",
            "rev-list",
            "--count",
            f"{session.base}..{session.ingested(tmp_path / 'quarantine')}",
        )
        == "3"
    )


def test_sigterm_ends_the_backend_and_packs(session: Session, tmp_path: Path) -> None:
    script = f"trap '' TERM; echo x >> file; {COMMIT}; touch ready; while :; do sleep 0.1; done"
    with session.start(Bubblewrap(), script) as child:
        _wait_for(session.work / "ready")
        send_signal(child, signal.SIGTERM)
        assert session.finish(child) == 137
    assert session.told("exit.json")["signal"] == 9
    assert session.ingested(tmp_path / "quarantine") == session.told("head.json")["head"]


def test_cancel_of_the_whole_tree_still_packs(session: Session, tmp_path: Path) -> None:
    """Cancel sends SIGTERM to every process at once, bubblewrap and git included."""
    script = f"echo x >> file; {COMMIT}; touch ready; sleep 60"
    with session.start(Bubblewrap(), script) as child:
        _wait_for(session.work / "ready")
        began = time.monotonic()
        child.kill_tree(1.0)
        assert time.monotonic() - began < 2
        session.finish(child)
    assert session.ingested(tmp_path / "quarantine") == session.told("head.json")["head"]


def test_what_the_backend_left_running_is_gone_before_the_pack(session: Session) -> None:
    script = "setsid sh -c 'while :; do date +%N > moving; sleep 0.01; done' & sleep 0.2"
    assert session.run(Bubblewrap(), script) == 0
    before = (session.work / "moving").read_text()
    time.sleep(0.1)
    assert (session.work / "moving").read_text() == before


def test_emit_records_within_the_grants(session: Session) -> None:
    script = (
        "echo body > /tmp/b; emit comment --body-file /tmp/b && emit pull --title 'A title' --body-file - < /tmp/b;"
        "emit comment --body-file /tmp/b; echo $?; emit issue --title T --body-file /tmp/b; echo $?"
    )
    assert session.run(Bubblewrap(), script) == 0
    data = (session.out / "outbox.jsonl").read_bytes()
    lines, problems = outbox.read(data, json.loads((session.inside / "grants.json").read_text()))
    assert problems == []
    assert [line["kind"] for line in lines] == ["comment", "pull"]
    assert lines[1]["title"] == "A title"
    assert "emit: comment: the limit of 1 is reached" in session.said
    assert "emit: issue: not granted to this run" in session.said
    assert session.said.split().count("2") == 2


def test_bridge_carries_many_connections_and_half_closes(session: Session, gateway: None) -> None:
    client = (
        "import socket, threading\n"
        "got = []\n"
        "def one(size):\n"
        "    s = socket.create_connection(('127.0.0.1', 8790)); s.sendall(b'x' * size); s.shutdown(socket.SHUT_WR)\n"
        "    data = b''.join(iter(lambda: s.recv(65536), b'')); got.append(data == b'%d\\n' % size + b'y' * size)\n"
        "threads = [threading.Thread(target=one, args=(n * 50021,)) for n in range(40)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]; print(len(got), all(got))\n"
    )
    assert session.run(Bubblewrap(), "", bridge=True, argv=["python3", "-c", client]) == 0, session.said
    assert session.said == "40 True\n"


def test_gateway_that_is_gone_is_a_closed_connection(session: Session) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(session.socket))  # and nobody listens
        client = (
            "import socket\ns = socket.create_connection(('127.0.0.1', 8790)); s.settimeout(5)\n"
            "try: print(s.recv(1))\nexcept ConnectionError: print(b'')\n"
        )
        assert session.run(Bubblewrap(), "", bridge=True, argv=["python3", "-c", client]) == 0
    assert session.said == "b''\n"


def test_review_has_no_pack_and_cannot_write(session: Session) -> None:
    """As root the checkout stays the host's, and belongs to nobody inside; git reads it all the same."""
    script = "git log --oneline | wc -l; touch new file .git/x 2>/dev/null || echo refused"
    assert session.run(Bubblewrap(), script, writable=False, work=None) == 0
    assert session.said == "1\nrefused\n"
    assert sorted(path.name for path in session.out.iterdir()) == ["exit.json"]


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.01)

"""A machine with two users that have a home of the factory each, made for a test and by root alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.app.deployment import Deployment, free_port
from factory.app.services import folder
from factory.config.host import host_path, load_host
from factory.process import service
from tests.integration.cli.person import PATH, Ran, project_in

HERE = Path(__file__).parent
FIRST_UID = 1_899_990_000
"""Those from here on belong to nobody: neither a person nor the range sandboxes take theirs from."""
SET_UP = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from factory.app.setup import Request, set_up
from factory.config.model import Mode
source, home, port, web = sys.argv[1:]
set_up(Request(source=source, home=Path(home), name="tally", mode=Mode.MERGE, forge_port=int(port), web_port=int(web),
               ci_command="true", poll_seconds=0.5), now=datetime.now(UTC), said=lambda line: None)
"""
"""`factory init`, with a poll that suits a test."""


@dataclass(frozen=True)
class User:
    """One of the machine's users."""

    name: str
    uid: int
    folder: Path
    passwd: Path

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def command(self, *words: str | Path) -> list[str]:
        return [sys.executable, str(HERE / "as_user.py"), str(self.passwd), str(self.uid), *map(str, words)]

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": PATH, "HOME": str(self.folder), "FACTORY_HOME": str(self.home), "LANG": "C.UTF-8",
                "PYTHONDONTWRITEBYTECODE": "1"}  # fmt: skip

    def python(self, *words: str | Path, code: int | None = 0, given: bytes = b"") -> Ran:
        done = subprocess.run(
            self.command(*words), env=self.environment, cwd=self.folder, input=given, capture_output=True, timeout=90,
            check=False,
        )  # fmt: skip
        ran = Ran(done.returncode, done.stdout.decode(), done.stderr.decode())
        assert code is None or ran.code == code, f"{self.name}: {words} ended with {ran.code}\n{ran.out}\n{ran.err}"
        assert "Traceback" not in ran.err, ran.err
        return ran

    def run(self, *words: str | Path, code: int | None = 0, given: bytes = b"") -> Ran:
        """``factory`` with these words, as this user. ``given``: on stdin, through a pipe."""
        return self.python("-m", "factory", *words, code=code, given=given)

    def pid(self, name: str) -> int | None:
        return service.status(name, folder(self.home / "state")).pid

    def findings(self) -> dict[str, dict[str, Any]]:
        """What doctor says, by name."""
        told = self.run("doctor", "--json", code=None).facts()["findings"]
        return {f"{one['area']}: {one['name']}": one for one in told}


@dataclass(frozen=True)
class Machine:
    """``daemon`` has set the project up; ``vault`` has an empty folder."""

    daemon: User
    vault: User
    ops: str = "founder/tally-ops"

    @property
    def folder(self) -> str:
        return self.ops.replace("/", ".")

    def split(self) -> str:
        """As docs/how-to/two-users.md says it; the number by which both sides name what moved."""
        parcel = self.daemon.run("vault", "move-out").out.encode()
        number = self.vault.run("vault", "move-in", given=parcel).out.strip()
        self.daemon.run("vault", "move-out", "--received", number)
        return number

    def attack(self, user: User, pids: list[int]) -> dict[str, bool]:
        """What a process of that user can do to the vault."""
        where = [self.vault.home, self.folder, *map(str, pids)]
        told = json.loads(user.python(HERE / "attacker.py", *where).out)
        assert told["uid"] == user.uid
        found: dict[str, bool] = told["found"]
        return found


@contextmanager
def machine() -> Iterator[Machine]:
    """Set up, with everything stopped; torn down with all that runs there."""
    root = Path(tempfile.mkdtemp(prefix="factory-users-"))
    root.chmod(0o755)
    passwd = root / "passwd"
    users = []
    first = FIRST_UID + os.getpid() % 4000 * 2
    for number, name in enumerate(("factory", "factory-vault")):
        place = root / name
        place.mkdir(mode=0o700)
        users.append(User(name, first + number, place, passwd))
    lines = [f"{user.name}:x:{user.uid}:{user.uid}::{user.folder}:/bin/false\n" for user in users]
    passwd.write_text(Path("/etc/passwd").read_text(encoding="utf-8") + "".join(lines), encoding="utf-8")
    project_in(users[0].folder / "hello")
    for user in users:
        for path in (user.folder, *user.folder.rglob("*")):
            os.chown(path, user.uid, user.uid)
    daemon, vault = users
    try:
        daemon.python("-c", SET_UP, daemon.folder / "hello", daemon.home, str(free_port()), str(free_port()))
        yield Machine(daemon, vault)
    finally:
        for user in reversed(users):
            if host_path(user.home).exists():
                user.run("down", code=None)
        shutil.rmtree(root, ignore_errors=True)


def deployment_of(user: User) -> Deployment:
    """Its configuration, read as root: nothing is written through it."""
    return Deployment(load_host(user.home))

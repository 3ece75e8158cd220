"""The dispatcher of one host: ``python -m factory.app.dispatcher --home HOME`` serves all its ops repos.

The only place that hands forge, sentinel, runner and keys to the vault's trusted part. It has an account of its own,
which may push the ledger and nothing else; several may run, on one host and on many.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tomllib
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from factory.app import projects, vault_running
from factory.app.beats import BeatFile, to_log
from factory.app.deployment import Deployment
from factory.app.places import sentinel_door, vault_folder, vault_home
from factory.app.vault_mirroring import sides
from factory.config.home import packaged, write_private
from factory.config.model import DEFAULT_ACCOUNTS
from factory.daemon.wake import Wake
from factory.errors import ConfigInvalid, FactoryError
from factory.forge.client import ForgejoClient
from factory.forge.values import RepoName
from factory.git.hardened import GitTrouble
from factory.vault.canonical import Refused
from factory.vault.chain import BRANCH, Chain
from factory.vault.dispatch import Dispatcher, Patience
from factory.vault.gather import Handed
from factory.vault.keys.hostkeys import HostKeys
from factory.vault.keys.letters import PullLetters
from factory.vault.keys.opening import Opener
from factory.vault.people.words import meaning
from factory.vault.run.broker import REQUEST_S
from factory.vault.run.runner import Runner
from factory.vault.watch import marks
from factory.vault.watch.asking import AskedSentinel
from factory.vault.watch.explained import Explained
from factory.vault.watch.forge_reads import ForgeReads
from factory.vault.watch.instance import Instance, enlist
from factory.vault.watch.loop import Loop, Post
from factory.vault.watch.mirroring import far_mark
from factory.vault.watch.pinned import Pinned
from factory.vault.watch.wake import awaiting, heard
from factory.vault.watch.wired import WiredGit

SERVICE = "dispatcher"
FORGE_S = 10.0
"""For one answer of the forge; a turn asks several things."""
FILE_BYTES = 1 << 30
"""No file of this process, or of a git that it runs, grows beyond that: a pack that is to fill the disk ends its fetch
(vault-security.md, attack 23). Runs have bounds of their own."""
POLL_S, LEAST_S, MOST_S = 30.0, 0.2, 300.0
MAX_CONFIG = 256 * 1024
PATIENCE = Patience(probe=REQUEST_S)
"""What a lost run sent last may be under way for so long after FENCED; before that a probe could miss it."""
END_S = 3.0
"""For runs in flight to end when the dispatcher is told to; what is cut off is found again by its lock."""


class Serving:
    """One ops repo with real adapters."""

    def __init__(
        self, deployment: Deployment, project: RepoName, ops: RepoName, instance: Instance, wake: Wake
    ) -> None:
        known = projects.load(deployment.state, project)
        if known is None:
            raise ConfigInvalid(f"serving {ops}: its set-up is not complete", hint="run the same `factory init` again")
        self._login = login = {**DEFAULT_ACCOUNTS, **known.accounts}["dispatcher"]
        self._id = known.ops_id
        self._deployment, self.project, self.ops, self._instance, self._wake = deployment, project, ops, instance, wake
        self._remote = deployment.remote(login, ops)
        self.folder = vault_folder(deployment.state, str(ops))
        self.client = ForgejoClient(deployment.host.forge_url, deployment.token(login), timeout_s=FORGE_S)
        self.git: WiredGit | None = None
        self.runner: Runner | None = None
        self._dispatcher: Dispatcher | None = None
        self.post = Post(str(ops), self.made, self.poll_seconds, self.why, self.kept)

    def made(self) -> Dispatcher:
        """The trusted part with all that it is given. Raises ConfigInvalid where the ledger has not begun, Unclear,
        Refused, GitTrouble, OSError."""
        state, mirror = self._deployment.state, self._instance.mirror(self.folder)
        if marks.heal(self.folder / marks.MARK, self._copy):
            to_log(f"{self.ops}: the state was restored from a backup; the newer mark of the ledger counts")
        self._remembered()
        sentinel = AskedSentinel(self.folder, sentinel_door(state), self.ops)
        reads = ForgeReads(self.client, self.ops, sentinel.writers)
        self.git = WiredGit(mirror, self._remote.url, self._remote.token, self.client, self.ops, reads.told)
        self.runner = self.runner or vault_running.make(
            self._deployment, self.project, self.ops, folder=self.folder, instance=self._instance.name,
            secret=Opener(state, mirror).secret, wake=self._wake.now, fence=self._instance.fence(self.folder),
        )  # fmt: skip
        me, now = self._instance.name, lambda: datetime.now(UTC)

        def chain() -> Chain:
            return made.chain

        around = (chain, self.folder, me, now)
        pinned = Pinned(reads, *around, self.client, self.ops, self._id, self._moved)
        forge = Explained(pinned, *around, self.git)
        keys = HostKeys(state, PullLetters(self.client, self.ops), lambda: made.ledger.keys)
        handed = Handed(self.git, forge, sentinel, self.runner, keys, packaged_formula)
        made = Dispatcher(handed, me, self.folder / marks.MARK, PATIENCE)
        if not pinned.refs(f"refs/heads/{BRANCH}"):
            raise ConfigInvalid(f"{self.ops} has no ledger yet, so nothing starts: run the same `factory init` again")
        self._dispatcher = made
        return made

    def _moved(self, ops: RepoName) -> None:
        """Git asks the ops repo under this name from now on."""
        if self.git is not None:
            self.git.url, self.git.ops = self._deployment.remote(self._login, ops).url, ops

    def _remembered(self) -> None:
        """Where this home is a restored one, or its cache is gone, the mark is all that knows what has started, and it
        may be an old one. The ledger's mirror, asked once, can only make it newer; away, it holds up nothing."""
        mirror = self._deployment.host.ledger_mirror
        if mirror is None or self._copy.exists():
            return
        try:
            told = far_mark(sides(self._deployment, self.ops, mirror))
            if told is not None:
                far = self.folder / marks.FAR
                write_private(far, told)
                if marks.heal(self.folder / marks.MARK, far):
                    to_log(f"{self.ops}: the mirror of the ledger has seen more than this home; its mark counts")
        except FactoryError as error:
            to_log(f"{self.ops}: the ledger's mirror was not asked: {error.message}")

    @property
    def _copy(self) -> Path:
        return mark_copy(self._deployment, self.folder)

    def kept(self) -> None:
        """After each turn. Raises OSError."""
        marks.keep(self.folder / marks.MARK, self._copy)

    def poll_seconds(self) -> float:
        """As the approved factory.toml says, within bounds."""
        if self._dispatcher is None or self.git is None or not self._dispatcher.ledger.trust:
            return POLL_S
        commit = self._dispatcher.ledger.trust[-1].evidence["commit"]
        try:
            (data,) = self.git.read([f"{commit}:factory.toml"], MAX_CONFIG)
            wanted: Any = tomllib.loads((data or b"").decode()).get("poll_seconds", POLL_S)
        except (GitTrouble, ValueError):
            return POLL_S
        number = isinstance(wanted, int | float) and not isinstance(wanted, bool)
        return min(MOST_S, max(LEAST_S, float(wanted))) if number else POLL_S

    def why(self, refused: Refused) -> str:
        """A refusal of the ledger itself, in a person's words."""
        means = meaning(refused.code)
        return f"{means.words}: {refused.words}. Nothing starts; {means.approver} (`factory vault audit`)"

    def close(self) -> None:
        if self.runner is not None:
            self.runner.close(END_S)
        self.client.close()


def mark_copy(deployment: Deployment, folder: Path) -> Path:
    """Where the copy of the high-water mark in an ops repo's ``folder`` is kept."""
    return deployment.host.cache / "vault" / f"{folder.name}.mark.json"


@cache
def packaged_formula(name: str) -> bytes | None:
    """Bytes of a packaged formula; None: there is none of that name."""
    return packaged("formulas").get(name)


def run_dispatcher(deployment: Deployment, beat_name: str = SERVICE) -> None:
    """Turn until SIGTERM or SIGINT. Raises ConfigInvalid, Conflict, UsageError where the vault is not of this home."""
    deployment.require_vault("starting a dispatcher")
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    soft = FILE_BYTES if hard == resource.RLIM_INFINITY else min(FILE_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    wake, beat = Wake(), BeatFile(deployment.state, beat_name)
    home = vault_home(deployment.state)
    pairs = deployment.projects()
    folders = [vault_folder(deployment.state, str(ops)) for _, ops in pairs]
    with ExitStack() as stack:
        instance = stack.enter_context(enlist(home, folders, deployment.host.host))
        ear = stack.enter_context(awaiting(instance.ear(home)))
        serving = []
        for project, ops in pairs:
            serving.append(Serving(deployment, project, ops, instance, wake))
            stack.callback(serving[-1].close)
        loop = Loop(
            posts=[one.post for one in serving], sleep=wake.sleep, stopped=lambda: wake.stop, ear=ear.fileno(),
            heard=lambda: heard(ear), beat=lambda: beat.write(_beat(loop, instance, serving)), said=to_log,
        )  # fmt: skip
        with wake.on_signals():
            loop.run()


def _beat(loop: Loop, instance: Instance, serving: Sequence[Serving]) -> dict[str, Any]:
    return {
        "instance": instance.name,
        "polls": sum(one.post.turns for one in serving),
        "requests": sum(one.client.requests for one in serving),
        "git": sum(one.git.commands for one in serving if one.git is not None),
        "appended": sum(one.git.appended for one in serving if one.git is not None),
        "trouble": loop.trouble,
    }


def main(argv: Sequence[str]) -> int:
    """The process. Returns its exit code."""
    parser = argparse.ArgumentParser(prog="factory.app.dispatcher")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--beat", default=SERVICE, help="name of its beat file, for one that runs beside the service")
    given = parser.parse_args(argv)
    try:
        run_dispatcher(Deployment.open(given.home), given.beat)
    except FactoryError as error:
        to_log(f"{error.message}" + (f"\n  hint: {error.hint}" if error.hint else ""))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

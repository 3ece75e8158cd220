"""Where the vault has a home of its own: what runs there in the daemon's place. It keeps sentinel and dispatcher
running and the ledger's mirror up to date, and decides nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext, suppress

from factory.app.beats import BeatFile, to_log
from factory.app.deployment import Deployment
from factory.app.opsrepo import mirror
from factory.app.places import vault_folder
from factory.app.services import KEEPER, VaultProcesses, folder, running, stop
from factory.app.vault_mirroring import Mirroring
from factory.config.host import load_host
from factory.daemon.wake import Wake
from factory.errors import ConfigInvalid, FactoryError, UsageError
from factory.git import objects
from factory.process.lock import try_hold
from factory.process.service import registered
from factory.vault.watch import marks

LOOK_S = 2.0
"""Between two looks whether all runs: a few small files are read for it."""
BEAT_S, AGAIN_S = 60.0, 30.0
"""Between two beats of which the second says nothing new; until an ops repo is fetched again for the mirror."""


def run_keeper(
    deployment: Deployment, *, say: Callable[[str], None] | None = None, stop_all: bool = False
) -> None:
    """Turn until SIGTERM, SIGINT or SIGHUP; ``stop_all``: then stop the vault's processes, whatever ended it.

    Raises UsageError when it runs in this home already."""
    lock = try_hold(deployment.state / "daemon.lock")
    if lock is None:
        raise UsageError(f"starting the vault in {deployment.home}: it runs already", hint="factory status")
    wake = Wake()

    def said(line: str) -> None:
        with suppress(OSError):  # a full disk or a closed terminal is no reason to stop
            (say or to_log)(line)

    keeper = Keeper(deployment, said)
    place = folder(deployment.state)
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    known = nullcontext() if stop_all else registered(KEEPER, place)
    with lock, known, wake.on_signals():
        try:
            while not wake.stop:
                keeper.turn()
                wake.sleep(LOOK_S)
        finally:
            if stop_all:
                stop(deployment)


class Keeper:
    """One look after the other."""

    def __init__(self, deployment: Deployment, said: Callable[[str], None]) -> None:
        self._deployment, self._said = deployment, said
        self._vault, self._mirrors = VaultProcesses(deployment, said), Mirroring(deployment, said)
        self._beat = BeatFile(deployment.state, KEEPER)
        self._looks, self._trouble, self._beaten, self._again = 0, "", 0.0, 0.0

    def turn(self) -> None:
        """Have all running that is to."""
        trouble = ""
        try:
            self._deployment.host = load_host(self._deployment.home)
        except ConfigInvalid as error:
            trouble = f"{error.message}; the last good host.toml stays in force"
        alive = {service.name for service in running(self._deployment) if service.pid is not None}
        self._vault.keep(alive)
        trouble = self._copies() or trouble
        self._looks += 1
        news = trouble != self._trouble or self._looks == 1
        if trouble and trouble != self._trouble:
            self._said(f"problem: {trouble}")
        self._trouble = trouble
        if news or time.monotonic() - self._beaten > BEAT_S:
            self._beaten = time.monotonic()
            self._beat.write({"polls": self._looks, "trouble": trouble})

    def _copies(self) -> str:
        """The mirror takes what this home's copy of an ops repo holds, which nobody else fetches here. Says what is in
        the way."""
        if self._deployment.host.ledger_mirror is None:
            return ""
        if time.monotonic() < self._again:
            return self._trouble
        trouble = ""
        for _, ops in self._deployment.projects():
            tip = marks.tip(vault_folder(self._deployment.state, str(ops)) / marks.MARK)
            try:
                copy = mirror(self._deployment, ops)
                if tip and not objects.exists(copy, tip):
                    mirror(self._deployment, ops, refresh=True)
            except FactoryError as error:
                trouble, self._again = error.message, time.monotonic() + AGAIN_S
        self._mirrors.keep()
        return trouble

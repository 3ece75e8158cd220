"""All registered runs of this gateway, and where their files are."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from factory.gateway.account import RUN_NAME, Account
from factory.gateway.values import GatewayRefused, RunGrant, RunUsage

KEEP_REVOKED_S = 30 * 86_400
"""How long a finished run's usage and transcript stay, in seconds."""


class Runs:
    """Live accounts by run. A revoked run leaves memory; its usage stays readable from its folder."""

    def __init__(self, home: Path, now: Callable[[], datetime]) -> None:
        self.home = home
        self._now = now
        self.live: dict[str, Account] = {}
        for folder in (home, home / "runs", home / "transcripts"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._calls = os.open(home / "calls", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def restore(self) -> None:
        """Takes up every run that was live when the last gateway ended; forgets long finished ones."""
        for folder in sorted((self.home / "runs").iterdir()):
            try:
                account = Account.load(folder, self._now)
            except (OSError, ValueError, KeyError, TypeError) as error:
                # A registration cut by a crash has no grant yet; its session never got a token.
                print(f"gateway: run {folder.name} not taken up: {error}", file=sys.stderr)  # noqa: T201
                continue
            if not account.revoked:
                self.live[account.grant.run] = account
            elif time.time() - folder.stat().st_mtime > KEEP_REVOKED_S:
                shutil.rmtree(folder)
                self.transcript(folder.name).unlink(missing_ok=True)

    def register(self, grant: RunGrant) -> tuple[Account, str]:
        """The run's account and its new token. Raises ``GatewayRefused`` for a name unfit for a file."""
        if not RUN_NAME.match(grant.run):
            raise GatewayRefused(f"registering run {grant.run!r}: not a run id")
        account = self.live.get(grant.run)
        if account is not None:
            return account, account.regrant(grant)
        account, token = Account.open(self._folder(grant.run), grant, self._now)
        self.live[grant.run] = account
        return account, token

    def get(self, run: str) -> Account:
        """The live account of ``run``. Raises ``GatewayRefused``."""
        if (account := self.live.get(run)) is None:
            raise GatewayRefused(f"run {run!r} is not registered with the gateway")
        return account

    def revoke(self, run: str) -> None:
        """Ends the run's right to ask. A run that is unknown or ended already stays so."""
        if (account := self.live.pop(run, None)) is not None:
            account.revoke()

    def past(self, run: str) -> Account:
        """The account of a live or finished run. Raises ``GatewayRefused`` when there is none."""
        if run in self.live:
            return self.live[run]
        try:
            if RUN_NAME.match(run):
                return Account.load(self._folder(run), self._now)
        except (OSError, ValueError, KeyError, TypeError):
            pass  # said below, in one way for all of them
        raise GatewayRefused(f"run {run!r} is not known to the gateway")

    def usage(self, run: str) -> RunUsage:
        return self.past(run).usage()

    def count_call(self) -> None:
        """One byte per model call ever made: a count that survives anything that leaves the file."""
        os.write(self._calls, b".")

    @property
    def calls(self) -> int:
        return os.fstat(self._calls).st_size

    def transcript(self, run: str) -> Path:
        return self.home / "transcripts" / f"{run}.jsonl"

    def close(self) -> None:
        os.close(self._calls)

    def _folder(self, run: str) -> Path:
        return self.home / "runs" / run

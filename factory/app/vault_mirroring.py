"""The ledger's mirror as this host looks at it: one look, what the last one found, and copying beside the daemon's
ticks."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any

from factory.app.deployment import Deployment
from factory.app.places import mirror_path, vault_folder
from factory.app.projects import account
from factory.config.model import LedgerMirror
from factory.errors import ConfigInvalid, FactoryError
from factory.forge.values import RepoName
from factory.git import objects
from factory.git.transport import Remote
from factory.vault.watch import marks, mirroring
from factory.vault.watch.mirroring import Look, Sides, branch_of

DAY = timedelta(days=1)
"""A mirror is compared at least so often, also when nothing changes."""
RETRY_S, RETRY_MAX_S = 60.0, 3600.0


def sides(deployment: Deployment, ops: RepoName, mirror: LedgerMirror) -> Sides:
    """The three that are compared. Raises ConfigInvalid where the token's file cannot be read, UsageError."""
    forge = deployment.remote(account(deployment.state, ops, "dispatcher"), ops)
    copy, scratch = mirror_path(deployment.home, str(ops)), deployment.host.cache / "scratch"
    return Sides(copy, forge, remote_of(mirror), branch_of(str(ops)), scratch)


def remote_of(mirror: LedgerMirror) -> Remote:
    """The mirror over git. Raises ConfigInvalid, UsageError."""
    if mirror.token_file is None:
        return Remote(mirror.url, mirror.login)
    try:
        token = mirror.token_file.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        doing = f"reading the token for the ledger's mirror from {mirror.token_file}"
        why = error.strerror if isinstance(error, OSError) else "it is no token"
        raise ConfigInvalid(f"{doing}: {why}", hint="factory vault mirror set URL --token-file FILE") from None
    return Remote(mirror.url, mirror.login or "token", token)


def looked(deployment: Deployment, ops: RepoName, mirror: LedgerMirror, now: datetime, *, copy: bool = True) -> Look:
    """Compare, and copy before that, as far as a dispatcher of this host has read the ledger. What goes wrong is in
    what it returns, never raised."""
    tip = marks.tip(vault_folder(deployment.state, str(ops)) / marks.MARK)
    try:
        compared = mirroring.look(sides(deployment, ops, mirror), tip if copy else "")
    except FactoryError as error:
        return Look(mirror.url, now, tip, trouble=error.message)
    return Look(mirror.url, now, tip, compared)


def look_at(deployment: Deployment, ops: RepoName, mirror: LedgerMirror, now: datetime) -> Look:
    """Copy and compare, and keep what was found. Raises OSError."""
    found = looked(deployment, ops, mirror, now)
    mirroring.write(vault_folder(deployment.state, str(ops)), found)
    return found


def facts_of(ops: RepoName, found: Look) -> dict[str, Any]:
    """A look as a command tells it."""
    compared, alarm, hint = found.compared, found.trouble, None
    if compared is not None:
        alarm, hint = compared.alarm, compared.hint
    elif alarm:
        hint = "is that machine up, and may this user log in there? factory vault mirror check"
    return {
        "ops": str(ops), "url": found.url, "at": found.at.isoformat(), "branch": branch_of(str(ops)),
        "standing": compared.standing.value if compared else None, "ledger": compared.ledger if compared else None,
        "mirror": compared.mirror if compared else None, "lacks": compared.lacks if compared else None,
        "more": compared.more if compared else None, "alarm": alarm, "hint": hint,
    }  # fmt: skip


def last_look(deployment: Deployment, ops: RepoName, now: datetime) -> dict[str, Any] | None:
    """What the daemon found last, without asking anybody; None where no mirror is set."""
    mirror = deployment.host.ledger_mirror
    if mirror is None:
        return None
    found = mirroring.read(vault_folder(deployment.state, str(ops)))
    if found is None or found.url != mirror.url:
        return facts_of(ops, Look(mirror.url, now, "", trouble="nobody has looked at it yet"))
    facts = facts_of(ops, found)
    if not facts["alarm"] and now - found.at > 2 * DAY:
        words = f"nobody has looked at it since {found.at:%Y-%m-%d %H:%M} UTC"
        facts |= {"alarm": words, "hint": "factory up --detach"}
    return facts


# ---- beside the daemon's ticks ---------------------------------------------------------------------------------------


@dataclass
class Mirroring:
    """Copies in a thread of its own, so that a mirror that does not answer holds up nothing: once for each growth of a
    ledger, at least once a day; otherwise it costs a look at one file. What is wrong is said once, and again when it
    is over."""

    deployment: Deployment
    said: Callable[[str], None]
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    clock: Callable[[], float] = time.monotonic
    _thread: Thread | None = None
    _looks: dict[RepoName, Look | None] = field(default_factory=dict)
    _failed: dict[RepoName, tuple[int, float]] = field(default_factory=dict)
    """How often in a row, and when the next try is due."""
    _told: dict[RepoName, str] = field(default_factory=dict)

    def keep(self) -> None:
        """Begin what is due. Never waits."""
        mirror = self.deployment.host.ledger_mirror if self.deployment.host.has_vault else None
        if mirror is None or (self._thread is not None and self._thread.is_alive()):
            return
        due = [ops for _, ops in self.deployment.projects() if self._due(ops, mirror)]
        if due:
            self._thread = Thread(target=self._copy, args=(due, mirror), name="ledger mirror", daemon=True)
            self._thread.start()

    def settled(self, timeout_s: float) -> bool:
        """Wait for what is under way; whether it came to its end."""
        if self._thread is not None:
            self._thread.join(timeout_s)
        return self._thread is None or not self._thread.is_alive()

    def _due(self, ops: RepoName, mirror: LedgerMirror) -> bool:
        if self.clock() < self._failed.get(ops, (0, 0.0))[1]:
            return False
        folder = vault_folder(self.deployment.state, str(ops))
        if ops not in self._looks:
            self._looks[ops] = mirroring.read(folder)
        last = self._looks[ops]
        if last is None or last.url != mirror.url or last.trouble or self.now() - last.at >= DAY:
            return True
        tip, copy = marks.tip(folder / marks.MARK), mirror_path(self.deployment.home, str(ops))
        # One that this host's copy does not hold yet comes with the tick that fetches it.
        return tip not in ("", last.seen) and objects.is_repo(copy) and objects.exists(copy, tip)

    def _copy(self, due: Sequence[RepoName], mirror: LedgerMirror) -> None:
        for ops in due:
            try:
                found = look_at(self.deployment, ops, mirror, self.now())
                trouble = found.trouble
                said = trouble or (found.compared.alarm if found.compared else "")
            except OSError as error:
                found, trouble = None, f"{error.strerror or error}: {error.filename or ''}"
                said = trouble
            except Exception:
                # A bug here must not end what shares the process; it is told in full, and tried again.
                self.said(traceback.format_exc())
                found, trouble = None, "a bug while it was looked at; it is in the daemon's log"
                said = trouble
            self._looks[ops] = found
            times = self._failed.get(ops, (0, 0.0))[0] + 1 if trouble else 0
            wait = min(RETRY_MAX_S, RETRY_S * 2 ** min(times - 1, 10)) if times else 0.0
            self._failed[ops] = (times, self.clock() + wait if times else 0.0)
            if said != self._told.get(ops, ""):
                self._told[ops] = said
                self.said(f"ledger mirror of {ops}: {said}" if said else f"ledger mirror of {ops}: all is well again")

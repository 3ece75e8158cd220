"""One dispatcher process among several: its name on the ledger, the proof that it lives, its own copy of the repo.

Several may run on one host. What keeps them from doing a thing twice is the ledger alone; this is so that they do not
stand in each other's way, and that it can be proved of one that it is dead: its lock is free.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from factory.errors import Conflict
from factory.process.lock import Held, is_held, try_hold

MOST = 32
"""Dispatchers of one host."""
_HEX = 16


@dataclass
class Instance:
    """Leaving it as a context gives its locks up, as its end does."""

    name: str
    """``<host>/<hex>``, as the ledger says who wrote an entry."""
    slot: int
    held: list[Held] = field(default_factory=list)

    def mirror(self, folder: Path) -> Path:
        """This instance's bare copy of the ops repo. One whose writer was killed in the middle is begun anew."""
        _clear(self.fence(folder).with_suffix(".git"))
        return _clear(folder / ("repo.git" if self.slot == 0 else f"repo-{self.slot}.git"))

    def fence(self, folder: Path) -> Path:
        """Without an ending: this instance's second copy of the ledger, which its runs' credentials are checked on."""
        return folder / ("fence" if self.slot == 0 else f"fence-{self.slot}")

    def ear(self, home: Path) -> Path:
        """Where it can be woken."""
        return home / ("wake.sock" if self.slot == 0 else f"wake-{self.slot}.sock")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for held in self.held:
            held.release()
            if held.path.parent.name == "locks":
                held.path.unlink(missing_ok=True)


def enlist(home: Path, folders: Iterable[Path], host: str) -> Instance:
    """A new instance: ``home`` is the host's vault folder, ``folders`` those of its ops repos.

    Raises Conflict when too many run.
    """
    with ExitStack() as stack:
        slot = next((n for n in range(MOST) if (held := try_hold(home / "slots" / f"{n}.lock")) is not None), None)
        if slot is None or held is None:
            raise Conflict(f"starting a dispatcher: {MOST} of this host run already")
        stack.enter_context(held)
        taken, name = [held], secrets.token_hex(_HEX // 2)
        for folder in folders:
            sweep(folder / "locks")
            lock = try_hold(lock_of(folder, name))
            assert lock is not None, "nobody else has this random name"
            taken.append(stack.enter_context(lock))
        stack.pop_all()
        return Instance(f"{host}/{name}", slot, taken)


def _clear(mirror: Path) -> Path:
    if mirror.is_dir() and any(mirror.rglob("*.lock")):
        # Whatever still writes there keeps its own folder; all that is in it comes again from the forge.
        gone = mirror.with_name(f"{mirror.name}.left-{secrets.token_hex(4)}")
        mirror.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
    return mirror


def lock_of(folder: Path, instance: str) -> Path:
    """The lock that an instance holds while it lives; ``instance`` is the part of its name after the slash."""
    return folder / "locks" / f"{instance}.lock"


def sweep(locks: Path) -> None:
    """Remove what instances left that are dead. Without its file an instance counts as dead as well."""
    for path in locks.glob("*.lock"):
        if len(path.stem) == _HEX and not is_held(path):
            path.unlink(missing_ok=True)

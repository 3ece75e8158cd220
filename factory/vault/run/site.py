"""``publish_site``: a folder of the project put in a site's place by one rename, the last versions kept beside it.

The place is a symbolic link; whoever reads the site sees the old version or the new one, never something in between.
Ours is everything in ``<place>.versions``.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from factory.config.home import write_private
from factory.process.lock import hold
from factory.vault.canonical import stamp
from factory.vault.run.tools import EffectFailed, Work

KEEP = 3
MOST_KEPT = 100
LOCK_S = 60.0


@dataclass(frozen=True)
class _Site:
    place: Path
    keep: int

    @property
    def versions(self) -> Path:
        return self.place.with_name(f"{self.place.name}.versions")

    def current(self) -> str:
        """Name of the version that is shown; empty for none. Raises EffectFailed for what is not ours."""
        if not os.path.lexists(self.place):
            return ""
        if not self.place.is_symlink():
            raise EffectFailed(f"{self.place} is there and no link of ours: move it away first")
        target = self.place.readlink()
        if target.parent != Path(self.versions.name):
            raise EffectFailed(f"{self.place} leads to {target}, which is not ours")
        return target.name


class PublishSite:
    """Convergent: the same commit gives the same place, however often."""

    def do(self, work: Work) -> Mapping[str, object]:
        site, version = _site(work), _version(work)
        if work.tree is None:
            raise EffectFailed("the commit's files were not written")
        with hold(site.versions.with_suffix(".lock"), timeout_s=LOCK_S):
            before = site.current()
            if before != version:
                self._switch(work, site, version, before)
        return {"place": work.text("place"), "commit": work.text("commit"), "version": version,
                "changed": before != version, **({"previous": before} if before else {})}  # fmt: skip

    def done(self, work: Work) -> bool:
        return _site(work).current() == _version(work)

    def _switch(self, work: Work, site: _Site, version: str, before: str) -> None:
        assert work.tree is not None
        where = f"{work.text('place')} ({site.place})"
        work.gate.still()
        site.versions.mkdir(mode=0o755, exist_ok=True)
        for left in site.versions.glob(".new-*"):
            shutil.rmtree(left)  # nobody else is at it: we hold the lock
        target, fresh = site.versions / version, site.versions / f".new-{work.order.run}"
        if not target.is_dir():
            shutil.copytree(work.tree, fresh, symlinks=True)
            _synced(fresh)
            fresh.rename(target)
        note = {"id": work.order.id, "key": work.order.idem_key, "commit": work.text("commit"),
                "at": stamp(work.tools.clock())}  # fmt: skip
        write_private(site.versions / f"{version}.json", json.dumps(note).encode())
        if site.current() != before:
            raise EffectFailed(f"{where} was switched by somebody else meanwhile")
        work.gate.change(f"switch {where} to {version}")
        link = site.place.with_name(f".{site.place.name}-{work.order.run}")
        link.symlink_to(Path(site.versions.name, version))
        link.replace(site.place)
        _synced(site.place.parent)
        work.say(f"{where}: {before or 'nothing'} -> {version}")
        self._prune(work, site, version)

    @staticmethod
    def _prune(work: Work, site: _Site, version: str) -> None:
        rows = sorted((path.stat().st_mtime_ns, path.stem) for path in site.versions.glob("*.json"))
        for _, name in rows[: -site.keep]:
            if name not in (version, site.current()):
                shutil.rmtree(site.versions / name, ignore_errors=True)
                (site.versions / f"{name}.json").unlink(missing_ok=True)
                work.say(f"removed {name}")


def _site(work: Work) -> _Site:
    place = work.place(work.text("place"))
    path, keep = place.get("path"), place.get("keep", KEEP)
    good = isinstance(path, str) and path.startswith("/") and os.path.normpath(path) == path and Path(path).name
    if not good or not isinstance(keep, int) or isinstance(keep, bool) or not 1 <= keep <= MOST_KEPT:
        raise EffectFailed(f"the policy's place {work.text('place')} needs an absolute path, and keep 1 to {MOST_KEPT}")
    site = _Site(Path(str(path)), keep)
    if not site.place.parent.is_dir():
        raise EffectFailed(f"{site.place.parent} is no folder of this host")
    return site


def _version(work: Work) -> str:
    """Of a commit and folder: the key of the action takes part, so that two actions never share one."""
    return f"{work.text('commit')[:12]}-{work.order.idem_key[:12]}"


def _synced(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

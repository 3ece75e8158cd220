"""``promote_file``: a file of staging, of exactly the digest that was approved, becomes production's by one rename."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from factory.vault.run.tools import EffectFailed, Work

MOST_BYTES = 8 << 30
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_CHUNK = 1 << 20


class PromoteFile:
    """Convergent. A place of images is the sandbox's affair: then there is nothing to do here."""

    def do(self, work: Work) -> Mapping[str, object]:
        if work.place(work.text("place")).get("kind") == "image":
            return {}
        staging, production, name, digest = _named(work)
        changed = _digest(production / name) != digest
        if changed:
            self._copy(work, staging / name, production / name, digest)
        return {"place": work.text("place"), "name": name, "digest": digest, "changed": changed}

    def done(self, work: Work) -> bool:
        if work.place(work.text("place")).get("kind") == "image":
            raise EffectFailed("an image's registry is only asked from the sandbox")
        _, production, name, digest = _named(work)
        return _digest(production / name) == digest

    @staticmethod
    def _copy(work: Work, source: Path, target: Path, digest: str) -> None:
        fresh = target.with_name(f".{target.name}-{work.order.run}")
        found = hashlib.sha256()
        work.gate.still()
        try:
            with _opened(source) as reader, fresh.open("xb") as writer:
                while piece := reader.read(_CHUNK):
                    found.update(piece)
                    writer.write(piece)
                writer.flush()
                os.fchmod(writer.fileno(), 0o644)
                os.fsync(writer.fileno())
            if f"sha256:{found.hexdigest()}" != digest:
                raise EffectFailed(f"{source} is sha256:{found.hexdigest()}, approved was {digest}")
            work.gate.change(f"rename to {target}")
            fresh.replace(target)
        finally:
            fresh.unlink(missing_ok=True)
        work.say(f"{target}: {digest}")


def _named(work: Work) -> tuple[Path, Path, str, str]:
    place, name, digest = work.place(work.text("place")), work.text("name"), work.text("digest")
    folders = [place.get(key) for key in ("from", "to")]
    absolute = all(isinstance(one, str) and one.startswith("/") and Path(one).is_dir() for one in folders)
    if place.get("kind") != "files" or not absolute:
        raise EffectFailed(f"the policy's place {work.text('place')} needs kind, and folders here as from and to")
    if not _DIGEST.fullmatch(digest) or "/" in name or name.startswith("."):
        raise EffectFailed("the digest must be sha256: and 64 hex digits, the name that of a file")
    return Path(str(folders[0])), Path(str(folders[1])), name, digest


def _opened(path: Path) -> BinaryIO:
    """A plain file, never what a link leads to. Raises EffectFailed."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise EffectFailed(f"opening {path}: {error.strerror}") from None
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_size > MOST_BYTES:
        os.close(fd)
        raise EffectFailed(f"{path} is no file of at most {MOST_BYTES} bytes")
    return open(fd, "rb")


def _digest(path: Path) -> str:
    """Of the file there now; empty where there is none."""
    if not os.path.lexists(path):
        return ""
    with _opened(path) as source:
        found = hashlib.sha256()
        while piece := source.read(_CHUNK):
            found.update(piece)
        return f"sha256:{found.hexdigest()}"

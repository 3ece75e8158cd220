"""Packaged files and their overrides: a file of the same path in the ops repo replaces the packaged one, whole.

The override carries ``overrides = "<sha256 of the packaged file>"``, so that an upgrade which changes the packaged
file is noticed (reference/security-rules.md, "Separation").
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from factory.config.home import packaged
from factory.config.source import read
from factory.errors import Problem


@dataclass(frozen=True)
class Found:
    """One file that is in force for its name."""

    name: str
    path: str
    origin: str
    """``packaged``, ``ops`` or ``ops (shadows packaged)``."""
    text: bytes
    note: Problem | None = None
    """What is odd about the override, though it stands."""

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text).hexdigest()


def lookup(
    kind: str, ops: Mapping[str, bytes], shipped: Mapping[str, bytes] | None = None
) -> tuple[tuple[Found, ...], tuple[Problem, ...]]:
    """Every file of ``kind`` (``formulas``, ``agents``): the ops repo's first, else the packaged one; by name.

    ``ops``: path -> content of the ops repo, other paths are ignored. ``shipped``: name -> content of packaged ones.
    The problems are files in that folder that nothing reads.
    """
    ours = packaged(kind) if shipped is None else shipped
    found = {name: Found(name, f"{kind}/{name}.toml", "packaged", text) for name, text in ours.items()}
    stray = []
    for path, text in sorted(ops.items()):
        folder, _, file = path.rpartition("/")
        if folder != kind and not folder.startswith(f"{kind}/"):
            continue
        if folder != kind or not file.endswith(".toml"):
            if file not in ("README.md", ".gitkeep") and not file.endswith(".schema.json"):
                stray.append(Problem(path, 1, "nothing reads this file", f"{kind} are files {kind}/<name>.toml"))
            continue
        name = file.removesuffix(".toml")
        origin = "ops (shadows packaged)" if name in ours else "ops"
        found[name] = Found(name, path, origin, text, _note(path, text, ours.get(name)))
    return tuple(found[name] for name in sorted(found)), tuple(stray)


def _note(path: str, text: bytes, original: bytes | None) -> Problem | None:
    document = read(text, path)
    if document.data is None:
        return None  # whoever reads the file as what it is says so
    said, line = document.data.get("overrides"), document.lines.of(("overrides",))
    if original is None:
        if said is None:
            return None
        return Problem(path, line, "overrides names a packaged file, but none has this name", "take the line out")
    digest = hashlib.sha256(original).hexdigest()
    if said is None:
        message = "replaces the packaged file without saying which version of it"
        return Problem(path, 1, message, f'add overrides = "{digest}" at the top')
    if said != digest:
        message = "was written to replace another version of the packaged file than the one installed now"
        hint = f'compare them (`factory formula show --packaged NAME` prints it), then set overrides = "{digest}"'
        return Problem(path, line, message, hint.replace("NAME", path.rpartition("/")[2].removesuffix(".toml")))
    return None

"""Programs that run in a sandbox, as one file that any Python 3.11 or later executes."""

from __future__ import annotations

import hashlib
import importlib.util
import marshal
import os
import tempfile
import zipfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import CodeType

INSIDE = Path(__file__).with_name("inside")
"""Sources that every one of them holds."""
_EPOCH = (1980, 1, 1, 0, 0, 0)


def build(cache: Path, main: str, folders: Mapping[str, Path], *, name: str = "inside") -> Path:
    """The .pyz below ``cache``, made if it is not there; its name is the digest of what it holds.

    ``main`` is the module whose ``main`` it runs; ``folders``: dotted package -> folder of its sources. The same
    content gives the same bytes, and two builders at once do not disturb each other.
    """
    sources = {"factory.sandbox.inside": INSIDE, **folders}
    members, digest = _compiled(main, tuple(sources.items()), tuple(map(_stamps, sources.values())))
    path = cache / f"{name}-{digest}.pyz"
    if path.is_file():
        return path
    cache.mkdir(parents=True, exist_ok=True)
    fd, temporary = tempfile.mkstemp(dir=cache, prefix=f".{name}-")
    try:
        with open(fd, "wb") as sink, zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
            for member, data in members:
                entry = zipfile.ZipInfo(member, _EPOCH)
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, data)
        os.chmod(temporary, 0o644)  # noqa: PTH101
        os.replace(temporary, path)  # noqa: PTH105
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def _stamps(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Which sources there are and when they were written."""
    return tuple((path.name, found.st_mtime_ns, found.st_size) for path in sorted(folder.glob("*.py"))
                 for found in (path.stat(),))  # fmt: skip


@lru_cache(maxsize=8)
def _compiled(
    main: str, folders: tuple[tuple[str, Path], ...], stamps: tuple[object, ...]
) -> tuple[list[tuple[str, bytes]], str]:
    """The members and their digest. Compiling takes longer than all else of a start; ``stamps`` has it done anew only
    for sources that changed."""
    members = _members(main, dict(folders))
    digest = hashlib.sha256()
    for member, data in members:
        digest.update(f"{member}\0{len(data)}\0".encode() + data)
    return members, digest.hexdigest()[:24]


def _members(main: str, folders: Mapping[str, Path]) -> list[tuple[str, bytes]]:
    """Names and contents in a fixed order: sources, and bytecode so that a start need not compile."""
    texts = {"__main__.py": f"import sys\nfrom {main} import main\nsys.exit(main())\n".encode()}
    for package, folder in folders.items():
        parts = package.split(".")
        for count in range(1, len(parts)):
            texts["/".join(parts[:count]) + "/__init__.py"] = b""
        for path in sorted(folder.glob("*.py")):
            texts["/".join((*parts, path.name))] = path.read_bytes()
    members = dict(texts)
    for name, text in texts.items():
        code = compile(text, name, "exec", dont_inherit=True, optimize=0)
        members[f"{name}c"] = _bytecode(code)
    return sorted(members.items())


def _bytecode(code: CodeType) -> bytes:
    """A .pyc that is not compared with its source (PEP 552); another Python's magic number makes it ignore the file."""
    return importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + b"\0" * 8 + marshal.dumps(code)

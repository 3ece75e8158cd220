"""Building ``inside.pyz``: the part that runs in the sandbox, as one file that any Python 3.11 or later executes."""

from __future__ import annotations

import hashlib
import importlib.util
import marshal
import os
import tempfile
import zipfile
from pathlib import Path
from types import CodeType

_INSIDE = Path(__file__).with_name("inside")
_PACKAGE = "factory/session/inside"
_STUBS = ("factory/__init__.py", "factory/session/__init__.py")
_MAIN = b"import sys\nfrom factory.session.inside.__main__ import main\nsys.exit(main())\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def build(cache: Path, *, source: Path = _INSIDE) -> Path:
    """The .pyz below ``cache``, made if it is not there; its name is the digest of what it holds.

    The same content gives the same bytes, and two builders at once do not disturb each other.
    """
    members = _members(source)
    digest = hashlib.sha256()
    for name, data in members:
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    path = cache / f"inside-{digest.hexdigest()[:24]}.pyz"
    if path.is_file():
        return path
    cache.mkdir(parents=True, exist_ok=True)
    fd, temporary = tempfile.mkstemp(dir=cache, prefix=".inside-")
    try:
        with open(fd, "wb") as sink, zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
            for name, data in members:
                entry = zipfile.ZipInfo(name, _EPOCH)
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, data)
        os.chmod(temporary, 0o644)  # noqa: PTH101
        os.replace(temporary, path)  # noqa: PTH105
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def _members(source: Path) -> list[tuple[str, bytes]]:
    """Names and contents in a fixed order: sources, and bytecode so that a start need not compile."""
    texts = {"__main__.py": _MAIN, **dict.fromkeys(_STUBS, b"")}
    for path in sorted(source.glob("*.py")):
        texts[f"{_PACKAGE}/{path.name}"] = path.read_bytes()
    members = dict(texts)
    for name, text in texts.items():
        code = compile(text, name, "exec", dont_inherit=True, optimize=0)
        members[f"{name}c"] = _bytecode(code)
    return sorted(members.items())


def _bytecode(code: CodeType) -> bytes:
    """A .pyc that is not compared with its source (PEP 552); another Python's magic number makes it ignore the file."""
    return importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + b"\0" * 8 + marshal.dumps(code)

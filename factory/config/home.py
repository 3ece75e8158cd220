"""Where a host keeps things: ``$FACTORY_HOME``, private and fsynced writes, and the data files the package ships."""

from __future__ import annotations

import os
import secrets
from importlib.resources import files
from pathlib import Path

from factory.errors import ConfigInvalid


def factory_home() -> Path:
    """``$FACTORY_HOME``, else ``factory`` in the user's data directory. Not created, see :func:`create_home`."""
    chosen = os.environ.get("FACTORY_HOME")
    if chosen:
        return Path(chosen).expanduser().absolute()
    # The XDG rule: a relative XDG_DATA_HOME is invalid and ignored.
    data = os.environ.get("XDG_DATA_HOME", "")
    base = Path(data) if data.startswith("/") else Path("~/.local/share").expanduser()
    return (base / "factory").absolute()


def create_home(home: Path) -> None:
    """Make the home with ``state/`` and ``cache/``, readable by its owner only.

    Raises ConfigInvalid when it cannot be made, or belongs to another user (who could then read or swap our keys).
    """
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        for folder in (home, home / "state", home / "cache"):
            folder.mkdir(mode=0o700, exist_ok=True)
            made = folder.stat()
            if made.st_uid != os.getuid():
                raise ConfigInvalid(
                    f"preparing {folder}: it belongs to user id {made.st_uid}, not to {os.getuid()}",
                    hint="set FACTORY_HOME to a folder of your own, or run as that user",
                )
            if made.st_mode & 0o077:
                folder.chmod(0o700)
    except OSError as error:
        raise ConfigInvalid(
            f"preparing {home}: {error.strerror or error}", hint="set FACTORY_HOME to a folder you may write"
        ) from error


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, whole or not at all, and still there after a power cut.

    Missing folders are made 0700. Raises OSError.
    """
    missing = []
    folder = path.parent
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    entries = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(entries)
    finally:
        os.close(entries)


def data_dir(name: str) -> Path:
    """The packaged ``formulas``, ``agents``, ``vault`` or ``generators``: in the wheel, else in the checkout.

    Never anywhere else (an editable install leaves a stale copy in site-packages, which nothing may read).
    Raises ConfigInvalid when the installation lacks it.
    """
    package = Path(str(files("factory")))
    shipped = package / "_data"
    found = (shipped if shipped.is_dir() else package.parent) / name
    if not found.is_dir():
        hint = "reinstall ops-factory; this installation is incomplete"
        raise ConfigInvalid(f"reading the packaged {name}: {found} is not there", hint=hint)
    return found


def packaged(name: str) -> dict[str, bytes]:
    """All packaged TOML files of one data directory: ``<stem>`` -> bytes."""
    return {file.stem: file.read_bytes() for file in sorted(data_dir(name).glob("*.toml"))}

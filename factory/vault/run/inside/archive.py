"""``vault-archive``: the commit's tree as a .tar.gz, the same bytes for the same tree, name and time."""

from __future__ import annotations

import gzip
import os
import stat
import tarfile
from collections.abc import Iterator

from factory.vault.run.inside import given, layout


def main() -> int:
    """Write the archive."""
    order = given.read()
    name = str(order["project"]).rpartition("/")[2] + "-" + str(order["params"]["tag"]).removeprefix("v")
    when = int(order["committed"])
    count = 0
    with (
        open(f"{layout.OUT}/archive", "wb") as sink,
        gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=sink, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        archive.addfile(_entry(name, when, tarfile.DIRTYPE, 0o755))
        for path in _walk(layout.TREE):
            _add(archive, f"{name}/{path}", f"{layout.TREE}/{path}", when)
            count += 1
    given.say(f"{count} entries")
    given.result(files=count)
    return 0


def _walk(root: str, below: str = "") -> Iterator[str]:
    """Every path, folders before what is in them, sorted by bytes."""
    for name in sorted(os.listdir(f"{root}/{below}"), key=os.fsencode):
        path = f"{below}{name}"
        yield path
        if stat.S_ISDIR(os.lstat(f"{root}/{path}").st_mode):
            yield from _walk(root, f"{path}/")


def _entry(name: str, when: int, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.mtime, entry.type, entry.mode = when, kind, mode
    return entry


def _add(archive: tarfile.TarFile, name: str, path: str, when: int) -> None:
    found = os.lstat(path)
    if stat.S_ISDIR(found.st_mode):
        archive.addfile(_entry(name, when, tarfile.DIRTYPE, 0o755))
    elif stat.S_ISLNK(found.st_mode):
        entry = _entry(name, when, tarfile.SYMTYPE, 0o777)
        entry.linkname = os.readlink(path)
        archive.addfile(entry)
    else:
        entry = _entry(name, when, tarfile.REGTYPE, 0o755 if found.st_mode & 0o100 else 0o644)
        entry.size = found.st_size
        with open(path, "rb") as source:
            archive.addfile(entry, source)

"""Run Python as another user of this machine, though interpreter, checkout and packages may lie out of its reach.

``python as_user.py PASSWD UID ARGUMENT...`` (as root) becomes the user and executes the interpreter with the arguments.
PASSWD is seen as /etc/passwd, so that the user has a name. Where a folder on the way to the interpreter is closed to
others (root's own), only what is needed is seen there, at its own path. As under the systemd units that the factory
prints, no privilege can be gained and none is in the bounding set. All else is as it is: what the user can do is what
the machine lets it do.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from factory.sandbox.starter import kernel, user

ROOT = Path(__file__).resolve().parents[3]
PR_CAPBSET_DROP = 24
LAST_CAP = int(Path("/proc/sys/kernel/cap_last_cap").read_text(encoding="ascii"))


def closed(path: Path) -> Path | None:
    """The uppermost folder on the way there that others cannot pass through."""
    return next((above for above in reversed(path.parents) if not above.stat().st_mode & 0o001), None)


def main() -> None:
    passwd, uid, arguments = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    needed = {ROOT, Path(sys.prefix), Path(sys.base_prefix).resolve(), *(p for p in map(Path, sys.path) if p.is_dir())}
    walls: dict[Path, list[Path]] = {}
    for path in sorted(needed):
        wall = closed(path)
        if wall is not None and not any(other in path.parents for other in walls.get(wall, [])):
            walls.setdefault(wall, []).append(path)
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount(passwd, "/etc/passwd", None, kernel.MS_BIND)
    for wall, paths in walls.items():
        opened = [os.open(path, os.O_PATH | os.O_CLOEXEC) for path in paths]
        kernel.mount("tmpfs", str(wall), "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=0755,size=1m")
        for path, fd in zip(paths, opened, strict=True):
            path.mkdir(parents=True)
            kernel.mount(f"/proc/self/fd/{fd}", str(path), None, kernel.MS_BIND | kernel.MS_REC)
            os.close(fd)
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in range(LAST_CAP + 1):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), f"dropping capability {capability}")
    kernel.no_new_privileges()
    user.become(uid)
    os.execv(sys.executable, [sys.executable, *arguments])


if __name__ == "__main__":
    main()

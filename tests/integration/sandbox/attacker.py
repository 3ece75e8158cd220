"""A factory in a process of its own that plants secrets everywhere and lets itself be attacked.

``python attacker.py JSON`` with {"home", "without", "only", "limits", "bind_home"}; prints the probe's answers.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import sys
from pathlib import Path

KEYCTL = {"x86_64": (250, 248), "aarch64": (219, 217)}


def plant_key(text: str) -> None:
    """A key in this process's session keyring, as a login or a credential helper leaves them."""
    libc = ctypes.CDLL(None, use_errno=True)
    keyctl, add_key = KEYCTL[platform.machine()]
    libc.syscall(
        ctypes.c_long(keyctl), ctypes.c_long(1), None
    )  # a session keyring of our own, so that none else is touched
    data = text.encode()
    key = libc.syscall(
        ctypes.c_long(add_key), b"user", b"factory-plant", data, ctypes.c_size_t(len(data)), ctypes.c_long(-3)
    )
    assert key > 0, os.strerror(ctypes.get_errno())


def main() -> None:
    given = json.loads(sys.argv[1])
    from factory.process.spawn import spawn
    from factory.sandbox.bubblewrap import Bubblewrap
    from factory.sandbox.protocol import Bind, Limits
    from factory.sandbox.walls import LIMITS, attack, planted

    if "FACTORY_PLANTED" not in os.environ:
        # The environment a process was started with is what /proc shows of it.
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "FACTORY_PLANTED": planted("daemon")})
    home = Path(given["home"])
    plants = [
        home / ".config/tokens",
        home / "state/forge.token",
        home / "cache/runs/r2/in/spec.json",
        home / "ops.git/config",
    ]
    for path in plants:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(planted(path.name.split(".")[0].strip(".") or "x"), encoding="ascii")
    plant_key(planted("key"))
    os.set_inheritable(os.open(plants[1], os.O_RDONLY), True)
    with contextlib.ExitStack() as stack:
        stack.enter_context(
            spawn(
                [
                    "/bin/sleep",
                    "60",
                ],
                env={"TOKEN": planted("sibling")},
            )
        )
        stack.enter_context(spawn(["/bin/sh", "-c", "sleep 60", planted("argument")], env={"PATH": "/usr/bin:/bin"}))
        limits = Limits(**given["limits"]) if given.get("limits") else LIMITS
        binds = [Bind(home, str(home)), Bind(home, "/srv/home", writable=True)] if given.get("bind_home") else []
        sandbox = Bubblewrap(without=given.get("without", ()))
        answers = attack(
            sandbox,
            only=given.get("only"),
            paths=[str(path) for path in plants],
            env={"FACTORY_RUN_TOKEN": planted("own")},
            limits=limits,
            binds=binds,
        )
    json.dump({"uid": os.getuid(), "answers": answers}, sys.stdout)


if __name__ == "__main__":
    main()

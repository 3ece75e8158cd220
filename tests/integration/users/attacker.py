"""What whoever has taken over the daemon would try on the vault of this machine, said as JSON: attack -> did it work.

``python attacker.py VAULT-HOME OPS PID...``: as the user it runs as, with no more than Python. It changes nothing.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

ATTACH, DETACH = 16, 17
_libc = ctypes.CDLL(None, use_errno=True)


def works(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except OSError:
        return False
    return True


def trace(pid: int) -> None:
    """Stops it for a moment."""
    if _libc.ptrace(ATTACH, pid, None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")
    os.waitpid(pid, 0)
    _libc.ptrace(DETACH, pid, None, None)


def knock(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.connect(str(path))


def read(path: Path) -> None:
    """At least one byte of it. Raises OSError."""
    with path.open("rb") as there:
        there.read(1)


def main() -> None:
    home, ops, pids = Path(sys.argv[1]), sys.argv[2], [int(word) for word in sys.argv[3:]]
    vault = home / "state" / "vault"
    files = {
        "token": home / "state" / "tokens" / "dispatcher-bot", "age key": vault / "age.key",
        "host key": vault / "host_key", "mark": vault / ops / "ledger.json",
        "configuration": home / "state" / "host.toml",
    }  # fmt: skip
    found = {f"read the {name}": works(lambda path=path: read(path)) for name, path in files.items()}
    found |= {
        "list the home": works(lambda: list(home.iterdir())),
        "write a mark": works(lambda: os.close(os.open(vault / ops / "ledger.json", os.O_WRONLY))),
        "knock at the sentinel": works(lambda: knock(vault / "sentinel.sock")),
        "signal them": any(works(lambda pid=pid: os.kill(pid, signal.SIGCONT)) for pid in pids),
        "trace them": any(works(lambda pid=pid: trace(pid)) for pid in pids),
        "read their memory": any(works(lambda pid=pid: read(Path(f"/proc/{pid}/maps"))) for pid in pids),
        "read their environment": any(works(lambda pid=pid: read(Path(f"/proc/{pid}/environ"))) for pid in pids),
        "follow their descriptors": any(works(lambda pid=pid: list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids),
    }  # fmt: skip
    print(json.dumps({"uid": os.getuid(), "found": found}))


if __name__ == "__main__":
    main()

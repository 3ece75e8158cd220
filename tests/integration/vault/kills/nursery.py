"""Starts workers by fork, so that a new dispatcher is there in milliseconds. Knows nothing of any ledger.

Each line of its input, ``<folder> <host> <seed>``, is one worker; its process id is written back.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from tests.integration.vault.kills import worker


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        folder, host, seed = line.split()
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            try:
                worker.work(Path(folder), host, int(seed))
            finally:
                os._exit(1)
        print(child, flush=True)


if __name__ == "__main__":
    main()

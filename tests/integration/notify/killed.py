"""A process that tells of one thing and is killed at its n-th step: ``killed.py STATE URL STEP``."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from factory.notify import store
from factory.notify.post import post
from tests.integration.notify.house import House
from tests.unit.notify.things import PROJECT, item


def main(state: Path, url: str, last: int) -> None:
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps == last:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(real: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*given: Any) -> Any:
            step()
            done = real(*given)
            step()
            return done

        return stepped

    store.write = around(store.write)
    house = House(state, url, phone="slack")
    house.courier.send = around(post)
    house.courier.tell(PROJECT, [item(1)])
    house.settle()
    sys.stdout.write(f"{steps} steps\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))

"""A factory whose home is a small disk, turned by hand: what its loop says before, while and after the disk is full.

A program, because the disk is a mount of its own. Prints JSON.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from factory.app.daemon import loop_of
from factory.app.deployment import Deployment, free_port
from factory.app.explaining import replayed
from factory.app.services import stop
from factory.app.setup import Request, set_up
from factory.config.model import Mode
from factory.daemon import board
from factory.daemon.loop import Loop
from factory.daemon.wake import Wake
from tests.integration.cli.person import project_in


def fill(disk: Path) -> list[Path]:
    """Use up every block. A block freed in between (a log that was truncated) is taken by the next file."""
    made = []
    for number in range(3):
        made.append(disk / f"fill{number}")
        with made[-1].open("wb", buffering=0) as file:
            for size in (1 << 20, 4096):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    continue
    return made


def seen(loop: Loop, home: Path, said: list[str]) -> dict[str, Any]:
    told = {
        "ticks": loop.last_beat.ticks,
        "trouble": loop.last_beat.trouble,
        "written": json.loads((home / "state" / "daemon.json").read_text())["ticks"],
        "said": list(said),
    }
    said.clear()
    return told


def main(disk: Path) -> None:
    home = disk / "home"
    os.environ["HOME"] = str(disk)
    board.PACE = timedelta(0)  # a turn that has nothing else to write meets the full disk as well
    request = Request(
        source=str(project_in(disk / "hello")), home=home, mode=Mode.SUGGEST, forge_port=free_port(),
        web_port=free_port(), ci_command="true",
    )  # fmt: skip
    set_up(request, now=datetime.now(UTC), said=lambda line: None)
    deployment = Deployment.open(home)
    said: list[str] = []
    wake = Wake()
    loop = loop_of(deployment, wake, said.append)
    try:
        loop.start()
        while loop.turn() or loop.last_beat.running:
            wake.sleep(0.1, loop.filenos())
        said.clear()
        before = seen(loop, home, said)
        filled = fill(disk)
        for _ in range(3):
            loop.turn()
        full = seen(loop, home, said)
        for file in filled:
            file.unlink()
        loop.turn()
        after = seen(loop, home, said)
        after["replayed"] = [replayed(deployment, number)["same"] for number in (before["ticks"], before["ticks"] + 1)]
    finally:
        stop(deployment)
        deployment.close()
    sys.stdout.write(json.dumps({"before": before, "full": full, "after": after}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Killed at every step of telling, what needs somebody is told after all; only where nobody can know whether it arrived
is it sent again, and says so."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from factory.notify.words import AGAIN
from tests.integration.notify.chat import Chat
from tests.integration.notify.house import House
from tests.unit.architecture.source import ROOT
from tests.unit.notify.things import PROJECT, item

STEPS = 8
"""Before and after: written down, begun, sent, arrived."""


def killed(state: Path, url: str, step: int) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "tests.integration.notify.killed", str(state), url, str(step)]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_killed_at_every_step(tmp_path: Path, chat: Chat) -> None:
    seen = {}
    for step in range(1, STEPS + 1):
        state = tmp_path / str(step)
        done = killed(state, chat.url, step)
        assert done.returncode == -signal.SIGKILL, done.stderr
        before = len(chat.got)
        house = House(state, chat.url, phone="slack")
        for _ in range(3):
            house.courier.tell(PROJECT, [item(1)])
            house.settle()
            house.later(minutes=2)
        after = chat.got[before:]
        assert len(after) <= 1, "one start tells it at most once"
        seen[step] = ("".join("again" if AGAIN in post.text else "told" for post in after), before)
        chat.got.clear()
    # (what the next start sent, how much had arrived before)
    assert seen == {
        1: ("told", 0), 2: ("told", 0),  # around writing it down
        3: ("told", 0), 4: ("again", 0),  # around noting that it is begun: from here on nobody can know
        5: ("again", 0), 6: ("again", 1),  # around sending it
        7: ("again", 1), 8: ("", 1),  # around noting that it arrived
    }  # fmt: skip


def test_those_are_all_its_steps(tmp_path: Path, chat: Chat) -> None:
    done = killed(tmp_path, chat.url, STEPS + 1)
    assert (done.returncode, done.stdout) == (0, f"{STEPS} steps\n"), done.stderr

"""A program in front: it may ask the person at the terminal, and the terminal is ours again afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from factory.vault.keys.approving import NAMESPACE
from factory.vault.keys.sshsig import Signer, fits, program, public_key


class Terminal:
    """A Python program at a terminal of its own; what it shows is read, what is typed goes in."""

    def __init__(self, program: str, *words: str) -> None:
        self.master, slave = os.openpty()
        self._child = subprocess.Popen(
            ["setsid", "--ctty", "--wait", sys.executable, "-c", program, *words],
            stdin=slave, stdout=slave, stderr=slave, env={"PATH": "/usr/bin:/bin",
            "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        os.close(slave)
        self.shown = ""

    def until(self, words: str, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while words not in self.shown and time.monotonic() < deadline:
            try:
                self.shown += os.read(self.master, 4096).decode()
            except OSError:
                break  # the other end is closed
        assert words in self.shown, self.shown

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def end(self) -> int:
        code = self._child.wait(timeout=30)
        os.close(self.master)
        return code


ASKING = """
import sys
from factory.process.foreground import run_in_front
code = run_in_front(["/bin/sh", "-c", "printf 'PIN: ' >&2; read pin </dev/tty; test \\"$pin\\" = 1234"], env={},
timeout_s=20)
print("code", code, flush=True)
print("mine:", open("/dev/tty").readline().strip(), flush=True)
"""


@pytest.mark.parametrize(("typed", "code"), [("1234", 0), ("4321", 1)])
def test_it_reads_what_the_person_types_and_gives_the_terminal_back(typed: str, code: int) -> None:
    terminal = Terminal(ASKING)
    terminal.until("PIN: ")
    terminal.type(f"{typed}\n")
    terminal.until(f"code {code}")
    terminal.type("still here\n")
    terminal.until("mine: still here")
    assert terminal.end() == 0


SLOW = """
from factory.process.foreground import run_in_front
print("code", run_in_front(["sleep", "60"], env={"PATH": "/usr/bin:/bin"}, timeout_s=0.3), flush=True)
print("mine:", open("/dev/tty").readline().strip(), flush=True)
"""


def test_one_that_takes_too_long_is_ended_and_the_terminal_is_ours() -> None:
    terminal = Terminal(SLOW)
    terminal.until("code None")
    terminal.type("yes\n")
    terminal.until("mine: yes")
    assert terminal.end() == 0


def test_without_a_terminal_it_runs_and_cannot_ask() -> None:
    done = subprocess.run(
        ["setsid", "--wait", sys.executable, "-c", ASKING.partition("print(\"mine")[0]], stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True, check=True, timeout=30, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert "code " in done.stdout
    assert "code 0" not in done.stdout


SIGNING = """
import sys
from pathlib import Path
from factory.vault.keys.sshsig import sign_in_front
Path(sys.argv[2]).write_text(sign_in_front(Path(sys.argv[1]), sys.argv[3], b"the statement"))
print("signed", flush=True)
"""


def test_a_key_with_a_passphrase_signs_at_the_terminal(tmp_path: Path) -> None:
    key, made = tmp_path / "key", tmp_path / "made"
    subprocess.run([program(), "-q", "-t", "ed25519", "-N", "open sesame", "-f", str(key)], check=True)
    terminal = Terminal(SIGNING, str(key), str(made), NAMESPACE)
    terminal.until("passphrase")
    terminal.type("open sesame\n")
    terminal.until("signed")
    assert terminal.end() == 0
    signer = Signer(1, public_key(key.with_name("key.pub").read_text()))
    assert fits(made.read_text(), NAMESPACE, b"the statement", [signer], 1)

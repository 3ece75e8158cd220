from __future__ import annotations

import os

from factory.process.identity import identity, is_alive, stat_fields


def test_a_process_is_its_number_and_its_start() -> None:
    mine = identity(os.getpid())
    assert mine is not None
    assert mine == identity(os.getpid())
    assert is_alive(os.getpid(), mine)
    assert not is_alive(os.getpid(), mine + 1)


def test_no_process_has_no_identity() -> None:
    beyond = 2**22 + 1  # above the largest pid Linux hands out
    assert identity(beyond) is None
    assert not is_alive(beyond, 0.0)


def test_the_fields_are_those_after_the_name() -> None:
    fields = stat_fields(os.getpid())
    assert fields is not None
    assert int(fields[1]) == os.getppid()
    assert int(fields[3]) == os.getsid(0)

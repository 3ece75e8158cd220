"""Where a secret's value comes from, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory.cli.secret import _value
from factory.errors import UsageError


@pytest.mark.parametrize(
    ("given", "exact", "value"),
    [
        (b"a\n", False, b"a"), (b"a\r\n", False, b"a"), (b"a", False, b"a"), (b"a\n", True, b"a\n"),
        (b"a\nb\n", False, b"a\nb\n"),
        (b" a \n", False, b" a "), (b"\xff\x00\n", False, b"\xff\x00"), (b"a\n\n", False, b"a\n\n"),
        (b"\n", True, b"\n"),
    ],
)  # fmt: skip
def test_the_line_end_of_a_single_line_goes_unless_it_is_wanted(
    tmp_path: Path, given: bytes, exact: bool, value: bytes
) -> None:
    file = tmp_path / "value"
    file.write_bytes(given)
    assert _value("X", file, exact) == value


@pytest.mark.parametrize("given", [b"", b"\n", b"\r\n"])
def test_nothing_is_no_value(tmp_path: Path, given: bytes) -> None:
    file = tmp_path / "value"
    file.write_bytes(given)
    with pytest.raises(UsageError, match="nothing was given"):
        _value("X", file, False)

"""Places inside, and where they are without a sandbox."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory.session.inside import layout


def test_fixed_places_are_themselves_in_a_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(layout.MAP_VARIABLE, raising=False)
    assert layout.place("/run/factory/in/spec.json") == "/run/factory/in/spec.json"


def test_the_longest_moved_folder_decides(tmp_path: Path) -> None:
    moved = {"/work": str(tmp_path / "w"), "/work/deep": str(tmp_path / "d")}
    assert layout.place("/work/deep/x", moved) == f"{tmp_path}/d/x"
    assert layout.place("/work/x", moved) == f"{tmp_path}/w/x"
    assert layout.place("/workshop", moved) == "/workshop"
    assert layout.place("text with /work in it", moved) == "text with /work in it"


def test_a_real_path_that_begins_like_a_place_is_meant_as_it_stands(tmp_path: Path) -> None:
    real = tmp_path / "tool"
    real.write_text("x")
    moved = {str(tmp_path): str(tmp_path / "clone")}
    assert layout.place(str(real), moved) == str(real)
    (tmp_path / "clone").mkdir()
    (tmp_path / "clone/tool").write_text("y")
    assert layout.place(str(real), moved) == str(tmp_path / "clone/tool")

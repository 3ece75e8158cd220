"""Building the file that runs inside."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from factory.session.inside_pyz import build
from tests.unit.architecture.source import HOUSE


def test_same_content_same_bytes_and_name(tmp_path: Path) -> None:
    first, second = build(tmp_path / "a"), build(tmp_path / "b")
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()
    assert build(tmp_path / "a") == first
    assert [path.name for path in (tmp_path / "a").iterdir()] == [first.name]


def test_other_content_another_name(tmp_path: Path) -> None:
    source = tmp_path / "inside"
    source.mkdir()
    (source / "__init__.py").write_text("")
    (source / "__main__.py").write_text("def main() -> int:\n    return 4\n")
    first = build(tmp_path / "cache", source=source)
    (source / "native.py").write_text("def main() -> int:\n    return 5\n")
    second = build(tmp_path / "cache", source=source)
    assert first.name != second.name
    assert "factory/session/inside/native.py" in zipfile.ZipFile(second).namelist()
    assert subprocess.run([sys.executable, "-I", "-S", first], check=False).returncode == 4


def test_it_runs_without_the_package(tmp_path: Path) -> None:
    """Isolated, from another folder: only the standard library and the file itself."""
    pyz = build(tmp_path)
    for argument, expected in (("emit", "the following arguments are required"), ("nothing", "usage: inside.pyz")):
        done = subprocess.run(
            [sys.executable, "-I", "-S", pyz, argument], capture_output=True, text=True, cwd="/", check=False
        )
        assert done.returncode == 2
        assert expected in done.stderr


@pytest.mark.parametrize("package", ["factory/sandbox/inside", "factory/session/inside", "factory/vault/run/inside"])
def test_only_the_standard_library_is_imported(package: str) -> None:
    for module in HOUSE:
        if module.below(f"{package}/"):
            for name, line in module.imports():
                ours = name.startswith(("factory.sandbox.inside", package.replace("/", ".")))
                assert name.split(".")[0] in sys.stdlib_module_names or ours, f"{module.path}:{line} {name}"

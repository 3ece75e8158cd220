"""The layers of the house, and that the check which holds them sees what it should."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from tests.unit.architecture.source import ROOT

OUTSIDE = {
    "testing": "fakes for tests; nothing of the product imports it (held below)",
    "_data": "data files of the wheel",
}
"""Packages that are in no layer, and why."""


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [program, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False, timeout=60,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip


def contract() -> dict[str, object]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (only,) = settings["tool"]["importlinter"]["contracts"]
    assert isinstance(only, dict)
    return only


def layered() -> set[str]:
    layers = contract()["layers"]
    assert isinstance(layers, list)
    return {name.strip().removeprefix("factory.") for layer in layers for name in layer.split("|")}


def test_nobody_imports_upwards_or_sideways() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_every_package_has_its_layer() -> None:
    packages = {folder.parent.name for folder in (ROOT / "factory").glob("*/__init__.py")}
    modules = {file.stem for file in (ROOT / "factory").glob("*.py")} - {"__init__", "__main__"}
    assert (packages | modules) - layered() - set(OUTSIDE) == set()
    assert layered() - packages - modules == set(), "layers that do not exist"


def test_the_product_does_not_lean_on_its_tests() -> None:
    from tests.unit.architecture.source import HOUSE

    leaning = [
        f"{m.path}:{line} {name}"
        for m in HOUSE
        if not m.below("factory/testing/")
        for name, line in m.imports()
        if name.split(".")[0] in {"pytest", "hypothesis", "tests"} or name.startswith("factory.testing")
    ]
    assert leaning == []


def test_the_check_sees_an_import_upwards(tmp_path: Path) -> None:
    low, high = tmp_path / "factory" / "plan", tmp_path / "factory" / "cli"
    for folder in (low, high):
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
    (tmp_path / "factory" / "__init__.py").touch()
    (tmp_path / "pyproject.toml").write_text(
        '[tool.importlinter]\nroot_package = "factory"\n[[tool.importlinter.contracts]]\n'
        'name = "l"\ntype = "layers"\nlayers = ["factory.cli", "factory.plan"]\n',
        encoding="utf-8",
    )
    assert lint(tmp_path).returncode == 0
    (low / "__init__.py").write_text("from factory import cli\n", encoding="utf-8")
    assert lint(tmp_path).returncode == 1

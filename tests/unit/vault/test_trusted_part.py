"""The trusted part stands alone: a bare interpreter, the standard library, and the modules that are named for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.trusted_part import LIMIT, OURS, code_lines, imported, size


def foreign(modules: dict[str, str | None]) -> set[str]:
    known = sys.stdlib_module_names | {"__main__"}
    return {name for name in modules if name not in OURS and name.split(".")[0] not in known}


def test_it_imports_the_standard_library_and_itself() -> None:
    found = imported()
    assert foreign(found) == set()
    assert set(OURS) <= found.keys()
    assert not any("site-packages" in (file or "") for file in found.values())


def test_a_module_of_the_untrusted_rooms_would_be_seen() -> None:
    assert "factory.errors" in foreign(imported("factory.vault.keys.errors"))


def test_another_package_would_be_seen(tmp_path: Path) -> None:
    """Without site-packages there is none to import; one that lies beside it is named."""
    (tmp_path / "door.py").write_text("import helper\n")
    (tmp_path / "helper.py").touch()
    assert foreign(imported("door", tmp_path)) == {"door", "helper"}
    (tmp_path / "gate.py").write_text("import pygit2\n")
    with pytest.raises(subprocess.CalledProcessError) as failed:
        imported("gate", tmp_path)
    assert "No module named 'pygit2'" in failed.value.stderr


def test_it_is_small_enough_to_be_read_in_one_sitting() -> None:
    assert size().code < LIMIT


def test_lines_of_code_are_counted() -> None:
    text = '"""About."""\n\nimport os  # why\n\n\ndef f(a):\n    """S."""\n    # y\n    return (\n        a,\n    )\n'
    assert code_lines(text) == 5
    assert code_lines('x = 1\n"""What x is,\nin two lines."""\ny = """one\ntwo"""\n') == 3

"""docs/reference/recording.md says what the loader does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from factory.gateway import script

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "recording.md"


def test_its_example_loads(tmp_path: Path) -> None:
    example = re.search(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    path = tmp_path / "example.toml"
    path.write_text(example[1], encoding="utf-8")
    assert len(script.load_script(path).turns) == 2


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("| Field | Type | Required | Meaning |", script._Head),
        ("| Field | Type | Default | Meaning |", script._Turn),
        ("| `[[turn.call]]` | Type |", script._Call),
        ("| `[turn.usage]` | Type |", script._Usage),
        ("| `[turn.error]` | Type |", script._Error),
    ],
)
def test_every_field_is_described_and_no_other(heading: str, model: type[script._Strict]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    table = page[page.index(heading) :].split("\n\n")[0].splitlines()[2:]
    described = {row.split("|")[1].strip(" `") for row in table}
    assert described == {field.alias or name for name, field in model.model_fields.items()}

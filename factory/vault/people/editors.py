"""JSON Schemas of the vault's files, for editors, and the examples beside them.

``python -m factory.vault.people.editors`` in a checkout writes them; a test holds them current.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from factory.config.shape import Shape
from factory.formula.editors import schema_of, schema_text
from factory.vault.people import examples
from factory.vault.people.shapes import ActionShape, PolicyShape

FILES: Mapping[str, type[Shape]] = {"vault/action.schema.json": ActionShape, "vault/policy.schema.json": PolicyShape}
"""Path in the checkout -> the shape it describes. They ship with the package."""


def documents() -> Mapping[str, str]:
    """Path -> text of every schema and example."""
    schemas = {path: schema_text(schema_of(shape)) for path, shape in FILES.items()}
    return {**schemas, **examples.documents()}


def write(root: Path) -> None:
    """Write them all below ``root``; examples that are none any more go."""
    for old in (root / examples.FOLDER).glob("*.toml"):
        old.unlink()
    for path, text in documents().items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(__file__).resolve().parents[3])

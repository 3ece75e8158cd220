"""JSON Schemas of our TOML files, for editors: completion and a red line before ``factory check`` says it.

``python -m factory.formula.editors`` in a checkout writes them; a test holds them current.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from factory.config.described import descriptions
from factory.config.factory import FactoryShape
from factory.config.host import HostShape
from factory.config.role import RoleShape
from factory.config.shape import Shape
from factory.formula.schemas import SCHEMAS
from factory.formula.shape import FormulaShape

FILES: Mapping[str, type[Shape]] = {
    "formulas/formula.schema.json": FormulaShape,
    "agents/role.schema.json": RoleShape,
    "docs/reference/factory.schema.json": FactoryShape,
    "docs/reference/host.schema.json": HostShape,
}
"""Path in the checkout -> the shape it describes. Those beside formulas and roles ship with them."""


class _Described(GenerateJsonSchema):
    """With what each field's docstring says."""

    def model_schema(self, schema: Any) -> JsonSchemaValue:
        made = super().model_schema(schema)
        shape = schema["cls"]
        for field, text in descriptions(shape).items():
            made["properties"][shape.model_fields[field].alias or field]["description"] = text
        return made


def documents() -> Mapping[str, str]:
    """Path -> JSON text of every schema."""
    texts = {path: schema_text(schema_of(shape)) for path, shape in FILES.items()}
    answers = {name: shape.model_json_schema() for name, shape in SCHEMAS.items()}
    return texts | {f"docs/reference/{name}.schema.json": schema_text(schema) for name, schema in answers.items()}


def schema_of(shape: type[Shape]) -> dict[str, Any]:
    """The JSON Schema of a file's shape, with what is said of each field."""
    return shape.model_json_schema(by_alias=True, schema_generator=_Described)


def schema_text(schema: Mapping[str, object]) -> str:
    """A schema as its file holds it."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps({**head, **schema}, indent=2, ensure_ascii=False) + "\n"


def write(root: Path) -> None:
    """Write them all below ``root``."""
    for path, text in documents().items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(__file__).resolve().parents[2])

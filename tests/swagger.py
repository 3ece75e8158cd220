"""Answers held against an OpenAPI 2.0 document: types, formats, and names that the document does not know.

Only what Forgejo's own document uses. Known to be wrong in it (see the tables of the compatibility notes) is listed in
:data:`EXCUSED`: there its server answers otherwise than it says, and the double follows the server.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str, "boolean": bool, "integer": int, "number": (int, float), "array": list, "object": dict,
}  # fmt: skip
EXCUSED = {
    "User.username": "there in every answer, missing in the document",
    "ContentsResponse is list, not object": "a folder is an array",
    "POST /admin/users/{username}/tokens": "of Forgejo 16, and on the admin socket only",
    "GET /healthz": "outside of the described API on Forgejo",
    "DELETE /repos/{owner}/{repo}/issues/{index}/dependencies: 201 is not in the document": "its answer all the same",
    "DELETE /repos/{owner}/{repo}/issues/{index}/blocks: 201 is not in the document": "its answer all the same",
}


@dataclass(frozen=True)
class Swagger:
    """One document."""

    paths: dict[str, Any]
    definitions: dict[str, Any]
    responses: dict[str, Any]

    @classmethod
    def load(cls, path: str) -> Swagger:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        shapes = {re.sub(r"{\w+}", "{}", path): value for path, value in found["paths"].items()}
        return cls(shapes, found["definitions"], found["responses"])

    def against(self, path: str, method: str, status: int, value: Any) -> Iterator[str]:
        """What is untrue of an answer, in words that are the same for the same fault."""
        operation = self.paths.get(re.sub(r"{\w+}", "{}", path), {}).get(method)
        if operation is None:
            if f"{method.upper()} {path}" not in EXCUSED:
                yield f"{method.upper()} {path}: Forgejo has no such operation"
            return
        answer = operation["responses"].get(str(status))
        if answer is None:
            said = f"{method.upper()} {path}: {status} is not in the document"
            if status < 300 and said not in EXCUSED:
                yield said
            return
        schema = self._named(answer).get("schema")
        if schema is not None and status < 300:
            yield from (said for said in self._value(schema, value, f"{method.upper()} {path}") if said not in EXCUSED)

    def _named(self, answer: dict[str, Any]) -> dict[str, Any]:
        if "$ref" in answer:
            found: dict[str, Any] = self.responses[answer["$ref"].rpartition("/")[2]]
            return found
        return answer

    def _value(self, schema: dict[str, Any], value: Any, where: str) -> Iterator[str]:
        if "$ref" in schema:
            where = schema["$ref"].rpartition("/")[2]
            schema = self.definitions[where]
        if value is None:
            return  # the document never says so, the server does: pointers and empty lists
        kind = schema.get("type", "object" if "properties" in schema else "")
        if kind and (not isinstance(value, TYPES[kind]) or (kind == "integer" and isinstance(value, bool))):
            yield f"{where} is {type(value).__name__}, not {kind}"
            return
        if kind == "array":
            for item in value:
                yield from self._value(schema["items"], item, f"{where}[]")
        elif schema.get("format") == "date-time" and not _is_time(value):
            yield f"{where} is no time: {value!r}"
        elif kind == "object" and "properties" in schema:
            for name, inner in value.items():
                at = f"{where}.{name}"
                if name not in schema["properties"]:
                    if at not in EXCUSED:
                        yield f"{at} is not in the document"
                else:
                    yield from self._value(schema["properties"][name], inner, at)
        elif kind == "object" and isinstance(schema.get("additionalProperties"), dict):
            for inner in value.values():
                yield from self._value(schema["additionalProperties"], inner, f"{where}.*")


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False

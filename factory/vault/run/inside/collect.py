"""``vault-collect``: one GET, and what it said as a day's evidence."""

from __future__ import annotations

import json
from typing import Any

from factory.vault.run.inside import given
from factory.vault.run.inside.ask import ask

MOST_TEXT = 4000


def main() -> int:
    """Ask, and give back the document."""
    order = given.read()
    params = order["params"]
    path = str(params.get("path", "/"))
    answer = ask("GET", str(params["host"]), path)
    document: dict[str, Any] = {
        "kind": params["kind"], "host": params["host"], "path": path, "at": order["now"], "run": order["run"],
        "taint": "outside", "status": answer.status, "sha256": answer.sha256, "bytes": len(answer.body),
    }  # fmt: skip
    try:
        said = json.loads(answer.body)
    except ValueError:
        document["text"] = answer.body.decode("utf-8", "replace")[:MOST_TEXT]
    else:
        document["json"] = _chosen(said, params.get("fields") or [])
    for part in ("json", "text"):
        if part in document and len(json.dumps(document)) > MOST_TEXT:
            del document[part]
            given.say(f"the answer is too long to be kept whole: name the fields that count ({part} left out)")
    given.result(
        kind=params["kind"], status=answer.status, sha256=answer.sha256, size=len(answer.body), value=document
    )
    return 0 if answer.good else 1


def _chosen(said: Any, fields: list[str]) -> Any:
    if not fields:
        return said
    return {field: _at(said, field.split(".")) for field in fields}


def _at(value: Any, parts: list[str]) -> Any:
    for part in parts:
        if isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, dict):
            value = value.get(part)
        else:
            return None
    return value

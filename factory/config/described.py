"""What a file shape says of its fields: the text below each field in its source, for hints and for JSON Schemas.

pydantic could collect these as it makes a class, but then every process would read and parse this source as it starts;
they are wanted when something is wrong, or when the schemas are written.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping
from functools import cache

from pydantic import BaseModel


@cache
def descriptions(shape: type[BaseModel]) -> Mapping[str, str]:
    """Field -> the text below it, also of inherited fields. Empty where the source is not at hand."""
    found: dict[str, str] = {}
    for cls in reversed(shape.__mro__):
        if issubclass(cls, BaseModel) and cls is not BaseModel:
            found |= _own(cls)
    return found


def _own(cls: type[BaseModel]) -> dict[str, str]:
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    except (OSError, TypeError):
        return {}
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(said))):
                # Without the blank that a text needs between a quote that ends it and the three after it.
                found[name] = inspect.cleandoc(said).strip()
    return found

"""A value as a person would write it in TOML."""

from __future__ import annotations

import json


def toml_value(value: object) -> str:
    """A string, number, truth value or sequence of them, as TOML spells it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        # 40.0 is written 40, as a person would.
        return str(int(value)) if abs(value) < 1e15 and float(value).is_integer() else repr(value)
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for DEL, which TOML does not take as it is.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple | set | frozenset):
        items = [toml_value(item) for item in value]
        line = f"[{', '.join(items)}]"
        return line if len(line) <= 100 else "[\n" + "".join(f"    {item},\n" for item in items) + "]"
    raise TypeError(f"a {type(value).__name__} cannot be written as TOML")

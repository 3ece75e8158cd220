"""Functions as a test writes them, lambdas and closures too, as bytes that another process of this code makes anew.

What stands at the top of a module travels by its name and is looked up over there: the original, also where a test has
put something else in its place here. Everything else travels as its code with what it holds on to, so a closure must
hold values (ids, paths, patterns), never a keep, a client or a fixture.
"""

from __future__ import annotations

import builtins
import importlib
import io
import marshal
import pickle
import types
from collections.abc import Callable
from typing import Any

from _pytest.assertion import rewrite


class _Pickler(pickle.Pickler):
    def __init__(self, sink: io.BytesIO) -> None:
        super().__init__(sink)
        self.modules: set[str] = set()

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, types.ModuleType):
            return importlib.import_module, (obj.__name__,)
        if isinstance(obj, types.FunctionType) and obj not in (_named, _made):
            self.modules.add(obj.__module__)
            if "<" not in obj.__qualname__:
                return _named, (obj.__module__, obj.__qualname__)
            return _made, (
                marshal.dumps(obj.__code__), obj.__module__, obj.__name__, obj.__defaults__, obj.__kwdefaults__,
                None if obj.__closure__ is None else tuple(cell.cell_contents for cell in obj.__closure__),
            )  # fmt: skip
        return NotImplemented


def _named(module: str, name: str) -> Any:
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _made(
    code: bytes, module: str, name: str, defaults: tuple[Any, ...] | None, keywords: dict[str, Any] | None,
    held: tuple[Any, ...] | None,
) -> Callable[..., Any]:  # fmt: skip
    there = importlib.import_module(module).__dict__
    # Where pytest has rewritten the assertions of a function, its code calls these.
    there.setdefault("@py_builtins", builtins)
    there.setdefault("@pytest_ar", rewrite)
    cells = None if held is None else tuple(map(types.CellType, held))
    made = types.FunctionType(marshal.loads(code), there, name, defaults, cells)
    made.__kwdefaults__ = keywords
    return made


def packed(value: object) -> bytes:
    """Raises TypeError or pickle.PicklingError for what cannot leave this process."""
    return parcel(value)[0]


def parcel(value: object) -> tuple[bytes, set[str]]:
    """The same, and the modules that are needed to open it."""
    sink = io.BytesIO()
    pickler = _Pickler(sink)
    pickler.dump(value)
    return sink.getvalue(), pickler.modules


unpacked = pickle.loads

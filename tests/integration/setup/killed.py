"""``factory`` that ends without any clean-up, as by kill -9, right after the first effect of a kind it has not had yet.

``python killed.py KINDS words...``: the kinds are kept in the file KINDS; with ``ONLY`` in the environment the others
(one a line) pass. It looks at writes to the forge once they are
answered, at pushes once they are in, and at files once they are written.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from factory.app import completing, deployment, projects, seeding
from factory.app import setup as setup_module
from factory.cli.main import main
from factory.forge.client import ForgejoClient

CODE = 137
had = Path(sys.argv[1])


def after(kind: str) -> None:
    kinds = had.read_text(encoding="utf-8").split("\n") if had.exists() else []
    only = os.environ.get("ONLY", "")
    if kind in kinds or (only and kind not in only.split("\n")):
        return
    with had.open("a", encoding="utf-8") as file:
        file.write(f"{kind}\n")
        file.flush()
        os.fsync(file.fileno())
    os._exit(CODE)


def dying(function: Callable[..., Any], name: Callable[..., str]) -> Callable[..., Any]:
    def wrapped(*given: Any, **named: Any) -> Any:
        answer = function(*given, **named)
        if kind := name(*given, **named):
            after(kind)
        return answer

    return wrapped


def write_to_the_forge(_client: object, method: str, path: str, **_more: object) -> str:
    if method == "GET":
        return ""
    parts = ["*" if re.search(r"\d|-bot|hello|founder|%", part) else part for part in path.split("/")]
    return f"{method} {'/'.join(parts)}"


ForgejoClient.ask = dying(ForgejoClient.ask, write_to_the_forge)  # type: ignore[method-assign]
for pushing in (completing, seeding):
    pushing.push = dying(pushing.push, lambda _at, remote, *_: f"push {remote.url.rpartition('/')[2]}")  # type: ignore[attr-defined]
completing.write_private = dying(completing.write_private, lambda path, *_: f"file {path.parent.name}")
completing.write_host = dying(completing.write_host, lambda *_: "host, with the project")
setup_module.write_host = dying(setup_module.write_host, lambda *_: "host")
projects.save = dying(projects.save, lambda *_: "project state")
deployment.write_private = dying(deployment.write_private, lambda path, *_: f"file {path.parent.name}")
setup_module.create_home = dying(setup_module.create_home, lambda *_: "home")
setup_module.make_keys = dying(setup_module.make_keys, lambda *_: "keys")
main(sys.argv[2:])

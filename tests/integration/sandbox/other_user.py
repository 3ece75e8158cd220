"""Run Python as another user, though interpreter, checkout and packages may lie in folders that user cannot enter.

``python other_user.py UID HOME ARGUMENT...`` (as root) binds all of that into places the user can reach, in a mount
namespace of its own, becomes the user and executes the interpreter with the arguments, in which paths are translated.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def main() -> None:
    from factory.sandbox.starter import user

    uid, home, arguments = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    prefix = Path(sys.base_prefix).resolve()
    program = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    packages = [path for path in map(Path, sys.path) if path.is_dir() and not path.resolve().is_relative_to(prefix)]
    user.give(home, uid)
    shown = user.show([str(prefix), home, str(ROOT), *map(str, packages)])
    user.become(uid)
    interpreter = str(program) if prefix.is_relative_to("/usr") else f"{shown[0]}/{program.relative_to(prefix)}"
    env = {
        "PYTHONPATH": ":".join(shown[2:]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": shown[1],
        "TMPDIR": shown[1],
        "PATH": "/usr/bin:/bin",
    }
    os.chdir(shown[2])
    here = [word.replace(str(ROOT), shown[2]).replace(home, shown[1]) for word in arguments]
    os.execve(interpreter, [interpreter, *here], env)


if __name__ == "__main__":
    main()

"""``python run.pyz boot``, or one of the steps."""

from __future__ import annotations

import importlib
import sys

from factory.vault.run.inside import layout


def main() -> int:
    """Dispatch to one part, importing only that one."""
    word = sys.argv[1] if len(sys.argv) == 2 else ""
    if word not in ("boot", *layout.PROGRAMS):
        sys.stderr.write(f"usage: run.pyz {' | '.join(('boot', *layout.PROGRAMS))}\n")
        return 2
    code: int = importlib.import_module(f"factory.vault.run.inside.{word}").main()
    return code


if __name__ == "__main__":
    sys.exit(main())

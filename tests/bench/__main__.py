"""``make bench``: the figures the product is proud of, as counts and ratios, in one table."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.bench import commands, demo, forge, snapshot, starts, ticks, vault
from tests.bench.table import Row

PARTS = {"commands": commands, "forge": forge, "snapshot": snapshot, "ticks": ticks, "vault": vault, "starts": starts,
         "demo": demo}  # fmt: skip


def main() -> None:
    """Measure the parts named on the command line, all of them without names."""
    unknown = set(sys.argv[1:]) - PARTS.keys()
    if unknown:
        sys.exit(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="factory-bench-", ignore_cleanup_errors=True) as folder:
        for name, part in PARTS.items():
            if not sys.argv[1:] or name in sys.argv[1:]:
                began = time.monotonic()
                (root := Path(folder) / name).mkdir()
                rows += part.measure(root)
                print(f"{name}: measured in {time.monotonic() - began:.0f} s", file=sys.stderr)
    for name, value in rows:
        print(f"{name:<78} {value}")


if __name__ == "__main__":
    main()

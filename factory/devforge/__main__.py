"""``python -m factory.devforge --home DIR --port N [--host 127.0.0.1]``, or ``--home DIR --check``"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from factory.devforge import agreement, pages
from factory.devforge.listen import serve


def main(argv: list[str] | None = None) -> int:
    """Serve the forge until a signal ends it, or check it; returns the exit code (1: the check found something)."""
    parser = argparse.ArgumentParser(prog="python -m factory.devforge", description="The embedded forge.")
    parser.add_argument("--home", type=Path, required=True, help="folder of the forge: made when missing")
    parser.add_argument("--port", type=int, default=0, help="TCP port; 0 takes a free one and prints it")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (loopback unless you know better)")
    parser.add_argument("--url", default="", help="address that people and links use, when it is another one")
    parser.add_argument("--allow-host", action="append", default=[], help="further Host header that is served")
    parser.add_argument("--compat", action="store_true", help="Forgejo's own codes also where ours are clearer")
    parser.add_argument("--check", action="store_true", help="serve nothing: say whether database and refs agree")
    options = parser.parse_args(argv)
    if options.check:
        found = agreement.lasting(options.home.absolute())
        print("\n".join(found) or "database and refs agree")  # noqa: T201
        return 1 if found else 0
    try:
        serve(
            options.home.absolute(),
            host=options.host,
            port=options.port,
            url=options.url,
            allow_hosts=tuple(name.lower() for name in options.allow_host),
            strict=not options.compat,
            pages=pages.build,
        )
    except OSError as error:
        print(f"starting the forge in {options.home}: {error}", file=sys.stderr)  # noqa: T201
        return 6
    return 0


if __name__ == "__main__":
    sys.exit(main())

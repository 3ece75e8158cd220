"""``python inside.pyz boot | emit ... | native ...``."""

from __future__ import annotations

import sys


def main() -> int:
    """Dispatch to one part, importing only that one."""
    command, arguments = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("", [])
    if command == "boot":
        from factory.session.inside import boot

        return boot.main()
    if command == "emit":
        from factory.session.inside import emit

        return emit.main(arguments)
    if command == "native":
        from factory.session.inside import native

        sys.argv = [sys.argv[0], *arguments]
        return native.main()
    sys.stderr.write("usage: inside.pyz boot | emit KIND ... | native\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())

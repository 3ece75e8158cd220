"""``python -m factory.gateway``: the gateway as a process of its own."""

from __future__ import annotations

import sys

from factory.gateway.server import main

sys.exit(main(sys.argv[1:]))

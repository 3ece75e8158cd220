"""What our own processes inherit from ours: where programs are found and who we are, nothing else."""

from __future__ import annotations

import os
from pathlib import Path


def inherited(home: Path) -> dict[str, str]:
    """Environment of the services and sessions of a deployment: no keys, no proxies, no Python switches."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "USER", "TMPDIR") if os.environ.get(name)}
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", **kept, "LANG": "C.UTF-8", "FACTORY_HOME": str(home)}

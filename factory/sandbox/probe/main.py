"""All attacks by name, tried one after the other."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from typing import Any

from factory.sandbox.probe import Answer, excess, reaching, reading, rights

ATTACKS: dict[str, Callable[[dict[str, Any]], Answer]] = {
    "files": reading.files,
    "named-paths": reading.named_paths,
    "password-file": reading.password_file,
    "processes": reading.processes,
    "environment": reading.environment,
    "descriptors": reading.descriptors,
    "keyring": reading.keyring,
    "loopback": reaching.loopback,
    "interfaces": reaching.interfaces,
    "abstract-sockets": reaching.abstract_sockets,
    "host-sockets": reaching.host_sockets,
    "socket-families": reaching.socket_families,
    "capabilities": rights.capabilities,
    "setuid-programs": rights.setuid_programs,
    "kernel-settings": rights.kernel_settings,
    "nested-namespaces": rights.nested_namespaces,
    "system-calls": rights.system_calls,
    "writing": excess.writing,
    "process-number": excess.process_number,
    "file-size": excess.file_size,
    "memory-disk": excess.memory_disk,
    "core-dumps": excess.core_dumps,
}


def main() -> None:
    """Try all walls named in the argument (default: all) and print the answers."""
    given: dict[str, Any] = json.loads(sys.argv[1])
    # Seen from the host, its owner is the user we really are.
    with contextlib.suppress(OSError), open("/work/probe-owner", "wb"):
        pass
    answers = {}
    for name in given.get("attacks") or ATTACKS:
        try:
            broken, detail = ATTACKS[name](given)
        except OSError as error:
            broken, detail = False, f"failed: {error}"
        answers[name] = {"broken": broken, "detail": detail}
    sys.stdout.write(json.dumps(answers) + "\n")

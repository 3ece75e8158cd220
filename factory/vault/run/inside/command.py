"""``vault-command``: the argument list that an admin wrote into the policy, and nothing of the request's."""

from __future__ import annotations

import os

from factory.vault.run.inside import given


def main() -> int:
    """Become the command."""
    order = given.read()
    name = str(order["params"]["name"])
    commands = order["settings"].get("commands")
    command = commands.get(name) if isinstance(commands, dict) else None
    argv = command.get("argv") if isinstance(command, dict) else None
    if not isinstance(argv, list) or not argv or not all(isinstance(word, str) for word in argv):
        given.fail(f"the policy names no command {name}")
    try:
        os.execvp(argv[0], argv)  # noqa: S606
    except OSError as error:
        given.fail(f"starting {argv[0]}: {error.strerror or error}")

"""A systemd unit for this home and the user who asks, printed; nothing is installed."""

from __future__ import annotations

import grp
import os
import pwd
import sys

from factory.config.home import data_dir
from factory.config.model import HostConfig
from factory.errors import UsageError
from factory.ops.seed import render_folder

WHAT = {
    "all": "factory: daemon, gateway, forge and vault",
    "daemon": "factory: daemon, gateway and forge",
    "vault": "factory: sentinel and dispatcher of the vault",
}


def unit(host: HostConfig, program: str | None, path: str) -> str:
    """``program``: the factory's command, None where it is not in PATH; ``path``: the PATH that it shall have.

    Raises UsageError for root (sessions and runs would have all rights), and for a home that runs nothing."""
    doing = "printing a systemd unit"
    if os.getuid() == 0:
        raise UsageError(f"{doing}: root runs no factory", hint="as the user whose home it is: sudo -u USER ...")
    if host.runs not in WHAT:
        raise UsageError(f"{doing}: nothing runs in {host.home}: the vault has moved out")
    command = _called(program) if program else f"{_called(sys.executable)} -m factory"
    values = {
        "what": WHAT[host.runs], "user": _user(), "group": _group(), "program": command,
        "home": str(host.home), "home_path": _quoted(str(host.home)), "sessions": host.runs != "vault",
        "environment_home": _quoted(f"FACTORY_HOME={host.home}"), "environment_path": _quoted(f"PATH={path}"),
    }  # fmt: skip
    return render_folder(data_dir("generators") / "systemd", values)["factory.service"].decode()


def _quoted(text: str) -> str:
    """As systemd reads it back: ``%`` stands for itself. Raises UsageError for control characters."""
    if not text.isprintable():
        raise UsageError(f"printing a systemd unit: {text!r} cannot stand in one", hint="use another path")
    plain = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{plain}"'


def _called(program: str) -> str:
    """On a command line ``$`` stands for itself as well."""
    return _quoted(program).replace("$", "$$")


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _group() -> str:
    try:
        return grp.getgrgid(os.getgid()).gr_name
    except KeyError:
        return str(os.getgid())

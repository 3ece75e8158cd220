"""Which sandbox this host uses, and whether it works here: asked once before anything is started."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from factory.errors import SandboxUnavailable
from factory.process.spawn import run
from factory.sandbox.bare import Bare
from factory.sandbox.bubblewrap import Bubblewrap
from factory.sandbox.protocol import Confinement, Limits, Sandbox

NAMES = ("bubblewrap", "none")
OLDEST = (0, 8, 0)
"""First bubblewrap with --disable-userns."""

INSTALL_HINT = "install it: apt-get install bubblewrap"
_PLACES = "/usr/bin:/usr/local/bin:/bin"
_PROC = Path("/proc/sys")


def select(config_name: str = "bubblewrap", *, search: str = _PLACES) -> Sandbox:
    """The sandbox named in host.toml, proved by one start.

    Raises SandboxUnavailable, with a hint that says what to run, when it cannot confine anything here.
    """
    if config_name == "none":
        return Bare()
    if config_name != "bubblewrap":
        raise SandboxUnavailable(
            f"choosing the sandbox: {config_name!r} is not built yet", hint=f"sandboxes here: {', '.join(NAMES)}"
        )
    binary = shutil.which("bwrap", path=search)
    if binary is None:
        raise SandboxUnavailable(f"choosing the sandbox: bubblewrap (bwrap) is not in {search}", hint=INSTALL_HINT)
    _check_version(binary)
    sandbox = Bubblewrap(binary)
    _try(sandbox)
    return sandbox


def _check_version(binary: str) -> None:
    done = run([binary, "--version"], env={}, timeout_s=10)
    text = done.stdout.decode("utf-8", "replace").strip()
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", text)
    if found is None or tuple(map(int, found.groups())) < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise SandboxUnavailable(
            f"choosing the sandbox: {binary} says {text or 'nothing'!r}, but {wanted} or later is needed",
            hint="upgrade it: apt-get install --only-upgrade bubblewrap (Debian 12 and Ubuntu 24.04 have it)",
        )


def _try(sandbox: Bubblewrap) -> None:
    c = Confinement(
        argv=("/usr/bin/env", "true"),
        env={},
        cwd="/",
        binds=(),
        sockets=(),
        tmpfs={},
        limits=Limits(memory_bytes=1 << 30, pids=64, file_bytes=1 << 20),
        owner_paths=(),
    )
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        with sandbox.start(c, stdout=writer, stderr=writer) as child:
            os.close(writer)
            writer = -1
            code = child.wait(20)
        said = os.read(reader, 65536).decode("utf-8", "replace").strip()
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)
    if code != 0:
        # bubblewrap's own words say why; that it could not, which the starter adds, is said already.
        lines = [line for line in said.splitlines() if not line.startswith("factory sandbox: bubblewrap could not")]
        raise SandboxUnavailable(
            f"starting a sandbox: {'; '.join(lines) or said or 'it did not end within 20 s'}",
            hint=hint(said, is_root=os.geteuid() == 0),
        )


def hint(said: str, *, is_root: bool, sysctl: Path = _PROC) -> str:
    """What to do about a start that failed with these words on this kernel."""
    if _value(sysctl / "user/max_user_namespaces") == "0":
        return "user namespaces are switched off; as root: sysctl -w user.max_user_namespaces=15000"
    if _value(sysctl / "kernel/unprivileged_userns_clone") == "0":
        return "user namespaces are for root only; as root: sysctl -w kernel.unprivileged_userns_clone=1"
    if _value(sysctl / "kernel/apparmor_restrict_unprivileged_userns") == "1":
        return (
            "AppArmor forbids user namespaces to bwrap; as root write /etc/apparmor.d/bwrap with: abi <abi/4.0>, "
            "include <tunables/global> profile bwrap /usr/bin/bwrap flags=(unconfined) { userns, } "
            "then run: systemctl reload apparmor"
        )
    if "mount proc" in said:
        return (
            "this container hides parts of /proc, so no new one can be mounted; start it with "
            "--security-opt systempaths=unconfined, or run the factory outside of it"
        )
    if "right to mount" in said or (is_root and "peration not permitted" in said):
        return "this container's root may not mount; run the factory as an ordinary user, or add --cap-add SYS_ADMIN"
    if "namespace" in said.lower():
        return (
            "the kernel or container refuses new namespaces; in Docker add --security-opt seccomp=unconfined "
            "--security-opt apparmor=unconfined, or run the factory outside of it"
        )
    return 'run `factory doctor` for each wall; `sandbox = "none"` in host.toml runs without one, at your own risk'


def _value(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return None

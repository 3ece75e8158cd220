"""The /etc a sandbox sees: written here, plus the few host files that programs under /usr cannot do without."""

from __future__ import annotations

from pathlib import Path

from factory.sandbox.protocol import HOME

UID = 1000
"""User and group id inside, whatever the host's is."""
USER = "agent"
HOSTNAME = "sandbox"

# Only what holds no secret and is world-readable: loader cache, Debian's command alternatives, public certificates, and
# configuration that Java, Perl, Python and Maven packages keep under /etc while /usr links to it.
_FROM_HOST = (
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "alternatives",
    "localtime",
    "mime.types",
    "protocols",
    "services",
    "terminfo",
    "ssl/certs",
    "ssl/openssl.cnf",
    "ca-certificates",
    "pki/tls/certs",
    "pki/ca-trust/extracted",
    "crypto-policies",
    "perl",
    "maven",
    "python3*",
    "java-*",
    "fonts",
)


def files() -> dict[str, bytes]:
    """Path and content of each generated file."""
    text = {
        "/etc/passwd": f"{USER}:x:{UID}:{UID}:{USER}:{HOME}:/bin/sh\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
        "/etc/group": f"{USER}:x:{UID}:\nnogroup:x:65534:\n",
        "/etc/hosts": f"127.0.0.1 localhost {HOSTNAME}\n::1 localhost\n",
        "/etc/hostname": f"{HOSTNAME}\n",
        "/etc/nsswitch.conf": "".join(
            f"{name}: files\n" for name in ("passwd", "group", "shadow", "hosts", "services", "protocols")
        ),
        "/etc/resolv.conf": "",
        # The working copy may be shown read-only and then belongs to nobody inside; git would refuse to read it.
        "/etc/gitconfig": "[safe]\n\tdirectory = *\n",
        "/etc/shells": "/bin/sh\n",
    }
    return {path: content.encode() for path, content in text.items()}


def from_host(etc: Path = Path("/etc")) -> tuple[tuple[Path, str], ...]:
    """Host path and path inside of each thing shown as it is; only what everybody may read and what is no broken
    link.
    """
    found: list[tuple[Path, str]] = []
    for pattern in _FROM_HOST:
        for path in sorted(etc.glob(pattern)):
            try:
                mode = path.stat().st_mode
            except OSError:
                continue
            if mode & 0o004:
                found.append((path, f"/etc/{path.relative_to(etc)}"))
    return tuple(found)

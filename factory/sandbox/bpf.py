"""The seccomp filter, assembled as classic BPF: what no agent needs, and what has broken sandboxes before, is refused.

A list of refusals, because toolchains need most of the kernel's calls; the namespaces are the wall, this keeps the
paths around them shut (security-rules.md, Sandbox). Calls newer than the list answer ENOSYS, which programs know how to
take. Sources: the kernel's syscall tables, seccomp(2), and the calls Docker's and Flatpak's filters refuse.
"""

from __future__ import annotations

import errno
import platform
import struct
from collections.abc import Iterable
from dataclasses import dataclass

_LD_W_ABS = 0x20
_JEQ_K = 0x15
_JGE_K = 0x35
_JSET_K = 0x45
_RET_K = 0x06

_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_KILL_PROCESS = 0x80000000

_AT_NR, _AT_ARCH = 0, 4
_X32_BIT = 0x40000000
_NEWEST_KNOWN = 462
"""mseal, Linux 6.10. The numbers above 424 are the same on every architecture."""

_NAMESPACE_FLAGS = 0x7E020080
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET and NEWTIME together."""
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_FAMILIES = (1, 2, 10)
"""AF_UNIX, AF_INET, AF_INET6."""
_SOCK_RAW = 3


Instruction = tuple[int, int] | tuple[int, int, int, int]
"""Code and k, or code, k, jump if true, jump if false."""


@dataclass(frozen=True)
class Architecture:
    """Audit token, syscall numbers by name, and whether numbers with the x32 bit exist."""

    name: str
    token: int
    numbers: dict[str, int]
    has_x32: bool = False


_BOTH = {
    "kexec_file_load": (320, 294),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "setns": (308, 268),
    "unshare": (272, 97),
    "clone": (56, 220),
    "clone3": (435, 435),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "ioctl": (16, 29),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "acct": (163, 89),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "syslog": (103, 116),
    "vhangup": (153, 58),
    "lookup_dcookie": (212, 18),
}
_ONLY_X86 = {"iopl": 172, "ioperm": 173, "uselib": 134, "_sysctl": 156, "nfsservctl": 180, "create_module": 174}

ARCHITECTURES: dict[str, Architecture] = {
    "x86_64": Architecture("x86_64", 0xC000003E, {n: v[0] for n, v in _BOTH.items()} | _ONLY_X86, has_x32=True),
    "aarch64": Architecture("aarch64", 0xC00000B7, {n: v[1] for n, v in _BOTH.items()}),
}

_MISSING = frozenset({"io_uring_setup", "io_uring_enter", "io_uring_register", "clone3"})
"""Answered ENOSYS, so that libraries fall back. clone3 hides its flags in memory, where a filter cannot look."""
_BY_ARGUMENT = frozenset({"clone", "unshare", "socket", "socketpair", "ioctl"})


def program(machine: str | None = None, *, without: Iterable[str] = ()) -> bytes | None:
    """The filter for ``machine`` (default: this one) as bytes for ``bwrap --seccomp``; None where none is written.

    ``without`` leaves out the rules of the named calls, so that a test can show what each of them stops.
    """
    arch = ARCHITECTURES.get(machine or platform.machine())
    if arch is None:
        return None
    dropped = frozenset(without)
    code = _Code()
    code.load(_AT_ARCH)
    code.skip_unless_equal(arch.token, [(_RET_K, _KILL_PROCESS)], invert=True)
    code.load(_AT_NR)
    if arch.has_x32:
        code.skip_unless_at_least(_X32_BIT, _fail(errno.ENOSYS))
    for name, number in sorted(arch.numbers.items()):
        if name in dropped:
            continue
        if name in _BY_ARGUMENT:
            code.call(number, _argument_rule(name))
        else:
            code.call(number, [(_RET_K, _ERRNO | (errno.ENOSYS if name in _MISSING else errno.EPERM))])
    code.skip_unless_at_least(_NEWEST_KNOWN + 1, _fail(errno.ENOSYS))
    code.emit(_RET_K, _ALLOW)
    return bytes(code)


def _fail(number: int) -> list[Instruction]:
    return [(_RET_K, _ERRNO | number)]


def _low(argument: int) -> int:
    # struct seccomp_data: nr, arch, instruction_pointer, args[6] of 64 bits; both architectures are little-endian.
    return 16 + 8 * argument


def _argument_rule(name: str) -> list[Instruction]:
    """Instructions that run when the call is ``name``; each ends in a verdict."""
    refuse = (_RET_K, _ERRNO | errno.EPERM)
    allow = (_RET_K, _ALLOW)
    if name in ("clone", "unshare"):
        return [(_LD_W_ABS, _low(0)), (_JSET_K, _NAMESPACE_FLAGS, 0, 1), refuse, allow]
    if name == "ioctl":
        # TIOCSTI types into a terminal; the kernel compares 32 bits, and so do we (CVE-2019-10063).
        return [(_LD_W_ABS, _low(1)), (_JEQ_K, _TIOCSTI, 1, 0), (_JEQ_K, _TIOCLINUX, 0, 1), refuse, allow]
    no_family = (_RET_K, _ERRNO | errno.EAFNOSUPPORT)
    families = _FAMILIES if name == "socket" else _FAMILIES[:1]
    rule: list[Instruction] = [(_LD_W_ABS, _low(0))]
    for position, family in enumerate(families):
        rule.append((_JEQ_K, family, len(families) - position, 0))
    rule.append(no_family)
    # The low four bits are the type, the rest flags such as SOCK_CLOEXEC.
    rule += [(_LD_W_ABS, _low(1)), (0x54, 0xF), (_JEQ_K, _SOCK_RAW, 0, 1), refuse, allow]
    return rule


class _Code:
    """Instructions of a classic BPF program, 8 bytes each: code, jump if true, jump if false, k."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []

    def emit(self, code: int, k: int, if_true: int = 0, if_false: int = 0) -> None:
        """Append one instruction."""
        self._lines.append(struct.pack("<HBBI", code, if_true, if_false, k))

    def load(self, offset: int) -> None:
        self.emit(_LD_W_ABS, offset)

    def call(self, number: int, rule: Iterable[Instruction]) -> None:
        """Run ``rule``, which ends the program, if the loaded syscall number is ``number``."""
        lines = list(rule)
        self.emit(_JEQ_K, number, 0, len(lines))
        self._add(lines)

    def skip_unless_equal(self, k: int, rule: list[Instruction], *, invert: bool = False) -> None:
        self.emit(_JEQ_K, k, len(rule) if invert else 0, 0 if invert else len(rule))
        self._add(rule)

    def skip_unless_at_least(self, k: int, rule: list[Instruction]) -> None:
        self.emit(_JGE_K, k, 0, len(rule))
        self._add(rule)

    def _add(self, lines: Iterable[Instruction]) -> None:
        for line in lines:
            self.emit(*line)

    def __bytes__(self) -> bytes:
        return b"".join(self._lines)

"""The filter, run by a small BPF machine: what each call gets on each architecture."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.sandbox import bpf

ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
X86, ARM = bpf.ARCHITECTURES["x86_64"], bpf.ARCHITECTURES["aarch64"]


def verdict(program: bytes, arch: int, number: int, *arguments: int) -> int:
    """What the kernel would decide: the few instructions of classic BPF that seccomp allows and we use."""
    words = [*arguments, *([0] * 6)][:6]
    data = struct.pack("<IIQ6Q", number, arch, 0, *words)
    code = [struct.unpack_from("<HBBI", program, at) for at in range(0, len(program), 8)]
    accumulator, position = 0, 0
    while True:
        op, if_true, if_false, k = code[position]
        position += 1
        if op == 0x20:
            accumulator = struct.unpack_from("<I", data, k)[0]
        elif op == 0x54:
            accumulator &= k
        elif op == 0x15:
            position += if_true if accumulator == k else if_false
        elif op == 0x35:
            position += if_true if accumulator >= k else if_false
        elif op == 0x45:
            position += if_true if accumulator & k else if_false
        elif op == 0x06:
            return k
        else:
            raise AssertionError(f"unknown instruction {op:#x}")


@pytest.fixture(params=["x86_64", "aarch64"])
def arch(request: pytest.FixtureRequest) -> bpf.Architecture:
    return bpf.ARCHITECTURES[request.param]


def decide(arch: bpf.Architecture, name: str, *arguments: int, without: tuple[str, ...] = ()) -> int:
    program = bpf.program(arch.name, without=without)
    assert program is not None
    return verdict(program, arch.token, arch.numbers[name], *arguments)


def test_every_listed_call_is_refused(arch: bpf.Architecture) -> None:
    by_argument = {"clone", "unshare", "socket", "socketpair", "ioctl"}
    for name in arch.numbers.keys() - by_argument:
        assert decide(arch, name) in (ERRNO | errno.EPERM, ERRNO | errno.ENOSYS), name
        assert decide(arch, name, without=(name,)) == ALLOW, name


def test_ordinary_calls_pass() -> None:
    ordinary = {"read": (0, 63), "openat": (257, 56), "execve": (59, 221), "mmap": (9, 222), "exit_group": (231, 94)}
    for x86, arm in ordinary.values():
        assert verdict(bpf.program("x86_64") or b"", X86.token, x86) == ALLOW
        assert verdict(bpf.program("aarch64") or b"", ARM.token, arm) == ALLOW


@pytest.mark.parametrize(
    ("family", "kind", "allowed"), [(1, 1, True), (2, 1, True), (10, 2, True), (2, 0o2000001, True)]
)
def test_sockets_of_agents_pass(arch: bpf.Architecture, family: int, kind: int, allowed: bool) -> None:
    assert (decide(arch, "socket", family, kind) == ALLOW) is allowed


@given(st.integers(0, 2**32 - 1).filter(lambda family: family not in (1, 2, 10)))
def test_other_families_are_unknown(family: int) -> None:
    for arch in (X86, ARM):
        assert decide(arch, "socket", family, 1) == ERRNO | errno.EAFNOSUPPORT
        assert decide(arch, "socketpair", family, 1) == ERRNO | errno.EAFNOSUPPORT


def test_raw_sockets_are_refused_whatever_their_flags(arch: bpf.Architecture) -> None:
    for flags in (0, 0o2000000, 0o4000, 0o2004000):
        assert decide(arch, "socket", 2, 3 | flags) == ERRNO | errno.EPERM


def test_socketpair_is_for_unix_only(arch: bpf.Architecture) -> None:
    assert decide(arch, "socketpair", 1, 1) == ALLOW
    assert decide(arch, "socketpair", 2, 1) == ERRNO | errno.EAFNOSUPPORT


@pytest.mark.parametrize("flag", [0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000])
def test_no_new_namespace_by_unshare_or_clone(arch: bpf.Architecture, flag: int) -> None:
    assert decide(arch, "unshare", flag) == ERRNO | errno.EPERM
    assert decide(arch, "clone", flag | 17) == ERRNO | errno.EPERM


def test_threads_and_forks_pass(arch: bpf.Architecture) -> None:
    assert decide(arch, "clone", 0x3D0F00) == ALLOW  # what pthread_create asks for
    assert decide(arch, "clone", 17) == ALLOW
    assert decide(arch, "unshare", 0x400) == ALLOW  # CLONE_FILES
    # Its flags lie in memory, out of a filter's sight; libraries fall back to clone.
    assert decide(arch, "clone3", 0) == ERRNO | errno.ENOSYS


def test_typing_into_a_terminal_is_refused_also_with_high_bits(arch: bpf.Architecture) -> None:
    """CVE-2019-10063: the kernel looks at 32 bits of the request, filters looked at 64."""
    for request in (0x5412, 0x5412 | 1 << 32, 0x541C):
        assert decide(arch, "ioctl", 0, request) == ERRNO | errno.EPERM
    assert decide(arch, "ioctl", 0, 0x5413) == ALLOW


def test_foreign_architecture_is_killed_and_x32_unknown() -> None:
    program = bpf.program("x86_64") or b""
    assert verdict(program, 0x40000003, 0) == KILL  # int 0x80: i386 numbers mean other calls
    assert verdict(program, X86.token, 0x40000000 | 41, 16) == ERRNO | errno.ENOSYS


def test_calls_newer_than_the_list_do_not_exist(arch: bpf.Architecture) -> None:
    program = bpf.program(arch.name) or b""
    assert verdict(program, arch.token, 462) == ALLOW
    assert verdict(program, arch.token, 463) == ERRNO | errno.ENOSYS


def test_no_filter_where_the_numbers_are_not_known() -> None:
    assert bpf.program("riscv64") is None

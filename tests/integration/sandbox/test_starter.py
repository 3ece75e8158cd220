"""The starter as root: a user id of its own, never bubblewrap as uid 0, no descriptor of ours on the other side."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from factory.sandbox.bubblewrap import Bubblewrap
from factory.sandbox.protocol import Bind, Confinement, Limits
from factory.sandbox.starter import kernel, user

pytestmark = pytest.mark.needs_bwrap
as_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="needs root: shows what starting bubblewrap as uid 0 would allow"
)

CORE_PATTERN = "import os; os.close(os.open('/proc/sys/kernel/core_pattern', os.O_WRONLY)); print('writable')"
LIST = (
    "import os; print([os.readlink(at) for n in os.listdir('/proc/self/fd') "
    "if os.path.exists(at := f'/proc/self/fd/{n}')])"
)
"""Prints what every open descriptor is, whatever its number: a test process may have hundreds open itself."""


def confinement(folder: Path, code: str, **changes: object) -> Confinement:
    work = folder / "work"
    work.mkdir(exist_ok=True)
    values = {
        "argv": (Bubblewrap().python(), "-I", "-S", "-c", code),
        "env": {},
        "cwd": "/work",
        "binds": (Bind(work, "/work", writable=True),),
        "sockets": (),
        "tmpfs": {},
        "limits": Limits(memory_bytes=1 << 30, pids=64, file_bytes=1 << 20),
        "owner_paths": (work,),
        **changes,
    }
    return Confinement(**values)  # type: ignore[arg-type]


def run(sandbox: Bubblewrap, c: Confinement, folder: Path) -> tuple[int | None, str]:
    with (folder / "said").open("w+b") as said, sandbox.start(c, stdout=said.fileno(), stderr=said.fileno()) as child:
        code = child.wait(20)
        said.seek(0)
        return code, said.read().decode()


def bare_bwrap(*options: str, code: str, pass_fds: tuple[int, ...] = ()) -> subprocess.CompletedProcess[str]:
    """bubblewrap as it is usually started: directly, with no starter."""
    usr = ["--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64"]
    python = Bubblewrap().python()
    tree = (
        [] if python.startswith("/usr/") else ["--ro-bind", str(Path(python).parents[1]), str(Path(python).parents[1])]
    )
    argv = [
        "bwrap",
        "--unshare-all",
        "--disable-userns",
        "--unshare-user",
        "--cap-drop",
        "ALL",
        *usr,
        *tree,
        "--proc",
        "/proc",
    ]
    return subprocess.run(
        [*argv, *options, python, "-I", "-S", "-c", code],
        capture_output=True,
        text=True,
        pass_fds=pass_fds,
        check=False,
    )


@as_root
@pytest.mark.needs_root
def test_bubblewrap_as_uid_0_would_leave_core_pattern_writable(folder: Path) -> None:
    """The fault the drop answers (security-rules.md): all capabilities dropped, and still writable."""
    assert bare_bwrap(code=CORE_PATTERN).stdout == "writable\n"
    assert "Read-only" in bare_bwrap("--ro-bind", "/proc/sys", "/proc/sys", code=CORE_PATTERN).stderr
    # Ours has both walls; each alone holds.
    for without in ([], ["proc-sys"]):
        code, said = run(Bubblewrap(without=without), confinement(folder, CORE_PATTERN), folder)
        assert code == 1
        assert "writable" not in said


@as_root
@pytest.mark.needs_root
def test_starter_refuses_to_start_bubblewrap_as_uid_0(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "from factory.sandbox.starter import main, user; user.become = lambda uid: None; main.main()"  # no drop
    plan = json.dumps({**Bubblewrap()._plan(confinement(folder, "print('ran')"), None), "parent": os.getpid()})
    done = subprocess.run([sys.executable, "-c", script], input=plan, capture_output=True, text=True, check=False)
    assert done.returncode == 125
    assert "bubblewrap is never started as uid 0" in done.stderr
    assert "ran" not in done.stdout


@as_root
@pytest.mark.needs_root
def test_root_only_files_shown_by_mistake_stay_unreadable(folder: Path) -> None:
    secret = folder / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    shown = confinement(
        folder, "open('/srv/secret').read()", binds=(Bind(secret, "/srv/secret"),), cwd="/", owner_paths=()
    )
    code, said = run(Bubblewrap(), shown, folder)
    assert code == 125
    assert f"{secret} is not readable for the sandbox's user" in said


@as_root
@pytest.mark.needs_root
def test_two_starters_never_share_a_user_id() -> None:
    taken = [user.take_uid() for _ in range(20)]
    try:
        assert len({uid for uid, _fd in taken}) == 20
        assert all(user.FIRST_UID <= uid < user.FIRST_UID + user.UIDS for uid, _fd in taken)
    finally:
        for _uid, fd in taken:
            os.close(fd)


@as_root
@pytest.mark.needs_root
def test_ownership_is_given_without_following_links(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("x")
    given = tmp_path / "given"
    (given / "deep").mkdir(parents=True)
    (given / "deep/file").write_text("x")
    (given / "link").symlink_to(outside)
    (given / "folder-link").symlink_to(tmp_path)
    deep = given / "down"
    deep.mkdir()
    fd = os.open(deep, os.O_RDONLY)
    for _ in range(3000):  # deeper than Python recurses and than a path may be long
        os.mkdir("d", dir_fd=fd)
        deeper = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    user.give(str(given), 12345)
    assert os.fstat(fd).st_uid == 12345
    os.close(fd)
    subprocess.run(["rm", "-rf", deep], check=True)  # pytest's own clean-up would recurse
    assert outside.stat().st_uid == tmp_path.stat().st_uid == 0
    assert [path.lstat().st_uid for path in (given, given / "deep/file", given / "link")] == [12345] * 3


def test_descriptors_of_the_factory_do_not_arrive(folder: Path) -> None:
    """Even if one is inheritable and passed on to the starter; bubblewrap alone hands it to the agent."""
    secret = folder / "secret"
    secret.write_text("x")
    with secret.open() as opened:
        os.set_inheritable(opened.fileno(), True)
        assert "/secret" in bare_bwrap(code=LIST, pass_fds=(opened.fileno(),)).stdout
        plan = json.dumps({**Bubblewrap()._plan(confinement(folder, LIST), None), "parent": os.getpid()})
        done = subprocess.run(
            [sys.executable, "-c", "from factory.sandbox.starter.main import main; main()"],
            input=plan,
            capture_output=True,
            text=True,
            pass_fds=(opened.fileno(),),
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert "/secret" not in done.stdout
    assert "/dev/null" in done.stdout


def test_starter_that_was_orphaned_before_it_began_ends() -> None:
    """A parent that died first cannot be heard of by a signal; the starter compares."""
    code = "from factory.sandbox.starter import kernel; kernel.die_with(1); print('lives on')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-9, "")


def test_only_named_descriptors_stay_open() -> None:
    code = (
        "import os; from factory.sandbox.starter import kernel; a, b = os.pipe(); kernel.close_descriptors({b})\n"
        "os.fstat(0), os.fstat(1), os.fstat(2), os.fstat(b)\n"
        "try: os.fstat(a)\n"
        "except OSError: print('closed')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "closed\n"), done.stderr


def test_targets_that_would_undo_a_wall_are_refused(folder: Path) -> None:
    from factory.errors import SandboxUnavailable

    for target in ("/", "/proc", "/proc/sys", "/etc", "/etc/passwd", "/dev/mem", "relative", "/work/../etc", "/sys/fs"):
        with pytest.raises(SandboxUnavailable, match="building a sandbox"):
            Bubblewrap().start(confinement(folder, "", binds=(Bind(folder, target),)), stdout=2, stderr=2)


def test_session_keyring_is_new() -> None:
    code = (
        "import ctypes, platform; from factory.sandbox.starter import kernel\n"
        "n = {'x86_64': 250, 'aarch64': 219}[platform.machine()]\n"
        "ring = lambda: ctypes.CDLL(None).syscall(n, 0, ctypes.c_long(-3), 1)\n"
        "before = ring(); kernel.join_new_keyring(); assert ring() != before"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert kernel._KEYCTL.keys() == {"x86_64", "aarch64"}

"""What bubblewrap is told, as data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from factory.errors import SandboxUnavailable
from factory.sandbox.bubblewrap import Bubblewrap, environment, interpreter
from factory.sandbox.protocol import Bind, Confinement, Limits

LIMITS = Limits(memory_bytes=1 << 30, pids=64, file_bytes=1 << 20)


def plan(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "argv": ("true",),
        "env": {},
        "cwd": "/work",
        "binds": (Bind(Path("/host/clone"), "/work", writable=True),),
        "sockets": (Bind(Path("/host/gateway.sock"), "/run/factory/gateway.sock"),),
        "tmpfs": {},
        "limits": LIMITS,
        "owner_paths": (Path("/host/clone"),),
        **changes,
    }
    return Bubblewrap()._plan(Confinement(**values), None)


def places(options: list[Any]) -> list[str]:
    """Mount points in order."""
    after = {"--bind": 2, "--ro-bind": 2, "--tmpfs": 1}
    return [options[at + after[word]] for at, word in enumerate(options) if isinstance(word, str) and word in after]


def test_every_namespace_is_named_and_no_capability_left() -> None:
    options = plan()["options"]
    named = {f"--unshare-{name}" for name in ("user", "pid", "net", "ipc", "uts", "cgroup")}
    assert named <= {word for word in options if isinstance(word, str)}
    for flag in ("--disable-userns", "--new-session", "--die-with-parent", "--clearenv", "--seccomp"):
        assert flag in options
    assert options[options.index("--cap-drop") + 1] == "ALL"
    assert options[options.index("/proc/sys") - 1] == "--ro-bind"


def test_parents_are_mounted_before_what_lies_in_them() -> None:
    binds = (
        Bind(Path("/host/cache"), "/work/.cache/deep", writable=True),
        Bind(Path("/host/clone"), "/work", writable=True),
        Bind(Path("/host/work-other"), "/work-other"),
    )
    order = places(plan(binds=binds, tmpfs={"/work/.cache": 1 << 20})["options"])
    assert order.index("/work") < order.index("/work/.cache") < order.index("/work/.cache/deep")
    assert order.index("/work/.cache/deep") < order.index("/work-other")


def test_only_what_is_writable_is_bound_so_and_watched_for_room() -> None:
    told = plan(binds=(Bind(Path("/host/a"), "/a"), Bind(Path("/host/b"), "/b", writable=True)))
    options = told["options"]
    assert options[options.index("/a") - 2] == "--ro-bind"
    assert options[options.index("/b") - 2] == "--bind"
    assert [told["sources"][index] for index in told["writable"]] == ["/host/b"]
    assert told["sockets"] == ["/host/gateway.sock"]


def test_tmpfs_is_sized_and_the_root_is_read_only_at_the_end() -> None:
    options = plan(tmpfs={"/tmp": 12345})["options"]
    at = options.index("/tmp", options.index("--size"))
    for place in ("/tmp", "/home/agent", "/run/factory/bin", "/dev/shm"):
        at = max(index for index, word in enumerate(options) if word == place and options[index - 1] == "--tmpfs")
        assert "--size" in options[at - 5 : at]
    assert options[options.index("12345") - 1] == "--size"
    last_mount = max(at for at, word in enumerate(options) if word in ("--bind", "--ro-bind", "--tmpfs"))
    assert options.index("--remount-ro", last_mount) > last_mount
    assert options[options.index("--remount-ro", last_mount) + 1] == "/"


def test_no_secret_of_the_environment_and_no_host_path_stands_in_the_command_line() -> None:
    told = plan(env={"FACTORY_TOKEN": "t0ken"})
    assert "t0ken" in told["options"]
    assert told["argv"][-1] == "true"
    assert not any("t0ken" in word or "/host" in word for word in told["argv"])


@pytest.mark.parametrize("target", ["/", "/proc", "/etc/passwd", "/dev/x", "work", "/a/../b", "/a/", "//a"])
def test_places_that_would_undo_a_wall(target: str) -> None:
    with pytest.raises(SandboxUnavailable):
        plan(binds=(Bind(Path("/host"), target),))


def test_environment_is_ours_then_the_sessions() -> None:
    env = environment({"HOME": "/elsewhere", "X": "1"})
    assert (env["HOME"], env["X"], env["TMPDIR"]) == ("/elsewhere", "1", "/tmp")
    assert env["PATH"].split(":")[0] == "/run/factory/bin"
    program, prefix = interpreter()
    assert program.is_file()
    assert prefix.is_dir()

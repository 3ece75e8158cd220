"""Started as root: a user id of our own, what that user may see, what it may write, and becoming it."""

from __future__ import annotations

import fcntl
import os
import random
import stat

from factory.sandbox.starter import kernel

FIRST_UID = 1_900_000_000
"""Above people, /etc/subuid ranges and systemd's container range (systemd.io/UIDS-GIDS), below 2^31."""
UIDS = 4096
LOCKS = "/run/factory-sandbox"
_STAGES = ("/mnt", "/media", "/srv", "/opt", "/run")


def take_uid() -> tuple[int, int]:
    """A user id no other sandbox has now, and the descriptor whose lock keeps it ours.

    Raises Refused when all are taken or the folder of locks is not root's alone.
    """
    os.makedirs(LOCKS, mode=0o700, exist_ok=True)
    there = os.lstat(LOCKS)
    if not stat.S_ISDIR(there.st_mode) or there.st_uid != 0 or there.st_mode & 0o022:
        raise kernel.Refused(f"{LOCKS} is not a folder that root alone may write")
    busy = _running_uids()
    # Not from the start each time: an id that was just given back rests, so that nothing meets its last owner's
    # remains.
    first = random.randrange(UIDS)  # noqa: S311
    for step in range(UIDS):
        uid = FIRST_UID + (first + step) % UIDS
        if uid in busy:
            continue
        fd = os.open(f"{LOCKS}/{uid}", os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            continue
        return uid, fd
    raise kernel.Refused(f"all {UIDS} user ids for sandboxes are in use")


def give(path: str, uid: int) -> None:
    """Make ``uid`` the owner of a folder and all below it, following no link.

    By chown(1): a tree an agent has made may be deeper than Python's stack. Raises Refused when it cannot be done.
    """
    argv = ["chown", "-R", "-h", "-P", f"{uid}:{uid}", "--", path]
    quiet = [(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)]
    try:
        pid = os.posix_spawn("/usr/bin/chown", argv, {}, file_actions=quiet, setsigmask=())
    except FileNotFoundError:
        pid = os.posix_spawn("/bin/chown", argv, {}, file_actions=quiet, setsigmask=())
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code != 0:
        raise kernel.Refused(f"{path} could not be given to user {uid} (chown ended with {code})")


def give_socket(path: str, uid: int) -> None:
    """Let ``uid`` connect to a Unix socket: that needs the right to write its file."""
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            raise kernel.Refused(f"{path} is not a socket")
        os.chown(f"/proc/self/fd/{fd}", uid, uid)
    finally:
        os.close(fd)


def show(sources: list[str]) -> list[str]:
    """Bind each source to a place the sandbox's user can reach, in a mount namespace nobody else sees; returns the
    places.
    """
    try:
        kernel.unshare(kernel.CLONE_NEWNS)
        kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    except PermissionError as error:
        raise kernel.Refused(
            f"root without the right to mount ({error.strerror}); "
            "run the factory as an ordinary user, or give it CAP_SYS_ADMIN"
        ) from error
    # Opened now: a descriptor from before belongs to mounts of the old namespace, which cannot be bound.
    opened = [os.open(path, os.O_PATH | os.O_CLOEXEC) for path in sources]
    stage = next(path for path in _STAGES if os.path.isdir(path) and os.stat(path).st_mode & 0o001)
    kernel.mount("tmpfs", stage, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=0711,size=4m")
    places = []
    for number, fd in enumerate(opened):
        place = f"{stage}/{number}"
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            os.mkdir(place)
        else:
            os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        # Through the descriptor: the path may lie below the folder we just covered.
        kernel.mount(f"/proc/self/fd/{fd}", place, None, kernel.MS_BIND | kernel.MS_REC)
        os.close(fd)
        places.append(place)
    return places


def check_readable(sources: list[str], places: list[str]) -> None:
    """Raises Refused for a source that we, as the user we now are, cannot read."""
    for source, place in zip(sources, places, strict=True):
        mode = os.R_OK | os.X_OK if os.path.isdir(place) else os.R_OK
        if not os.access(place, mode):
            raise kernel.Refused(f"{source} is not readable for the sandbox's user (uid {os.getuid()})")


def become(uid: int) -> None:
    """Give up root for good: groups, group and user, real, effective and saved."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def _running_uids() -> set[int]:
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                found.add(os.stat(f"/proc/{name}").st_uid)
            except OSError:
                continue
    return found

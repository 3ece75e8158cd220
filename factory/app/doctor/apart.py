"""Where the vault has a home of its own: whose the processes are, as this machine tells, and what was left behind."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from factory.app import projects
from factory.app.deployment import APART, Deployment
from factory.app.doctor.finding import Finding, note, ok, problem
from factory.app.places import vault_home
from factory.app.vault_moving import GIVEN, MOVED

AREA = "host"
NAME = "separation"
DISPATCHER = ("factory.app.dispatcher",)
DAEMON = ("up", "--foreground")


@dataclass(frozen=True)
class Seen:
    """A process as everybody on this machine can see it; ``home`` is empty where its command line does not say."""

    pid: int
    user: str
    home: str


def look(deployment: Deployment, me: str) -> Iterator[Finding]:
    """What the two homes are worth, seen from one of them. What other users' processes are is told by their command
    lines alone: it is for a person to read, and nothing is decided by it."""
    yield from _left(deployment)
    if deployment.host.runs == "nothing":
        yield note(AREA, NAME, "the vault has moved out of this home; nothing runs here")
        return
    yield from (of_daemon if deployment.host.runs == "daemon" else of_vault)(deployment, me)


def of_daemon(deployment: Deployment, me: str) -> Iterator[Finding]:
    """From the daemon's home."""
    found = [one for one in processes(DISPATCHER) if one.home != str(deployment.home)]
    others, same = [one for one in found if one.user != me], [one for one in found if one.user == me]
    if others:
        seen = others[0]
        where = f"process {seen.pid}, {seen.home}"
        yield ok(AREA, NAME, f"a dispatcher runs as {seen.user} ({where}), this home is of {me}")
    elif same:
        yield _worthless(f"the dispatcher in {same[0].home} runs as {me}, too")
    else:
        words = "the vault has a home of its own, and no dispatcher of another user is seen on this machine"
        yield note(AREA, NAME, words, "as the user of that home: factory up --detach, and factory doctor")
    if deployment.host.embedded:
        yield note(
            AREA, "who has the forge",
            f"the embedded forge runs as {me}: whoever is {me} can write what it says, approvals too; only signatures "
            "hold against that, or a forge elsewhere",
            'require_signature = ["high", "medium"] in vault/policy.toml (docs/how-to/two-users.md)',
        )  # fmt: skip
    yield note(AREA, "the vault", "its processes, keys and the forge's settings are looked at in its own home",
               APART["daemon"])  # fmt: skip


def of_vault(deployment: Deployment, me: str) -> Iterator[Finding]:
    """From the vault's home."""
    same = [one for one in processes(DAEMON) if one.user == me and not _keeps(one, deployment)]
    if same:
        yield _worthless(f"a daemon runs as {me}, too (process {same[0].pid})")
    else:
        yield ok(AREA, NAME, f"only the vault's processes run in this home, as {me}; no daemon is {me}")


def _worthless(why: str) -> Finding:
    return note(
        AREA, NAME, f"{why}: the separation guards against bugs and against sessions, not against a compromised daemon",
        "docs/how-to/two-users.md",
    )  # fmt: skip


def _left(deployment: Deployment) -> Iterator[Finding]:
    """Keys and tokens that are no more this home's."""
    if deployment.host.has_vault:
        return
    state = deployment.state
    logins = {project.account(duty) for project in projects.every(state) for duty in MOVED}
    files = [state / "tokens" / login for login in sorted(logins)]
    files += [vault_home(state) / name for name in ("age.key", "host_key", "host_key.new")]
    here = [path for path in files if path.exists()]
    if here or (state / GIVEN).exists():
        words = f"what moved out is still here, {here[0] if here else state / GIVEN}: the other user has it as well"
        yield problem(AREA, "left behind", words, "factory vault move-out --received NUMBER (or --cancel)")


def processes(words: tuple[str, ...]) -> tuple[Seen, ...]:
    """Those of this machine, of any user, that the factory started with these words on the command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            told = (entry / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            user = owner(int(entry.name))
        except OSError:
            continue  # it ended meanwhile, or this machine hides others' processes
        ours = any(word == "factory" or word.endswith("/factory") or word.startswith("factory.app.") for word in told)
        if user and ours and all(word in told for word in words):
            home = told[told.index("--home") + 1] if "--home" in told[:-1] else ""
            found.append(Seen(int(entry.name), user, home))
    return tuple(sorted(found, key=lambda one: one.pid))


def _keeps(one: Seen, deployment: Deployment) -> bool:
    """Whether this is the keeper of that home: its environment, which its own user may read, says so."""
    try:
        told = Path(f"/proc/{one.pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return f"FACTORY_HOME={deployment.home}".encode() in told


def owner(pid: int) -> str:
    """The user that a process runs as, by name where it has one; empty: it is gone."""
    try:
        return name_of(Path(f"/proc/{pid}").stat().st_uid)
    except OSError:
        return ""


def name_of(uid: int) -> str:
    """A user's name, or the number of one that has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)

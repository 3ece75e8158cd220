"""The rule about who the processes are: two users of the machine, or said that it is one."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from factory.app.doctor import host as doctor
from factory.app.doctor.finding import State
from factory.process.spawn import spawn
from tests.integration.vault.attacks.register import Seen, rule
from tests.integration.vault.watch.conftest import House

TOLD, ONLY = "doctor says what it is worth", "cannot: it is said, not enforced"


@rule("Where daemon and dispatcher run as one user, doctor says that their separation guards against bugs, not against "
      "a compromised daemon", vault=TOLD, off=ONLY,
      check="the machine is asked whose the running processes are; how to have two is docs/how-to/two-users.md")
def test_rule_doctor_says_what_one_user_for_all_is_worth(served: House) -> Seen:
    found = {one.name: one for one in doctor.look(served.deployment, datetime.now(UTC))}["separation"]
    assert found.state is State.NOTE
    assert "guards against bugs and against sessions, not against a compromised daemon" in found.detail
    me = doctor.owner(os.getpid())
    assert f"run as {me}:" in found.detail
    dispatcher = served.pid("dispatcher")
    assert dispatcher is not None
    assert doctor.owner(dispatcher) == me
    apart = doctor.separation({"daemon": me, "dispatcher": f"{me}-of-the-vault"}, me)
    assert (apart.state, f"the dispatcher runs as {me}-of-the-vault" in apart.detail) == (State.OK, True)
    assert doctor.separation({}, me).state is State.NOTE, "what is started next runs as who starts it"
    if os.getuid() == 0:  # only root can start somebody else's process
        other = spawn(["sleep", "30"], env={"PATH": "/usr/bin:/bin"}, uid=65534)
        try:
            users = {"daemon": me, "dispatcher": doctor.owner(other.pid)}
            assert doctor.separation(users, me).state is State.OK
        finally:
            other.kill_tree(0)
    assert doctor.owner(2**22 + 1) == ""
    return Seen("-", TOLD, ONLY)

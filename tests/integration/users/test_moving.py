"""The vault's move from home to home, cut off at every write, and with what nobody may hand it. Real folders, which
belong to who runs the test: that two users do it is in test_two_users.py."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from factory.app import projects, vault_moving
from factory.app.deployment import Deployment
from factory.app.vault_moving import GIVEN, cancel, forget, give, take
from factory.app.vault_parcel import read
from factory.config.home import create_home, write_private
from factory.config.host import load_host, write_host
from factory.config.model import HostConfig, LedgerMirror
from factory.errors import Conflict, UsageError
from factory.process.lock import hold

MINE = {
    "tokens/dispatcher-bot": b"d\n", "tokens/release-bot": b"r\n", "vault/age.key": b"AGE", "vault/host_key": b"KEY",
    "vault/o.n-ops/ledger.json": b"mark", "vault/o.n-ops/nonces/n1": b"digest", "vault/mirror.token": b"m\n",
}  # fmt: skip
BOTH = {"tokens/sentinel-bot": b"s\n"}
GONE = ("vault/o.n-ops/repo.git/HEAD", "vault/slots/0.lock", "vault/x.beat.json", "vault/o.n-ops/runs/x/tree/f")
"""What comes again by itself, and does not move."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """As a set-up leaves it, of a forge elsewhere."""
    place = tmp_path / "daemon"
    create_home(place)
    mirror = LedgerMirror("https://far.test/l.git", "keeper", place / "state" / "vault" / "mirror.token")
    write_host(HostConfig(place, "h1", "http://forge.test", False, None, 3080, ("o/n-ops",), ledger_mirror=mirror))
    state = place / "state"
    projects.save(state, projects.ProjectState("o/n", "o/n-ops", "0" * 40, 1, 2, "main"))
    for name, data in {**MINE, **BOTH, **dict.fromkeys(GONE, b"x"), "tokens/factory-bot": b"f\n"}.items():
        write_private(state / name, data)
    write_private(place / "cache" / "vault" / "o.n-ops.mark.json", b"mark")
    return place


def kept(home: Path) -> dict[str, bytes]:
    return {name: path.read_bytes() for name in MINE if (path := home / "state" / name).exists()}


def runs(home: Path) -> str:
    return load_host(home).runs if (home / "state" / "host.toml").exists() else "-"


def opened(home: Path) -> Deployment:
    return Deployment.open(home)


def move(source: Path, target: Path) -> str:
    """As a person does it: whatever was cut off before, the same three commands."""
    number = str(take(target, give(opened(source)))["number"])
    forget(opened(source), number)
    return number


def test_all_that_lasts_moves_and_nothing_stays(home: Path, tmp_path: Path) -> None:
    there = tmp_path / "vault"
    number = move(home, there)
    assert (runs(home), runs(there)) == ("daemon", "vault")
    assert (kept(home), kept(there)) == ({}, MINE)
    assert not (home / "state" / "vault").exists()
    assert not (home / "cache" / "vault").exists(), "the copy of the mark"
    assert not any((there / "state" / name).exists() for name in GONE)
    assert all((place / "state" / name).read_bytes() == data for name, data in BOTH.items() for place in (home, there))
    assert not (there / "state" / "tokens" / "factory-bot").exists()
    assert (there / "state" / "tokens" / "dispatcher-bot").stat().st_mode & 0o777 == 0o600
    mirror = load_host(there).ledger_mirror
    assert mirror == LedgerMirror("https://far.test/l.git", "keeper", there / "state" / "vault" / "mirror.token")
    assert load_host(home).ledger_mirror is None
    assert (load_host(there).host, load_host(there).embedded, load_host(there).ops_repos) == ("h1", False, ("o/n-ops",))
    with pytest.raises(UsageError, match="none was handed out"):
        forget(opened(home), number)


def test_it_comes_back_the_same_way(home: Path, tmp_path: Path) -> None:
    there, before = tmp_path / "vault", load_host(home)
    parcel = give(opened(home))
    number = str(take(there, parcel)["number"])
    forget(opened(home), number)
    write_private(there / "state" / "vault" / "o.n-ops" / "ledger.json", b"newer mark")
    move(there, home)
    assert (runs(home), runs(there)) == ("all", "nothing")
    assert kept(home) == {**MINE, "vault/o.n-ops/ledger.json": b"newer mark"}
    assert kept(there) == {}
    assert not (there / "state" / "tokens" / "sentinel-bot").exists()
    assert load_host(home) == before
    with pytest.raises(UsageError, match="has moved on since"):
        take(there, parcel)  # what a disk kept would bring an older mark back
    move(home, there)
    assert (runs(home), runs(there)) == ("daemon", "vault")


class Cut(BaseException):
    """The machine stops here."""


def cutting(at: int, action: Callable[[], object]) -> bool:
    """Run it, and stop before its write number ``at``; whether it got as far."""
    left = [at]

    def counted(original: Callable[..., object]) -> Callable[..., object]:
        def write(*args: object, **kwargs: object) -> object:
            left[0] -= 1
            if left[0] < 0:
                raise Cut
            return original(*args, **kwargs)

        return write

    with (
        mock.patch.object(vault_moving, "write_private", counted(vault_moving.write_private)),
        mock.patch.object(vault_moving, "write_host", counted(vault_moving.write_host)),
        mock.patch.object(shutil, "rmtree", counted(shutil.rmtree)),
        mock.patch.object(Path, "unlink", counted(Path.unlink)),
    ):
        try:
            action()
        except Cut:
            return True
    return False


def completed(source: Path, target: Path) -> None:
    """The three commands again; where one says that another is what is left to do, that one."""
    try:
        move(source, target)
    except Conflict as told:
        command, _, number = str(told.hint).rpartition(" ")
        assert command == "factory vault move-out --received"
        forget(opened(source), number)


@pytest.mark.parametrize("back", [False, True])
def test_cut_off_at_any_write_nothing_is_lost_and_the_same_again_completes_it(
    home: Path, tmp_path: Path, back: bool
) -> None:
    start = tmp_path / "start"
    vault = start / "vault"
    shutil.copytree(home, start / "daemon")
    if back:
        move(start / "daemon", vault)
    points = 0
    while True:
        here = tmp_path / f"try{points}"
        shutil.copytree(start, here)
        source, target = (here / "vault", here / "daemon") if back else (here / "daemon", here / "vault")
        went = cutting(points, lambda source=source, target=target: move(source, target))  # type: ignore[misc]
        assert MINE in (kept(source), kept(target)), "all of it is in one place at least"
        both = {runs(source), runs(target)} & {"all", "vault"}
        assert len(both) <= 1, "it starts in one place at most"
        if not went:
            break
        completed(source, target)
        assert (kept(source), kept(target)) == ({}, MINE)
        assert (runs(source), runs(target)) == (("nothing", "all") if back else ("daemon", "vault"))
        assert not (source / "state" / GIVEN).exists()
        points += 1
    assert points > 10, "the writes were counted"


def test_until_it_was_received_it_may_stay(home: Path, tmp_path: Path) -> None:
    first = give(opened(home))
    assert runs(home) == "daemon"
    assert give(opened(home)) == first, "a pipe that broke"
    with pytest.raises(UsageError, match="not the number"):
        forget(opened(home), "0" * 64)
    with pytest.raises(UsageError, match="not known to be received"):
        take(home, first)
    assert cancel(opened(home))["runs"] == "all"
    assert kept(home) == MINE
    with pytest.raises(UsageError, match="there is a vault in"):
        take(home, first)
    number = str(take(tmp_path / "vault", give(opened(home)))["number"])
    assert take(tmp_path / "vault", first)["number"] == number, "said again, and nothing written"
    forget(opened(home), number)
    with pytest.raises(UsageError, match="or has gone already"):
        cancel(opened(home))
    with pytest.raises(UsageError, match="it is not in this home"):
        give(opened(home))


def test_what_changed_after_it_was_handed_out_is_not_handed_out_as_the_same(home: Path) -> None:
    give(opened(home))
    write_private(home / "state" / "vault" / "o.n-ops" / "ledger.json", b"newer mark")
    with pytest.raises(Conflict, match="something of it was changed"):
        give(opened(home))


def test_nothing_moves_while_something_runs(home: Path) -> None:
    for name in ("daemon.lock", "vault/slots/0.lock"):
        with hold(home / "state" / name), pytest.raises(Conflict) as refused:
            give(opened(home))
        assert refused.value.hint == "factory down"
    assert runs(home) == "all"


def test_an_account_on_both_sides_keeps_them_together(home: Path) -> None:
    state = home / "state"
    shared = projects.ProjectState(
        "o/n", "o/n-ops", "0" * 40, 1, 2, "main", accounts={"dispatcher": "one-bot", "factory": "one-bot"}
    )
    projects.save(state, shared)
    with pytest.raises(UsageError, match="one-bot is the account of the vault and of another duty"):
        give(opened(home))
    assert runs(home) == "all"


def test_another_deployments_vault_is_not_taken_back(home: Path, tmp_path: Path) -> None:
    parcel = give(opened(home))
    other = tmp_path / "other"
    create_home(other)
    write_host(replace(load_host(home), home=other, host="h2", runs="daemon", ledger_mirror=None))
    with pytest.raises(UsageError, match="it is of h1"):
        take(other, parcel)


@pytest.mark.parametrize("kind", ["moved", "copied"])
@pytest.mark.parametrize(
    "name",
    ["../x", "/etc/x", "vault/../host.toml", "host.toml", "vault/.hidden", "tokens/a/b", "keys/markers", "vault",
     "services/daemon.pid", "vault/a\nb", "tokens/.."],
)  # fmt: skip
def test_a_parcel_writes_nowhere_else(home: Path, tmp_path: Path, kind: str, name: str) -> None:
    told = json.loads(give(opened(home)))
    told[kind][name] = "eA=="
    with pytest.raises(UsageError, match="is no place of a vault"):
        take(tmp_path / "vault", json.dumps(told).encode())
    assert runs(tmp_path / "vault") == "-"


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"kind":"factory-vault","schema":2}', b"null"])
def test_what_is_no_parcel_is_told(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(UsageError, match="is not what `factory vault move-out` writes"):
        read(data)

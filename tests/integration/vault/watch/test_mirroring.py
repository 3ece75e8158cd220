"""The ledger's copy elsewhere, in git alone: the forge, this host's copy, and a mirror, as bare repos."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from factory.errors import FactoryError
from factory.git import objects
from factory.git.transport import Remote, fetch
from factory.git.values import Signature
from factory.process import spawn
from factory.vault.watch import mirroring
from factory.vault.watch.mirroring import LEDGER, Compared, Look, Sides, Standing, branch_of, look
from tests.integration.vault.attacks.register import Seen, attack

REF = branch_of("acme/tally-ops")


@dataclass
class World:
    """Three repos; ``forge`` is what the others are measured against."""

    forge: Path
    copy: Path
    mirror: Path
    scratch: Path

    @property
    def sides(self) -> Sides:
        return Sides(self.copy, Remote(str(self.forge)), Remote(str(self.mirror)), REF, self.scratch)

    def grow(self, entries: int = 1, *, on: str | None = None, word: str = "entry") -> str:
        """So many entries more on the forge's ledger, which is on that commit before; its tip."""
        tip = on if on is not None else objects.read_ref(self.forge, LEDGER)
        for number in range(entries):
            who = Signature("dispatcher", "d@factory.invalid", 1_700_000_000 + number, 0)
            tip = objects.build_commit(
                self.forge, parent=tip, changes={f"e/{word}-{number}-{tip}": b"x"}, message=word, author=who,
                committer=who,
            )  # fmt: skip
        assert tip is not None
        self.stand(tip)
        return tip

    def stand(self, tip: str) -> None:
        """The forge's ledger is now that."""
        objects.update_ref(self.forge, LEDGER, tip, objects.read_ref(self.forge, LEDGER))
        fetch(self.copy, Remote(str(self.forge)), [f"+{LEDGER}:{LEDGER}"])

    @property
    def there(self) -> str | None:
        return objects.read_ref(self.mirror, REF)


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path / "forge.git", tmp_path / "copy.git", tmp_path / "mirror.git", tmp_path / "scratch")
    for repo in (made.forge, made.copy, made.mirror):
        objects.init_bare(repo)
    made.grow(3)
    return made


def test_it_is_copied_once_and_then_costs_one_question(world: World) -> None:
    tip = objects.read_ref(world.forge, LEDGER) or ""
    assert look(world.sides, tip) == Compared(Standing.SAME, tip, tip)
    assert world.there == tip
    before = spawn.started()
    assert look(world.sides, tip).standing is Standing.SAME
    assert spawn.started() - before == 1
    grown = world.grow(2)
    assert look(world.sides, grown) == Compared(Standing.SAME, grown, grown)
    assert list(world.scratch.glob("*")) == []


def test_what_no_dispatcher_has_read_is_not_copied(world: World) -> None:
    assert look(world.sides, "").standing is Standing.EMPTY
    assert world.there is None
    old = objects.read_ref(world.forge, LEDGER) or ""
    new = world.grow(2)
    found = look(world.sides, old)
    assert (found.standing, found.lacks, found.alarm) == (Standing.BEHIND, 2, "")
    assert (world.there, found.ledger) == (old, new)


def test_another_host_that_copied_further_is_no_alarm(world: World) -> None:
    old = objects.read_ref(world.forge, LEDGER) or ""
    new = world.grow(2)
    look(world.sides, new)
    assert look(world.sides, old).alarm == ""
    assert world.there == new


def test_it_may_be_further_than_this_host_knows_of_the_forge(world: World) -> None:
    """Copied by another host a moment ago: the forge is asked before anybody is alarmed."""
    stale = objects.read_ref(world.forge, LEDGER) or ""
    new = world.grow(1)
    look(world.sides, new)
    objects.update_ref(world.copy, LEDGER, stale, new)
    assert look(world.sides, stale).alarm == ""


def test_a_forge_from_an_older_backup_is_an_alarm_with_both_tips(world: World) -> None:
    old = objects.read_ref(world.forge, LEDGER) or ""
    new = world.grow(4)
    look(world.sides, new)
    world.stand(old)
    for seen in (new, old, ""):  # with this host's memory of it, with an old one, without any
        found = look(world.sides, seen)
        assert (found.standing, found.more, found.lacks) == (Standing.AHEAD, 4, 0)
        assert old[:12] in found.alarm
        assert new[:12] in found.alarm
        assert "bring-back" in (found.hint or "")
    assert world.there == new


def test_another_ledger_is_never_copied_over_the_first(world: World) -> None:
    tip = objects.read_ref(world.forge, LEDGER) or ""
    look(world.sides, tip)
    other = objects.build_commit(
        world.forge, parent=None, changes={"e/other": b"x"}, message="anew",
        author=(who := Signature("d", "d@x.invalid", 1, 0)), committer=who,
    )  # fmt: skip
    world.stand(other)
    found = look(world.sides, other)
    assert found.standing is Standing.OTHER
    assert "begin with the same entry" in found.alarm
    assert world.there == tip


HELD = "it is told, with both tips"
GONE = "it happens: the mirror forgets what it had"


@attack(54, "Who rules the forge rewrites the ledger, and its mirror on another machine is to follow", forge="allows",
        vault=HELD, off=GONE, check="the mirror only moves forward: the new tip must contain what it has")  # fmt: skip
def test_attack_54_the_mirror_only_moves_forward(world: World, monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Whoever rules the forge writes another history; the mirror's own settings do not count on it (they allow all)."""
    base = objects.read_ref(world.forge, LEDGER) or ""
    first = world.grow(2)
    look(world.sides, first)
    second = world.grow(3, on=base, word="other")
    found = look(world.sides, second)
    assert (found.standing, found.lacks, found.more) == (Standing.DIVERGED, 3, 2)
    assert world.there == first
    told = all(tip[:12] in found.alarm for tip in (first, second))
    monkeypatch.setattr(mirroring, "_holds", lambda *_: True)
    look(world.sides, second)
    return Seen("allows", HELD if told else found.alarm, GONE if world.there == second else "nothing")


def test_a_mirror_made_for_it_refuses_a_rewriting_even_of_its_writer(world: World, tmp_path: Path) -> None:
    from factory.app.vault_mirror import _made  # as ``factory vault mirror set PATH`` makes it

    place = tmp_path / "made" / "ledger.git"
    assert _made(str(place))
    assert not _made(str(place))
    sides = Sides(world.copy, Remote(str(world.forge)), Remote(str(place)), REF, world.scratch)
    first = world.grow(2)
    look(sides, first)
    older = objects.log(world.copy, first, limit=1, skip=1)[0].oid
    for spec in (f"+{older}:{REF}", f":{REF}"):
        pushed = spawn.run(
            ["git", "--git-dir", str(world.copy), "push", str(place), spec], env={"PATH": "/usr/bin:/bin"},
            timeout_s=30,
        )  # fmt: skip
        assert pushed.returncode != 0
    assert objects.read_ref(place, REF) == first


def test_one_that_is_not_there_is_an_error_and_nothing_is_left(world: World, tmp_path: Path) -> None:
    sides = Sides(world.copy, Remote(str(world.forge)), Remote(str(tmp_path / "none.git")), REF, world.scratch)
    with pytest.raises(FactoryError):
        look(sides, objects.read_ref(world.forge, LEDGER) or "")
    with pytest.raises(FactoryError):
        mirroring.far_mark(sides)
    assert not world.scratch.exists() or list(world.scratch.iterdir()) == []


def test_the_far_mark_says_what_a_dispatcher_would_remember(world: World) -> None:
    assert mirroring.far_mark(world.sides) is None
    tip = world.grow(2)
    look(world.sides, tip)
    root = objects.log(world.forge, tip)[-1].oid
    assert mirroring.far_mark(world.sides) == f'{{"root": "{root}", "tip": "{tip}", "count": 5}}'.encode()


def test_a_look_is_read_back_as_it_was_kept(tmp_path: Path) -> None:
    now = datetime(2026, 11, 29, tzinfo=UTC)
    for one in (Look("u", now, "a", Compared(Standing.AHEAD, "a", "b", 0, 3)), Look("u", now, "", trouble="away")):
        mirroring.write(tmp_path, one)
        assert mirroring.read(tmp_path) == one
    (tmp_path / mirroring.NAME).write_text('{"url": 1}')
    assert mirroring.read(tmp_path) is None

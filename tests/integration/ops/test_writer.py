from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from factory.errors import Conflict, ForgeError, PolicyDenied, Problem, RefMoved
from factory.git import objects
from factory.git.transport import RefUpdate, Remote, push
from factory.git.values import Signature
from factory.ops import writer
from factory.ops.edit import CannotEdit, Edit
from factory.ops.proposal import Proposal, change, propose, requested_by
from factory.ops.writer import Written, write
from factory.process.spawn import run as spawn

MAIN = "refs/heads/main"
Mirror = Callable[..., Path]


def append(path: str, line: bytes) -> Edit:
    return Edit(path, lambda old: (old or b"") + line)


def put(path: str, data: bytes | None) -> Edit:
    return Edit(path, lambda old: data)


def commits(origin: Path, ref: str = MAIN) -> list[objects.CommitInfo]:
    return objects.log(origin, ref)


def elsewhere(remote: Remote, mirror: Path, bot: Signature, path: str, data: bytes) -> str:
    """Somebody else's commit on main, unknown to the other mirrors."""
    return written(write(remote, mirror, [put(path, data)], message="Somebody else", author=bot))


def written(what: Written) -> str:
    assert what.commit is not None
    return what.commit


def test_the_first_write_makes_the_branch(remote: Remote, origin: Path, mirror: Mirror, bot: Signature) -> None:
    what = write(remote, mirror(), [put("knowledge/x.md", b"hello\n")], message="Learn", author=bot)
    assert objects.read_ref(origin, MAIN) == what.commit
    assert objects.read_file(origin, MAIN, "knowledge/x.md") == b"hello\n"
    assert what.changed == ("knowledge/x.md",)
    (info,) = commits(origin)
    assert info.message.startswith("Learn\n\nFactory-Write: ")
    assert info.author == bot


def test_nothing_changes_without_a_commit(remote: Remote, origin: Path, mirror: Mirror, bot: Signature) -> None:
    here = mirror()
    write(remote, here, [put("knowledge/x.md", b"1")], message="m", author=bot)
    again = write(remote, here, [put("knowledge/x.md", b"1")], message="m", author=bot)
    assert again.commit is None
    assert again.changed == ()
    assert len(commits(origin)) == 1


def test_nothing_to_do_is_judged_on_the_remotes_tip(
    remote: Remote, origin: Path, mirror: Mirror, bot: Signature
) -> None:
    stale, other = mirror("h1"), mirror("h2")
    write(remote, stale, [put("knowledge/x.md", b"1")], message="m", author=bot)
    elsewhere(remote, other, bot, "knowledge/x.md", b"2")
    assert write(remote, stale, [put("knowledge/x.md", b"1")], message="m", author=bot).commit is not None
    assert objects.read_file(origin, MAIN, "knowledge/x.md") == b"1"


def test_a_moved_tip_gets_the_edit_and_keeps_the_others_work(
    remote: Remote, origin: Path, mirror: Mirror, bot: Signature
) -> None:
    stale, other = mirror("h1"), mirror("h2")
    write(remote, stale, [put("knowledge/x.md", b"1\n")], message="m", author=bot)
    elsewhere(remote, other, bot, "knowledge/y.md", b"theirs")
    write(remote, other, [append("knowledge/x.md", b"2\n")], message="m", author=bot)
    waits: list[int] = []
    what = write(remote, stale, [append("knowledge/x.md", b"3\n")], message="m", author=bot, wait=waits.append)
    assert what.attempts == 2
    assert waits == [1]
    assert objects.read_file(origin, MAIN, "knowledge/x.md") == b"1\n2\n3\n"
    assert objects.read_file(origin, MAIN, "knowledge/y.md") == b"theirs"
    assert all(len(info.parents) <= 1 for info in commits(origin))


def test_fifty_writers_lose_nothing(remote: Remote, origin: Path, mirror: Mirror, bot: Signature) -> None:
    mirrors = [mirror(f"h{host}") for host in range(5)]

    def one(number: int) -> Written:
        # The same line and message from everybody: equal work is still work.
        edits = [append("knowledge/x.md", b"same\n"), append(f"diary/{number % 7}.md", b"%d\n" % number)]
        return write(remote, mirrors[number % 5], edits, message="Count", author=bot)

    with ThreadPoolExecutor(50) as pool:
        done = list(pool.map(one, range(50)))
    assert len({written(what) for what in done}) == 50
    assert objects.read_file(origin, MAIN, "knowledge/x.md") == b"same\n" * 50
    lines = b"".join(objects.read_file(origin, MAIN, f"diary/{day}.md") or b"" for day in range(7)).split()
    assert sorted(map(int, lines)) == list(range(50))
    assert len(commits(origin)) == 50


def test_without_compare_and_swap_the_same_writers_would_lose(
    remote: Remote, origin: Path, mirror: Mirror, bot: Signature, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The defence off: a push that expects whatever is there overwrites the other's line."""

    def careless(repo: Path, to: Remote, updates: list[RefUpdate], *, atomic: bool = True) -> None:
        argv = ["git", "-C", str(repo), "push", "-q", "--force", to.url, f"{updates[0].new}:{MAIN}"]
        spawn(argv, timeout_s=30, env=dict(os.environ))

    stale, other = mirror("h1"), mirror("h2")
    write(remote, stale, [append("knowledge/x.md", b"1\n")], message="m", author=bot)
    write(remote, other, [append("knowledge/x.md", b"2\n")], message="m", author=bot)
    monkeypatch.setattr(writer, "push", careless)
    write(remote, stale, [append("knowledge/x.md", b"3\n")], message="m", author=bot)
    assert objects.read_file(origin, MAIN, "knowledge/x.md") == b"1\n3\n"


def test_equal_edits_of_two_hosts_are_two_commits(
    remote: Remote, origin: Path, mirror: Mirror, bot: Signature, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the unique trailer both make the same commit, and the second takes the first's success for its own."""
    for unique, expected in ((True, b"x\nx\n"), (False, b"x\n")):
        path = f"knowledge/{unique}.md"
        if not unique:
            monkeypatch.setattr(writer.secrets, "token_hex", lambda size: "0" * size)
        one, two = mirror(f"a{unique}"), mirror(f"b{unique}")
        for here in (one, two):
            write(remote, here, [put("diary/sync.md", b"%d" % unique)], message="Sync", author=bot)
        tip = objects.read_ref(origin, MAIN)
        for here in (one, two):
            objects.update_ref(here, MAIN, tip or "")
        for here in (one, two):
            write(remote, here, [append(path, b"x\n")], message="Add", author=bot)
        assert objects.read_file(origin, MAIN, path) == expected


def test_a_write_with_a_key_happens_once(remote: Remote, origin: Path, mirror: Mirror, bot: Signature) -> None:
    """The push landed and its answer was lost: the spool tries again, from a mirror that does not know of it."""
    one, two = mirror("h1"), mirror("h2")
    write(remote, one, [put("diary/d.md", b"")], message="m", author=bot)
    write(remote, two, [put("diary/d.md", b"x")], message="m", author=bot)

    def log(host: Path, key: str) -> Written:
        return write(remote, host, [append("diary/d.md", b"line\n")], message="Log", author=bot, key=key)

    first = log(one, "r1.3")
    assert first.changed == ("diary/d.md",)
    assert log(two, "r1.3").commit == first.commit
    assert log(one, "r1.3").commit == first.commit
    assert objects.read_file(origin, MAIN, "diary/d.md") == b"xline\n"
    assert log(two, "r1.30").commit != first.commit
    assert log(two, "").commit != log(two, "").commit
    assert objects.read_file(origin, MAIN, "diary/d.md") == b"xline\nline\nline\nline\n"


def test_it_gives_up_after_its_attempts(remote: Remote, mirror: Mirror, bot: Signature) -> None:
    here, other = mirror("h1"), mirror("h2")
    write(remote, here, [put("knowledge/x.md", b"")], message="m", author=bot)
    moves = iter(range(100))

    def race(old: bytes | None) -> bytes:
        elsewhere(remote, other, bot, "knowledge/y.md", b"%d" % next(moves))
        return b"mine"

    with pytest.raises(Conflict, match="3 times in a row"):
        write(
            remote, here, [Edit("knowledge/x.md", race)], message="m", author=bot, attempts=3, wait=lambda attempt: None
        )


@pytest.mark.parametrize("path", ["factory.toml", "formulas/dev.toml", "vault/actions/x.toml", "VISION.md", "new"])
def test_a_persons_path_is_never_written_directly(
    path: str, remote: Remote, origin: Path, mirror: Mirror, bot: Signature
) -> None:
    with pytest.raises(PolicyDenied, match="a person's to approve") as caught:
        write(remote, mirror(), [put("knowledge/x.md", b"1"), put(path, b"1")], message="m", author=bot)
    assert f"factory edit {path}" in str(caught.value.hint)
    assert objects.read_ref(origin, MAIN) is None, "not half of it either"


def test_what_was_found_comes_with_the_end_of_the_action_that_found_it(
    remote: Remote, origin: Path, mirror: Mirror, bot: Signature
) -> None:
    found, end = put("evidence/uptime/2026-11-29.json", b"{}\n"), put("vault/fired/2026-11-29-collect-1.toml", b"")
    for beside in ((), (put("knowledge/x.md", b"1"),), (put("vault/rejected/2026-11-29-collect-1.toml", b""),)):
        with pytest.raises(PolicyDenied, match="evidence/uptime"):
            write(remote, mirror(), [found, *beside], message="m", author=bot)
    assert objects.read_ref(origin, MAIN) is None
    write(remote, mirror(), [end, found], message="m", author=bot)
    assert objects.read_file(origin, MAIN, found.path) == b"{}\n"


def test_what_does_not_parse_stays_and_the_rest_is_written(
    remote: Remote, origin: Path, mirror: Mirror, bot: Signature
) -> None:
    here = mirror()
    broken = objects.build_commit(
        here, parent=None, changes={"predictions/p.toml": b"x = "}, message="m", author=bot, committer=bot
    )
    push(here, remote, [RefUpdate(MAIN, broken, None)])
    what = write(remote, here, [put("predictions/p.toml", b"x = 1"), put("diary/d.md", b"d")], message="m", author=bot)
    assert what.changed == ("diary/d.md",)
    assert [(p.path, p.line) for p in what.problems] == [("predictions/p.toml", 1)]
    assert objects.read_file(origin, MAIN, "predictions/p.toml") == b"x = "


def test_a_link_where_a_file_should_be_is_reported(
    remote: Remote, origin: Path, mirror: Mirror, bot: Signature
) -> None:
    here = mirror()
    link = objects.build_commit(
        here,
        parent=None,
        changes={"knowledge/x.md": b"../factory.toml"},
        message="m",
        author=bot,
        committer=bot,
        modes={"knowledge/x.md": objects.MODE_SYMLINK},
    )
    push(here, remote, [RefUpdate(MAIN, link, None)])
    what = write(remote, here, [append("knowledge/x.md", b"data")], message="m", author=bot)
    assert what.commit is None
    assert "not a regular file" in what.problems[0].message


def test_an_edit_that_refuses_is_a_problem(remote: Remote, mirror: Mirror, bot: Signature) -> None:
    def refuse(old: bytes | None) -> bytes | None:
        raise CannotEdit(Problem("README.md", 3, "has no marker"))

    what = write(remote, mirror(), [Edit("README.md", refuse)], message="m", author=bot)
    assert (what.commit, what.problems) == (None, (Problem("README.md", 3, "has no marker"),))


def test_an_unreachable_remote_is_a_clear_error(tmp_path: Path, mirror: Mirror, bot: Signature) -> None:
    with pytest.raises(ForgeError):
        write(Remote("http://127.0.0.1:1/x/y.git"), mirror(), [put("diary/d.md", b"")], message="m", author=bot)
    with pytest.raises(ForgeError):
        write(Remote(str(tmp_path / "none.git")), mirror(), [put("diary/d.md", b"")], message="m", author=bot)


def test_a_message_cannot_bring_a_trailer(remote: Remote, origin: Path, mirror: Mirror, bot: Signature) -> None:
    write(remote, mirror(), [put("diary/d.md", b"")], message="m\n\nRequested-by: eve\nFactory-Run: r1", author=bot)
    (info,) = commits(origin)
    assert requested_by(info.message) is None
    assert "\nFactory-Run" not in info.message


def test_a_change_across_both_routes_is_split(remote: Remote, origin: Path, mirror: Mirror, bot: Signature) -> None:
    here = mirror()
    write(remote, here, [put("diary/d.md", b"")], message="m", author=bot)
    both = change(
        remote,
        here,
        [put("diary/d.md", b"new"), put("factory.toml", b"a = 1\n")],
        message="Raise the budget",
        author=bot,
        slug="Raise: the budget!",
        requested_by="ada",
    )
    assert both.written is not None
    assert both.written.changed == ("diary/d.md",)
    assert objects.read_file(origin, MAIN, "factory.toml") is None
    assert both.proposal is not None
    assert both.proposal.branch == "edit/raise-the-budget"
    ref = f"refs/heads/{both.proposal.branch}"
    assert objects.read_file(origin, ref, "factory.toml") == b"a = 1\n"
    assert requested_by(objects.commit_info(origin, ref).message) == "ada"
    assert requested_by(both.proposal.body) == "ada"
    assert "- `factory.toml`" in both.proposal.body
    assert [change.path for change in objects.diff_paths(origin, both.proposal.base, ref)] == ["factory.toml"]


def test_asking_again_finds_the_same_proposal(remote: Remote, origin: Path, mirror: Mirror, bot: Signature) -> None:
    here, other = mirror("h1"), mirror("h2")
    write(remote, here, [put("diary/d.md", b"")], message="m", author=bot)

    def ask(mirror: Path, data: bytes, who: str = "ada") -> str:
        made = propose(
            remote, mirror, [put("factory.toml", data)], slug="budget", title="t", author=bot, requested_by=who
        )
        assert made is not None
        assert objects.read_ref(origin, f"refs/heads/{made.branch}") == made.commit
        return made.branch

    assert ask(here, b"a = 1\n") == "edit/budget"
    write(remote, here, [put("diary/d.md", b"moved on")], message="m", author=bot)
    assert ask(other, b"a = 1\n") == "edit/budget", "the answer of the first try was lost; main moved on"
    assert ask(other, b"a = 2\n") == "edit/budget-2"
    assert ask(here, b"a = 1\n", who="bob") == "edit/budget-3"


def test_a_proposal_that_changes_nothing_is_none(remote: Remote, mirror: Mirror, bot: Signature) -> None:
    here = mirror()
    write(remote, here, [put("diary/d.md", b"x")], message="m", author=bot)
    assert propose(remote, here, [put("diary/d.md", b"x")], slug="s", title="t", author=bot, requested_by="ada") is None


def test_a_broken_settings_file_can_be_repaired_but_not_broken(
    remote: Remote, origin: Path, mirror: Mirror, bot: Signature
) -> None:
    here = mirror()
    broken = objects.build_commit(
        here, parent=None, changes={"factory.toml": b"a = "}, message="m", author=bot, committer=bot
    )
    push(here, remote, [RefUpdate(MAIN, broken, None)])

    def ask(data: bytes) -> Proposal | None:
        return propose(remote, here, [put("factory.toml", data)], slug="s", title="t", author=bot, requested_by="ada")

    worse = ask(b"a = = ")
    assert worse is not None
    assert (worse.branch, len(worse.problems)) == ("", 1)
    assert objects.list_refs(origin, "refs/heads/edit/") == {}
    better = ask(b"a = 1\n")
    assert better is not None
    assert better.problems == ()


def test_a_killed_writer_leaves_all_or_nothing_and_no_lock(
    remote: Remote, origin: Path, mirror: Mirror, bot: Signature
) -> None:
    here = mirror()
    write(remote, here, [put("knowledge/x.md", b"")], message="m", author=bot)
    program = textwrap.dedent(
        f"""
        from pathlib import Path
        from factory.git.transport import Remote
        from factory.git.values import Signature
        from factory.ops.edit import Edit
        from factory.ops.writer import write
        bot = Signature("b", "b@x", 1)
        while True:
            edit = Edit("knowledge/x.md", lambda old: old + b"line\\n")
            write(Remote({remote.url!r}), Path({str(here)!r}), [edit], message="m", author=bot)
        """
    )
    for seconds in (0.35, 0.5, 0.65):
        spawn([sys.executable, "-c", program], timeout_s=seconds, env=dict(os.environ))
    write(remote, here, [append("knowledge/x.md", b"end\n")], message="m", author=bot)
    # What a killed writer had pushed may land until ours has; then it is refused. So it is counted only now.
    lines = len(commits(origin)) - 2
    assert lines > 0
    assert objects.read_file(origin, MAIN, "knowledge/x.md") == b"line\n" * lines + b"end\n"


def test_refmoved_is_a_conflict() -> None:
    assert issubclass(RefMoved, Conflict)

"""What a session leaves behind, made by an attacker: the host runs nothing of it and writes nothing because of it.

Each defence is shown with the attack succeeding where that one check is off.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from factory.errors import GitFailed
from factory.git import objects
from factory.git.content import Limits, Refusal
from factory.git.packs import Ingested, Refused, ingest
from factory.git.plumbing import attempt, git
from factory.git.transport import RefUpdate, push
from factory.git.values import Signature
from factory.git.view import View, refresh, session_clone

if TYPE_CHECKING:
    from conftest import Project, UserGit

WHO = Signature("Dev Bot", "dev-bot@factory.invalid", 1_700_000_000)
REF = "refs/heads/work/1"
QUIET = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false")
HOOKS = (
    "applypatch-msg", "pre-commit", "post-checkout", "post-commit", "post-index-change", "post-merge", "post-receive",
    "post-rewrite", "post-update", "pre-auto-gc", "pre-push", "pre-rebase", "pre-receive", "proc-receive",
    "push-to-checkout", "reference-transaction", "sendemail-validate", "update", "fsmonitor-watchman",
)  # fmt: skip


@dataclass
class Session:
    """One session of an attacker: its clone, its output folder, and a file that exists once the host ran its code."""

    view: View
    clone: Path
    out: Path
    quarantine: Path
    canary: Path
    base: str
    user_git: UserGit
    planted: list[str] = field(default_factory=list)

    def git(self, *args: str, input: bytes | None = None) -> str:
        return self.user_git(self.clone, *QUIET, *args, input=input)

    def leave(self, head: str, revs: str | None = None, **fields: object) -> None:
        """Write head.json and work.pack as the honest packer inside does."""
        wanted = revs if revs is not None else f"{head}\n^{self.base}\n"
        packed = subprocess.run(
            ["git", *QUIET, "pack-objects", "--thin", "--revs", "--stdout", "-q"],
            cwd=self.clone, input=wanted.encode(), capture_output=True, check=True,
        ).stdout  # fmt: skip
        (self.out / "work.pack").write_bytes(packed)
        (self.out / "head.json").write_text(json.dumps({"ref": REF, "head": head, "base": self.base} | fields))

    def commit_tree(self, tree: str, *parents: str) -> str:
        above = [word for parent in parents or (self.base,) for word in ("-p", parent)]
        return self.git("commit-tree", tree, *above, "-m", "work")

    def raw(self, kind: str, data: bytes) -> str:
        self.planted.append(self.git("hash-object", "-t", kind, "-w", "--literally", "--stdin", input=data))
        return self.planted[-1]

    def pack(self, *oids: str) -> bytes:
        """A pack of exactly these objects, whatever they name."""
        return subprocess.run(
            ["git", "pack-objects", "--stdout", "-q"],
            cwd=self.clone,
            input="".join(f"{oid}\n" for oid in oids).encode(),
            capture_output=True,
            check=True,
        ).stdout

    def ingest(self, **more: object) -> Ingested | Refused:
        given = {"expected_ref": REF, "base": self.base, "max_bytes": 10_000_000} | more
        return ingest(self.out, self.view.path, self.quarantine, **given)

    def refusals(self, **more: object) -> tuple[Refusal, ...]:
        found = self.ingest(**more)
        assert isinstance(found, Refused), found
        return found.refusals

    def codes(self, **more: object) -> set[str]:
        return {refusal.code for refusal in self.refusals(**more)}


@pytest.fixture
def session(view: View, project: Project, tmp_path: Path, user_git: UserGit) -> Session:
    clone, out = tmp_path / "session" / "work", tmp_path / "session" / "out"
    out.mkdir(parents=True)
    session_clone(view, clone, branch="work/1", base="main", role_identity=WHO, alternates_as=str(view.objects))
    return Session(view, clone, out, tmp_path / "quarantine.git", tmp_path / "canary", project.base, user_git)


def tree(*entries: tuple[str, bytes, str]) -> bytes:
    return b"".join(mode.encode() + b" " + name + b"\0" + bytes.fromhex(oid) for mode, name, oid in entries)


def arm(session: Session) -> None:
    """Everything in a clone that makes a careless git run a program."""
    shot = session.clone.parent / "shot.sh"
    shot.write_text(f'#!/bin/sh\necho "$0 $*" >> {session.canary}\ncat 2>/dev/null\n')
    shot.chmod(0o755)
    hooks = session.clone / ".git" / "hooks"
    hooks.mkdir()
    for name in HOOKS:
        shutil.copy(shot, hooks / name)
    with (session.clone / ".git" / "config").open("a") as config:
        config.write(
            f"[core]\n\tfsmonitor = {shot}\n\tsshCommand = {shot}\n\tpager = {shot}\n\teditor = {shot}\n"
            f"\talternateRefsCommand = {shot}\n\thooksPath = {hooks}\n\taskPass = {shot}\n"
            f'[filter "x"]\n\tclean = {shot}\n\tsmudge = {shot}\n\tprocess = {shot}\n\trequired = true\n'
            f'[diff]\n\texternal = {shot}\n[diff "x"]\n\ttextconv = {shot}\n\tcommand = {shot}\n'
            f'[merge "x"]\n\tdriver = {shot}\n'
            f"[credential]\n\thelper = {shot}\n[gpg]\n\tprogram = {shot}\n[uploadpack]\n\tpackObjectsHook = {shot}\n"
            f'[remote "origin"]\n\turl = ext::{shot}\n\tuploadpack = {shot}\n[alias]\n\tstatus = !{shot}\n'
            f'[submodule "x"]\n\tupdate = !{shot}\n[protocol]\n\tallow = always\n'
        )
    (session.clone / ".git" / "info" / "attributes").write_text("* filter=x diff=x merge=x\n")


def test_honest_work_passes(session: Session, project: Project) -> None:
    (session.clone / "src/app.py").write_text("x = 2\n")
    (session.clone / "run.sh").write_text("#!/bin/sh\n")
    (session.clone / "run.sh").chmod(0o755)
    (session.clone / "link").symlink_to("src/app.py")
    session.git("add", "-A")
    session.git("commit", "-qm", "one")
    (session.clone / "README.md").unlink()
    session.git("commit", "-qam", "two")
    head = session.git("rev-parse", "HEAD")
    session.leave(head)
    found = session.ingest()
    assert isinstance(found, Ingested)
    assert (found.head, found.commits) == (head, 2)
    assert found.paths == ("README.md", "link", "run.sh", "src/app.py")
    mine = objects.rewrite_commits(
        session.quarantine, base=session.base, head=head, author=WHO, committer=WHO, rewrite_message=str
    )
    push(session.quarantine, project.remote, [RefUpdate(REF, mine, None)])
    assert objects.commit_info(project.bare, project.refs()[REF]).author.name == "Dev Bot"


def test_a_session_without_commits_leaves_its_base(session: Session) -> None:
    (session.out / "head.json").write_text(json.dumps({"ref": REF, "head": session.base, "base": session.base}))
    assert session.ingest() == Ingested(session.base, 0, ())


def test_a_merged_base_is_not_the_sessions_work(session: Session, project: Project) -> None:
    tip = project.commit("elsewhere", {"new.txt": b"from main\n"}, parent=session.base)
    push(project.local, project.remote, [RefUpdate("refs/heads/main", tip, session.base)])
    refresh(session.view, project.remote, base="main")
    (session.clone / "src/app.py").write_text("x = 2\n")
    session.git("commit", "-qam", "mine")
    session.git("merge", "-q", "--no-edit", tip)
    head = session.git("rev-parse", "HEAD")
    session.leave(head, f"{head}\n^{tip}\n^{session.base}\n")
    found = session.ingest(known=[tip])
    assert isinstance(found, Ingested)
    assert (found.commits, found.paths) == (2, ("src/app.py",))
    mine = objects.rewrite_commits(
        session.quarantine,
        base=session.base,
        head=head,
        author=WHO,
        committer=WHO,
        rewrite_message=lambda message: f"rewritten: {message}",
        known=[tip],
    )
    assert tip in objects.commit_info(session.quarantine, mine).parents  # others' commits keep their ids


def test_the_host_runs_nothing_of_an_armed_clone(session: Session, project: Project, tmp_path: Path) -> None:
    (session.clone / ".gitattributes").write_text("* filter=x diff=x merge=x\n")
    (session.clone / "src/app.py").write_text("x = 2\n")
    session.git("add", "-A")
    session.git("commit", "-qm", "armed")
    head = session.git("rev-parse", "HEAD")
    session.leave(head)
    arm(session)
    found = session.ingest()
    assert isinstance(found, Ingested)
    push(session.quarantine, project.remote, [RefUpdate(REF, head, None)])
    refresh(session.view, project.remote, base="main", branches=["work/1"])
    again = tmp_path / "again"
    session_clone(
        session.view, again, branch="work/1", base="main", role_identity=WHO, alternates_as=str(session.view.objects)
    )
    assert (again / "src/app.py").read_text() == "x = 2\n"
    assert not session.canary.exists()

    # The rule broken once: a git that opens the session's clone runs the attacker's program.
    subprocess.run(
        ["git", "--git-dir", session.clone / ".git", "--work-tree", session.clone, "diff"], capture_output=True
    )
    assert session.canary.exists()


def test_even_our_clean_environment_would_not_make_that_clone_safe_to_open(session: Session) -> None:
    """Why the rule is "never open it" and not "open it carefully": its filters are its own configuration."""
    arm(session)
    (session.clone / "src/app.py").write_text("x = 3\n")
    attempt(session.clone / ".git", f"--work-tree={session.clone}", "status", timeout_s=20)
    assert session.canary.exists()


def test_a_persons_own_git_configuration_decides_nothing(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "admin"
    home.mkdir()
    shot = home / "shot.sh"
    shot.write_text(f"#!/bin/sh\necho ran >> {session.canary}\ncat\n")
    shot.chmod(0o755)
    (home / ".gitconfig").write_text(
        f'[filter "x"]\n\tsmudge = {shot}\n\trequired = true\n[core]\n\tfsmonitor = {shot}\n'
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / ".gitconfig"))
    (session.clone / ".gitattributes").write_text("* filter=x\n")
    session.git("add", ".gitattributes")
    session.git("commit", "-qm", "filter")
    head = session.git("rev-parse", "HEAD")
    session.leave(head)
    assert isinstance(session.ingest(), Ingested)
    git(session.quarantine, "update-ref", REF, head)
    taken = View(session.quarantine)
    git(taken.path, "update-ref", "refs/heads/main", session.base)

    def check_out(dest: str) -> Path:
        session_clone(
            taken, tmp_path / dest, branch="work/1", base="main", role_identity=WHO, alternates_as=str(taken.objects)
        )
        return tmp_path / dest

    assert (check_out("ours") / "README.md").read_text() == "# demo\n"
    assert not session.canary.exists()
    # The same checkout by a git that reads the configuration of whoever started the daemon:
    (tmp_path / "theirs").mkdir()
    subprocess.run(
        ["git", f"--git-dir={taken.path}", f"--work-tree={tmp_path / 'theirs'}", "read-tree", "-u", "--reset", head],
        env={**os.environ, "GIT_INDEX_FILE": str(tmp_path / "index")}, check=True, capture_output=True,
    )  # fmt: skip
    assert session.canary.exists()


def test_a_pack_naming_a_foreign_blob_does_not_resolve(session: Session, project: Project, tmp_path: Path) -> None:
    """The host's mirror holds a secret of a deleted branch; the session knows (or guesses) its id and names it."""
    secret = project.commit("leak", {"secret.txt": b"AKIA-very-secret\n"})
    push(project.local, project.remote, [RefUpdate("refs/heads/old", secret, None)])
    push(project.local, project.remote, [RefUpdate("refs/heads/old", None, secret)])
    entry = objects.find_entry(project.bare, secret, "secret.txt")
    assert entry is not None
    named = session.raw("tree", tree(("100644", b"mine.txt", entry.oid)))
    head = session.git("commit-tree", named, "-p", session.base, "-m", "work")
    # The honest packer would fail on the missing blob; the attacker lists the two objects it does have.
    (session.out / "work.pack").write_bytes(session.pack(head, named))
    (session.out / "head.json").write_text(json.dumps({"ref": REF, "head": head, "base": session.base}))
    assert session.codes() == {"pack"}

    # With the host's mirror as alternate instead of the view, the secret is on its way into a branch:
    taken = ingest(
        session.out, project.bare, tmp_path / "q2.git", expected_ref=REF, base=session.base, max_bytes=10_000_000
    )
    assert isinstance(taken, Ingested)
    assert objects.read_file(tmp_path / "q2.git", head, "mine.txt") == b"AKIA-very-secret\n"


def test_a_head_that_the_pack_does_not_carry_is_refused(session: Session, project: Project) -> None:
    foreign = project.commit("foreign", parent=session.base)
    push(project.local, project.remote, [RefUpdate("refs/heads/other", foreign, None)])
    session.leave(session.commit_tree(session.git("write-tree")))
    (session.out / "head.json").write_text(json.dumps({"ref": REF, "head": foreign, "base": session.base}))
    assert session.codes() == {"head"}


def test_rewritten_history_is_refused(session: Session) -> None:
    orphan = session.git("commit-tree", session.git("write-tree"), "-m", "new root")
    session.leave(orphan, f"{orphan}\n")
    assert session.codes() == {"history"}


HOSTILE_TREES: dict[str, Callable[[Session, str], bytes]] = {
    "dot-git": lambda s, blob: tree(("40000", b".git", s.raw("tree", tree(("100644", b"config", blob))))),
    "dot-git of ntfs": lambda _s, blob: tree(("100644", b"git~1", blob)),
    "dot-git of hfs": lambda _s, blob: tree(("100644", ".g\u200cit".encode(), blob)),
    "parent folder": lambda s, blob: tree(("40000", b"..", s.raw("tree", tree(("100644", b"escaped", blob))))),
    "slash": lambda _s, blob: tree(("100644", b"../../escaped", blob)),
    "link and folder of one name": lambda s, blob: tree(
        ("120000", b"a", s.raw("blob", b"../../outside")), ("40000", b"a", s.raw("tree", tree(("100644", b"b", blob))))
    ),
    "gitmodules that runs a command": lambda s, _blob: tree(
        ("100644", b".gitmodules", s.raw("blob", b'[submodule "x"]\n\tpath = x\n\turl = -u./payload\n')),
        ("160000", b"x", "1" * 40),
    ),
    "gitmodules that is a link": lambda s, _blob: tree(("120000", b".gitmodules", s.raw("blob", b"x"))),
    "not sorted": lambda _s, blob: tree(("100644", b"b", blob), ("100644", b"a", blob)),
    "empty name": lambda _s, blob: tree(("100644", b"", blob)),
    "null object": lambda _s, _blob: tree(("100644", b"a", "0" * 40)),
}


@pytest.mark.parametrize("name", HOSTILE_TREES)
def test_a_hostile_tree_is_refused_and_writes_nothing(session: Session, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    blob = session.raw("blob", b"planted\n")
    hostile = session.raw("tree", HOSTILE_TREES[name](session, blob))
    head = session.commit_tree(hostile)
    packed = session.pack(head, *session.planted)
    (session.out / "work.pack").write_bytes(packed)
    (session.out / "head.json").write_text(json.dumps({"ref": REF, "head": head, "base": session.base}))
    assert session.codes() == {"pack"}

    # Past that wall (an unchecked index-pack) the tree is in; then the checkout must still write nothing outside.
    bare = tmp_path / "unchecked.git"
    objects.init_bare(bare)
    (bare / "objects/info/alternates").write_text(f"{session.view.objects}\n")
    git(bare, "index-pack", "--stdin", input=packed)
    assert objects.exists(bare, head)
    git(bare, "update-ref", "refs/heads/main", head)
    before = sorted(str(path) for path in tmp_path.rglob("*") if "deep" not in path.parts)
    deep = tmp_path / "deep" / "er" / "clone"
    with contextlib.suppress(GitFailed):  # refused or checked out harmlessly: what counts is what is written
        session_clone(View(bare), deep, branch="w", base="main", role_identity=WHO, alternates_as="/view/objects")
    after = sorted(str(path) for path in tmp_path.rglob("*") if "deep" not in path.parts)
    assert after == before
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["er"]
    assert sorted(path.name for path in deep.parent.iterdir()) == ["clone"]
    if (deep / ".git").exists():
        assert (deep / ".git" / "config").read_text() != "planted\n"


def test_well_formed_but_hurtful_trees_are_refused_all_at_once(session: Session) -> None:
    link, blob = session.raw("blob", b"/etc/passwd"), session.raw("blob", b"x\n")
    hostile = session.raw(
        "tree",
        tree(
            ("100644", b"README", blob),
            ("100644", b"Readme", blob),
            ("100644", b"back\\slash", blob),
            ("100644", b"bell\x07", blob),
            ("160000", b"lib", "1" * 40),
            ("120000", b"passwd", link),
            ("100644", "txt.\u202egpj".encode(), blob),
        ),
    )
    session.leave(session.commit_tree(hostile))
    found = {(refusal.code, refusal.path) for refusal in session.refusals()}
    assert found == {
        ("case-twin", "README"),
        ("name", "back\\slash"),
        ("name", "bell\\u{7}"),
        ("submodule", "lib"),
        ("symlink", "passwd"),
        ("name", "txt.\\u{202e}gpj"),
    }


def test_what_a_later_commit_removes_is_still_judged(session: Session) -> None:
    """The whole history is pushed, not only its last tree."""
    bad = session.raw("tree", tree(("120000", b"out", session.raw("blob", b"/etc/shadow"))))
    clean = session.git("write-tree")
    first = session.commit_tree(bad)
    session.leave(session.commit_tree(clean, first))
    assert session.codes() == {"symlink"}


def test_an_evil_merge_is_judged(session: Session) -> None:
    clean = session.git("write-tree")
    one, two = session.commit_tree(clean), session.git("commit-tree", clean, "-p", session.base, "-m", "two")
    bad = session.raw("tree", tree(("120000", b"out", session.raw("blob", b"/etc/shadow"))))
    session.leave(session.commit_tree(bad, one, two))
    assert session.codes() == {"symlink"}


def test_sizes_are_bounded(session: Session) -> None:
    (session.clone / "big.bin").write_bytes(os.urandom(200_000))
    session.git("add", "-A")
    for number in range(3):
        session.git("commit", "-q", "--allow-empty", "-m", "x" * (2000 if number else 10))
    head = session.git("rev-parse", "HEAD")
    session.leave(head)
    assert session.codes(max_bytes=100_000) == {"output"}
    limits = Limits(max_file_bytes=100_000, max_total_bytes=150_000, max_message_bytes=1000)
    shutil.rmtree(session.quarantine)
    assert session.codes(limits=limits) == {"file-size", "total-size", "message-size"}
    shutil.rmtree(session.quarantine)
    assert session.codes(limits=Limits(max_commits=2)) == {"commits"}


def test_a_bomb_is_bounded(session: Session) -> None:
    """A small pack whose commit claims three gigabytes: git makes room for what a header claims before it reads.

    (With the limit off this test would take that memory.)
    """
    size = 3 * 1024**3
    packer = zlib.compressobj(9)
    body = packer.compress(bytes(16 * 1024**2)) + packer.flush(zlib.Z_FULL_FLUSH)
    head = bytearray([0x80 | (1 << 4) | (size & 15)])
    rest = size >> 4
    while rest:
        head.append((rest & 127) | (128 if rest > 127 else 0))
        rest >>= 7
    pack = b"PACK" + (2).to_bytes(4, "big") + (1).to_bytes(4, "big") + bytes(head) + body
    (session.out / "work.pack").write_bytes(pack)
    (session.out / "head.json").write_text(json.dumps({"ref": REF, "head": "1" * 40, "base": session.base}))
    (refusal,) = session.refusals()
    assert refusal.code == "pack"
    assert "memory" in refusal.detail


@pytest.mark.parametrize(
    "content",
    [
        "",
        "null",
        "[1]",
        "{}",
        '{"ref": 1, "head": 2, "base": 3}',
        "[" * 4000,
        "x" * 5000,
        '{"ref":"refs/heads/main"}',
        '{"ref":"refs/heads/work/1","head":"--all","base":"BASE"}',
        '{"ref":"refs/heads/main","head":"HEAD1","base":"BASE"}',
        '{"ref":"refs/heads/work/1","head":"HEAD1","base":"HEAD1"}',
    ],
)
def test_a_head_file_is_strict(session: Session, content: str) -> None:
    session.leave(session.commit_tree(session.git("write-tree")))
    words = content.replace("BASE", session.base).replace("HEAD1", "1" * 40)
    (session.out / "head.json").write_text(words)
    assert session.codes() <= {"head", "output"}


@pytest.mark.parametrize("name", ["head.json", "work.pack"])
@pytest.mark.parametrize("kind", ["link", "fifo", "folder", "second name", "absent", "socket"])
def test_only_regular_files_are_opened(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    session.leave(session.commit_tree(session.git("write-tree")))
    mine, elsewhere = session.out / name, tmp_path / "elsewhere"
    elsewhere.write_bytes(mine.read_bytes())
    mine.unlink()
    if kind == "link":
        mine.symlink_to(elsewhere)  # followed, this very content would pass
    elif kind == "fifo":
        os.mkfifo(mine)  # opened carelessly, this waits for ever
    elif kind == "folder":
        mine.mkdir()
    elif kind == "second name":
        mine.hardlink_to(elsewhere)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            monkeypatch.chdir(session.out)  # the path is too long for a socket's address
            server.bind(name)
    assert [(refusal.code, refusal.path) for refusal in session.refusals()] == [("output", name)]


def test_the_output_folder_itself_is_no_link(session: Session, tmp_path: Path) -> None:
    session.leave(session.commit_tree(session.git("write-tree")))
    session.out.rename(tmp_path / "moved")
    session.out.symlink_to(tmp_path / "moved")
    assert session.codes() == {"output"}


@pytest.mark.parametrize("damage", [b"", b"PACK", b"not a pack at all", None])
def test_a_damaged_pack_is_refused(session: Session, damage: bytes | None) -> None:
    session.leave(session.commit_tree(session.git("write-tree")))
    pack = session.out / "work.pack"
    content = pack.read_bytes()
    pack.write_bytes(damage if damage is not None else content[:-1] + bytes([content[-1] ^ 1]))
    assert session.codes() == {"pack"}


def test_a_used_quarantine_is_never_used_again(session: Session) -> None:
    session.leave(session.commit_tree(session.git("write-tree")))
    assert isinstance(session.ingest(), Ingested)
    with pytest.raises(Exception, match="needs a fresh one"):
        session.ingest()

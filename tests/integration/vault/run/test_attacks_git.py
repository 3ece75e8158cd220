"""Attacks by what git stores and by what it reads: trees, configuration, names. Rows of the page of attacks."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from factory.errors import FactoryError, GitFailed
from factory.forge.values import RepoName
from factory.git.transport import Remote
from factory.vault.run import tree
from factory.vault.run.tree import ProjectView
from tests.integration.vault.attacks.register import RUNS, Seen, attack
from tests.integration.vault.run.house import House, shipped


class Repo:
    """A hostile project: what it holds was written by an attacker."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.mark = folder, folder / "pwned"
        self.work = folder / "work"
        self.git("init", "-q", "-b", "main", str(self.work), cwd=folder)

    def git(self, *argv: str, cwd: Path | None = None, data: bytes = b"", check: bool = True, **env: str) -> str:
        who = {f"GIT_{who}_{what}": "a@x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        clean = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder / "home"), **who, **env}
        where = cwd or self.work
        done = subprocess.run(["git", *argv], cwd=where, input=data, capture_output=True, check=check, env=clean)
        return done.stdout.decode().strip()

    def tree(self, *rows: tuple[str, str, str]) -> str:
        """A commit of exactly these (mode, name, content of a blob or id of a tree), whatever git thinks of them."""
        lines = b""
        for mode, name, what in rows:
            kind = {"040000": "tree", "160000": "commit"}.get(mode, "blob")
            oid = what if kind != "blob" else self.git("hash-object", "-w", "--stdin", data=what.encode())
            lines += f"{mode} {kind} {oid}\t{name}\0".encode()
        made = self.git("mktree", "-z", "--missing", data=lines)
        commit = self.git("commit-tree", made, "-m", "x")
        self.git("update-ref", "refs/heads/main", commit)
        return commit

    def subtree(self, *rows: tuple[str, str, str]) -> str:
        return self.git("rev-parse", f"{self.tree(*rows)}^{{tree}}")

    @property
    def view(self) -> ProjectView:
        name, cache = RepoName("ann", "tally"), self.folder / "view.git"
        return ProjectView(name, lambda: Remote(str(self.work)), lambda: "main", cache)

    def written(self, commit: str, into: str = "out", **more: object) -> dict[str, bytes]:
        """Every file that the runner makes of the commit, links as their targets."""
        root = self.folder / into
        self.view.tree(commit, root, **{"folder": "", "branches": (), "links": True, **more})  # type: ignore[arg-type]
        found = {}
        for path in root.rglob("*"):
            name = path.relative_to(root).as_posix()
            if path.is_symlink():
                found[name] = f"-> {path.readlink()}".encode()
            elif path.is_file():
                found[name] = path.read_bytes()
        return found


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return Repo(tmp_path)


@attack(56, "A tree with attributes, filters, submodules, rules of export, and links out of it",
        vault="bytes of blobs become bytes of files", check="nothing is checked out: files are written from objects")
def test_attack_56_what_a_tree_says_does_nothing(repo: Repo) -> Seen:
    evil = f"touch {repo.mark}"
    commit = repo.tree(
        ("100644", ".gitattributes", "*.txt filter=evil diff=evil export-subst\nkeep export-ignore\n"),
        ("100644", ".gitmodules", '[submodule "x"]\npath = x\nurl = .\n'),
        ("100644", "a.txt", "$Format:%H$"), ("100644", "keep", "kept"), ("120000", "link", "keep"),
        ("160000", "x", "1" * 40),
    )  # fmt: skip
    assert repo.written(commit) == {
        ".gitattributes": b"*.txt filter=evil diff=evil export-subst\nkeep export-ignore\n",
        ".gitmodules": b'[submodule "x"]\npath = x\nurl = .\n',
        "a.txt": b"$Format:%H$", "keep": b"kept", "link": b"-> keep",
    }  # fmt: skip
    assert not repo.mark.exists()
    other = repo.folder / "checkout"
    other.mkdir()
    repo.git("-c", f"filter.evil.smudge={evil}", f"--work-tree={other}", "checkout", "-f", commit, "--", ".")
    return Seen("-", "bytes of blobs become bytes of files", RUNS if repo.mark.exists() else "it did not run")


def nested(repo: Repo, name: str, mode: str = "100644", inside: str = "evil") -> Callable[[], str]:
    return lambda: repo.tree(("040000", name, repo.subtree((mode, "x", inside))))


@pytest.mark.parametrize(
    "rows",
    [
        [("100644", "..", "x")], [("100644", ".git", "x")], [("100644", ".GIT", "x")], [("120000", "a", "/etc/passwd")],
        [("120000", "a", "../../x")], [("120000", "a", "")], [("120000", "a", "b/../../x")],
    ],
)  # fmt: skip
def test_attack_56_names_and_links_that_lead_out_are_refused(repo: Repo, rows: list[tuple[str, str, str]]) -> None:
    commit = repo.tree(*rows)
    with pytest.raises(FactoryError):
        repo.written(commit)
    with pytest.raises(GitFailed):  # also where the forge's own check of objects would have let it in
        tree.write(repo.work / ".git", commit, repo.folder / "raw")
    assert not any(path.is_symlink() for path in (repo.folder / "raw").rglob("*"))


@pytest.mark.parametrize("name", ["..", ".git"])
def test_attack_56_folders_of_such_names_too(repo: Repo, name: str) -> None:
    commit = nested(repo, name)()
    with pytest.raises(GitFailed):
        tree.write(repo.work / ".git", commit, repo.folder / "raw")
    assert not (repo.folder / "x").exists()


def test_attack_56_a_link_and_a_folder_of_one_name_write_nothing_through_it(repo: Repo) -> None:
    """git's own checkout once wrote through such a pair (CVE-2018-11235 and its kin); here links are made last."""
    target = repo.folder / "elsewhere"
    target.mkdir()
    sub = repo.subtree(("100644", "x", "evil"))
    commit = repo.tree(("120000", "a", str(target)), ("040000", "a", sub))
    with pytest.raises(FactoryError):
        repo.written(commit)
    with pytest.raises((GitFailed, FileExistsError)):
        tree.write(repo.work / ".git", commit, repo.folder / "raw")
    assert list(target.iterdir()) == []


@attack(57, "Configuration and variables of the machine that make git run something", vault="none of them is read",
        check="git gets an environment of its own, no configuration, and a repo of ours")
def test_attack_57_nothing_of_the_machine_is_read(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> Seen:
    commit = repo.tree(("100644", "a", "x"))
    home, evil = repo.folder / "home", f"touch {repo.mark}"
    home.mkdir()
    rows = ["[core]", f"fsmonitor = {evil}", f"sshCommand = {evil}", "[credential]", f"helper = !{evil}",
            f'[url "ext::sh -c {evil.replace(" ", "% ")}"]', f"insteadOf = {repo.work}", ""]  # fmt: skip
    (home / ".gitconfig").write_text("\n".join(rows))
    values = {
        "HOME": str(home), "XDG_CONFIG_HOME": str(home), "GIT_CONFIG_GLOBAL": str(home / ".gitconfig"),
        "GIT_CONFIG_COUNT": "2", "GIT_CONFIG_KEY_0": "protocol.ext.allow", "GIT_CONFIG_VALUE_0": "always",
        "GIT_CONFIG_KEY_1": "protocol.allow", "GIT_CONFIG_VALUE_1": "always", "GIT_SSH_COMMAND": evil,
        "GIT_DIR": "/nowhere", "GIT_PROXY_COMMAND": evil, "GIT_EXTERNAL_DIFF": evil, "GIT_ASKPASS": evil,
        "GIT_OBJECT_DIRECTORY": "/nowhere", "GIT_TEMPLATE_DIR": str(home), "LD_PRELOAD": "",
    }  # fmt: skip
    for name, text in values.items():
        monkeypatch.setenv(name, text)
    assert repo.written(commit) == {"a": b"x"}
    assert not repo.mark.exists()
    monkeypatch.delenv("GIT_DIR")
    monkeypatch.delenv("GIT_OBJECT_DIRECTORY")
    subprocess.run(["git", "fetch", str(repo.work), "main"], cwd=repo.work, capture_output=True, check=False)
    return Seen("-", "none of them is read", RUNS if repo.mark.exists() else "it did not run")


@attack(58, "A commit, a branch or a folder whose name is an option or an expression of git", vault="bad-param",
        check="names are full ids and refs before they reach a command line")
def test_attack_58_names_that_are_options(repo: Repo, house: House) -> Seen:
    repo.tree(("100644", "a", "x"))
    names = [f"--output={repo.mark}", "--upload-pack=x", "HEAD", "main", "main@{0}", ":/x", "^main", "a..b", "-"]
    codes = set()
    for name in names:
        order = house.order(shipped("release"), tag="v1", commit=name)
        codes |= {f.code for f in order.formula.check(order.action) if f.key == "params.commit"}
        with pytest.raises(FactoryError):
            repo.written(name, into=f"c{len(name)}-{names.index(name)}")
        if name != "main":
            with pytest.raises(FactoryError):
                repo.written(repo.git("rev-parse", "main"), into=f"b{names.index(name)}", branches=(name,))
    assert not repo.mark.exists()
    repo.git("log", "-p", names[0], check=False)
    (code,) = codes
    return Seen("-", code, RUNS if repo.mark.exists() else "it did not run")

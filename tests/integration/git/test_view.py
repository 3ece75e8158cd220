from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from factory.errors import GitFailed, UsageError
from factory.git import objects
from factory.git.transport import RefUpdate, push
from factory.git.values import Signature
from factory.git.view import View, borrow, compact, open_view, refresh, session_clone

if TYPE_CHECKING:
    from conftest import Project, Serve, UserGit

ROLE = Signature('Dev "Bot" \\', "dev-bot@factory.invalid", 0)


def clone(view: View, dest: Path, branch: str = "work/1", **more: object) -> str:
    return session_clone(
        view, dest, branch=branch, base="main", role_identity=ROLE, alternates_as=str(view.objects), **more
    )


def test_a_view_holds_the_asked_branches_and_nothing_else(project: Project, serve: Serve, tmp_path: Path) -> None:
    served = serve()
    work = project.commit("work", parent=project.base)
    secret = project.commit("secret")
    push(
        project.local,
        project.remote,
        [RefUpdate("refs/heads/work/1", work, None), RefUpdate("refs/heads/s", secret, None)],
    )
    view = open_view(tmp_path / "view.git")
    found = refresh(view, served.remote, base="main", branches=["work/1", "refs/factory/wip/none"])
    assert found == {"refs/heads/main": project.base, "refs/heads/work/1": work} == objects.list_refs(view.path)
    assert not objects.exists(view.path, secret)
    for file in view.path.rglob("*"):
        if file.is_file():
            assert served.remote.token.encode() not in file.read_bytes()
            assert served.url.encode() not in file.read_bytes()


def test_a_refresh_without_news_fetches_nothing(project: Project, serve: Serve, tmp_path: Path) -> None:
    served = serve()
    view = open_view(tmp_path / "view.git")
    refresh(view, served.remote, base="main")
    first = len([line for line in served.seen if line.startswith("POST")])
    refresh(view, served.remote, base="main")
    assert len([line for line in served.seen if line.startswith("POST")]) == first + 1  # ls-refs alone
    tip = project.commit("tip", parent=project.base)
    push(project.local, project.remote, [RefUpdate("refs/heads/main", tip, project.base)])
    assert refresh(view, served.remote, base="main") == {"refs/heads/main": tip}


def test_a_deleted_branch_leaves_the_view(project: Project, view: View) -> None:
    push(project.local, project.remote, [RefUpdate("refs/heads/work/1", project.base, None)])
    assert "refs/heads/work/1" in refresh(view, project.remote, base="main", branches=["work/1"])
    push(project.local, project.remote, [RefUpdate("refs/heads/work/1", None, project.base)])
    refresh(view, project.remote, base="main", branches=["work/1"])
    assert set(objects.list_refs(view.path)) == {"refs/heads/main"}


def test_a_view_without_its_base_branch_is_an_error(project: Project, tmp_path: Path) -> None:
    with pytest.raises(GitFailed, match="no branch trunk"):
        refresh(open_view(tmp_path / "v.git"), project.remote, base="trunk")


def test_a_torn_view_is_made_anew(project: Project, view: View) -> None:
    shutil.rmtree(view.path / "objects")
    again = open_view(view.path)
    assert refresh(again, project.remote, base="main") == {"refs/heads/main": project.base}


def test_a_clone_is_an_ordinary_working_copy(view: View, project: Project, tmp_path: Path, user_git: UserGit) -> None:
    dest = tmp_path / "session"
    assert clone(view, dest) == project.base
    assert user_git(dest, "status", "--porcelain", "--branch") == "## work/1"
    assert (dest / "src/app.py").read_text() == "x = 1\n"
    assert user_git(dest, "remote") == ""
    assert user_git(dest, "fsck", "--strict") == ""
    assert user_git(dest, "rev-parse", "main") == project.base
    assert user_git(dest, "config", "user.name") == ROLE.name
    assert not (dest / ".git/hooks").exists()
    (dest / "src/app.py").write_text("x = 2\n")
    user_git(dest, "commit", "-qam", "change")
    assert user_git(dest, "rev-list", "--count", "main..work/1") == "1"


def test_a_clone_stands_on_the_branch_or_on_a_named_start(project: Project, view: View, tmp_path: Path) -> None:
    work = project.commit("work", parent=project.base)
    wip = project.commit("wip", parent=work)
    push(project.local, project.remote, [RefUpdate("refs/heads/work/1", work, None)])
    push(project.local, project.remote, [RefUpdate("refs/factory/wip/r1", wip, None)])
    refresh(view, project.remote, base="main", branches=["work/1", "refs/factory/wip/r1"])
    assert clone(view, tmp_path / "a") == work
    assert clone(view, tmp_path / "b", start=wip) == wip
    with pytest.raises(GitFailed):
        clone(view, tmp_path / "c", start="1" * 40)


def test_a_clone_borrows_under_the_name_the_session_sees(view: View, tmp_path: Path, user_git: UserGit) -> None:
    dest = tmp_path / "session"
    session_clone(view, dest, branch="w", base="main", role_identity=ROLE, alternates_as="/nowhere/view/objects")
    assert (dest / "README.md").exists()  # the host wrote it from the view itself
    assert user_git(dest, "cat-file", "-e", "HEAD", check=False) == ""
    assert (dest / ".git/objects/info/alternates").read_text() == "/nowhere/view/objects\n"
    assert not list((dest / ".git/objects").rglob("*.pack"))


def test_a_clone_needs_an_empty_place_and_honest_names(view: View, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(UsageError, match="not empty"):
        clone(view, tmp_path / "full")
    for branch in ("../../x", "-x", "a b", "x\n[core]", "x..y", "", "x.lock"):
        with pytest.raises(UsageError):
            clone(view, tmp_path / "d", branch=branch)
    with pytest.raises(UsageError):
        session_clone(
            view,
            tmp_path / "e",
            branch="w",
            base="main",
            role_identity=Signature("x\n[core]\n\tfsmonitor = id", "e", 0),
            alternates_as="/x",
        )


@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_clone_is_given_to_the_sessions_user(project: Project, view: View, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.touch()
    linked = objects.build_commit(
        view.path,
        parent=project.base,
        changes={"link": str(outside).encode()},
        message="link",
        author=ROLE,
        committer=ROLE,
        modes={"link": 0o120000},
    )
    clone(view, tmp_path / "s", start=linked, owner=(4242, 4243))
    for path in [tmp_path / "s", *(tmp_path / "s").rglob("*")]:
        assert (path.lstat().st_uid, path.lstat().st_gid) == (4242, 4243), path
    assert outside.stat().st_uid == 0


def test_nothing_is_pruned_while_a_session_borrows(project: Project, view: View) -> None:
    work = project.commit("work", parent=project.base)
    push(project.local, project.remote, [RefUpdate("refs/heads/work/1", work, None)])
    refresh(view, project.remote, base="main", branches=["work/1"])
    with borrow(view), borrow(view):
        assert not compact(view, keep=["refs/heads/main"])
        assert objects.exists(view.path, work)
    assert compact(view, keep=["refs/heads/main"])
    assert not objects.exists(view.path, work)
    assert objects.exists(view.path, project.base)


def test_a_clone_is_faster_than_a_plain_one(view: View, tmp_path: Path, user_git: UserGit) -> None:
    def best(make: Callable[[int], object]) -> float:
        times = []
        for number in range(5):
            start = time.perf_counter()
            make(number)
            times.append(time.perf_counter() - start)
        return min(times)

    ours = best(lambda number: clone(view, tmp_path / f"ours-{number}"))
    plain = best(lambda number: user_git(tmp_path, "clone", "-q", str(view.path), f"plain-{number}"))
    assert ours < plain

from __future__ import annotations

import base64
import os
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from factory.errors import ForgeRefused, ForgeUnavailable, GitFailed, NotFound, RefMoved
from factory.git import objects
from factory.git.plumbing import attempt, environment
from factory.git.transport import PushRefused, RefUpdate, Remote, default_branch, fetch, ls_remote, push

if TYPE_CHECKING:
    from conftest import Project, Serve

MAIN = "refs/heads/main"


@pytest.fixture(params=["file", "http"])
def remote(request: pytest.FixtureRequest, project: Project, serve: Serve) -> Remote:
    return project.remote if request.param == "file" else serve().remote


def hook(project: Project, name: str, script: str) -> None:
    path = project.bare / "hooks" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_refs_are_listed_by_prefix(project: Project, remote: Remote) -> None:
    push(project.local, remote, [RefUpdate("refs/factory/wip/r1", project.base, None)])
    assert ls_remote(remote) == {MAIN: project.base, "refs/factory/wip/r1": project.base}
    assert ls_remote(remote, ("refs/factory/",)) == {"refs/factory/wip/r1": project.base}
    assert default_branch(remote) == "main"


def test_a_push_creates_moves_and_deletes_from_the_expected_value_only(project: Project, remote: Remote) -> None:
    one = project.commit("one", parent=project.base)
    other = project.commit("other")
    push(project.local, remote, [RefUpdate("refs/heads/w", one, None)])
    assert project.refs()["refs/heads/w"] == one
    with pytest.raises(RefMoved, match=r"refs/heads/w.*expected nothing, found"):
        push(project.local, remote, [RefUpdate("refs/heads/w", other, None)])
    with pytest.raises(RefMoved, match=f"expected {project.base[:12]}, found {one[:12]}"):
        push(project.local, remote, [RefUpdate("refs/heads/w", other, project.base)])
    with pytest.raises(RefMoved):
        push(project.local, remote, [RefUpdate("refs/heads/w", None, project.base)])
    assert project.refs()["refs/heads/w"] == one
    push(
        project.local, remote, [RefUpdate("refs/heads/w", other, one)]
    )  # no fast-forward, and rightly so: it is leased
    push(project.local, remote, [RefUpdate("refs/heads/w", None, other)])
    assert project.refs() == {MAIN: project.base}


def test_a_push_that_already_landed_is_done(project: Project, remote: Remote) -> None:
    update = RefUpdate("refs/heads/w", project.base, None)
    push(project.local, remote, [update])
    push(project.local, remote, [update])
    push(project.local, remote, [RefUpdate("refs/heads/w", None, project.base)])
    push(project.local, remote, [RefUpdate("refs/heads/w", None, project.base)])


def test_an_atomic_push_changes_all_refs_or_none(project: Project, remote: Remote) -> None:
    one, other = project.commit("one"), project.commit("other")
    with pytest.raises(RefMoved, match=MAIN):
        push(project.local, remote, [RefUpdate("refs/heads/new", one, None), RefUpdate(MAIN, one, other)])
    assert project.refs() == {MAIN: project.base}
    push(project.local, remote, [RefUpdate("refs/heads/new", one, None), RefUpdate(MAIN, one, project.base)])
    assert project.refs() == {MAIN: one, "refs/heads/new": one}


def test_a_refusal_carries_the_servers_words(project: Project, remote: Remote) -> None:
    hook(project, "pre-receive", "echo 'Not allowed to push to protected branch main' >&2; exit 1")
    with pytest.raises(PushRefused, match="Not allowed to push to protected branch main") as caught:
        push(project.local, remote, [RefUpdate(MAIN, project.commit("x", parent=project.base), project.base)])
    assert caught.value.status == 403
    assert not remote.token or remote.token not in str(caught.value)


def test_an_object_that_is_not_here_cannot_be_pushed(project: Project, remote: Remote) -> None:
    with pytest.raises(GitFailed):
        push(project.local, remote, [RefUpdate("refs/heads/w", "1" * 40, None)])
    assert project.refs() == {MAIN: project.base}


def test_fetch_brings_exactly_what_is_asked(project: Project, remote: Remote, tmp_path: Path) -> None:
    secret = project.commit("secret")
    push(project.local, remote, [RefUpdate("refs/heads/secret", secret, None)])
    mine = tmp_path / "mine.git"
    objects.init_bare(mine)
    fetch(mine, remote, [f"+{MAIN}:{MAIN}"])
    assert objects.list_refs(mine) == {MAIN: project.base}
    assert not objects.exists(mine, secret)
    fetch(mine, remote, [secret])
    assert objects.exists(mine, secret)
    assert objects.list_refs(mine) == {MAIN: project.base}
    with pytest.raises(NotFound, match="refs/heads/none"):
        fetch(mine, remote, ["refs/heads/none:refs/heads/none"])


def test_a_shallow_fetch_has_no_history(project: Project, serve: Serve, tmp_path: Path) -> None:
    tip = project.commit("tip", parent=project.base)
    push(project.local, project.remote, [RefUpdate(MAIN, tip, project.base)])
    mine = tmp_path / "mine.git"
    objects.init_bare(mine)
    fetch(mine, serve().remote, [f"{MAIN}:{MAIN}"], depth=1)
    assert objects.exists(mine, tip)
    assert not objects.exists(mine, project.base)


@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_persons_own_repo_is_read_but_not_written(project: Project) -> None:
    for path in [project.bare, *project.bare.rglob("*")]:
        os.chown(path, 4242, 4242)
    assert ls_remote(project.remote) == {MAIN: project.base}
    fetch(project.local, project.remote, [f"{MAIN}:{MAIN}"])
    with pytest.raises(ForgeRefused, match="dubious ownership"):
        push(project.local, project.remote, [RefUpdate("refs/heads/w", project.base, None)])


def test_reading_a_hostile_local_repo_runs_nothing_of_it(project: Project, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    for name in ("post-checkout", "reference-transaction", "pre-receive", "post-update", "pre-auto-gc"):
        hook(project, name, f"touch {canary}")
    config = project.bare / "config"
    shot = f"touch {canary}; exec git-upload-pack"
    config.write_text(
        config.read_text() + f'[uploadpack]\n\tpackObjectsHook = "{shot}"\n[core]\n\tfsmonitor = "{shot}"\n'
        f'\talternateRefsCommand = "{shot}"\n'
    )
    ls_remote(project.remote)
    fetch(project.local, project.remote, [f"{MAIN}:{MAIN}"])
    assert not canary.exists()
    push(project.local, project.remote, [RefUpdate("refs/heads/w", project.base, None)])
    assert canary.exists()  # which is why nothing is pushed into a repo that is not ours


def test_a_local_repo_that_fetches_what_it_lacks_runs_no_command(project: Project, tmp_path: Path) -> None:
    """A partial clone fetches missing objects while it serves, through a command of its own configuration."""
    canary = tmp_path / "canary"
    whole = tmp_path / "whole.git"
    shutil.copytree(project.bare, whole)
    entry = objects.find_entry(project.bare, project.base, "README.md")
    assert entry is not None
    (project.bare / "objects" / entry.oid[:2] / entry.oid[2:]).unlink()
    config = project.bare / "config"
    config.write_text(
        config.read_text().replace("repositoryformatversion = 0", "repositoryformatversion = 1")
        + f'[extensions]\n\tpartialClone = origin\n[remote "origin"]\n\tpromisor = true\n\turl = file://{whole}\n'
        f'\tuploadpack = "touch {canary}; git-upload-pack"\n'
    )
    fresh = tmp_path / "fresh.git"
    objects.init_bare(fresh)
    with pytest.raises(GitFailed):
        fetch(fresh, project.remote, [f"{MAIN}:{MAIN}"])
    assert not canary.exists()
    attempt(
        fresh,
        "fetch",
        str(project.bare),
        f"{MAIN}:{MAIN}",
        base_env=environment(protocols=("file",), extra={"GIT_NO_LAZY_FETCH": "0"}),
        timeout_s=20,
    )
    assert canary.exists()


@pytest.mark.parametrize("name", ["file", "http"])
def test_a_missing_repo_is_not_found(name: str, project: Project, serve: Serve) -> None:
    served = serve()
    url = str(project.bare.parent / "none.git") if name == "file" else f"{served.url}/none.git"
    with pytest.raises(NotFound):
        ls_remote(Remote(url, "dev-bot", served.remote.token))


def test_a_wrong_token_is_refused_and_not_repeated(project: Project, serve: Serve) -> None:
    wrong = Remote(f"{serve().url}/project.git", "dev-bot", "wr0ng-t0ken")
    with pytest.raises(ForgeRefused) as caught:
        push(project.local, wrong, [RefUpdate("refs/heads/w", project.base, None)])
    assert caught.value.status == 401
    assert "wr0ng" not in str(caught.value)


def test_nobody_listening_is_unavailable(project: Project) -> None:
    with pytest.raises(ForgeUnavailable):
        ls_remote(Remote("http://127.0.0.1:1/x.git"))
    with pytest.raises(ForgeUnavailable, match="outcome is unknown"):
        push(project.local, Remote("http://127.0.0.1:1/x.git"), [RefUpdate("refs/heads/w", project.base, None)])


def test_an_outage_before_the_push_says_that_nothing_changed(project: Project, serve: Serve) -> None:
    served = serve()
    served.refuse = lambda path: 503 if path.endswith("/git-receive-pack") else None
    with pytest.raises(ForgeUnavailable, match="nothing was changed"):
        push(project.local, served.remote, [RefUpdate("refs/heads/w", project.base, None)])


def test_a_push_whose_answer_was_lost_is_read_back_as_landed(project: Project, serve: Serve) -> None:
    served = serve()
    served.lose_answer = lambda path: path.endswith("/git-receive-pack")
    push(project.local, served.remote, [RefUpdate("refs/heads/w", project.base, None)])
    assert project.refs()["refs/heads/w"] == project.base


def test_the_token_is_in_no_argv_environment_or_file(project: Project, serve: Serve, tmp_path: Path) -> None:
    served = serve()
    token = served.remote.token
    exposed: list[str] = []
    looked: list[int] = []

    def look(path: str) -> None:
        for process in Path("/proc").iterdir():
            if process.name.isdigit():
                for place in ("cmdline", "environ"):
                    try:
                        content = (process / place).read_bytes()
                    except OSError:
                        continue
                    looked.append(1)
                    if token.encode() in content:
                        exposed.append(f"{path}: {process.name}/{place}: {content!r}")

    served.on_request = look
    push(project.local, served.remote, [RefUpdate("refs/heads/w", project.base, None)])
    fetch(project.local, served.remote, ["+refs/heads/w:refs/heads/w"])
    assert served.logins  # it did authenticate
    assert looked
    assert not exposed
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert token.encode() not in file.read_bytes(), file


def test_the_token_does_not_follow_a_redirect(project: Project, serve: Serve) -> None:
    forge, thief = serve(), serve()
    thief.root = Path("/nonexistent")
    forge.redirect_to = thief.url
    with pytest.raises((ForgeRefused, GitFailed, ForgeUnavailable)):
        push(project.local, forge.remote, [RefUpdate("refs/heads/w", project.base, None)])
    assert forge.seen
    assert not thief.seen

    # Each of the two walls alone holds; with both off, the thief has the token.
    answer = f"printf 'username=dev-bot\\npassword={forge.remote.token}\\n'"
    follow = ("http.followRedirects", "true")
    for key, leaks in ((f"credential.{forge.remote.origin}.helper", False), ("credential.helper", True)):
        env = environment(config=[follow, (key, f"!f() {{ {answer}; }}; f")], protocols=("http",))
        attempt(project.local, "ls-remote", forge.remote.url, base_env=env, timeout_s=20)
        logins = [base64.b64decode(login.split()[1]).decode() for login in thief.logins]
        assert any(forge.remote.token in login for login in logins) is leaks


def test_only_the_remotes_own_transport_is_open(project: Project) -> None:
    done = attempt(
        project.local, "ls-remote", str(project.bare), base_env=environment(protocols=("https",)), timeout_s=20
    )
    assert done.returncode != 0
    assert b"not allowed" in done.stderr


def test_twenty_concurrent_pushes_to_one_ref_have_one_winner(project: Project, serve: Serve) -> None:
    remote = serve().remote
    heads = [project.commit(f"racer {number}") for number in range(20)]
    barrier = threading.Barrier(len(heads))
    won: list[str] = []
    lost: list[RefMoved] = []

    def race(head: str) -> None:
        barrier.wait()
        try:
            push(project.local, remote, [RefUpdate("refs/heads/w", head, None)])
            won.append(head)
        except RefMoved as error:
            lost.append(error)

    threads = [threading.Thread(target=race, args=(head,)) for head in heads]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 19)
    assert project.refs()["refs/heads/w"] == won[0]


def test_several_may_fetch_the_same_ref_at_once(project: Project) -> None:
    """A command of a person and the daemon have one mirror: who is overtaken has what it wanted all the same."""
    readers, rounds, faults = 6, 12, []
    ready = threading.Barrier(readers + 1)

    def reads() -> None:
        for _ in range(rounds):
            ready.wait(60)
            try:
                fetch(project.local, project.remote, [f"+{MAIN}:{MAIN}"])
            except GitFailed as error:
                faults.append(str(error))
            ready.wait(60)

    threads = [threading.Thread(target=reads) for _ in range(readers)]
    for thread in threads:
        thread.start()
    tip = project.base
    for number in range(rounds):
        following = project.commit(f"{number}", parent=tip)
        push(project.local, project.remote, [RefUpdate(MAIN, following, tip)])
        tip = following
        ready.wait(60)
        ready.wait(60)
        assert objects.read_ref(project.local, MAIN) == tip
    for thread in threads:
        thread.join()
    assert faults == []

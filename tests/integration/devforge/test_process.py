"""The process: what it costs, whom it lets in, and how it behaves on purpose badly."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from factory.testing.forge_process import start_forge

World = Any


def fields(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def test_it_sleeps_when_nobody_asks(tmp_path: Path) -> None:
    with start_forge(tmp_path) as forge:
        httpx.get(f"{forge.url}/api/v1/version")
        # Wait for the connection's end to be noticed, then nothing may happen any more.
        quiet = steady(forge.pid)
        time.sleep(1.0)
        assert fields(forge.pid)["voluntary_ctxt_switches"] == quiet


def steady(pid: int) -> str:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        before = fields(pid)["voluntary_ctxt_switches"]
        time.sleep(0.3)
        if fields(pid)["voluntary_ctxt_switches"] == before:
            return before
    pytest.fail("the forge keeps waking up")


def test_it_is_small_and_ends_cleanly(world: World, tmp_path: Path) -> None:
    repo = world.repo()
    for _ in range(20):
        world.ok("ann", "GET", f"/repos/{repo}")
    assert int(fields(world.process.pid)["VmRSS"].split()[0]) < 90_000  # with every test of this module behind it
    began = time.monotonic()
    with start_forge(tmp_path) as forge:
        assert time.monotonic() - began < 5
        httpx.get(f"{forge.url}/api/v1/version")
        assert int(fields(forge.pid)["VmRSS"].split()[0]) < 70_000
        assert forge.stop() == 0
    assert not forge.admin_socket.exists()


def test_what_lies_on_disk_is_private(world: World) -> None:
    for name in ("admin.sock", "forge.db", "access.log", "forge.log"):
        assert stat.S_IMODE((world.home / name).stat().st_mode) & 0o077 == 0, name
    assert stat.S_IMODE(world.process.admin_socket.stat().st_mode) == 0o600
    world.token("dev")
    database = b"".join(path.read_bytes() for path in world.home.glob("forge.db*"))
    assert world.tokens["dev"].encode() not in database
    assert b"correct-horse-1" not in database


def test_every_request_is_in_the_access_log(world: World) -> None:
    repo = world.repo()
    known = len(world.process.access_log())
    world.call(None, "GET", "/version")
    world.call("ann", "GET", f"/repos/{repo}/issues", state="all")
    httpx.get(f"{world.url}/{repo}.git/info/refs?service=git-upload-pack")
    found = world.process.access_log()[known:]
    assert [(e["method"], e["path"], e["status"], e["user"]) for e in found] == [
        ("GET", "/api/v1/version", 200, ""),
        ("GET", f"/api/v1/repos/{repo}/issues?state=all", 200, "ann"),
        ("GET", f"/{repo}.git/info/refs?service=git-upload-pack", 401, ""),
    ]
    httpx.get(f"{world.url}/api/v1/version?token=abcdef&x=1")
    assert world.process.access_log()[-1]["path"] == "/api/v1/version?token=***&x=1"
    assert all(set(e) == {"t", "method", "path", "status", "ms", "user"} for e in found)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "", "localhost.evil.example"])
def test_other_host_names_are_not_served(world: World, host: str) -> None:
    """A name that resolves here must not let a page of that name talk to the forge."""
    assert httpx.get(f"{world.url}/api/v1/version", headers={"Host": host}).status_code == 421
    allowed = {"Host": f"localhost:{world.process.port}"}
    assert httpx.get(f"{world.url}/api/v1/version", headers=allowed).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, 200),
    ],
)
def test_pages_of_other_sites_get_nothing(world: World, headers: dict[str, str], status: int) -> None:
    assert httpx.get(f"{world.url}/api/v1/version", headers=headers).status_code == status


def test_a_cookie_is_no_login_and_neither_is_the_query(world: World) -> None:
    token = world.token("ann")
    for sent in ({"cookies": {"session": token}}, {"params": {"token": token, "access_token": token}}):
        assert httpx.get(f"{world.url}/api/v1/user", **sent).status_code == 401


def test_only_the_socket_mints_for_others(world: World) -> None:
    world.token("ann")
    world.token("root2")
    assert world.admin("PATCH", "/api/v1/admin/users/root2", {"admin": True}).status_code == 200
    admin_token = world.token("root2", "all")
    body = {"name": "x", "scopes": ["all"]}
    assert world.call(None, "POST", "/admin/users/ann/tokens", body, token=admin_token).status_code == 404
    assert world.call(None, "POST", "/users/ann/tokens", body, token=admin_token).status_code == 401
    both = httpx.post(f"{world.url}/api/v1/users/ann/tokens", json=body, auth=("root2", "correct-horse-1"))
    assert both.status_code == 201
    assert len(both.json()["sha1"]) == 40
    other = httpx.post(f"{world.url}/api/v1/users/root2/tokens", json=body, auth=("ann", "correct-horse-1"))
    assert other.status_code == 403
    assert world.call("root2", "GET", "/user", headers={"Sudo": "ann"}).json()["login"] == "ann"
    assert world.call("ann", "GET", "/user", headers={"Sudo": "root2"}).status_code == 403


def test_guessing_a_password_is_slowed_down(world: World) -> None:
    world.token("victim")
    answers = [httpx.get(f"{world.url}/api/v1/user", auth=("victim", f"wrong{n}")).status_code for n in range(12)]
    assert answers[:10] == [401] * 10
    assert set(answers[10:]) == {429}
    assert world.call("victim", "GET", "/user").status_code == 200  # tokens go on working


def test_a_new_password_ends_the_old_one_at_once(world: World) -> None:
    world.token("changer")
    url = f"{world.url}/api/v1/user"
    assert httpx.get(url, auth=("changer", "correct-horse-1")).status_code == 200
    world.admin("PATCH", "/api/v1/admin/users/changer", {"password": "another-horse-2"})
    assert httpx.get(url, auth=("changer", "correct-horse-1")).status_code == 401
    assert httpx.get(url, auth=("changer", "another-horse-2")).status_code == 200
    world.admin("PATCH", "/api/v1/admin/users/changer", {"active": False})
    assert world.call("changer", "GET", "/user").status_code == 403


def test_a_bug_is_told_to_the_log_only(world: World) -> None:
    """A repo whose folder vanished stands for any bug: 500 without words to accounts, with words to the site admin."""
    repo = world.repo()
    world.bare(repo).rename(world.bare(repo).with_suffix(".gone"))
    answer = world.call("ann", "GET", f"/repos/{repo}/branches")
    assert (answer.status_code, answer.json()["message"]) == (500, "")
    assert "not a git repository" in world.admin("GET", f"/api/v1/repos/{repo}/branches").json()["message"]
    assert "Traceback" in (world.home / "forge.log").read_text()
    world.bare(repo).with_suffix(".gone").rename(world.bare(repo))


def test_a_half_done_rename_is_found_again(world: World) -> None:
    repo = world.repo()
    world.process.kill()
    world.bare(repo).rename(world.bare(repo).with_name("elsewhere.git"))
    world.restart(kill=True)
    assert world.ok("ann", "GET", f"/repos/{repo}/branches")[0]["name"] == "main"


def test_sigint_and_a_vanished_client_do_no_harm(tmp_path: Path) -> None:
    with start_forge(tmp_path) as forge:
        for part in (
            b"",
            b"POST /api/v1/user/repos HTTP/1.1\r\nHost: 127.0.0.1",
            b"\x16\x03\x01\x02\x00",
            b"GET / HTTP/9\r\n\r\n",
        ):
            with socket.create_connection(("127.0.0.1", forge.port)) as link:
                link.sendall(part)
        assert httpx.get(f"{forge.url}/api/v1/healthz").json() == {"status": "pass"}
        os.kill(forge.pid, signal.SIGINT)
        assert forge.stop() == 0


# ---------------------------------------------------------------- knobs


def faults(world: World, *wanted: dict[str, Any], **more: Any) -> None:
    done = world.admin("POST", "/_faults", {"faults": list(wanted), **more})
    assert done.status_code == 200, done.text


def test_knobs_turn_only_on_the_socket(world: World) -> None:
    assert httpx.post(f"{world.url}/_faults", json={"faults": []}).status_code == 404
    assert world.admin("POST", "/_faults", {"faults": [{"kind": "explode"}]}).status_code == 422
    assert world.admin("POST", "/_faults", {"faults": [{"kind": "slow", "nonsense": 1}]}).status_code == 422


def test_answers_can_be_broken_before_and_after_the_deed(world: World) -> None:
    repo = world.repo()
    path = f"/repos/{repo}/issues"
    faults(world, {"kind": "status", "code": 502, "method": "POST", "path": "/issues$"})
    assert world.call("ann", "POST", path, {"title": "lost"}).status_code == 502
    assert world.call("ann", "POST", path, {"title": "kept"}).status_code == 201
    faults(world, {"kind": "status", "code": 500, "method": "POST", "path": "/issues$", "after": True})
    assert world.call("ann", "POST", path, {"title": "done but not told"}).status_code == 500
    for after in (False, True):
        faults(world, {"kind": "drop", "method": "POST", "path": "/issues$", "after": after})
        with pytest.raises(httpx.TransportError):
            world.call("ann", "POST", path, {"title": f"dropped, after {after}"})
    titles = [issue["title"] for issue in world.ok("ann", "GET", path)]
    assert titles == ["dropped, after True", "done but not told", "kept"]
    faults(world, {"kind": "slow", "seconds": 0.3, "path": "/version"})
    began = time.monotonic()
    world.call(None, "GET", "/version")
    assert time.monotonic() - began >= 0.3
    assert world.admin("GET", "/_faults").json()[0]["hits"] == 1
    faults(world)


def test_the_checking_window(world: World, clone: Any) -> None:
    repo = world.repo()
    git = clone(repo)
    git.commit(a="1")
    git("push", "-q", "origin", "HEAD:refs/heads/fix")
    number = world.ok("ann", "POST", f"/repos/{repo}/pulls", {"head": "fix", "base": "main", "title": "t"})["number"]
    faults(world, checking=[{"owner": "ann", "repo": repo.split("/")[1], "seconds": 60}])
    assert world.ok("ann", "GET", f"/repos/{repo}/pulls/{number}")["mergeable"] is False
    answer = world.call("ann", "POST", f"/repos/{repo}/pulls/{number}/merge", {"Do": "merge"})
    assert (answer.status_code, answer.json()["message"]) == (405, "Please try again later")
    faults(world, checking=[{"owner": "ann", "repo": repo.split("/")[1], "seconds": 0}])
    assert world.call("ann", "POST", f"/repos/{repo}/pulls/{number}/merge", {"Do": "merge"}).status_code == 200


def test_strict_and_compatible(tmp_path: Path) -> None:
    """Where the embedded forge is deliberately clearer than Forgejo: an open dependency, an unknown reviewed commit."""
    for compat, blocked, unknown in ((False, 405, 422), (True, 500, 500)):
        with start_forge(tmp_path / str(compat), compat=compat) as forge:
            transport = httpx.HTTPTransport(uds=str(forge.admin_socket))
            with httpx.Client(transport=transport, base_url="http://forge/api/v1") as admin:
                admin.post("/user/repos", json={"name": "r", "auto_init": True}).raise_for_status()
                repo = "/repos/forge-admin/r"
                admin.post(f"{repo}/issues", json={"title": "first"})
                file = {"content": "eA==", "new_branch": "fix", "message": "m"}
                admin.post(f"{repo}/contents/x", json=file).raise_for_status()
                admin.post(f"{repo}/pulls", json={"head": "fix", "base": "main", "title": "t"}).raise_for_status()
                dependency = {"owner": "forge-admin", "repo": "r", "index": 1}
                admin.post(f"{repo}/issues/2/dependencies", json=dependency).raise_for_status()
                answer = admin.post(f"{repo}/pulls/2/merge", json={"Do": "merge"})
                assert (answer.status_code, answer.json()["message"]) == (blocked, "is blocked by an open dependency")
                review = {"event": "COMMENT", "body": "b", "commit_id": "1" * 40}
                assert admin.post(f"{repo}/pulls/2/reviews", json=review).status_code == unknown


def test_the_ready_line_says_where_it_is(world: World) -> None:
    assert world.url == f"http://127.0.0.1:{world.process.port}"
    done = world.admin("GET", "/api/forgejo/v1/version")
    assert json.loads(done.content) == {"version": "15.0.3+gitea-1.22.0"}
    assert done.headers["x-factory-forge"] == "embedded"

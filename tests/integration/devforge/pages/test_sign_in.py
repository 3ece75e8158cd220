"""Sessions and the door: who gets in, what a form must carry, what every answer carries."""

from __future__ import annotations

import sqlite3
from typing import Any

import httpx
import pytest

World = Any


@pytest.fixture
def ann(visitor: Any) -> Any:
    return visitor("ann")


def rows(world: World, sql: str) -> list[Any]:
    with sqlite3.connect(world.home / "forge.db") as db:
        return db.execute(sql).fetchall()


def test_signing_in_and_out(world: World, visitor: Any, read: Any) -> None:
    world.token("ann")
    person = visitor()
    assert "Sign in" in read(person.see("/"))
    first = person.client.cookies.jar
    done = person.send("/user/login", login="ann", password="correct-horse-1")
    assert done.history[0].status_code == 303
    said = done.history[0].headers["set-cookie"]
    assert "HttpOnly" in said
    assert "SameSite=Strict" in said
    assert "Sign out" in read(person.see("/"))
    (cookie,) = list(first)
    assert not [row for row in rows(world, "SELECT * FROM web_sessions") if cookie.value in str(row)]
    person.send("/", "/user/logout")
    assert "Sign out" not in read(person.see("/"))
    # The secret is worth nothing any more, even when a thief kept it.
    stolen = httpx.get(world.url, headers={"Cookie": f"{cookie.name}={cookie.value}"}, trust_env=False)
    assert "Sign out" not in stolen.text


def test_a_session_gets_a_new_secret(world: World, visitor: Any) -> None:
    world.token("ann")
    person = visitor()
    person.see("/user/login")
    (planted,) = [cookie.value for cookie in person.client.cookies.jar]
    person.sign_in("ann")
    (real,) = [cookie.value for cookie in person.client.cookies.jar]
    assert real != planted


@pytest.mark.parametrize(("login", "password"), [("ann", "wrong"), ("nobody", "x"), ("ann", ""), ("", "")])
def test_wrong_passwords_say_the_same(visitor: Any, read: Any, login: str, password: str) -> None:
    done = visitor().send("/user/login", login=login, password=password, expect=403)
    assert "That name and password do not belong together." in read(done.text)


def test_guessing_is_slowed_down(world: World, visitor: Any, read: Any) -> None:
    world.token("victim")
    person = visitor()
    answers = [person.send("/user/login", login="victim", password=f"guess-{n}", expect=403) for n in range(10)]
    assert len(answers) == 10
    slowed = person.send("/user/login", login="victim", password="correct-horse-1", expect=429)
    assert "too many wrong passwords" in slowed.text.lower()
    # The API counts with the same doorkeeper.
    by_api = httpx.get(f"{world.url}/api/v1/user", auth=("victim", "correct-horse-1"), trust_env=False)
    assert by_api.status_code == 429


def test_the_api_never_takes_the_cookie(world: World, ann: Any) -> None:
    assert "Sign out" in ann.see("/")
    assert ann.get("/api/v1/user").status_code == 401
    repo = world.repo()
    assert ann.post(f"/api/v1/repos/{repo}/issues", {"title": "x"}).status_code == 401
    assert ann.get(f"/{repo}/info/refs?service=git-upload-pack").status_code in (401, 404)


def test_a_password_that_changed_ends_sessions(world: World, visitor: Any) -> None:
    here, there = visitor("carl"), visitor("carl")
    fields = {"old": "correct-horse-1", "new": "another-horse-2", "again": "another-horse-2"}
    here.send("/user/change_password", **fields)
    assert "Sign out" in here.see("/")
    assert "Sign out" not in there.see("/")
    world.admin("PATCH", "/api/v1/admin/users/carl", {"password": "third-horse-3", "must_change_password": False})
    assert "Sign out" not in here.see("/")


@pytest.mark.parametrize(
    "fields",
    [{"old": "wrong", "new": "another-horse-2", "again": "another-horse-2"},
     {"old": "correct-horse-1", "new": "a-new-horse-1", "again": "a-new-horse-2"},
     {"old": "correct-horse-1", "new": "short", "again": "short"}],
)  # fmt: skip
def test_passwords_that_are_not_changed(visitor: Any, fields: dict[str, str]) -> None:
    person = visitor("dora")
    done = person.send("/user/change_password", expect=403 if fields["old"] == "wrong" else _status(fields), **fields)
    assert 'role="alert"' in done.text
    visitor("dora")


def _status(fields: dict[str, str]) -> int:
    return 422 if fields["new"] != fields["again"] else 400


def test_who_must_change_their_password_does_that_first(world: World, visitor: Any) -> None:
    made = {"username": "fresh", "email": "fresh@example.test", "password": "given-to-me-1"}
    assert world.admin("POST", "/api/v1/admin/users", {**made, "must_change_password": True}).status_code == 201
    person = visitor()
    done = person.send("/user/login", login="fresh", password="given-to-me-1")
    assert done.url.path == "/user/change_password"
    assert person.get("/").url.path == "/user/change_password"
    person.send("/user/change_password", old="given-to-me-1", new="chosen-by-me-1", again="chosen-by-me-1")
    assert person.get("/").url.path == "/"


# ---------------------------------------------------------------- forms


def token_of(ann: Any, page: str) -> str:
    return str(ann.see(page).split('name="_token" value="')[1].split('"')[0])


FOREIGN: list[dict[str, str]] = [
    {"Origin": "http://evil.test"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
]


@pytest.mark.parametrize("headers", FOREIGN)
def test_a_form_from_elsewhere_does_nothing(world: World, ann: Any, headers: dict[str, str]) -> None:
    repo = world.repo()
    token = token_of(ann, f"/{repo}/issues/new")
    fields = {"_token": token, "title": "forged"}
    assert ann.post(f"/{repo}/issues/new", fields, **headers).status_code == 403
    assert world.ok("ann", "GET", f"/repos/{repo}/issues") == []
    # The same form from our own page works: it was the header that stopped it.
    assert ann.post(f"/{repo}/issues/new", fields).status_code == 200
    assert len(world.ok("ann", "GET", f"/repos/{repo}/issues")) == 1


def test_another_port_of_this_machine_is_elsewhere(world: World, ann: Any) -> None:
    repo = world.repo()
    fields = {"_token": token_of(ann, f"/{repo}/issues/new"), "title": "forged"}
    port = world.process.port
    for origin in (f"http://127.0.0.1:{port + 1}", f"https://127.0.0.1:{port}", f"http://localhost:{port}"):
        assert ann.post(f"/{repo}/issues/new", fields, Origin=origin).status_code == 403


@pytest.mark.parametrize("token", ["", "0" * 64])
def test_a_form_without_its_token_does_nothing(world: World, ann: Any, token: str) -> None:
    repo = world.repo()
    assert ann.post(f"/{repo}/issues/new", {"_token": token, "title": "forged"}).status_code == 403
    assert world.ok("ann", "GET", f"/repos/{repo}/issues") == []


def test_the_token_of_another_visitor_does_not_fit(world: World, ann: Any, visitor: Any) -> None:
    repo = world.repo(mallory="write")
    theirs = token_of(visitor("mallory"), f"/{repo}/issues/new")
    assert ann.post(f"/{repo}/issues/new", {"_token": theirs, "title": "forged"}).status_code == 403


def test_other_bodies_are_refused(world: World, ann: Any) -> None:
    repo = world.repo()
    token = token_of(ann, f"/{repo}/issues/new")
    sent = ann.client.post(
        f"/{repo}/issues/new", content=f'{{"_token": "{token}", "title": "x"}}',
        headers={"Origin": world.url, "Content-Type": "text/plain"},
    )  # fmt: skip
    assert sent.status_code == 415
    assert ann.post(f"/{repo}/issues/new", {"_token": token, "title": "x", "body": "y" * 1_100_000}).status_code == 413
    many = "&".join(f"a{n}=1" for n in range(600))
    kind = {"Origin": world.url, "Content-Type": "application/x-www-form-urlencoded"}
    assert ann.client.post(f"/{repo}/issues/new", content=many, headers=kind).status_code == 400


def test_strangers_cannot_send_forms(world: World, visitor: Any) -> None:
    repo = world.repo(private=False)
    person = visitor()
    token = token_of(person, "/user/login")
    done = person.post(f"/{repo}/issues/new", {"_token": token, "title": "x"})
    assert done.url.path == "/user/login"
    assert world.ok("ann", "GET", f"/repos/{repo}/issues") == []


def test_after_signing_in_one_is_back_where_one_was(world: World, visitor: Any) -> None:
    repo = world.repo()
    person = visitor()
    sent = person.get(f"/{repo}/issues/new")
    assert sent.url.path == "/user/login"
    done = person.send(f"/user/login?next=/{repo}/issues/new", "/user/login", login="ann", password="correct-horse-1")
    assert done.url.path == f"/{repo}/issues/new"


@pytest.mark.parametrize(
    "where", ["//evil.test", "/\\evil.test", "https://evil.test", "/%09/evil.test", "javascript:x"]
)
def test_and_nowhere_else(world: World, visitor: Any, where: str) -> None:
    world.token("ann")
    person = visitor()
    page = f"/user/login?next={where}"
    done = person.send(page, "/user/login", login="ann", password="correct-horse-1")
    assert done.history[0].headers["location"] == "/"


# ---------------------------------------------------------------- every answer


@pytest.mark.parametrize("path", ["/", "/user/login", "/nobody/nothing", "/assets/style.css", "/ann"])
def test_every_answer_has_its_headers(world: World, visitor: Any, path: str) -> None:
    headers = visitor().get(path).headers
    assert headers["content-security-policy"] == (
        "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none';"
        " base-uri 'none'"
    )
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"


def test_another_host_name_is_not_served(world: World) -> None:
    done = httpx.get(world.url, headers={"Host": "evil.test"}, trust_env=False)
    assert done.status_code == 421


def test_unknown_pages_and_methods(world: World, visitor: Any, read: Any) -> None:
    person = visitor("ann")
    assert person.get("/ann/nope").status_code == 404
    assert person.get("/ann/nope/x/y/z").status_code == 404
    assert person.client.request("DELETE", "/", headers={"Origin": world.url}).status_code == 405
    assert person.post("/ann", {"_token": token_of(person, "/")}).status_code == 405
    assert "There is no such page, or you may not see it." in read(person.get("/ann/nope").text)
    assert person.client.head("/").content == b""


def test_private_repos_look_like_none(world: World, visitor: Any) -> None:
    repo = world.repo(private=True)
    world.token("eve")
    for person in (visitor(), visitor("eve")):
        here, nowhere = person.get(f"/{repo}"), person.get("/ann/never-was")
        assert here.status_code == nowhere.status_code == 404
        assert here.text.replace(repo.split("/")[1], "never-was") == nowhere.text
        assert repo not in person.see("/") + person.see("/ann")
        for rest in ("issues", "pulls", "issues/1", "commits/branch/main", "raw/branch/main/README.md", "branches"):
            assert person.get(f"/{repo}/{rest}").status_code == 404


def test_looking_changes_nothing(world: World, ann: Any, stage: Any) -> None:
    repo, number = stage(world)
    before = _everything(world)
    for path in (
        "/", "/ann", f"/{repo}", f"/{repo}/issues", f"/{repo}/issues/1", f"/{repo}/pulls/{number}",
        f"/{repo}/pulls/{number}/files", f"/{repo}/pulls/{number}/merge", f"/{repo}/pulls/{number}/review",
        f"/{repo}/issues/1/comment?body=x", f"/{repo}/issues/1/labels", f"/{repo}/settings/branches",
        f"/{repo}/compare?base=main&head=fix/issue-1&title=x", "/user/logout", f"/{repo}/pulls/{number}/update",
    ):  # fmt: skip
        ann.get(path)
    assert _everything(world) == before
    assert "Sign out" in ann.see("/")


def _everything(world: World) -> list[Any]:
    names = [row[0] for row in rows(world, "SELECT name FROM sqlite_master WHERE type = 'table'")]
    return [(name, rows(world, f"SELECT * FROM {name}")) for name in sorted(names)]

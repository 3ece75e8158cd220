"""Accounts, tokens, scopes, repos, collaborators. Rules: sections 3.1 and 3.9 of the Forgejo reference."""

from __future__ import annotations

import itertools
import secrets

import pytest

from factory.errors import ForgeRefused
from factory.forge.client import ForgejoClient

_count = itertools.count(1)
RUN = secrets.token_hex(3)


def fresh(prefix: str) -> str:
    return f"{prefix}{RUN}-{next(_count)}"


def new_user(site, **more):
    login = fresh("u") + site.suffix
    body = {
        "username": login,
        "email": f"{login}@x.invalid",
        "password": "aA1-long-enough",
        "must_change_password": False,
    }
    reply = site.admin.ask("POST", "/admin/users", doing="test", body={**body, **more})
    return login, reply


# accounts


@pytest.mark.parametrize(
    ("more", "statuses"),
    [
        ({}, (201,)),
        ({"password": "short"}, (400,)),
        ({"username": "founder"}, (422,)),
        ({"username": ""}, (422,)),
        ({"username": "has space"}, (422,)),
        ({"username": "admin"}, (422,)),
        ({"username": "api"}, (422,)),
        ({"email": "not-an-address"}, (400, 422)),
    ],
)
def test_creating_accounts(site, more: dict, statuses: tuple[int, ...]) -> None:
    site.account("founder")
    if more.get("username") == "founder":
        more = {"username": site.login("founder")}
    _, reply = new_user(site, **more)
    assert reply.status in statuses, reply.body


def test_an_account_that_must_change_its_password_can_do_nothing(site) -> None:
    login, _ = new_user(site, must_change_password=True)
    answer = site.call("GET", "/user", who=None, basic=(login, "aA1-long-enough"))
    assert answer.status_code == 403
    assert "change your password" in answer.json()["message"].lower()


def test_a_new_password_replaces_the_old(site) -> None:
    login, _ = new_user(site)
    site.admin.set_password(login, "aA1-another-one")
    assert site.call("GET", "/user", who=None, basic=(login, "aA1-long-enough")).status_code == 401
    assert site.call("GET", "/user", who=None, basic=(login, "aA1-another-one")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/admin/users", None),
        ("POST", "/admin/users", {"username": "x", "email": "x@x.invalid", "password": "aA1-long-enough"}),
        ("PATCH", "/admin/users/{founder}", {"password": "aA1-long-enough", "login_name": "x", "source_id": 0}),
        ("DELETE", "/admin/users/{founder}", None),
        ("POST", "/admin/users/{founder}/repos", {"name": "x"}),
    ],
)
def test_administration_is_for_site_admins(site, method: str, path: str, body: dict | None) -> None:
    login = site.account("founder")
    answer = site.call(method, path.format(founder=login), body, who="dev")
    assert answer.status_code == 403


def test_who_is_admin_is_told_to_oneself_and_admins_only(site) -> None:
    site.account("founder")
    assert site.call("GET", "/user").json()["is_admin"] is False
    assert site.call("GET", "/user").json()["login"] == site.call("GET", "/user").json()["username"]


def test_finding_accounts(site) -> None:
    login, _ = new_user(site)
    found = site.call("GET", "/users/search", q=login).json()
    assert found["ok"] is True
    assert [user["login"] for user in found["data"]] == [login]


# tokens


def mint(site, who: str, **body):
    login = site.account(who)
    return site.call(
        "POST", f"/users/{login}/tokens", {"name": fresh("t"), **body}, who=None, basic=(login, site.passwords[login])
    )


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"scopes": ["read:issue"]}, 201),
        ({"scopes": ["write:repository", "write:issue", "read:user"]}, 201),
        ({"scopes": ["all"]}, 201),
        ({"scopes": []}, 400),
        ({}, 400),
        ({"scopes": ["nonsense"]}, 400),
        ({"scopes": ["write:nonsense"]}, 400),
        ({"scopes": ["read:issue"], "name": ""}, 422),
    ],
)
def test_minting(site, body: dict, status: int) -> None:
    assert mint(site, "dev", **body).status_code == status


def test_a_minted_token_is_shown_once(site) -> None:
    made = mint(site, "dev", scopes=["read:user"]).json()
    assert len(made["sha1"]) == 40
    assert made["sha1"].endswith(made["token_last_eight"])
    login = site.login("dev")
    basic = (login, site.passwords[login])
    rows = site.call("GET", f"/users/{login}/tokens", who=None, basic=basic, limit=50).json()
    assert made["name"] in {row["name"] for row in rows}
    assert all(not row.get("sha1") for row in rows)
    assert site.call("GET", "/user", token=made["sha1"]).status_code == 200


def test_a_name_is_used_once(site) -> None:
    name = fresh("same")
    assert mint(site, "dev", name=name, scopes=["read:user"]).status_code == 201
    assert mint(site, "dev", name=name, scopes=["read:user"]).status_code == 400


@pytest.mark.parametrize("by", ["id", "name"])
def test_a_deleted_token_is_dead(site, by: str) -> None:
    made = mint(site, "dev", scopes=["read:user"]).json()
    login = site.login("dev")
    basic = (login, site.passwords[login])
    assert site.call("DELETE", f"/users/{login}/tokens/{made[by]}", who=None, basic=basic).status_code == 204
    assert site.call("GET", "/user", token=made["sha1"]).status_code == 401


def test_a_token_mints_no_token(site) -> None:
    login = site.account("dev")
    answer = site.call("POST", f"/users/{login}/tokens", {"name": fresh("t"), "scopes": ["all"]}, who="dev")
    assert (answer.status_code, answer.json()["message"]) == (401, "auth method not allowed")


def test_nobody_mints_for_others(site) -> None:
    login, victim = site.account("dev"), site.account("founder")
    body = {"name": fresh("t"), "scopes": ["all"]}
    answer = site.call("POST", f"/users/{victim}/tokens", body, who=None, basic=(login, site.passwords[login]))
    assert answer.status_code in (401, 403)


# tokens limited to repos (Forgejo 15)


@pytest.fixture(scope="module")
def limited(site):
    """founder's token for one of two private repos and a public one."""
    one, other, public = site.repo(), site.repo(), site.repo(private=False)
    for repo in (one, other, public):
        site.client("founder").create_issue(repo, title="t", body="")
    token = site.token("founder", "write:repository", "write:issue", repos=(one,))
    return token, {"one": one, "other": other, "public": public}


LIMITED = [
    ("GET", "/repos/{one}", None, 200),
    ("POST", "/repos/{one}/issues", {"title": "x"}, 201),
    ("POST", "/repos/{one}/labels", {"name": "new", "color": "#fff"}, 201),
    ("GET", "/repos/{other}", None, 404),
    ("GET", "/repos/{other}/issues", None, 404),
    ("POST", "/repos/{other}/issues", {"title": "x"}, 404),
    ("GET", "/repos/{public}", None, 200),
    ("POST", "/repos/{public}/labels", {"name": "new", "color": "#fff"}, 403),
    ("GET", "/user", None, 403),
    # It carries no admin's rights, not even in the repo it is for.
    ("GET", "/repos/{one}/branch_protections", None, 403),
    ("POST", "/repos/{one}/branch_protections", {"rule_name": "x"}, 403),
    ("GET", "/repos/{one}/hooks", None, 403),
    ("PUT", "/repos/{one}/collaborators/x", {"permission": "read"}, 403),
    ("GET", "/repos/{one}/collaborators/{dev}/permission", None, 403),
    ("PATCH", "/repos/{one}", {"description": "x"}, 403),
    ("GET", "/repos/{one}/collaborators", None, 200),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), LIMITED)
def test_a_limited_token_sees_its_repos_only(
    site, limited, method: str, path: str, body: dict | None, status: int
) -> None:
    token, repos = limited
    path = path.format(**repos, dev=site.login("dev"))
    assert site.call(method, path, body, token=token).status_code == status


def test_a_limited_tokens_search_shows_its_repos_only(site, limited) -> None:
    token, repos = limited
    with ForgejoClient(site.url, token) as client:
        items, _ = client.changed_since(repos["one"].owner, None)
    shown = {repo for repo, _ in items}
    assert repos["one"] in shown
    assert repos["other"] not in shown


def test_git_with_a_limited_token(site, limited) -> None:
    token, repos = limited
    with ForgejoClient(site.url, token) as client:
        assert client.ls_refs(repos["one"], ["refs/heads/"])
        with pytest.raises(ForgeRefused):
            client.ls_refs(repos["other"], [])


@pytest.mark.parametrize("scopes", [["read:user"], ["all"], ["write:issue", "write:admin"]])
def test_a_limited_token_holds_no_other_scope(site, scopes: list[str]) -> None:
    repo = site.repo()
    made = mint(site, "founder", scopes=scopes, repositories=[{"owner": repo.owner, "name": repo.name}])
    assert made.status_code in (400, 422)


# repos


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 201),
        ({"name": "{taken}"}, 409),
        ({"name": ""}, 422),
        ({"name": "has space"}, 422),
        ({"name": "x.git"}, 422),
        ({"name": ".."}, 422),
        ({"default_branch": "trunk/x"}, 201),
        ({"default_branch": "a b"}, 422),
        ({"default_branch": "a..b"}, 422),
        ({"default_branch": "main\0b", "auto_init": True}, 422),
        ({"default_branch": "x" * 101}, 422),
    ],
)
def test_creating_repos(site, body: dict, status: int) -> None:
    taken = site.repo()
    body = {"name": fresh("r"), **body, **({"name": taken.name} if body.get("name") == "{taken}" else {})}
    assert site.call("POST", "/user/repos", body).status_code == status


def test_the_shape_of_a_repo(site) -> None:
    repo = site.repo()
    data = site.call("GET", f"/repos/{repo}").json()
    assert data["permissions"] == {"admin": True, "push": True, "pull": True}
    assert data["owner"]["login"] == repo.owner
    assert (data["empty"], data["private"], data["archived"], data["mirror"]) == (False, True, False, False)
    assert data["clone_url"].endswith(f"/{repo}.git")
    assert data["default_branch"] == "main"


@pytest.mark.parametrize(("who", "status"), [("founder", 204), ("dev", 403), ("outsider", 404)])
def test_deleting_a_repo_is_for_owners(site, who: str, status: int) -> None:
    repo = site.repo()
    token = site.token(who, "write:repository", "write:user")
    assert site.call("DELETE", f"/repos/{repo}", token=token).status_code == status


@pytest.mark.parametrize("who", ["dev", "reader", "outsider"])
def test_settings_are_for_admins(site, who: str) -> None:
    repo = site.repo()
    assert site.call("PATCH", f"/repos/{repo}", {"private": False}, who=who).status_code in (403, 404)
    assert site.client("founder").repo(repo).private


def test_an_archived_repo_is_read_only(site) -> None:
    repo = site.repo()
    site.client("founder").create_issue(repo, title="t", body="")
    assert site.call("PATCH", f"/repos/{repo}", {"archived": True}).status_code == 200
    assert site.client("founder").repo(repo).archived
    for method, path, body in (
        ("POST", "/issues", {"title": "x"}),
        ("POST", "/issues/1/comments", {"body": "x"}),
        ("POST", "/branches", {"new_branch_name": "x", "old_ref_name": "main"}),
    ):
        assert site.call(method, f"/repos/{repo}{path}", body).status_code == 423


# collaborators


@pytest.mark.parametrize(
    ("permission", "got"),
    [("read", "read"), ("write", "write"), ("admin", "admin"), ("none", "write"), ("owner", "write"), ("", "write")],
)
def test_permissions_given(site, permission: str, got: str) -> None:
    """Any other word is silently the default: why ours is read back."""
    repo = site.repo(dev="read")
    login = site.account("rev")
    assert site.call("PUT", f"/repos/{repo}/collaborators/{login}", {"permission": permission}).status_code == 204
    data = site.call("GET", f"/repos/{repo}/collaborators/{login}/permission").json()
    assert data["permission"] == got
    assert data["user"]["login"] == login


@pytest.mark.parametrize(("who", "status"), [("rev", 204), ("no-such-user", 422)])
def test_adding(site, who: str, status: int) -> None:
    repo = site.repo(dev="read")
    login = site.account(who) if status == 204 else site.login(who)
    assert site.call("PUT", f"/repos/{repo}/collaborators/{login}", {}).status_code == status


def test_the_owner_is_no_collaborator(site) -> None:
    repo = site.repo(dev="write")
    assert [row["login"] for row in site.call("GET", f"/repos/{repo}/collaborators").json()] == [site.login("dev")]
    assert site.call("GET", f"/repos/{repo}/collaborators/{site.login('dev')}").status_code == 204
    assert site.call("GET", f"/repos/{repo}/collaborators/{repo.owner}").status_code == 404


@pytest.mark.parametrize("who", ["dev", "reader", "outsider"])
def test_collaborators_are_managed_by_admins(site, who: str) -> None:
    repo = site.repo()
    login = site.account("rev")
    answer = site.call("PUT", f"/repos/{repo}/collaborators/{login}", {"permission": "admin"}, who=who)
    assert answer.status_code in (403, 404)


def test_a_removed_collaborator_sees_nothing_more(site) -> None:
    repo = site.repo()
    assert site.call("DELETE", f"/repos/{repo}/collaborators/{site.login('dev')}").status_code == 204
    assert site.call("GET", f"/repos/{repo}", who="dev").status_code == 404


# who may write


def test_any_reader_may_ask_who_writes(site) -> None:
    repo = site.repo(dev="write", rev="admin", reader="read")
    token = site.token("reader", "read:repository", repos=(repo,) if site.name == "embedded" else ())
    with ForgejoClient(site.url, token) as narrow:
        assert {user.login for user in narrow.writers(repo)} == {repo.owner, site.login("dev"), site.login("rev")}
    assert site.call("GET", f"/repos/{repo}/assignees", who="outsider").status_code == 404
    assert site.call("DELETE", f"/repos/{repo}/collaborators/{site.login('dev')}").status_code == 204
    assert site.login("dev") not in {user.login for user in site.client("founder").writers(repo)}


def test_who_was_switched_off_writes_no_more(site) -> None:
    repo = site.repo(dev="write")
    login, _ = new_user(site)
    assert site.call("PUT", f"/repos/{repo}/collaborators/{login}", {"permission": "write"}).status_code == 204
    assert login in {user.login for user in site.client("founder").writers(repo)}
    off = {"active": False, "login_name": login, "source_id": 0}
    assert site.admin.ask("PATCH", f"/admin/users/{login}", doing="test", body=off).status == 200
    assert login not in {user.login for user in site.client("founder").writers(repo)}


def test_a_site_admin_is_no_writer_by_that_alone(site) -> None:
    repo = site.repo(dev="write")
    admin = site.admin.me().login
    assert admin not in {user.login for user in site.client("founder").writers(repo)}

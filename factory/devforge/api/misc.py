"""Version, settings, health, the acting account, tokens, and administration of accounts."""

from __future__ import annotations

from typing import Any

from factory.devforge.api.call import DEFAULT_ITEMS, MAX_ITEMS, Answer, Call, created, nothing
from factory.devforge.api.router import ROUTER
from factory.devforge.errors import Refusal, Unauthorized, forbidden, invalid, not_found
from factory.devforge.render import people
from factory.devforge.store import access, repos, tokens, users
from factory.devforge.store.access import Mode
from factory.devforge.store.database import build
from factory.devforge.store.users import User

VERSION = "15.0.3+gitea-1.22.0"


@ROUTER.add("GET", "/healthz", "")
def healthz(call: Call) -> Answer:
    call.store.value("SELECT 1")
    return Answer(200, {"status": "pass"})


@ROUTER.add("GET", "/version", "")
def version(_call: Call) -> Answer:
    return Answer(200, {"version": VERSION})


@ROUTER.add("GET", "/settings/api", "")
def settings(_call: Call) -> Answer:
    return Answer(
        200,
        {
            "max_response_items": MAX_ITEMS,
            "default_paging_num": DEFAULT_ITEMS,
            "default_git_trees_per_page": 1000,
            "default_max_blob_size": 10485760,
        },
    )


@ROUTER.add("GET", "/user", "user", token=True)
def me(call: Call) -> Answer:
    return Answer(200, people.user(call.store, call.who, call.actor))


@ROUTER.add("GET", "/users/search", "user")
def search_users(call: Call) -> Answer:
    wanted = f"%{call.query('q')}%"
    rows = call.store.all("SELECT * FROM users WHERE is_org = 0 AND login LIKE ? ORDER BY id", wanted)
    page = [people.user(call.store, build(User, row), call.actor) for row in call.cut(rows)]
    return Answer(200, {"data": page, "ok": True}, call.linked(len(rows)))


@ROUTER.add("GET", "/users/{username}", "user")
def get_user(call: Call) -> Answer:
    return Answer(200, people.user(call.store, users.get(call.store, call.params["username"]), call.actor))


# ---------------------------------------------------------------- tokens


def _token_owner(call: Call) -> User:
    """Whose tokens: password Basic auth only, oneself or (as site admin) anybody; the admin socket is trusted."""
    owner = users.person(call.store, call.params["username"])
    if call.actor.by_socket:
        return owner
    if not call.actor.by_password:
        raise Unauthorized("auth method not allowed")
    if call.who.id != owner.id and not call.actor.site_admin:
        raise forbidden("user should be the site admin or the same user")
    return owner


def _mint(call: Call, owner: User) -> Answer:
    limited: list[int] = []
    for wanted in call.objects("repositories"):
        name = (str(wanted.get("owner", "")), str(wanted.get("name", "")))
        found = repos.find(call.store, *name)
        if found is None or access.user_mode(call.store, owner, found) < Mode.READ:
            raise Refusal(400, f"repository {name[0]}/{name[1]} does not exist")
        limited.append(found.id)
    made, secret = tokens.mint(call.store, owner, name=call.text("name"), scopes=call.strings("scopes"), repos=limited)
    return created(people.token(call.store, made, secret))


@ROUTER.add("POST", "/users/{username}/tokens", "", token=True)
def create_token(call: Call) -> Answer:
    return _mint(call, _token_owner(call))


@ROUTER.add("GET", "/users/{username}/tokens", "", token=True)
def list_tokens(call: Call) -> Answer:
    found = people.token_list(call.store, _token_owner(call))
    return Answer(200, list(call.cut(found)), call.total(len(found)))


@ROUTER.add("DELETE", "/users/{username}/tokens/{token}", "", token=True)
def delete_token(call: Call) -> Answer:
    tokens.revoke(call.store, _token_owner(call), call.params["token"])
    return nothing()


@ROUTER.add("POST", "/admin/users/{username}/tokens", "admin", token=True)
def admin_token(call: Call) -> Answer:
    """Forgejo 16's: a site admin mints a token for a bot. Over TCP it does not exist, as on Forgejo 15."""
    if not call.actor.by_socket:
        raise not_found()
    call.admin()
    return _mint(call, users.person(call.store, call.params["username"]))


# ---------------------------------------------------------------- administration


@ROUTER.add("GET", "/admin/users", "admin", token=True)
def all_users(call: Call) -> Answer:
    call.admin()
    rows = call.store.all("SELECT * FROM users WHERE is_org = 0 ORDER BY id")
    page = [people.user(call.store, build(User, row), call.actor) for row in call.cut(rows)]
    return Answer(200, page, call.linked(len(rows)))


@ROUTER.add("POST", "/admin/users", "admin", token=True)
def create_user(call: Call) -> Answer:
    call.admin()
    if not call.text("username"):
        raise invalid("[Username]: Required")
    made = users.create(
        call.store,
        login=call.text("username"),
        email=call.text("email"),
        password=call.text("password"),
        full_name=call.text("full_name"),
        must_change_password=call.switch("must_change_password", True),
        visibility=call.text("visibility") or "public",
        restricted=call.switch("restricted"),
    )
    return created(people.user(call.store, made, call.actor))


@ROUTER.add("PATCH", "/admin/users/{username}", "admin", token=True)
def edit_user(call: Call) -> Answer:
    call.admin()
    store, user = call.store, users.person(call.store, call.params["username"])
    fields: dict[str, Any] = {}
    for name, column in (("admin", "is_admin"), ("active", "active"), ("restricted", "restricted"),
                         ("must_change_password", "must_change_password")):  # fmt: skip
        if call.has(name):
            fields[column] = int(call.switch(name))
    for name in ("full_name", "email", "description", "visibility"):
        if call.has(name):
            fields[name] = call.text(name)
    if call.text("password"):
        fields["password"] = users.digest_password(call.text("password"))
    with store.tx():
        if fields.get("is_admin") == 0 and user.is_admin:
            others = store.value("SELECT count(*) FROM users WHERE is_admin = 1 AND id <> ?", user.id)
            if not others:
                raise Refusal(400, f"user {user.login} is the last admin")
        store.update("users", user.id, **fields)
    return Answer(200, people.user(store, users.by_id(store, user.id), call.actor))


@ROUTER.add("DELETE", "/admin/users/{username}", "admin", token=True)
def delete_user(call: Call) -> Answer:
    users.delete(call.store, users.person(call.store, call.params["username"]), doer=call.admin())
    return nothing()

"""Repositories, collaborators, branch protections."""

from __future__ import annotations

import base64
import json
from typing import Any

from factory.devforge import globs, merge, moves
from factory.devforge.api.call import Answer, Call, created, nothing
from factory.devforge.api.router import ROUTER
from factory.devforge.errors import Refusal, Unauthorized, forbidden, invalid, not_found
from factory.devforge.moves import Change
from factory.devforge.refnames import check_branch_name
from factory.devforge.render import git as render
from factory.devforge.render import people
from factory.devforge.store import access, orgs, protections, repos, users
from factory.devforge.store.access import Mode
from factory.devforge.store.protections import Rule
from factory.devforge.store.repos import Repo
from factory.devforge.store.users import User
from factory.git import objects
from factory.git.values import ZERO

R = "/repos/{owner}/{repo}"


def _create(call: Call, owner: User) -> Answer:
    if not call.text("name"):
        raise invalid("[Name]: Required")
    if call.text("default_branch"):
        check_branch_name(call.text("default_branch"))
    store = call.store
    with store.tx():  # with its first commit, or not at all
        made = repos.create(
            store,
            owner,
            name=call.text("name"),
            private=call.switch("private"),
            description=call.text("description"),
            default_branch=call.text("default_branch") or "main",
        )
        if call.switch("auto_init"):
            _initial_commit(call, made, owner)
    return created(people.repo(store, repos.by_id(store, made.id), call.actor))


def _initial_commit(call: Call, repo: Repo, owner: User) -> None:
    me = merge.signature(call.store, call.who)
    text = f"# {repo.name}\n" + (f"\n{repo.description}\n" if repo.description else "")
    first = objects.build_commit(
        repo.path,
        parent=None,
        changes={"README.md": text.encode()},
        message="Initial commit\n",
        author=me,
        committer=me,
    )
    moves.apply(call.store, repo, owner if not owner.is_org else call.who,
                [Change(f"refs/heads/{repo.default_branch}", ZERO, first)])  # fmt: skip


@ROUTER.add("POST", "/user/repos", "user", extra=("repository",), token=True)
def create_own(call: Call) -> Answer:
    return _create(call, call.who)


@ROUTER.add("POST", "/orgs/{org}/repos", "organization", extra=("repository",), token=True)
def create_in_org(call: Call) -> Answer:
    org = users.find(call.store, call.params["org"])
    if org is None or not org.is_org:
        raise invalid(f"org does not exist [id: 0, name: {call.params['org']}]")
    if not call.actor.site_admin and not orgs.is_owner(call.store, org.id, call.who.id):
        raise forbidden(f"Given user is not allowed to create repository in organization {org.login}")
    return _create(call, org)


@ROUTER.add("POST", "/admin/users/{username}/repos", "admin", token=True)
def create_for(call: Call) -> Answer:
    call.admin()
    return _create(call, users.get(call.store, call.params["username"]))


@ROUTER.add("GET", "/user/repos", "user", extra=("repository",), token=True)
def my_repos(call: Call) -> Answer:
    found = [r for r in repos.every(call.store) if _mine(call, r)]
    return Answer(200, [people.repo(call.store, r, call.actor) for r in call.cut(found)], call.linked(len(found)))


def _mine(call: Call, repo: Repo) -> bool:
    visible = access.best(call.store, call.actor, repo) >= Mode.READ
    return visible and access.explicit(call.store, call.who, repo)


@ROUTER.add("GET", "/repos/search", "repository")
def search_repos(call: Call) -> Answer:
    wanted = call.query("q").lower()
    visible = [
        r
        for r in repos.every(call.store)
        if wanted in r.name.lower() and access.best(call.store, call.actor, r) >= Mode.READ
    ]
    page = [people.repo(call.store, r, call.actor) for r in call.cut(visible)]
    return Answer(200, {"ok": True, "data": page}, call.linked(len(visible)))


@ROUTER.add("GET", "/users/{username}/repos", "user")
def user_repos(call: Call) -> Answer:
    owner = users.get(call.store, call.params["username"])
    visible = [r for r in repos.every(call.store, owner=owner) if access.best(call.store, call.actor, r) >= Mode.READ]
    return Answer(200, [people.repo(call.store, r, call.actor) for r in call.cut(visible)], call.linked(len(visible)))


@ROUTER.add("GET", "/orgs/{org}/repos", "organization")
def org_repos(call: Call) -> Answer:
    owner = orgs.get(call.store, call.params["org"])
    visible = [r for r in repos.every(call.store, owner=owner) if access.best(call.store, call.actor, r) >= Mode.READ]
    return Answer(200, [people.repo(call.store, r, call.actor) for r in call.cut(visible)], call.linked(len(visible)))


@ROUTER.add("GET", "/repositories/{id}", "repository")
def repo_by_id(call: Call) -> Answer:
    found = repos.by_id(call.store, call.index("id"))
    if access.best(call.store, call.actor, found) < Mode.READ:
        raise not_found()
    return Answer(200, people.repo(call.store, found, call.actor))


@ROUTER.add("GET", R, "repository")
def get_repo(call: Call) -> Answer:
    return Answer(200, people.repo(call.store, call.repo(), call.actor))


@ROUTER.add("PATCH", R, "repository", token=True)
def edit_repo(call: Call) -> Answer:
    store, repo = call.store, call.repo_admin()
    body = call.json()
    with store.exclusive(), store.tx():
        fields: dict[str, Any] = {}
        for name in ("description", "website"):
            if call.has(name):
                fields[name] = call.text(name)
        for name in ("private", "archived"):
            if call.has(name):
                fields[name] = int(call.switch(name))
        wanted = call.text("default_branch")
        if wanted and objects.read_ref(repo.path, f"refs/heads/{wanted}") is not None:
            fields["default_branch"] = wanted
            objects.set_head(repo.path, f"refs/heads/{wanted}")
        changed = {k: type(repos.SETTINGS[k])(v) for k, v in body.items() if k in repos.SETTINGS and v is not None}
        if changed:
            fields["settings"] = json.dumps({**repo.settings, **changed})
        store.update("repos", repo.id, **fields, updated=store.now())
        if call.text("name") and call.text("name") != repo.name:
            repos.rename(store, repo, call.text("name"))
    return Answer(200, people.repo(store, repos.by_id(store, repo.id), call.actor))


@ROUTER.add("DELETE", R, "repository", token=True)
def delete_repo(call: Call) -> Answer:
    repo = call.repo()
    owner = users.by_id(call.store, repo.owner_id)
    call.actor.need_scope("organization" if owner.is_org else "user", write=True)
    if access.mode(call.store, call.actor, repo) < Mode.OWNER:
        raise forbidden("user should be the owner of the repo")
    with call.store.exclusive():
        call.store.run("DELETE FROM repos WHERE id = ?", repo.id)
        _remove_folder(repo)
    return nothing()


def _remove_folder(repo: Repo) -> None:
    import shutil

    gone = repo.path.with_name(f"{repo.path.name}.deleted-{repo.id}")
    repo.path.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


# ---------------------------------------------------------------- collaborators


@ROUTER.add("GET", R + "/collaborators", "repository", token=True)
def list_collaborators(call: Call) -> Answer:
    found = repos.collaborators(call.store, call.repo())
    page = [people.user(call.store, user, call.actor) for user in call.cut(found)]
    return Answer(200, page, call.total(len(found)))


@ROUTER.add("GET", R + "/assignees", "repository", token=True)
def assignees(call: Call) -> Answer:
    """Who may write (unpaged, as on Forgejo). Any reader may ask."""
    found = access.writers(call.store, call.repo())
    return Answer(200, [people.user(call.store, user, call.actor) for user in found])


@ROUTER.add("GET", R + "/collaborators/{username}", "repository", token=True)
def is_collaborator(call: Call) -> Answer:
    repo, user = call.repo(), users.find(call.store, call.params["username"])
    if user is None or user.is_org:
        raise invalid(f"user does not exist [uid: 0, name: {call.params['username']}]")
    if not repos.is_collaborator(call.store, repo, user):
        raise not_found()
    return nothing()


@ROUTER.add("PUT", R + "/collaborators/{username}", "repository", token=True)
def put_collaborator(call: Call) -> Answer:
    repo = call.repo_admin()
    repos.set_collaborator(call.store, repo, call.params["username"], call.text("permission"))
    return nothing()


@ROUTER.add("DELETE", R + "/collaborators/{username}", "repository", token=True)
def delete_collaborator(call: Call) -> Answer:
    repo = call.repo_admin()
    user = users.find(call.store, call.params["username"])
    if user is None:
        raise invalid(f"user does not exist [uid: 0, name: {call.params['username']}]")
    repos.remove_collaborator(call.store, repo, user)
    return nothing()


@ROUTER.add("GET", R + "/collaborators/{username}/permission", "repository", token=True)
def permission(call: Call) -> Answer:
    repo = call.repo()
    if call.actor.user is None:
        raise Unauthorized
    asked = call.params["username"]
    admin = access.administers(call.store, call.actor, repo) or call.actor.site_admin
    if not admin and call.who.login.lower() != asked.lower():
        raise forbidden("Only admins can query all permissions, repo admins can query all repo permissions, "
                        "collaborators can query only their own")  # fmt: skip
    user = users.person(call.store, asked)
    mode = max(access.user_mode(call.store, user, repo, unit) for unit in ("code", "issues", "pulls"))
    word = "owner" if mode == Mode.OWNER else mode.word
    return Answer(200, {"permission": word, "role_name": word, "user": people.user(call.store, user, call.actor)})


# ---------------------------------------------------------------- protections

_FLAGS = (
    "enable_merge_whitelist", "enable_status_check", "enable_approvals_whitelist", "block_on_rejected_reviews",
    "block_on_official_review_requests", "block_on_outdated_branch", "dismiss_stale_approvals",
    "ignore_stale_approvals", "require_signed_commits", "apply_to_admins",
)  # fmt: skip


def _fields(call: Call, repo: Repo, rule: Rule) -> Rule:
    """The rule with what the body names; ``enable_push_whitelist`` counts only beside ``enable_push``."""
    store, values = call.store, dict[str, Any]()
    for name in _FLAGS:
        if call.has(name):
            values[name] = call.switch(name)
    if call.has("enable_push"):
        values["enable_push"] = call.switch("enable_push")
        if not values["enable_push"]:
            values["enable_push_whitelist"] = False
        elif call.has("enable_push_whitelist"):
            values["enable_push_whitelist"] = call.switch("enable_push_whitelist")
        if call.has("push_whitelist_deploy_keys"):
            values["push_whitelist_deploy_keys"] = call.switch("push_whitelist_deploy_keys")
    if call.has("required_approvals"):
        values["required_approvals"] = max(0, call.number("required_approvals"))
    for name in ("protected_file_patterns", "unprotected_file_patterns"):
        if call.has(name):
            values[name] = call.text(name)
    if call.has("status_check_contexts"):
        values["status_check_contexts"] = tuple(call.strings("status_check_contexts"))
    for wire, column in (("push_whitelist", "push"), ("merge_whitelist", "merge")):
        if call.has(f"{wire}_usernames"):
            values[f"{column}_users"] = protections.writers(store, repo, call.strings(f"{wire}_usernames"))
    if call.has("approvals_whitelist_username"):
        values["approval_users"] = protections.reviewers(store, repo, call.strings("approvals_whitelist_username"))
    for wire, column in (("push_whitelist", "push"), ("merge_whitelist", "merge"), ("approvals_whitelist", "approval")):
        if call.has(f"{wire}_teams"):
            values[f"{column}_teams"] = protections.team_ids(store, repo, call.strings(f"{wire}_teams"))
    return protections.with_fields(rule, values)


@ROUTER.add("GET", R + "/branch_protections", "repository", token=True)
def list_rules(call: Call) -> Answer:
    repo = call.repo_admin()
    return Answer(200, [render.rule(call.store, rule) for rule in protections.of_repo(call.store, repo)])


@ROUTER.add("POST", R + "/branch_protections", "repository", token=True)
def create_rule(call: Call) -> Answer:
    repo = call.repo_admin()
    name = call.text("rule_name") or call.text("branch_name")
    if not name:
        raise Refusal(400, "both rule_name and branch_name are empty")
    if (
        not globs.is_glob(name)
        and objects.read_ref(repo.path, f"refs/heads/{name}") is None
        and not call.text("rule_name")
    ):
        raise not_found(f"branch does not exist [repo_id: {repo.id} name: {name}]")
    with call.store.tx():
        rule = _fields(call, repo, Rule(id=0, repo_id=repo.id, rule_name=name, created=0, updated=0))
        return created(render.rule(call.store, protections.save(call.store, rule)))


@ROUTER.add("GET", R + "/branch_protections/{name}", "repository", token=True)
def get_rule(call: Call) -> Answer:
    return Answer(200, render.rule(call.store, protections.get(call.store, call.repo_admin(), call.params["name"])))


@ROUTER.add("PATCH", R + "/branch_protections/{name}", "repository", token=True)
def edit_rule(call: Call) -> Answer:
    repo = call.repo_admin()
    with call.store.tx():
        rule = protections.get(call.store, repo, call.params["name"])
        return Answer(200, render.rule(call.store, protections.save(call.store, _fields(call, repo, rule))))


@ROUTER.add("DELETE", R + "/branch_protections/{name}", "repository", token=True)
def delete_rule(call: Call) -> Answer:
    repo = call.repo_admin()
    protections.delete(call.store, protections.get(call.store, repo, call.params["name"]))
    return nothing()


def decode_base64(text: str) -> bytes:
    """422 for content that is not base64."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise invalid(f"illegal base64 data: {error}") from None

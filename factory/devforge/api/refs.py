"""Branches, tags and refs."""

from __future__ import annotations

from typing import Any

from factory.devforge import guard, merge, moves
from factory.devforge.api.call import NULL, Answer, Call, created, nothing
from factory.devforge.api.repos import R
from factory.devforge.api.revisions import resolve
from factory.devforge.api.router import ROUTER
from factory.devforge.errors import Refusal, forbidden, invalid, not_found
from factory.devforge.moves import Change
from factory.devforge.refnames import check_branch_name
from factory.devforge.render import git as render
from factory.devforge.render import people
from factory.devforge.store import access, protections, releases, repos, tag_rules
from factory.devforge.store.access import Mode
from factory.devforge.store.repos import Repo
from factory.git import objects
from factory.git.values import ZERO

# git-check-ref-format(1), one component group of a branch or tag name.


@ROUTER.add("GET", R + "/branches", "repository")
def list_branches(call: Call) -> Answer:
    repo = call.repo(unit="code")
    if repo.empty:
        return Answer(200, NULL)
    found = list(objects.list_refs(repo.path, "refs/heads/").items())
    page = [
        render.branch(call.store, repo, ref.removeprefix("refs/heads/"), sha, call.actor)
        for ref, sha in call.cut(found)
    ]
    return Answer(200, page, call.linked(len(found)))


def _tip(repo: Repo, branch: str) -> str:
    tip = objects.read_ref(repo.path, f"refs/heads/{branch}")
    if tip is None:
        raise not_found(f"branch does not exist [repo_id: {repo.id} name: {branch}]")
    return tip


@ROUTER.add("GET", R + "/branches/{branch...}", "repository")
def get_branch(call: Call) -> Answer:
    repo, branch = call.repo(unit="code"), call.params["branch"]
    return Answer(200, render.branch(call.store, repo, branch, _tip(repo, branch), call.actor))


@ROUTER.add("POST", R + "/branches", "repository", token=True)
def create_branch(call: Call) -> Answer:
    repo = call.writable()
    if repo.empty:
        raise not_found("Git Repository is empty.")
    name, source = call.text("new_branch_name"), call.text("old_ref_name") or call.text("old_branch_name")
    check_branch_name(name)
    with call.store.exclusive():
        start = resolve(repo, source)
        if start is None:
            raise Refusal(500, f"object does not exist [id: {source}]")
        if objects.read_ref(repo.path, f"refs/heads/{name}") is not None:
            raise Refusal(409, "The branch already exists.")
        if objects.read_ref(repo.path, f"refs/tags/{name}") is not None:
            raise Refusal(409, "The branch with the same tag already exists.")
        change = Change(f"refs/heads/{name}", ZERO, start)
        refused = guard.refusal(call.store, call.actor, repo, change, repo.path)
        if refused:
            raise forbidden(refused)
        if moves.apply(call.store, repo, call.who, [change]):
            raise Refusal(409, "The branch name clashes with another one.")
    return created(render.branch(call.store, repo, name, start, call.actor))


@ROUTER.add("DELETE", R + "/branches/{branch...}", "repository", token=True)
def delete_branch(call: Call) -> Answer:
    repo, branch = call.writable(), call.params["branch"]
    with call.store.exclusive():
        change = Change(f"refs/heads/{branch}", _tip(repo, branch), ZERO)
        if branch == repo.default_branch:
            raise forbidden("can not delete default branch")
        if protections.for_branch(call.store, repo, branch) is not None:
            raise forbidden("branch protected")
        moves.apply(call.store, repo, call.who, [change])
    return nothing()


@ROUTER.add("PATCH", R + "/branches/{branch...}", "repository", token=True)
def rename_branch(call: Call) -> Answer:
    """A plain-name rule moves along with the branch; a branch that only a pattern covers cannot be renamed."""
    store, repo, branch = call.store, call.writable(), call.params["branch"]
    name = call.text("name")
    check_branch_name(name)
    with store.exclusive():
        tip = _tip(repo, branch)
        if objects.read_ref(repo.path, f"refs/heads/{name}") is not None:
            raise invalid("Cannot rename a branch using the same name or rename to a branch that already exists.")
        rule = protections.for_branch(store, repo, branch)
        if rule is not None and rule.rule_name.lower() != branch.lower():
            raise forbidden("Branch is protected.")
        if protections.for_branch(store, repo, name) is not None:
            raise forbidden("Branch is protected.")
        if branch == repo.default_branch and access.mode(store, call.actor, repo) < Mode.ADMIN:
            raise forbidden("User must be a repo or site admin to rename default or protected branches.")
        changes = [Change(f"refs/heads/{name}", ZERO, tip), Change(f"refs/heads/{branch}", tip, ZERO)]
        if moves.apply(store, repo, call.who, changes, rename=(branch, name)):
            raise Refusal(500, "the branch could not be renamed")
    return nothing()


# ---------------------------------------------------------------- tags


def _tag(call: Call, repo: Repo, name: str) -> dict[str, Any]:
    oid = objects.read_ref(repo.path, f"refs/tags/{name}")
    if oid is None:
        raise not_found("tag not found")
    commit = objects.resolve_commit(repo.path, oid) or oid
    info = objects.commit_info(repo.path, commit)
    base = f"{call.store.root_url}/{repo.full_name}/archive/{name}"
    message = objects.tag_message(repo.path, oid)
    return {
        "name": name,
        "message": info.message if message is None else message,
        "id": oid,
        "commit": {
            "url": render.api(call.store, repo, f"git/commits/{commit}"),
            "sha": commit,
            "created": people.when(info.committer.when),
        },
        "zipball_url": f"{base}.zip",
        "tarball_url": f"{base}.tar.gz",
        "archive_download_count": {"zip": 0, "tar_gz": 0},
    }


@ROUTER.add("GET", R + "/tags", "repository")
def list_tags(call: Call) -> Answer:
    repo = call.repo(unit="code")
    names = [ref.removeprefix("refs/tags/") for ref in objects.list_refs(repo.path, "refs/tags/")]
    return Answer(200, [_tag(call, repo, name) for name in call.cut(names)], call.linked(len(names)))


@ROUTER.add("GET", R + "/tags/{tag...}", "repository")
def get_tag(call: Call) -> Answer:
    repo = call.repo(unit="code")
    return Answer(200, _tag(call, repo, call.params["tag"]))


@ROUTER.add("POST", R + "/tags", "repository", token=True)
def create_tag(call: Call) -> Answer:
    repo = call.writable()
    name, message = call.text("tag_name"), call.text("message")
    check_branch_name(name)
    with call.store.exclusive():
        target = resolve(repo, call.text("target") or repo.default_branch)
        if target is None:
            raise not_found(f"target not found: {call.text('target')}")
        if not tag_rules.may(call.store, repo, call.who, name):
            raise invalid("user not allowed to create protected tag")
        if objects.read_ref(repo.path, f"refs/tags/{name}") is not None:
            raise Refusal(409, f"tag already exists [name: {name}]")
        oid = target
        if message:
            me = merge.signature(call.store, call.who)
            oid = objects.build_tag(repo.path, name=name, target=target, message=message, tagger=me)
        if moves.apply(call.store, repo, call.who, [Change(f"refs/tags/{name}", ZERO, oid)]):
            raise Refusal(409, "the tag name clashes with another one")
    return created(_tag(call, repos.by_id(call.store, repo.id), name))


@ROUTER.add("DELETE", R + "/tags/{tag...}", "repository", token=True)
def delete_tag(call: Call) -> Answer:
    repo = call.writable()
    ref = f"refs/tags/{call.params['tag']}"
    with call.store.exclusive():
        oid = objects.read_ref(repo.path, ref)
        if oid is None:
            raise not_found()
        if releases.of_tag(call.store, repo, call.params["tag"]) is not None:
            raise Refusal(409, "a tag attached to a release cannot be deleted directly")
        if not tag_rules.may(call.store, repo, call.who, call.params["tag"]):
            raise invalid("user not allowed to delete protected tag")
        moves.apply(call.store, repo, call.who, [Change(ref, oid, ZERO)])
    return nothing()


# ---------------------------------------------------------------- refs


def _refs(call: Call, prefix: str) -> Answer:
    repo = call.repo(unit="code")
    whole = f"refs/{prefix}".rstrip("/")
    rows = [
        (ref, oid)
        for ref, oid in objects.list_refs(repo.path).items()
        if whole == "refs" or ref == whole or ref.startswith(whole + "/")
    ]
    if not rows:
        raise not_found()
    found = []
    for ref, oid in rows:
        kind = objects.object_kind(repo.path, oid)
        word = "commit" if kind is None else kind[0]
        target = {"type": word, "sha": oid, "url": render.api(call.store, repo, f"git/{word}s/{oid}")}
        found.append({"ref": ref, "url": render.api(call.store, repo, f"git/{ref}"), "object": target})
    return Answer(200, found)


@ROUTER.add("GET", R + "/git/refs", "repository")
def all_refs(call: Call) -> Answer:
    return _refs(call, "")


@ROUTER.add("GET", R + "/git/refs/{prefix...}", "repository")
def some_refs(call: Call) -> Answer:
    return _refs(call, call.params["prefix"])

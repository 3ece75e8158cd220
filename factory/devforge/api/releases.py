"""Releases: made on a tag (which is made where there is none), with files beside them."""

from __future__ import annotations

import email.parser
import email.policy
from typing import Any
from urllib.parse import quote, urlsplit

from factory.devforge import moves
from factory.devforge.api.call import Answer, Call, created, nothing
from factory.devforge.api.repos import R
from factory.devforge.api.revisions import resolve
from factory.devforge.api.router import ROUTER
from factory.devforge.errors import Refusal, invalid, not_found
from factory.devforge.moves import Change
from factory.devforge.refnames import check_branch_name
from factory.devforge.render import people
from factory.devforge.render.git import api
from factory.devforge.store import access, releases, tag_rules, users
from factory.devforge.store.access import Mode
from factory.devforge.store.releases import Asset, Release
from factory.devforge.store.repos import Repo
from factory.git import objects
from factory.git.values import ZERO

MAX_TITLE = 255
UNIT = "releases"


def _readable(call: Call) -> Repo:
    return call.repo(Mode.READ, UNIT)


def _writable(call: Call) -> Repo:
    return call.writable(UNIT)


def _writes(call: Call, repo: Repo) -> bool:
    return call.actor.user is not None and access.mode(call.store, call.actor, repo, UNIT) >= Mode.WRITE


def _seen(call: Call, repo: Repo, release: Release | None) -> Release:
    if release is None or (release.draft and not _writes(call, repo)):
        raise not_found()
    return release


def _of_path(call: Call, repo: Repo) -> Release:
    return _seen(call, repo, releases.get(call.store, repo, call.index("id")))


def _asset(call: Call, repo: Repo, one: Asset, release: Release | None) -> dict[str, Any]:
    """Within its release an asset's address names tag and file; alone it is its key."""
    root = call.store.root_url
    if one.external:
        where = one.external
    elif release is None:
        where = f"{root}/attachments/{one.uuid}"
    else:
        where = f"{root}/{repo.full_name}/releases/download/{quote(release.tag, safe='')}/{quote(one.name, safe='')}"
    return {
        "id": one.id,
        "name": one.name,
        "size": one.size,
        "download_count": one.downloads,
        "created_at": people.when(one.created),
        "uuid": one.uuid,
        "browser_download_url": where,
        "type": "external" if one.external else "attachment",
    }


def _json(call: Call, repo: Repo, release: Release) -> dict[str, Any]:
    home = f"{call.store.root_url}/{repo.full_name}"
    url = api(call.store, repo, f"releases/{release.id}")
    tag = quote(release.tag)
    return {
        "id": release.id,
        "tag_name": release.tag,
        "target_commitish": release.target,
        "name": release.title,
        "body": release.note,
        "url": url,
        "html_url": f"{home}/releases/tag/{tag}",
        "tarball_url": f"{home}/archive/{tag}.tar.gz",
        "zipball_url": f"{home}/archive/{tag}.zip",
        "hide_archive_links": bool(release.hide_archives),
        "upload_url": f"{url}/assets",
        "draft": bool(release.draft),
        "prerelease": bool(release.prerelease),
        "created_at": people.when(release.created),
        "published_at": people.when(release.created),
        "author": people.user(call.store, users.by_id(call.store, release.publisher_id), call.actor),
        "assets": [_asset(call, repo, one, release) for one in releases.assets(call.store, release)],
        "archive_download_count": {"zip": 0, "tar_gz": 0},
    }


@ROUTER.add("GET", R + "/releases", "repository")
def list_releases(call: Call) -> Answer:
    repo = _readable(call)
    found = releases.of_repo(call.store, repo, drafts=_writes(call, repo))
    for name, field in (("draft", "draft"), ("pre-release", "prerelease")):
        if call.query(name):
            found = [one for one in found if bool(getattr(one, field)) == call.flag(name)]
    word = call.query("q").strip().lower()
    found = [one for one in found if word in f"{one.tag}\n{one.title}\n{one.note}".lower()]
    return Answer(200, [_json(call, repo, one) for one in call.cut(found)], call.linked(len(found)))


@ROUTER.add("GET", R + "/releases/latest", "repository")
def latest_release(call: Call) -> Answer:
    repo = _readable(call)
    done = [one for one in releases.of_repo(call.store, repo, drafts=False) if not one.prerelease]
    return Answer(200, _json(call, repo, _seen(call, repo, done[0] if done else None)))


@ROUTER.add("GET", R + "/releases/tags/{tag}", "repository")
def release_of_tag(call: Call) -> Answer:
    repo = _readable(call)
    return Answer(200, _json(call, repo, _seen(call, repo, releases.of_tag(call.store, repo, call.params["tag"]))))


@ROUTER.add("GET", R + "/releases/{id}", "repository")
def get_release(call: Call) -> Answer:
    repo = _readable(call)
    return Answer(200, _json(call, repo, _of_path(call, repo)))


@ROUTER.add("POST", R + "/releases", "repository", token=True)
def create_release(call: Call) -> Answer:
    repo = _writable(call)
    if not call.text("tag_name"):
        raise invalid("[TagName]: Required")
    if repo.empty:
        raise invalid("repo is empty")
    tag, target = call.text("tag_name"), call.text("target_commitish")
    with call.store.exclusive():
        if releases.of_tag(call.store, repo, tag) is not None:
            raise Refusal(409, "Release has no Tag")
        made = objects.read_ref(repo.path, f"refs/tags/{tag}") is not None
        if not call.switch("draft") and not made:
            _tag(call, repo, tag, target or repo.default_branch)
        release = releases.create(
            call.store, repo, call.who, tag=tag, target=target or ("" if made else repo.default_branch),
            title=(call.text("name") or tag)[:MAX_TITLE], note=call.text("body"), draft=int(call.switch("draft")),
            prerelease=int(call.switch("prerelease")), hide_archives=int(call.switch("hide_archive_links")),
        )  # fmt: skip
    return created(_json(call, repo, release))


def _tag(call: Call, repo: Repo, tag: str, target: str) -> None:
    """A lightweight tag, as Forgejo makes it for a release that names none."""
    check_branch_name(tag)
    if not tag_rules.may(call.store, repo, call.who, tag):
        raise invalid(f"release tag name is protected [tag_name: {tag}]")
    commit = resolve(repo, target)
    if commit is None:
        raise not_found(f'target "{target}" not found')
    if moves.apply(call.store, repo, call.who, [Change(f"refs/tags/{tag}", ZERO, commit)]):
        raise Refusal(409, "the tag name clashes with another one")


@ROUTER.add("PATCH", R + "/releases/{id}", "repository", token=True)
def edit_release(call: Call) -> Answer:
    """Empty texts leave what is there, as on Forgejo."""
    repo = _writable(call)
    with call.store.exclusive():
        release = _of_path(call, repo)
        tag, target = call.text("tag_name") or release.tag, call.text("target_commitish") or release.target
        fields: dict[str, Any] = {
            "tag": tag, "target": target, "title": (call.text("name") or release.title)[:MAX_TITLE],
            "note": call.text("body") or release.note, "draft": int(call.switch("draft", bool(release.draft))),
            "prerelease": int(call.switch("prerelease", bool(release.prerelease))),
            "hide_archives": int(call.switch("hide_archive_links", bool(release.hide_archives))),
        }  # fmt: skip
        other = releases.of_tag(call.store, repo, tag)
        if other is not None and other.id != release.id:
            raise Refusal(409, f"release tag already exist [tag_name: {tag}]")
        if not fields["draft"] and objects.read_ref(repo.path, f"refs/tags/{tag}") is None:
            _tag(call, repo, tag, target or repo.default_branch)
        call.store.update("releases", release.id, **fields)
        return Answer(200, _json(call, repo, releases.get(call.store, repo, release.id)))


@ROUTER.add("DELETE", R + "/releases/{id}", "repository", token=True)
def delete_release(call: Call) -> Answer:
    """The tag stays."""
    repo = _writable(call)
    with call.store.tx():
        releases.delete(call.store, _of_path(call, repo))
    return nothing()


@ROUTER.add("DELETE", R + "/releases/tags/{tag}", "repository", token=True)
def delete_release_of_tag(call: Call) -> Answer:
    repo = _writable(call)
    with call.store.tx():
        releases.delete(call.store, _seen(call, repo, releases.of_tag(call.store, repo, call.params["tag"])))
    return nothing()


# ---------------------------------------------------------------- assets


@ROUTER.add("GET", R + "/releases/{id}/assets", "repository")
def list_assets(call: Call) -> Answer:
    repo = _readable(call)
    release = _of_path(call, repo)
    return Answer(200, [_asset(call, repo, one, release) for one in releases.assets(call.store, release)])


@ROUTER.add("GET", R + "/releases/{id}/assets/{attachment_id}", "repository")
def get_asset(call: Call) -> Answer:
    repo = _readable(call)
    one = releases.asset(call.store, _of_path(call, repo), call.index("attachment_id"))
    return Answer(200, _asset(call, repo, one, None))


@ROUTER.add("POST", R + "/releases/{id}/assets", "repository", token=True)
def create_asset(call: Call) -> Answer:
    """A form with the file (or an address) in it, or the bytes themselves with ``name`` in the query."""
    repo = _writable(call)
    release = releases.get(call.store, repo, call.index("id"))
    name, data, external = call.query("name"), call.body, ""
    if call.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        form = _form(call.headers["content-type"], call.body)
        sent, has_file = form.get("attachment"), "attachment" in form
        external = form["external_url"][1].decode("utf-8", "replace") if "external_url" in form else ""
        if has_file and external:
            raise Refusal(400, "'attachment' and 'external_url' are mutually exclusive")
        if not has_file and not external:
            raise Refusal(400, "One of 'attachment' or 'external_url' is required")
        name, data = name or (sent[0] if sent else urlsplit(external).path.rpartition("/")[2]), sent[1] if sent else b""
        if external and urlsplit(external).scheme not in ("http", "https"):
            raise Refusal(400, f"invalid external URL: {external}")
    if not name:
        raise Refusal(400, "Missing 'name' parameter")
    made = releases.add(call.store, release, call.who, name[:MAX_TITLE], None if external else data, external)
    return created(_asset(call, repo, made, None))


@ROUTER.add("PATCH", R + "/releases/{id}/assets/{attachment_id}", "repository", token=True)
def edit_asset(call: Call) -> Answer:
    repo = _writable(call)
    one = releases.asset(call.store, releases.get(call.store, repo, call.index("id")), call.index("attachment_id"))
    address = call.text("browser_download_url")
    if address and not one.external:
        raise Refusal(400, "existing attachment is not external")
    name, external = call.text("name") or one.name, address or one.external
    call.store.update("assets", one.id, name=name[:MAX_TITLE], external=external)
    again = releases.asset(call.store, releases.get(call.store, repo, call.index("id")), one.id)
    return created(_asset(call, repo, again, None))


@ROUTER.add("DELETE", R + "/releases/{id}/assets/{attachment_id}", "repository", token=True)
def delete_asset(call: Call) -> Answer:
    repo = _writable(call)
    release = releases.get(call.store, repo, call.index("id"))
    with call.store.tx():
        releases.remove(call.store, releases.asset(call.store, release, call.index("attachment_id")))
    return nothing()


def _form(kind: str, body: bytes) -> dict[str, tuple[str, bytes]]:
    """Field -> (file name, bytes) of a form with files in it."""
    head = f"Content-Type: {kind}\r\nMIME-Version: 1.0\r\n\r\n".encode("latin-1", "replace")
    parsed = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    found: dict[str, tuple[str, bytes]] = {}
    for part in parsed.iter_parts() if parsed.is_multipart() else ():
        field = part.get_param("name", header="content-disposition")
        data = part.get_payload(decode=True)
        if isinstance(field, str) and isinstance(data, bytes):
            found[field] = (str(part.get_filename() or ""), data)
    return found

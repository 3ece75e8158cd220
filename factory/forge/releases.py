"""Tags, releases and their files: what the vault's runner makes on a forge, and reads back to know whether it did."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from factory.forge import decode
from factory.forge.calls import Calls, at
from factory.forge.values import RepoName, User

MOST_ASSET = 256 * 1024 * 1024


@dataclass(frozen=True)
class Tag:
    """``oid`` is the tag object's id where it is annotated, else the commit's."""

    name: str
    oid: str
    commit: str
    message: str


@dataclass(frozen=True)
class Asset:
    """A file of a release; ``key`` is its name for downloads."""

    id: int
    name: str
    size: int
    key: str


@dataclass(frozen=True)
class Release:
    """A release as the forge tells it."""

    id: int
    tag: str
    title: str
    body: str
    draft: bool
    author: User
    assets: tuple[Asset, ...]


@dataclass(frozen=True)
class TagRule:
    """Who may make, move and delete tags of this name."""

    id: int
    pattern: str
    users: tuple[str, ...]


class ReleaseCalls(Calls):
    """Needs code write for tags, write on releases for these, repo admin for tag protections."""

    def tag(self, repo: RepoName, name: str) -> Tag | None:
        """The tag of that name, or None."""
        doing = f"looking for the tag {name} of {repo}"
        reply = self.ask("GET", at(repo, "tags", name), doing=doing)
        if reply.status == 404:
            return None
        if reply.status != 200:
            raise self.refusal(reply, doing)
        return _tag(decode.record(reply.json()))

    def create_tag(self, repo: RepoName, name: str, *, commit: str, message: str) -> Tag:
        """An annotated tag. Raises ForgeRefused where one of the name is there, or a rule forbids it."""
        body = {"tag_name": name, "target": commit, "message": message}
        doing = f"tagging {commit[:12]} of {repo} as {name}"
        return self.settled(
            doing,
            lambda: _tag(decode.record(self.send("POST", at(repo, "tags"), doing=doing, body=body))),
            lambda: self.tag(repo, name),
        )

    def release_of(self, repo: RepoName, tag: str) -> Release | None:
        """The release made on a tag, or None."""
        doing = f"looking for the release {tag} of {repo}"
        reply = self.ask("GET", at(repo, "releases", "tags", tag), doing=doing)
        if reply.status == 404:
            return None
        if reply.status != 200:
            raise self.refusal(reply, doing)
        return _release(decode.record(reply.json()))

    def create_release(self, repo: RepoName, tag: str, *, title: str, notes: str, target: str) -> Release:
        """A release on a tag that is there already. Raises ForgeRefused where the tag has one."""
        body = {"tag_name": tag, "target_commitish": target, "name": title, "body": notes}
        doing = f"releasing {tag} of {repo}"
        return self.settled(
            doing,
            lambda: _release(decode.record(self.send("POST", at(repo, "releases"), doing=doing, body=body))),
            lambda: self.release_of(repo, tag),
        )

    def add_asset(self, repo: RepoName, release: Release, name: str, data: bytes) -> Asset:
        """Put a file beside a release. The forge takes several of one name: look before."""
        doing = f"adding {name} to the release {release.tag} of {repo}"
        path = at(repo, "releases", release.id, "assets")
        reply = self.upload(path, doing=doing, data=data, query={"name": name})
        if reply.status != 201:
            raise self.refusal(reply, doing)
        return _asset(decode.record(reply.json()))

    def asset_sha256(self, repo: RepoName, asset: Asset) -> str:
        """Hex digest of a file's bytes as the forge gives them out."""
        doing = f"reading {asset.name} of a release of {repo}"
        reply = self.download(f"/attachments/{asset.key}", doing=doing, most=MOST_ASSET)
        if reply.status != 200:
            raise self.refusal(reply, doing)
        return hashlib.sha256(reply.body).hexdigest()

    def tag_rules(self, repo: RepoName) -> tuple[TagRule, ...]:
        """Tag protections; repo admins only."""
        rows = decode.records(self.get(at(repo, "tag_protections"), doing=f"reading the tag rules of {repo}"))
        return tuple(
            TagRule(
                decode.number(row, "id"), decode.text(row, "name_pattern"),
                decode.names(row.get("whitelist_usernames")),
            )
            for row in rows
        )  # fmt: skip

    def set_tag_rule(self, repo: RepoName, pattern: str, users: Iterable[str]) -> None:
        """Make the rule of this pattern name exactly these accounts."""
        names = sorted(set(users))
        doing = f"protecting the tags {pattern} of {repo}"
        known = next((rule for rule in self.tag_rules(repo) if rule.pattern == pattern), None)
        if known is None:
            body: Mapping[str, Any] = {"name_pattern": pattern, "whitelist_usernames": names}
            self.send("POST", at(repo, "tag_protections"), doing=doing, body=body)
        elif set(known.users) != set(names):
            body = {"whitelist_usernames": names}
            self.send("PATCH", at(repo, "tag_protections", known.id), doing=doing, body=body)


def _tag(data: Mapping[str, Any]) -> Tag:
    commit = decode.record(data.get("commit"))
    name, oid, message = (decode.text(data, key) for key in ("name", "id", "message"))
    return Tag(name, oid, decode.text(commit, "sha"), message)


def _release(data: Mapping[str, Any]) -> Release:
    return Release(
        decode.number(data, "id"), decode.text(data, "tag_name"), decode.text(data, "name"), decode.text(data, "body"),
        data.get("draft") is True, decode.user(data.get("author")),
        tuple(_asset(row) for row in decode.records(data.get("assets"))),
    )  # fmt: skip


def _asset(data: Mapping[str, Any]) -> Asset:
    return Asset(
        decode.number(data, "id"), decode.text(data, "name"), decode.number(data, "size"), decode.text(data, "uuid")
    )

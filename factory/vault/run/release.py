"""A tag, a release and its file on the project's forge: each looked for before it is made, each found again by its key.

Found means: the tag is an object on the right commit whose message has the action's key; the release has the key and
was published by the account of releases; the file has the bytes that were built. A name alone is never taken for it.
"""

from __future__ import annotations

from collections.abc import Mapping

from factory.errors import ForgeRefused
from factory.forge.releases import Release, Tag
from factory.vault.run.tools import EffectFailed, Work

KEY = "Factory-Idempotency"


def mark(work: Work) -> str:
    """The line by which ours is known."""
    return f"{KEY}: {work.order.idem_key}"


def _marked(text: str, work: Work) -> bool:
    return mark(work) in text.splitlines()


class CreateTag:
    """``create_tag``: an annotated tag with the action's key."""

    def do(self, work: Work) -> Mapping[str, object]:
        forge, _ = work.tools.forge()
        name, commit, repo = work.text("tag"), work.text("commit"), work.tools.project.name
        found = forge.tag(repo, name)
        if found is None:
            message = f"{work.text('title') or name}\n\nFactory-Action: {work.order.id}\n{mark(work)}\n"
            work.clear(f"the tag {name}", name, message)
            what = f"create the tag {name}"
            work.gate.change(what)
            try:
                found = forge.create_tag(repo, name, commit=commit, message=message)
            except ForgeRefused:
                work.gate.came_to_nothing(what)
                raise
            work.say(f"tag {name}: {found.oid}")
        if not self._ours(work, found):
            raise EffectFailed(f"the tag {name} is there already and not of this action (commit {found.commit[:12]})")
        return {"tag": name, "commit": commit, "object": found.oid}

    def done(self, work: Work) -> bool:
        forge, _ = work.tools.forge()
        found = forge.tag(work.tools.project.name, work.text("tag"))
        return found is not None and self._ours(work, found)

    @staticmethod
    def _ours(work: Work, tag: Tag) -> bool:
        return tag.commit == work.text("commit") and tag.oid != tag.commit and _marked(tag.message, work)


class CreateRelease:
    """``create_release``: the release on that tag."""

    def do(self, work: Work) -> Mapping[str, object]:
        forge, login = work.tools.forge()
        tag, repo = work.text("tag"), work.tools.project.name
        found = forge.release_of(repo, tag)
        if found is None:
            title, notes = work.text("title") or tag, notes_of(work)
            work.clear(f"the release {tag}", title, notes)
            what = f"create the release {tag}"
            work.gate.change(what)
            try:
                found = forge.create_release(repo, tag, title=title, notes=notes, target=work.text("commit"))
            except ForgeRefused:
                work.gate.came_to_nothing(what)
                raise
            work.say(f"release {tag}: {found.id}")
        if not _published(work, found, login):
            raise EffectFailed(f"a release {tag} is there already and not of this action (by {found.author.login})")
        return {"release": found.id}

    def done(self, work: Work) -> bool:
        forge, login = work.tools.forge()
        found = forge.release_of(work.tools.project.name, work.text("tag"))
        return found is not None and _published(work, found, login)


class UploadAsset:
    """``upload_asset``: the archive beside the release."""

    def do(self, work: Work) -> Mapping[str, object]:
        forge, _ = work.tools.forge()
        repo, name, release = work.tools.project.name, asset_name(work), self._release(work)
        archive = work.artifacts.get("archive")
        if archive is None:
            raise EffectFailed("the archive was not built")
        known = [asset for asset in release.assets if asset.name == name]
        if not known:
            data = archive.path.read_bytes()
            work.clear(f"the archive {name}", name, data)
            work.gate.change(f"add {name} to the release {release.tag}")
            known = [forge.add_asset(repo, release, name, data)]
            work.say(f"asset {name}: {archive.size} bytes, sha256 {archive.sha256}")
        if len(known) != 1 or forge.asset_sha256(repo, known[0]) != archive.sha256:
            raise EffectFailed(f"{name} of the release {release.tag} is not the file that was built here")
        return {"asset": name, "sha256": archive.sha256, "size": archive.size}

    def done(self, work: Work) -> bool:
        forge, _ = work.tools.forge()
        release, archive = forge.release_of(work.tools.project.name, work.text("tag")), work.artifacts.get("archive")
        if archive is None:
            raise EffectFailed("the archive to compare with was not built")
        known = [asset for asset in release.assets if asset.name == asset_name(work)] if release is not None else []
        return len(known) == 1 and forge.asset_sha256(work.tools.project.name, known[0]) == archive.sha256

    def _release(self, work: Work) -> Release:
        forge, login = work.tools.forge()
        found = forge.release_of(work.tools.project.name, work.text("tag"))
        if found is None or not _published(work, found, login):
            raise EffectFailed(f"there is no release {work.text('tag')} of this action")
        return found


def _published(work: Work, release: Release, login: str) -> bool:
    by_us = release.author.login.casefold() == login.casefold()
    return by_us and not release.draft and _marked(release.body, work)


def asset_name(work: Work) -> str:
    return f"{work.tools.project.name.name}-{work.text('tag').removeprefix('v')}.tar.gz"


def notes_of(work: Work) -> str:
    """What was approved, then the key. Nothing that a run said stands in it."""
    given = work.order.action.params.get("notes", ())
    notes = [str(item) for item in given] if isinstance(given, tuple) else []
    return "\n\n".join([*notes, f"Factory-Action: {work.order.id}\n{mark(work)}"]) + "\n"

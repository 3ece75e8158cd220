"""Issue forms for a project: with its first push when we make the repo, else proposed by a pull request, once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime

from factory.app.deployment import Deployment
from factory.app.sources import Source
from factory.forge.values import RepoName
from factory.git import objects
from factory.git.transport import RefUpdate, ls_remote, push
from factory.git.values import Signature
from factory.ops.seed import issue_templates

BRANCH = "factory/issue-forms"
TITLE = "Add issue forms"
BODY = (
    "Three forms: a bug, a feature, a vision. They ask for what the factory needs to know to start on an issue.\n\n"
    "Nothing depends on them: change them, or close this and it is not proposed again.\n"
)
_THEIRS = re.compile(r"(?i)(\.(forgejo|gitea|github)/|docs/|)(issue_template)(/.+|\.(md|ya?ml))")
"""Where a forge looks for issue templates: a folder, or a single file."""


def missing(paths: Iterable[str]) -> Mapping[str, bytes]:
    """The forms that a project with these files lacks; none at all where it has templates of its own."""
    return {} if any(_THEIRS.fullmatch(path) for path in paths) else issue_templates()


def with_forms(source: Source, author: Signature) -> str:
    """The source's tip with the forms on top (the tip itself where nothing is missing), as a commit of its scratch."""
    forms = missing(source.files)
    if not forms:
        return source.tip
    return objects.build_commit(
        source.scratch, parent=source.tip, changes=dict(forms), message=f"{TITLE}\n\n{BODY}", author=author,
        committer=author,
    )  # fmt: skip


def propose_forms(deployment: Deployment, login: str, project: RepoName, source: Source, now: datetime) -> str | None:
    """Open the pull request; its address, or None when nothing is missing or one was opened before, whatever came of
    it. ``source`` is the forge's own tip. Raises ForgeError."""
    forge = deployment.forge(login)
    if not missing(source.files) or any(p.head_ref == BRANCH for p in forge.pulls(project, state="all")):
        return None
    remote = deployment.remote(login, project)
    there = ls_remote(remote, (f"refs/heads/{BRANCH}",)).get(f"refs/heads/{BRANCH}")
    who = Signature(login, f"{login}@factory.invalid", int(now.timestamp()), 0)
    if there is None:
        tip = with_forms(source, who)
        push(source.scratch, remote, [RefUpdate(f"refs/heads/{BRANCH}", tip, None)])
    return forge.create_pull(project, head=BRANCH, base=source.branch, title=TITLE, body=BODY).url

"""Where a project's code comes from, looked at before anything is made: folder, git URL, or a repo of the forge."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from factory.errors import ForgeRefused, GitFailed, NotFound, UsageError
from factory.forge.values import RepoName
from factory.git import objects
from factory.git.plumbing import redacted
from factory.git.transport import Remote, default_branch, fetch, ls_remote

_REPO_NAME = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*")
_RESERVED_ENDS = (".git", ".wiki", ".rss", ".atom")
_LONGEST = 100 - len("-ops")
"""A forge takes 100 characters, and the ops repo's name is the project's with ``-ops``."""
_LOGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,38}[A-Za-z0-9])?")


@dataclass(frozen=True)
class Source:
    """The tip of a project's default branch, fetched into ``scratch``. Nothing was changed where it comes from."""

    url: str
    """Without a login."""
    branch: str
    tip: str
    scratch: Path
    files: Mapping[str, bytes]
    """Path -> content; empty for what is large or deep down."""
    uncommitted: int = 0
    """Files that a folder has and its last commit does not."""
    folder: bool = False

    @property
    def first(self) -> str:
        """The oldest commit of the branch, by first parents: what tells one project from another."""
        return objects.log(self.scratch, self.tip, first_parent=True)[-1].oid


def address(text: str) -> Remote:
    """The remote that a person's words name. Raises UsageError for what is neither a folder nor a git URL."""
    path = Path(text).expanduser()
    if path.exists():
        return Remote(str(path.resolve()))
    if re.match(r"[a-z+]+://|[^/]+@[^/]+:", text):
        return Remote.parse(text)
    raise UsageError(f"setting up {text!r}: there is no such folder, and it is no git URL", hint="factory init PATH")


@contextmanager
def looked_at(remote: Remote, cache: Path | None) -> Iterator[Source]:
    """Fetch the default branch's tip into a scratch repo that lasts as long as the body.

    ``cache``: the home's, when there is one; else the machine's own folder for what is temporary.
    Raises UsageError for a folder that is no git repository or has no commit, ForgeError for a URL that does not
    answer.
    """
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    place = Path(tempfile.mkdtemp(prefix="import-", dir=cache))
    try:
        yield _fetched(remote, place / "import.git")
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _fetched(remote: Remote, scratch: Path) -> Source:
    folder = Path(remote.url) if remote.url.startswith("/") else None
    if folder is not None:
        _refuse_folder(folder)
    said = folder or redacted(remote.url)
    try:
        branch = default_branch(remote)
        refs = ls_remote(remote, ("HEAD", "refs/heads/"))
    except (NotFound, GitFailed, ForgeRefused) as error:
        raise _unreadable(remote, folder, error) from error
    if not any(name.startswith("refs/heads/") for name in refs):
        raise UsageError(
            f"setting up {said}: it has no commit yet", hint=_then_again(folder, "git commit --allow-empty -m Begin")
        )
    if branch is None or f"refs/heads/{branch}" not in refs:
        raise UsageError(
            f"setting up {said}: no branch is checked out there, so which one is the project's is not known",
            hint=_then_again(folder, "git switch BRANCH"),
        )
    objects.init_bare(scratch, branch)
    fetch(scratch, remote, [f"+refs/heads/{branch}:refs/heads/{branch}"])
    tip = objects.read_ref(scratch, f"refs/heads/{branch}")
    assert tip is not None
    files = {}
    for entry in objects.list_tree(scratch, tip, recursive=True):
        small = entry.path.count("/") <= 1 and (entry.size or 0) < 200_000
        files[entry.path] = (objects.read_file(scratch, tip, entry.path) if small else b"") or b""
    loose = objects.uncommitted(folder) if folder is not None else None
    return Source(redacted(remote.url), branch, tip, scratch, files, loose or 0, folder is not None)


def _refuse_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise UsageError(
            f"setting up {folder}: it is a file, not a folder", hint=f"factory init {quote(str(folder.parent))}"
        )
    inside = folder / ".git"
    if (folder / "shallow").is_file() or (inside / "shallow").is_file():
        raise UsageError(
            f"setting up {folder}: its history is cut off (a shallow clone)",
            hint=_then_again(folder, "git fetch --unshallow"),
        )
    if inside.exists() or (folder / "objects").is_dir():
        return
    above = next((parent for parent in folder.parents if (parent / ".git").exists()), None)
    if above is not None:
        raise UsageError(
            f"setting up {folder}: it is a folder inside of the git repository {above}",
            hint=f"factory init {quote(str(above))}",
        )
    here = quote(str(folder))
    raise UsageError(
        f"setting up {folder}: it is not a git repository",
        hint=f"git -C {here} init && git -C {here} add -A && git -C {here} commit --allow-empty -m Begin, "
        "then the same again",
    )


def _unreadable(remote: Remote, folder: Path | None, error: ForgeRefused | GitFailed) -> Exception:
    if folder is None:
        return error
    if isinstance(error, ForgeRefused) and error.status == 403:
        return UsageError(
            f"setting up {folder}: git does not read it, because it belongs to another user",
            hint="run this as the user it belongs to",
        )
    return UsageError(
        f"setting up {folder}: git cannot read it: {error.message}", hint=f"git -C {quote(str(folder))} fsck"
    )


def _then_again(folder: Path | None, command: str) -> str:
    here = f"git -C {quote(str(folder))} {command.removeprefix('git ')}"
    where = here if folder is not None else f"{command} there"
    return f"{where}, then the same again"


def project_name(text: str | None, url: str, login: str, again: str) -> RepoName:
    """``owner/name`` on the forge: as asked, or the last part of the address. Raises UsageError for a name that no
    forge takes; ``again`` begins the command that would work."""
    asked = text or re.sub(r"[^A-Za-z0-9._-]+", "-", url.rstrip("/").rpartition("/")[2].removesuffix(".git")).strip("-")
    owner, slash, name = asked.rpartition("/")
    name, owner = name or asked, owner if slash else login
    wrong = _wrong_name(name)
    if wrong or "/" in owner or not _LOGIN.fullmatch(owner):
        raise UsageError(
            f"setting up {url}: {name if wrong else owner!r} cannot be a name on the forge: "
            f"{wrong or 'an owner is letters, digits, dots and dashes'}",
            hint=f"choose one: {again} --name project",
        )
    return RepoName(owner, name)


def _wrong_name(name: str) -> str:
    if not name.strip(".-"):
        return "nothing is left of it but dots and dashes"
    if not _REPO_NAME.fullmatch(name):
        return "a name is letters, digits, dots, dashes and underscores, and does not begin with a dash"
    if name.lower().endswith(_RESERVED_ENDS):
        return f"names that end with {name[name.rindex('.') :].lower()} are the forge's own"
    return f"it is longer than {_LONGEST} characters" if len(name) > _LONGEST else ""

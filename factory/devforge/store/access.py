"""Who may do what: the acting account with its token's limits, and access modes per repo and unit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

from factory.devforge.errors import Refusal, Unauthorized, forbidden, not_found
from factory.devforge.store import orgs
from factory.devforge.store.database import Store, build
from factory.devforge.store.repos import Repo
from factory.devforge.store.users import User


class Mode(IntEnum):
    """none < read < write < admin < owner."""

    NONE = 0
    READ = 1
    WRITE = 2
    ADMIN = 3
    OWNER = 4

    @property
    def word(self) -> str:
        """As the permission endpoint says it: owner reads as ``owner`` only in ``role_name``-less places."""
        return self.name.lower()


@dataclass(frozen=True)
class Actor:
    """Who asks, and what the credentials they used allow. Pages build one with just the user."""

    user: User | None = None
    scopes: frozenset[str] | None = None
    """None: not limited by scopes (a password, a page, the admin socket)."""
    repos: frozenset[int] | None = None
    """Not None: a token limited to these repos."""
    by_password: bool = False
    by_socket: bool = False

    @property
    def who(self) -> User:
        """The account; 401 for nobody."""
        if self.user is None:
            raise Unauthorized
        return self.user

    @property
    def site_admin(self) -> bool:
        """A token limited to repos never carries an admin's rights."""
        return self.user is not None and bool(self.user.is_admin) and self.repos is None

    @property
    def public_only(self) -> bool:
        return self.scopes is not None and "public-only" in self.scopes

    def has_scope(self, category: str, write: bool) -> bool:
        """Whether the token's scopes cover the category at this level; write includes read."""
        if self.scopes is None or "all" in self.scopes:
            return True
        return f"write:{category}" in self.scopes or (not write and f"read:{category}" in self.scopes)

    def need_scope(self, category: str, write: bool) -> None:
        """403 in Forgejo's words when the token lacks the scope."""
        if not self.has_scope(category, write):
            wanted = f"{'write' if write else 'read'}:{category}"
            raise forbidden(f"token does not have at least one of required scope(s): [{wanted}]")


def user_mode(store: Store, user: User | None, repo: Repo, unit: str = "code") -> Mode:
    """What an account may do on a repo's unit (code, issues, pulls), whatever token it uses."""
    if user is None:
        return Mode.NONE if repo.private else Mode.READ
    if user.is_admin or user.id == repo.owner_id:
        return Mode.OWNER
    found = Mode.NONE if repo.private or user.restricted else Mode.READ
    granted = store.value("SELECT mode FROM collaborators WHERE repo_id = ? AND user_id = ?", repo.id, user.id)
    if granted is not None:
        found = max(found, Mode(granted))
    for team in orgs.teams_of_user_on_repo(store, user.id, repo.id, repo.owner_id):
        if team.permission in ("owner", "admin"):
            return Mode.OWNER  # an admin team owns the organisation's repos (reference, section 3.1)
        found = max(found, Mode(orgs.level(team.units.get(f"repo.{unit}", "none"))))
    return found


def explicit(store: Store, user: User, repo: Repo) -> bool:
    """Whether rights come from being owner, collaborator or team member, not from the repo being public."""
    return (
        user.id == repo.owner_id
        or store.one("SELECT 1 FROM collaborators WHERE repo_id = ? AND user_id = ?", repo.id, user.id) is not None
        or bool(orgs.teams_of_user_on_repo(store, user.id, repo.id, repo.owner_id))
    )


def writers(store: Store, repo: Repo) -> list[User]:
    """Active accounts whose right to write comes from being owner, collaborator or team member, by id. Forgejo lists an
    owner who was switched off, too."""
    found = []
    for row in store.all("SELECT * FROM users WHERE is_org = 0 AND active = 1 ORDER BY id"):
        user = build(User, row)
        modes = [user_mode(store, _plain(user), repo, unit) for unit in ("code", "issues", "pulls")]
        if explicit(store, user, repo) and max(modes) >= Mode.WRITE:
            found.append(user)
    return found


def mode(store: Store, actor: Actor, repo: Repo, unit: str = "code") -> Mode:
    """What the actor may do on a repo's unit with the credentials in use."""
    if actor.public_only and repo.private:
        return Mode.NONE
    if actor.repos is not None and actor.user is not None:
        if repo.id not in actor.repos:
            return Mode.NONE if repo.private else min(Mode.READ, user_mode(store, actor.user, repo, unit))
        if actor.user.is_admin:
            return user_mode(store, _plain(actor.user), repo, unit)
    return user_mode(store, actor.user, repo, unit)


def _plain(user: User) -> User:
    return replace(user, is_admin=0)


def best(store: Store, actor: Actor, repo: Repo) -> Mode:
    """The highest mode over all units: decides whether the repo is visible at all."""
    return max(mode(store, actor, repo, unit) for unit in ("code", "issues", "pulls"))


def need(store: Store, actor: Actor, repo: Repo, level: Mode, unit: str = "code", message: str = "") -> None:
    """404 when the repo is invisible to the actor, 401 for nobody, 403 when the mode is too low."""
    if best(store, actor, repo) < Mode.READ:
        raise not_found("user does not have permission to access the repo")
    if mode(store, actor, repo, unit) < level:
        if actor.user is None:
            raise Unauthorized
        raise forbidden(
            message or "user should have a permission to " + ("write" if level == Mode.WRITE else level.word)
        )


def administers(store: Store, actor: Actor, repo: Repo) -> bool:
    """Whether the actor is an admin of the repo. Never with a token limited to repos, whoever holds it."""
    return actor.repos is None and mode(store, actor, repo) >= Mode.ADMIN


def need_admin(store: Store, actor: Actor, repo: Repo) -> None:
    """403 unless the actor administers the repo."""
    message = "user should be an owner or a collaborator with admin write of a repository"
    need(store, actor, repo, Mode.ADMIN, message=message)
    if not administers(store, actor, repo):
        raise forbidden(message)


def need_site_admin(actor: Actor) -> None:
    if not actor.who or not actor.site_admin:
        raise forbidden("user should be the site admin")


def need_unarchived(repo: Repo) -> None:
    """423 for an archived repo."""
    if repo.archived:
        raise Refusal(423, f"repo {repo.full_name} is archived")

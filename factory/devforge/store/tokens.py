"""Access tokens: 40 hex digits, shown once, stored as a digest, with scopes and optionally limited to repos."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from factory.devforge.errors import Refusal, invalid, not_found
from factory.devforge.store.database import Store
from factory.devforge.store.users import User, by_id

CATEGORIES = (
    "activitypub", "admin", "issue", "misc", "notification", "organization", "package", "repository", "user",
)  # fmt: skip
_KNOWN = frozenset({"all", "public-only"} | {f"{level}:{c}" for level in ("read", "write") for c in CATEGORIES})


@dataclass(frozen=True)
class Token:
    """A stored token. ``repos`` is None unless it is limited to some."""

    id: int
    user_id: int
    name: str
    last_eight: str
    scopes: frozenset[str]
    repos: frozenset[int] | None


def check_scopes(scopes: Iterable[str]) -> list[str]:
    """The scopes in canonical order; 400 when one is unknown or none is given."""
    wanted = [scope.strip().lower() for scope in scopes if scope.strip()]
    unknown = [scope for scope in wanted if scope not in _KNOWN]
    if unknown:
        raise Refusal(400, f"invalid access token scope: {unknown[0]}")
    if not wanted or set(wanted) == {"public-only"}:
        raise Refusal(400, "access token must have a scope")
    return sorted(set(wanted))


def mint(store: Store, user: User, *, name: str, scopes: Iterable[str], repos: Iterable[int] = ()) -> tuple[Token, str]:
    """A new token and its secret, which is not stored. 400 for a used name or bad scopes."""
    wanted = check_scopes(scopes)
    limited = sorted(set(repos))
    if limited and any(s.partition(":")[2] not in ("issue", "repository") for s in wanted if s != "public-only"):
        raise Refusal(400, "repository-scoped access tokens can only have issue and repository scopes")
    if not name.strip():
        raise invalid("[Name]: Required")
    secret = secrets.token_hex(20)
    with store.tx():
        if store.one("SELECT 1 FROM tokens WHERE user_id = ? AND name = ?", user.id, name) is not None:
            raise Refusal(400, "access token name has been used already")
        token_id = store.insert(
            "tokens",
            user_id=user.id,
            name=name,
            digest=_digest(secret),
            last_eight=secret[-8:],
            scopes=",".join(wanted),
            limited=int(bool(limited)),
            created=store.now(),
        )
        for repo_id in limited:
            store.insert("token_repos", token_id=token_id, repo_id=repo_id)
    return Token(token_id, user.id, name, secret[-8:], frozenset(wanted), frozenset(limited) or None), secret


def _digest(secret: str) -> str:
    # The secret has 160 random bits: a fast digest is as good as a slow one, and costs a request nothing.
    return hashlib.sha256(secret.encode()).hexdigest()


def by_secret(store: Store, secret: str) -> tuple[User, Token] | None:
    """Whose token this is; None for unknown ones."""
    row = store.one("SELECT * FROM tokens WHERE digest = ?", _digest(secret))
    if row is None:
        return None
    return by_id(store, row["user_id"]), _token(store, row["id"])


def _token(store: Store, token_id: int) -> Token:
    row = store.one("SELECT * FROM tokens WHERE id = ?", token_id)
    if row is None:
        raise not_found("access token does not exist")
    repos = None
    if row["limited"]:
        repos = frozenset(r[0] for r in store.all("SELECT repo_id FROM token_repos WHERE token_id = ?", token_id))
    scopes = frozenset(row["scopes"].split(","))
    return Token(row["id"], row["user_id"], row["name"], row["last_eight"], scopes, repos)


def of_user(store: Store, user: User) -> list[Token]:
    return [
        _token(store, row["id"]) for row in store.all("SELECT id FROM tokens WHERE user_id = ? ORDER BY id", user.id)
    ]


def revoke(store: Store, user: User, wanted: str) -> None:
    """Delete one token by name or id; 404 when there is none."""
    with store.tx():
        row = store.one("SELECT id FROM tokens WHERE user_id = ? AND name = ?", user.id, wanted)
        if row is None and wanted.isdigit():
            row = store.one("SELECT id FROM tokens WHERE user_id = ? AND id = ?", user.id, int(wanted))
        if row is None:
            raise not_found(f"access token does not exist [name: {wanted}]")
        store.run("DELETE FROM tokens WHERE id = ?", row["id"])

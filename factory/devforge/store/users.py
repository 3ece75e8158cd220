"""Accounts and their passwords."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from dataclasses import dataclass

from factory.devforge.errors import Refusal, invalid, not_found
from factory.devforge.store.database import Store, build

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,38}[A-Za-z0-9])?")
_RESERVED = frozenset(
    """admin api assets attachments avatars captcha commits debug devtest error explore favicon.ico ghost help install
    issues login manifest.json metrics milestones new notifications org pulls raw repo robots.txt search sitemap.xml
    ssh_info static stars user users v2 .well-known _faults""".split()  # noqa: SIM905
)
MIN_PASSWORD = 8
SITE_ADMIN = "forge-admin"
"""The account every request over the admin socket acts as."""


@dataclass(frozen=True)
class User:
    """A person, a bot or (``is_org``) an organisation: they share one name space."""

    id: int
    login: str
    email: str
    full_name: str
    password: str
    is_org: int
    is_admin: int
    active: int
    restricted: int
    must_change_password: int
    visibility: str
    description: str
    created: int
    last_login: int


def find(store: Store, login: str) -> User | None:
    """The account of that name, in any case."""
    row = store.one("SELECT * FROM users WHERE login = ?", login)
    return None if row is None else build(User, row)


def by_id(store: Store, user_id: int) -> User:
    row = store.one("SELECT * FROM users WHERE id = ?", user_id)
    if row is None:
        raise not_found(f"user does not exist [uid: {user_id}]")
    return build(User, row)


def get(store: Store, login: str) -> User:
    """The account of that name; 404 when there is none."""
    found = find(store, login)
    if found is None:
        raise not_found(f"user does not exist [uid: 0, name: {login}]", message="user redirect does not exist")
    return found


def person(store: Store, login: str) -> User:
    """The account of that name when it is no organisation; 404 else."""
    found = get(store, login)
    if found.is_org:
        raise not_found(f"user does not exist [uid: 0, name: {login}]")
    return found


def check_name(store: Store, name: str) -> None:
    """422 for names that cannot be used (the forge's own paths among them) or are taken."""
    if not _NAME.fullmatch(name) or ".." in name or name.lower().endswith((".git", ".keys", ".gpg", ".rss", ".atom")):
        raise invalid(f"name is invalid [{name}]: must be valid alpha or numeric or dash(-_) or dot characters")
    if name.lower() in _RESERVED:
        raise invalid(f"name is reserved [name: {name}]")
    if find(store, name) is not None:
        raise invalid(f"user already exists [name: {name}]")


def create(
    store: Store,
    *,
    login: str,
    email: str,
    password: str = "",
    full_name: str = "",
    is_admin: bool = False,
    must_change_password: bool = False,
    visibility: str = "public",
    restricted: bool = False,
) -> User:
    """A new account. An empty password means that nobody can log in with one. 400 weak password, 422 bad name."""
    with store.tx():
        check_name(store, login)
        if not email or "@" not in email:
            raise invalid("[Email]: Required" if not email else f"e-mail invalid [email: {email}]")
        if store.one("SELECT 1 FROM users WHERE email = ? COLLATE NOCASE AND is_org = 0", email) is not None:
            raise invalid(f"e-mail already in use [email: {email}]")
        user_id = store.insert(
            "users",
            login=login,
            email=email,
            full_name=full_name,
            password=digest_password(password) if password else "",
            is_admin=int(is_admin),
            must_change_password=int(must_change_password),
            visibility=visibility,
            restricted=int(restricted),
            created=store.now(),
        )
        return by_id(store, user_id)


def site_admin(store: Store) -> User:
    """The account of the admin socket, made when first asked for; it has no password."""
    found = find(store, SITE_ADMIN)
    if found is None:
        found = create(store, login=SITE_ADMIN, email="forge-admin@localhost.invalid", is_admin=True)
    return found


def delete(store: Store, user: User, *, doer: User) -> None:
    """Remove an account that owns nothing and wrote nothing; 422 else (rows name their author for good)."""
    if user.id == doer.id:
        raise invalid("you cannot delete yourself")
    with store.tx():
        if store.one("SELECT 1 FROM repos WHERE owner_id = ?", user.id) is not None:
            raise invalid(f"user still has ownership of repositories [uid: {user.id}]")
        for table, column in (
            ("issues", "poster_id"), ("comments", "poster_id"), ("reviews", "reviewer_id"), ("statuses", "creator_id"),
        ):  # fmt: skip
            if store.one(f"SELECT 1 FROM {table} WHERE {column} = ?", user.id) is not None:  # noqa: S608
                raise invalid(f"user {user.login} has written {table}; deactivate the account instead")
        store.run("DELETE FROM users WHERE id = ?", user.id)


def digest_password(password: str) -> str:
    """Salted scrypt, as ``scrypt$salt$digest``. 400 for a password shorter than the minimum."""
    if len(password) < MIN_PASSWORD:
        raise Refusal(400, f"password is too short: at least {MIN_PASSWORD} characters")
    salt = os.urandom(16)
    return f"scrypt${salt.hex()}${_scrypt(password, salt)}"


def _scrypt(password: str, salt: bytes) -> str:
    return hashlib.scrypt(password.encode(), salt=salt, n=2**13, r=8, p=1, dklen=32).hex()


def password_is(user: User, password: str) -> bool:
    """Whether ``password`` is the account's; always False for accounts without one."""
    kind, _, rest = user.password.partition("$")
    salt, _, digest = rest.partition("$")
    if kind != "scrypt" or not digest:
        return False
    return hmac.compare_digest(_scrypt(password, bytes.fromhex(salt)), digest)

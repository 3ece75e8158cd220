"""Who is signed in: a random secret in a cookie, its digest in the database; and the token that forms carry.

The cookie is HttpOnly and SameSite=Strict. A session ends after a fixed time, on signing out, and when the account's
password changes. Before signing in, a visitor of a form has a secret too, that no session belongs to; signing in makes
a new one, so a planted secret is worth nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from factory.devforge.store import users
from factory.devforge.store.database import Store
from factory.devforge.store.users import User

LIFETIME = 14 * 24 * 3600
"""Seconds from signing in."""


def cookie_name(root_url: str) -> str:
    """Cookies do not know ports: forges on one machine must not overwrite each other's."""
    parts = urlsplit(root_url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"__Host-forge_{port}" if parts.scheme == "https" else f"forge_{port}"


def cookie(root_url: str, secret: str, *, age: int = LIFETIME) -> str:
    """The Set-Cookie header; ``age`` 0 takes it away."""
    secure = "; Secure" if root_url.startswith("https:") else ""
    return f"{cookie_name(root_url)}={secret}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}"


def read_cookie(root_url: str, header: str) -> str:
    """The secret a browser sent, '' for none."""
    try:
        found = SimpleCookie(header).get(cookie_name(root_url))
    except CookieError:
        return ""
    return "" if found is None or len(found.value) != 64 or not found.value.isalnum() else found.value


def fresh_secret() -> str:
    return secrets.token_hex(32)


def begin(store: Store, user: User) -> str:
    """A new session; returns its secret, which is not stored. Sessions that have ended are forgotten on the way."""
    secret, now = fresh_secret(), store.now()
    with store.tx():
        store.run("DELETE FROM web_sessions WHERE expires <= ?", now)
        store.insert(
            "web_sessions", digest=_digest(secret), user_id=user.id, stamp=_stamp(user), created=now,
            expires=now + LIFETIME,
        )  # fmt: skip
        store.update("users", user.id, last_login=now)
    return secret


def who(store: Store, secret: str) -> User | None:
    """Whose session this is, while it lasts."""
    if not secret:
        return None
    row = store.one("SELECT * FROM web_sessions WHERE digest = ?", _digest(secret))
    if row is None or row["expires"] <= store.now():
        return None
    user = users.by_id(store, row["user_id"])
    return user if user.active and row["stamp"] == _stamp(user) else None


def end(store: Store, secret: str) -> None:
    store.run("DELETE FROM web_sessions WHERE digest = ?", _digest(secret))


def form_token(secret: str) -> str:
    """What a form of this visitor must carry. Follows from the cookie's secret, which no other site can read."""
    return hmac.new(secret.encode(), b"form", hashlib.sha256).hexdigest() if secret else ""


def token_fits(secret: str, token: str) -> bool:
    return bool(secret) and hmac.compare_digest(form_token(secret).encode(), token.encode("utf-8", "replace"))


def _digest(secret: str) -> str:
    # 256 random bits: a fast digest is as good as a slow one.
    return hashlib.sha256(secret.encode()).hexdigest()


def _stamp(user: User) -> str:
    return hashlib.sha256(user.password.encode()).hexdigest()[:16]

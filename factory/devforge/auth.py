"""Who asks: ``Authorization`` headers to accounts. Tokens and Basic only; a cookie means nothing here."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
import threading
import time

from factory.devforge.errors import Refusal, Unauthorized, forbidden
from factory.devforge.store import tokens, users
from factory.devforge.store.access import Actor
from factory.devforge.store.database import Store
from factory.devforge.store.users import User

MAX_FAILURES = 10
WINDOW = 60.0
"""Seconds: after MAX_FAILURES wrong passwords for one account within them, further tries are not even looked at."""


class Doorkeeper:
    """Checks passwords, slowly for guessers: at most MAX_FAILURES wrong ones per account and window."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(16)
        self._known: dict[bytes, int] = {}
        self._failures: dict[str, list[float]] = {}
        self._lock = threading.Lock()

    def by_password(self, store: Store, login: str, password: str) -> User | None:
        """The account when the password is its own. 429 after too many wrong ones."""
        user = users.find(store, login)
        if user is None or not user.password or not user.active:
            return None
        # A right password is remembered as a keyed digest together with the stored one, so that git's many requests
        # cost one scrypt, and a changed password is asked for again.
        seen = hashlib.blake2b(f"{user.password}\0{password}".encode(), key=self._key).digest()
        with self._lock:
            if self._known.get(seen) == user.id:
                return user
            recent = [t for t in self._failures.get(user.login, []) if t > time.monotonic() - WINDOW]
            self._failures[user.login] = recent
            if len(recent) >= MAX_FAILURES:
                raise Refusal(429, "too many wrong passwords for this account: try again in a minute")
        if users.password_is(user, password):
            with self._lock:
                self._known[seen] = user.id
            return user
        with self._lock:
            self._failures[user.login].append(time.monotonic())
        return None

    def identify(self, store: Store, authorization: str) -> Actor:
        """The actor behind an ``Authorization`` header; nobody for an empty one, 401 for wrong credentials.

        Messages never repeat the secret, unlike Forgejo's.
        """
        if not authorization:
            return Actor()
        kind, _, value = authorization.strip().partition(" ")
        if kind.lower() in ("token", "bearer"):
            return self._token(store, value.strip())
        if kind.lower() != "basic":
            return Actor()
        try:
            login, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise Unauthorized("invalid basic authorization") from None
        if not colon:
            raise Unauthorized("invalid basic authorization")
        for secret in (password, login if password in ("", "x-oauth-basic") else ""):
            if len(secret) == 40 and tokens.by_secret(store, secret) is not None:
                return self._token(store, secret)
        user = self.by_password(store, login, password)
        if user is None:
            raise Unauthorized(f"user's password is invalid [name: {login}]")
        return _allowed(Actor(user=user, by_password=True))

    def _token(self, store: Store, secret: str) -> Actor:
        found = tokens.by_secret(store, secret) if len(secret) == 40 else None
        if found is None:
            raise Unauthorized("access token does not exist")
        user, token = found
        return _allowed(Actor(user=user, scopes=token.scopes, repos=token.repos))


def _allowed(actor: Actor) -> Actor:
    user = actor.who
    if not user.active:
        raise forbidden("This account is not activated.")
    if user.must_change_password:
        raise forbidden("You must change your password. Change it at: /user/change_password")
    return actor

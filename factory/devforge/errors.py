"""How the forge says no: one exception that carries the HTTP status and the words Forgejo uses."""

from __future__ import annotations

from typing import Any

NOT_FOUND_TEXT = "The target couldn't be found."


class Refusal(Exception):
    """An answer that is not success. ``body`` replaces the usual ``{message, url}`` where Forgejo sends something else.

    ``internal`` marks texts that Forgejo sends with 500: only site admins get to read them.
    """

    def __init__(self, status: int, message: str = "", *, body: Any = None, errors: list[str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.body = body
        self.errors = errors

    @property
    def internal(self) -> bool:
        return self.status == 500


class Unauthorized(Refusal):
    """401: no credentials where some are needed, or wrong ones."""

    def __init__(self, message: str = "token is required") -> None:
        super().__init__(401, message)


def not_found(detail: str = "", message: str = NOT_FOUND_TEXT) -> Refusal:
    """404 in the shape Forgejo uses: message plus a list of reasons."""
    return Refusal(404, message, errors=[detail] if detail else [])


def forbidden(message: str = "") -> Refusal:
    """403; several of Forgejo's have an empty message."""
    return Refusal(403, message)


def invalid(message: str) -> Refusal:
    """422."""
    return Refusal(422, message)

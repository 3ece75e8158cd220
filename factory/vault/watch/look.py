"""One look of the sentinel at the forge: the ops repo, its branch rules, who may do what there."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from factory.errors import ForgeError
from factory.forge.client import ForgejoClient
from factory.forge.values import RepoName, User
from factory.vault.watch.settings import Facts, facts_of

REREAD = ("write", "admin", "owner")


def look(client: ForgejoClient, ops: RepoName, before: Facts | None, *, whole: bool) -> tuple[Facts, datetime]:
    """The facts and the forge's time before the first answer. Raises ForgeError.

    Four requests. ``whole`` asks for the right of each person who may write again, one request each; without it, that
    is done only when those lists are not the ones of ``before``.
    """
    repo = client.repo(ops)
    at = client.server_time
    if at is None:
        raise ForgeError(f"looking at the settings of {ops}: the forge's answer has no Date")
    rules = client.rules(ops)
    listed = {user.login: user for user in client.collaborators(ops)}
    writing = {user.login: user for user in client.writers(ops)}
    rights = None if whole or before is None else _kept(before, listed, writing)
    if rights is None:
        rights = {login: client.permission(ops, login) for login in sorted(writing)}
    people = {**dict.fromkeys(listed, "read"), **rights}
    return facts_of(repo, rules, {login: ({**listed, **writing}[login], right) for login, right in people.items()}), at


def _kept(before: Facts, listed: Mapping[str, User], writing: Mapping[str, User]) -> dict[str, str] | None:
    """The rights of those who may write as they were last; None when it is not the same people."""
    known = {login: one["id"] for login, one in before["people"].items()}
    wrote = {login for login, one in before["people"].items() if one["permission"] in REREAD}
    now = {login: user.id for login, user in {**listed, **writing}.items()}
    if now != known or wrote != writing.keys():
        return None
    return {login: before["people"][login]["permission"] for login in writing}

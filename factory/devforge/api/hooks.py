"""Webhook subscriptions of repos, accounts, organisations and the whole forge."""

from __future__ import annotations

import json
from typing import Any

from factory.devforge import webhooks
from factory.devforge.api.call import Answer, Call, created, nothing
from factory.devforge.api.repos import R
from factory.devforge.api.router import ROUTER, Handler
from factory.devforge.errors import forbidden, not_found
from factory.devforge.render import people
from factory.devforge.store import hooks, orgs
from factory.devforge.store.events import Event
from factory.devforge.store.hooks import Hook
from factory.devforge.store.repos import Repo
from factory.git import objects
from factory.git.values import ZERO


def _json(hook: Hook) -> dict[str, Any]:
    """Secrets are never shown."""
    return {
        "id": hook.id,
        "type": hook.type,
        "branch_filter": hook.branch_filter,
        "config": {"content_type": hook.content_type, "url": hook.url},
        "url": hook.url,
        "content_type": hook.content_type,
        "metadata": None,
        "events": list(hook.events),
        "authorization_header": hook.authorization,
        "active": hook.active,
        "updated_at": people.when(hook.updated),
        "created_at": people.when(hook.created),
    }


class _Owner:
    """Whose subscriptions a path is about."""

    def __init__(self, *, repo: Repo | None = None, owner_id: int | None = None) -> None:
        self.repo = repo
        self.owner_id = owner_id

    def all(self, call: Call) -> list[Hook]:
        if self.repo is not None:
            return hooks.of_repo(call.store, self.repo)
        return hooks.of_owner(call.store, self.owner_id)

    def one(self, call: Call) -> Hook:
        number = call.index("id")
        found = next((hook for hook in self.all(call) if hook.id == number), None)
        if found is None:
            raise not_found(f"webhook does not exist [id: {number}]")
        return found


def _of_repo(call: Call) -> _Owner:
    return _Owner(repo=call.repo_admin())


def _of_org(call: Call) -> _Owner:
    org = orgs.get(call.store, call.params["org"])
    if not call.actor.site_admin and not orgs.is_owner(call.store, org.id, call.who.id):
        raise forbidden("Must be an organization owner")
    return _Owner(owner_id=org.id)


def _of_user(call: Call) -> _Owner:
    return _Owner(owner_id=call.who.id)


def _of_site(call: Call) -> _Owner:
    call.admin()
    return _Owner()


def _register(prefix: str, scope: str, owner: Any) -> None:
    def list_hooks(call: Call) -> Answer:
        found = owner(call).all(call)
        return Answer(200, [_json(hook) for hook in call.cut_if_asked(found)], call.total(len(found)))

    def create_hook(call: Call) -> Answer:
        whose = owner(call)
        config = call.object("config")
        made = hooks.create(
            call.store,
            repo=whose.repo,
            owner_id=whose.owner_id,
            kind=call.text("type"),
            url=str(config.get("url") or ""),
            content_type=str(config.get("content_type") or ""),
            secret=str(config.get("secret") or ""),
            events=call.strings("events"),
            branch_filter=call.text("branch_filter"),
            authorization=call.text("authorization_header"),
            active=call.switch("active"),
        )
        return created(_json(made))

    def get_hook(call: Call) -> Answer:
        return Answer(200, _json(owner(call).one(call)))

    def edit_hook(call: Call) -> Answer:
        """Without ``events``: pushes only, filter and authorization lost; the secret stays. Traps, kept."""
        hook = owner(call).one(call)
        config = call.object("config")
        fields: dict[str, Any] = {
            "events": json.dumps(call.strings("events") or ["push"]),
            "branch_filter": call.text("branch_filter"),
            "authorization": call.text("authorization_header"),
            "updated": call.store.now(),
        }
        if config.get("url"):
            fields["url"] = hooks.check_url(str(config["url"]))
        if config.get("content_type"):
            fields["content_type"] = hooks.check_content_type(str(config["content_type"]))
        if call.has("active"):
            fields["active"] = int(call.switch("active"))
        call.store.update("hooks", hook.id, **fields)
        return Answer(200, _json(hooks.get(call.store, hook.id)))

    def delete_hook(call: Call) -> Answer:
        hooks.delete(call.store, owner(call).one(call))
        return nothing()

    routes: list[tuple[str, str, Handler]] = [
        ("GET", "", list_hooks), ("POST", "", create_hook), ("GET", "/{id}", get_hook), ("PATCH", "/{id}", edit_hook),
        ("DELETE", "/{id}", delete_hook),
    ]  # fmt: skip
    for method, rest, handler in routes:
        ROUTER.add(method, prefix + rest, scope, token=True)(handler)


_register(R + "/hooks", "repository", _of_repo)
_register("/orgs/{org}/hooks", "organization", _of_org)
_register("/user/hooks", "user", _of_user)
_register("/admin/hooks", "admin", _of_site)


@ROUTER.add("POST", R + "/hooks/{id}/tests", "repository", token=True)
def test_hook(call: Call) -> Answer:
    """Send a push event of the default branch's tip to this subscription alone."""
    whose = _of_repo(call)
    hook, repo = whose.one(call), whose.repo
    assert repo is not None
    tip = objects.read_ref(repo.path, f"refs/heads/{repo.default_branch}") or ZERO
    more = {"ref": f"refs/heads/{repo.default_branch}", "before": tip, "after": tip}
    body = webhooks.payload(call.store, repo, Event("push", "", repo.id, call.who.id, None, more))
    webhooks.insert(call.store, hook, "push", "push", json.dumps(body))
    call.store.after_commit(call.store.wake_deliverer)
    return nothing()

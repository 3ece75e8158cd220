"""Forks of repositories."""

from __future__ import annotations

from factory.devforge.api.call import Answer, Call
from factory.devforge.api.repos import R
from factory.devforge.api.router import ROUTER
from factory.devforge.errors import forbidden
from factory.devforge.render import people
from factory.devforge.store import access, forks, orgs
from factory.devforge.store.access import Mode


@ROUTER.add("GET", R + "/forks", "repository")
def list_forks(call: Call) -> Answer:
    found = [r for r in forks.of(call.store, call.repo()) if access.best(call.store, call.actor, r) >= Mode.READ]
    return Answer(200, [people.repo(call.store, r, call.actor) for r in call.cut(found)], call.linked(len(found)))


@ROUTER.add("POST", R + "/forks", "repository", token=True)
def create_fork(call: Call) -> Answer:
    source = call.repo(unit="code")
    owner = call.who
    if call.text("organization"):
        owner = orgs.get(call.store, call.text("organization"))
        if not call.actor.site_admin and not orgs.is_owner(call.store, owner.id, call.who.id):
            raise forbidden(f"User is not an owner of organisation {owner.login}")
    made = forks.fork(call.store, source, owner, call.text("name"))
    return Answer(202, people.repo(call.store, made, call.actor))

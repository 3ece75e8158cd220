"""Statuses of commits: what a check says of one, and what all of them say together."""

from __future__ import annotations

from factory.devforge.api.call import Answer, Call, created
from factory.devforge.api.repos import R
from factory.devforge.api.revisions import commit_of
from factory.devforge.api.router import ROUTER
from factory.devforge.render import git as render
from factory.devforge.store import statuses
from factory.devforge.store.access import Mode


@ROUTER.add("POST", R + "/statuses/{sha}", "repository", token=True)
def post_status(call: Call) -> Answer:
    repo = call.repo(Mode.WRITE)
    sha = commit_of(repo, call.params["sha"])
    made = statuses.add(
        call.store,
        repo,
        call.who,
        sha,
        state=call.text("state"),
        context=call.text("context"),
        description=call.text("description"),
        target_url=call.text("target_url"),
    )
    return created(render.status(call.store, repo, made))


def _all_statuses(call: Call, name: str) -> Answer:
    repo = call.repo(unit="code")
    found = statuses.every(call.store, repo, commit_of(repo, call.params[name]))
    if call.query("state"):
        found = [one for one in found if one.state == call.query("state")]
    page = [render.status(call.store, repo, one) for one in call.cut_if_asked(found)]
    return Answer(200, page, call.linked(len(found)))


@ROUTER.add("GET", R + "/statuses/{sha}", "repository")
def list_statuses(call: Call) -> Answer:
    return _all_statuses(call, "sha")


@ROUTER.add("GET", R + "/commits/{ref}/statuses", "repository")
def list_commit_statuses(call: Call) -> Answer:
    return _all_statuses(call, "ref")


@ROUTER.add("GET", R + "/commits/{ref}/status", "repository")
def combined_status(call: Call) -> Answer:
    repo = call.repo(unit="code")
    sha = commit_of(repo, call.params["ref"])
    found = statuses.latest(call.store, repo, sha)
    page = list(call.cut(found))
    return Answer(200, render.combined(call.store, repo, sha, page, call.actor), call.total(len(found)))

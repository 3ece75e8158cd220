"""Organisations and teams."""

from __future__ import annotations

from factory.devforge.api.call import Answer, Call, created, nothing
from factory.devforge.api.router import ROUTER
from factory.devforge.errors import forbidden, not_found
from factory.devforge.render import people
from factory.devforge.store import labels, orgs, repos, users
from factory.devforge.store.orgs import Team
from factory.devforge.store.users import User


def _owned(call: Call, org: User) -> None:
    if not call.actor.site_admin and not orgs.is_owner(call.store, org.id, call.who.id):
        raise forbidden("Must be an organization owner")


@ROUTER.add("POST", "/orgs", "organization", token=True)
def create_org(call: Call) -> Answer:
    made = orgs.create(
        call.store,
        call.who,
        name=call.text("username"),
        visibility=call.text("visibility") or "public",
        full_name=call.text("full_name"),
    )
    return created(people.org(call.store, made))


@ROUTER.add("GET", "/orgs/{org}", "organization")
def get_org(call: Call) -> Answer:
    return Answer(200, people.org(call.store, orgs.get(call.store, call.params["org"])))


@ROUTER.add("GET", "/user/orgs", "organization", extra=("user",), token=True)
def my_orgs(call: Call) -> Answer:
    found = orgs.of_user(call.store, call.who.id)
    return Answer(200, [people.org(call.store, org) for org in call.cut(found)], call.linked(len(found)))


@ROUTER.add("GET", "/orgs/{org}/teams", "organization", token=True)
def list_teams(call: Call) -> Answer:
    found = orgs.teams(call.store, orgs.get(call.store, call.params["org"]))
    return Answer(200, [people.team(call.store, team) for team in call.cut(found)], call.total(len(found)))


@ROUTER.add("POST", "/orgs/{org}/teams", "organization", token=True)
def create_team(call: Call) -> Answer:
    org = orgs.get(call.store, call.params["org"])
    _owned(call, org)
    units = {str(k): str(v) for k, v in call.object("units_map").items()}
    if not units:
        units = dict.fromkeys(call.strings("units"), call.text("permission"))
    made = orgs.create_team(
        call.store,
        org,
        name=call.text("name"),
        permission=call.text("permission"),
        units=units,
        description=call.text("description"),
        all_repos=call.switch("includes_all_repositories"),
    )
    return created(people.team(call.store, made))


def _team(call: Call, *, change: bool) -> Team:
    team = orgs.team(call.store, call.index("id"))
    if change:
        _owned(call, users.by_id(call.store, team.org_id))
    elif not call.actor.site_admin and not orgs.is_member(call.store, team.org_id, call.who.id):
        raise not_found()
    return team


@ROUTER.add("GET", "/teams/{id}", "organization", token=True)
def get_team(call: Call) -> Answer:
    return Answer(200, people.team(call.store, _team(call, change=False)))


@ROUTER.add("GET", "/teams/{id}/members", "organization", token=True)
def team_members(call: Call) -> Answer:
    found = orgs.members(call.store, _team(call, change=False).id)
    page = [people.user(call.store, user, call.actor) for user in call.cut_if_asked(found)]
    return Answer(200, page, call.total(len(found)))


@ROUTER.add("PUT", "/teams/{id}/members/{username}", "organization", token=True)
def add_member(call: Call) -> Answer:
    team, user = _team(call, change=True), users.person(call.store, call.params["username"])
    call.store.run("INSERT OR IGNORE INTO team_members (team_id, user_id) VALUES (?, ?)", team.id, user.id)
    return nothing()


@ROUTER.add("DELETE", "/teams/{id}/members/{username}", "organization", token=True)
def remove_member(call: Call) -> Answer:
    team, user = _team(call, change=True), users.person(call.store, call.params["username"])
    call.store.run("DELETE FROM team_members WHERE team_id = ? AND user_id = ?", team.id, user.id)
    return nothing()


@ROUTER.add("PUT", "/teams/{id}/repos/{org}/{repo}", "organization", token=True)
def add_team_repo(call: Call) -> Answer:
    team = _team(call, change=True)
    repo = repos.get(call.store, call.params["org"], call.params["repo"])
    if repo.owner_id != team.org_id:
        raise forbidden("Must have admin-level access to the repository")
    call.store.run("INSERT OR IGNORE INTO team_repos (team_id, repo_id) VALUES (?, ?)", team.id, repo.id)
    return nothing()


@ROUTER.add("DELETE", "/teams/{id}/repos/{org}/{repo}", "organization", token=True)
def remove_team_repo(call: Call) -> Answer:
    team = _team(call, change=True)
    repo = repos.get(call.store, call.params["org"], call.params["repo"])
    call.store.run("DELETE FROM team_repos WHERE team_id = ? AND repo_id = ?", team.id, repo.id)
    return nothing()


@ROUTER.add("GET", "/orgs/{org}/labels", "organization")
def org_labels(call: Call) -> Answer:
    found = labels.of_org(call.store, orgs.get(call.store, call.params["org"]).id)
    return Answer(200, [people.label(call.store, label) for label in call.cut_if_asked(found)], call.total(len(found)))


@ROUTER.add("POST", "/orgs/{org}/labels", "organization", token=True)
def create_org_label(call: Call) -> Answer:
    org = orgs.get(call.store, call.params["org"])
    _owned(call, org)
    made = labels.create(
        call.store,
        org=org,
        name=call.text("name"),
        color_code=call.text("color"),
        description=call.text("description"),
        exclusive=call.switch("exclusive"),
    )
    return created(people.label(call.store, made))

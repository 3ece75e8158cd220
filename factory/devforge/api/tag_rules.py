"""Tag protections."""

from __future__ import annotations

from typing import Any

from factory.devforge.api.call import Answer, Call, created, nothing
from factory.devforge.api.repos import R
from factory.devforge.api.router import ROUTER
from factory.devforge.errors import Refusal, forbidden, invalid
from factory.devforge.render import people
from factory.devforge.store import orgs, protections, tag_rules, users
from factory.devforge.store.repos import Repo
from factory.devforge.store.tag_rules import TagRule


def _json(call: Call, rule: TagRule) -> dict[str, Any]:
    known = [users.by_id(call.store, number).login for number in rule.users]
    teams = [orgs.team(call.store, number).name for number in rule.teams]
    return {
        "id": rule.id,
        "name_pattern": rule.pattern,
        "whitelist_usernames": known,
        "whitelist_teams": teams,
        "created_at": people.when(rule.created),
        "updated_at": people.when(rule.updated),
    }


def _users(call: Call) -> tuple[int, ...]:
    found = []
    for login in call.strings("whitelist_usernames"):
        user = users.find(call.store, login)
        if user is None or user.is_org:
            raise invalid(f"user does not exist [uid: 0, name: {login}, keyid: 0]")
        found.append(user.id)
    return tuple(found)


def _teams(call: Call, repo: Repo) -> tuple[int, ...]:
    return protections.team_ids(call.store, repo, call.strings("whitelist_teams"))


@ROUTER.add("GET", R + "/tag_protections", "repository", token=True)
def list_tag_rules(call: Call) -> Answer:
    return Answer(200, [_json(call, rule) for rule in tag_rules.of_repo(call.store, call.repo_admin())])


@ROUTER.add("POST", R + "/tag_protections", "repository", token=True)
def create_tag_rule(call: Call) -> Answer:
    repo = call.repo_admin()
    pattern = call.text("name_pattern").strip()
    if not pattern:
        raise Refusal(400, "name_pattern are empty")
    if not call.strings("whitelist_usernames") and not call.strings("whitelist_teams"):
        raise Refusal(400, "both whitelist_usernames and whitelist_teams are empty")
    with call.store.tx():
        if any(rule.pattern == pattern for rule in tag_rules.of_repo(call.store, repo)):
            raise forbidden("Tag protection already exist")
        made = tag_rules.create(call.store, repo, pattern, _users(call), _teams(call, repo))
        return created(_json(call, made))


@ROUTER.add("GET", R + "/tag_protections/{id}", "repository", token=True)
def get_tag_rule(call: Call) -> Answer:
    return Answer(200, _json(call, tag_rules.get(call.store, call.repo_admin(), call.index("id"))))


@ROUTER.add("PATCH", R + "/tag_protections/{id}", "repository", token=True)
def edit_tag_rule(call: Call) -> Answer:
    """A list that is not sent stays."""
    repo = call.repo_admin()
    with call.store.tx():
        rule = tag_rules.get(call.store, repo, call.index("id"))
        named = _users(call) if call.has("whitelist_usernames") else rule.users
        teams = _teams(call, repo) if call.has("whitelist_teams") else rule.teams
        pattern = call.text("name_pattern") if call.has("name_pattern") else rule.pattern
        if any(other.pattern == pattern and other.id != rule.id for other in tag_rules.of_repo(call.store, repo)):
            raise forbidden("Tag protection already exist")
        return Answer(200, _json(call, tag_rules.edit(call.store, repo, rule, pattern, named, teams)))


@ROUTER.add("DELETE", R + "/tag_protections/{id}", "repository", token=True)
def delete_tag_rule(call: Call) -> Answer:
    tag_rules.delete(call.store, tag_rules.get(call.store, call.repo_admin(), call.index("id")))
    return nothing()

"""Branch protection over the API and on pushes. Rules: section 3.2 of the Forgejo reference."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest

from factory.errors import ForgeRefused
from factory.forge.globs import glob_rule
from factory.forge.values import BranchProtection
from tests.contract.conftest import soon


def rule(site, repo, name: str = "mai[n]", *, who: str = "founder", **fields):
    return site.call("POST", f"/repos/{repo}/branch_protections", {"rule_name": name, **fields}, who=who)


def write(site, repo, path: str = "x.txt", branch: str = "main", who: str = "founder"):
    """One direct commit through the API."""
    content = base64.b64encode(b"x\n").decode()
    return site.call(
        "POST", f"/repos/{repo}/contents/{path}", {"content": content, "branch": branch, "message": "m"}, who=who
    )


def test_a_rule_reads_back_as_written(site) -> None:
    repo = site.repo()
    wanted = BranchProtection(
        "release/v[1]",
        enable_push=True,
        enable_push_whitelist=True,
        push_whitelist_usernames=(site.login("dev"),),
        enable_merge_whitelist=True,
        merge_whitelist_usernames=(site.login("rev"),),
        required_approvals=2,
        enable_approvals_whitelist=True,
        approvals_whitelist_usernames=(site.login("reader"),),
        block_on_rejected_reviews=True,
        block_on_official_review_requests=True,
        block_on_outdated_branch=True,
        dismiss_stale_approvals=True,
        ignore_stale_approvals=True,
        enable_status_check=True,
        status_check_contexts=("ci/a", "ci/b"),
        protected_file_patterns="*.lock",
        unprotected_file_patterns="docs/**",
        apply_to_admins=True,
    )
    assert site.client("founder").set_protection(repo, wanted) == wanted
    assert site.client("founder").set_protection(repo, wanted) == wanted
    assert site.client("founder").protections(repo) == [wanted]


def test_the_defaults_of_a_rule_forbid_pushing_only(site) -> None:
    repo = site.repo()
    made = rule(site, repo)
    assert made.status_code == 201
    body = made.json()
    assert body["enable_push"] is False
    assert body["required_approvals"] == 0
    assert body["apply_to_admins"] is False
    assert body["rule_name"] == "mai[n]"


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({}, 400, None),
        ({"rule_name": ""}, 400, None),
        ({"rule_name": "x", "push_whitelist_usernames": ["no-such-user"]}, 422, None),
        ({"rule_name": "x", "merge_whitelist_usernames": ["no-such-user"]}, 422, None),
        ({"rule_name": "x", "approvals_whitelist_username": ["no-such-user"]}, 422, None),
    ],
)
def test_rules_that_cannot_be(site, body: dict, status: int, text: str | None) -> None:
    answer = site.call("POST", f"/repos/{site.repo()}/branch_protections", body)
    assert answer.status_code == status


def test_a_second_rule_of_the_name_is_403(site) -> None:
    repo = site.repo()
    rule(site, repo)
    again = rule(site, repo)
    assert again.status_code == 403
    assert again.json()["message"] == "Branch protection already exist"


@pytest.mark.parametrize("who", ["dev", "reader", "outsider"])
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
def test_rules_are_for_admins(site, who: str, method: str) -> None:
    repo = site.repo()
    rule(site, repo)
    path = f"/repos/{repo}/branch_protections" + ("/mai%5Bn%5D" if method in ("PATCH", "DELETE") else "")
    answer = site.call(method, path, {"rule_name": "y"} if method != "GET" else None, who=who)
    assert answer.status_code in (403, 404)
    assert len(site.client("founder").protections(repo)) == 1


@pytest.mark.parametrize(
    ("given", "kept"),
    [({}, ["dev"]), ({"push_whitelist_usernames": []}, []), ({"push_whitelist_usernames": None}, ["dev"])],
)
def test_absent_lists_are_kept_and_empty_ones_clear(site, given: dict, kept: list[str]) -> None:
    repo = site.repo()
    rule(site, repo, enable_push=True, enable_push_whitelist=True, push_whitelist_usernames=[site.login("dev")])
    body = {"enable_push": True, "enable_push_whitelist": True, **given}
    answer = site.call("PATCH", f"/repos/{repo}/branch_protections/mai%5Bn%5D", body)
    assert answer.status_code == 200
    assert answer.json()["push_whitelist_usernames"] == [site.login(who) for who in kept]


@pytest.mark.parametrize(
    ("who", "field", "flag"),
    [
        ("reader", "push_whitelist_usernames", "enable_push_whitelist"),
        ("outsider", "push_whitelist_usernames", "enable_push_whitelist"),
        ("reader", "merge_whitelist_usernames", "enable_merge_whitelist"),
        ("outsider", "approvals_whitelist_username", "enable_approvals_whitelist"),
    ],
)
def test_users_without_the_right_are_silently_dropped(site, who: str, field: str, flag: str) -> None:
    repo = site.repo()
    site.account(who)
    made = rule(site, repo, enable_push=True, **{flag: True, field: [site.login(who)]})
    assert made.status_code == 201
    assert made.json()[field] in ([], None)
    attribute = field if field.endswith("usernames") else field + "s"
    with pytest.raises(ForgeRefused, match=f"missing {site.login(who)}"):
        site.client("founder").set_protection(
            repo, BranchProtection("mai[n]", enable_push=True, **{flag: True, attribute: (site.login(who),)})
        )


def test_deleting_a_rule(site) -> None:
    repo = site.repo()
    rule(site, repo)
    path = f"/repos/{repo}/branch_protections/mai%5Bn%5D"
    assert site.call("DELETE", path).status_code == 204
    assert site.call("DELETE", path).status_code == 404
    assert site.client("founder").protections(repo) == []


# who may write directly

WRITES = [
    # rule fields, account, path, allowed
    (None, "dev", "x.txt", True),
    (None, "reader", "x.txt", False),
    ({}, "dev", "x.txt", False),
    ({}, "founder", "x.txt", False),
    ({"apply_to_admins": False}, "founder", "x.txt", False),
    ({"enable_push": True}, "dev", "x.txt", True),
    ({"enable_push": True}, "founder", "x.txt", True),
    ({"enable_push": True, "enable_push_whitelist": True, "push": ["rev"]}, "dev", "x.txt", False),
    ({"enable_push": True, "enable_push_whitelist": True, "push": ["rev"]}, "rev", "x.txt", True),
    ({"enable_push": True, "enable_push_whitelist": True, "push": ["rev"]}, "founder", "x.txt", False),
    ({"enable_push": True, "enable_push_whitelist": True, "push": []}, "rev", "x.txt", False),
    ({"unprotected_file_patterns": "docs/**"}, "dev", "docs/a/b.txt", True),
    ({"unprotected_file_patterns": "docs/**"}, "dev", "src/a.txt", False),
    ({"unprotected_file_patterns": "docs/**"}, "reader", "docs/a.txt", False),
    ({"unprotected_file_patterns": "docs/**;knowledge/**"}, "dev", "knowledge/x.md", True),
    ({"unprotected_file_patterns": "notes.md"}, "dev", "NOTES.md", True),
    ({"unprotected_file_patterns": "notes.md"}, "dev", "sub/notes.md", False),
    ({"unprotected_file_patterns": "pauses/*"}, "dev", "pauses/all.toml", False),
    ({"unprotected_file_patterns": "pauses/**"}, "dev", "pauses/all.toml", True),
    ({"enable_push": True, "protected_file_patterns": "*.lock"}, "dev", "poetry.lock", False),
    ({"enable_push": True, "protected_file_patterns": "*.lock"}, "dev", "poetry.txt", True),
    ({"enable_push": True, "protected_file_patterns": ".github/**"}, "founder", ".github/ci.yml", False),
]


@pytest.mark.parametrize(("fields", "who", "path", "allowed"), WRITES)
def test_who_may_write_to_a_branch_under_a_rule(site, fields: dict | None, who: str, path: str, allowed: bool) -> None:
    repo = site.repo()
    if fields is not None:
        fields = dict(fields)
        listed = fields.pop("push", None)
        if listed is not None:
            fields["push_whitelist_usernames"] = [site.login(name) for name in listed]
        assert rule(site, repo, **fields).status_code == 201
    answer = write(site, repo, path, who=who)
    assert (answer.status_code == 201) is allowed, answer.text
    if not allowed and who != "reader":
        assert answer.status_code in (403, 500)


@pytest.mark.parametrize(
    ("rules", "branch", "allowed"),
    [
        (["main"], "main", False),
        (["MAIN"], "main", False),
        (["mai[n]"], "main", False),
        (["mai[n]"], "other", True),
        (["*"], "other", False),
        (["*"], "a/b", True),
        (["**"], "a/b", False),
        (["a/*"], "a/b", False),
        (["a/*"], "a/b/c", True),
        (["v[0-9]"], "v7", False),
        (["v[0-9]"], "vx", True),
        (["r-?"], "r-1", False),
        (["r-?"], "r-12", True),
    ],
)
def test_which_branches_a_rule_covers(site, rules: list[str], branch: str, allowed: bool) -> None:
    repo = site.repo()
    if branch != "main":
        site.commit(repo, branch, {"a": "1\n"})
    for name in rules:
        assert rule(site, repo, name).status_code == 201
    assert (write(site, repo, branch=branch, who="dev").status_code == 201) is allowed


@pytest.mark.parametrize(
    ("open_rule", "shut_rule", "order", "allowed"),
    [
        ("main", "**", "open first", True),
        ("main", "**", "shut first", True),  # an exact name wins whatever the order
        ("mai[n]", "**", "open first", True),
        ("mai[n]", "**", "shut first", False),  # globs: the one of the earlier second wins
    ],
)
def test_only_the_first_matching_rule_counts(site, open_rule: str, shut_rule: str, order: str, allowed: bool) -> None:
    repo = site.repo()
    rules = [(open_rule, True), (shut_rule, False)]
    first, second = rules if order == "open first" else rules[::-1]
    made = rule(site, repo, first[0], enable_push=first[1]).json()["created_at"]
    if site.name == "real":
        # Within one second its order is left to chance; ours is that of creation.
        later = datetime.fromisoformat(made) + timedelta(seconds=1)
        soon(site, lambda: datetime.now(UTC), lambda now: now >= later)
    assert rule(site, repo, second[0], enable_push=second[1]).status_code == 201
    assert (write(site, repo, who="dev").status_code == 201) is allowed


# the branch itself


@pytest.mark.parametrize("who", ["dev", "founder"])
def test_a_branch_under_a_glob_rule_is_neither_deleted_nor_renamed(site, who: str) -> None:
    repo = site.repo()
    site.commit(repo, "ledger", {"a": "1\n"})
    rule(site, repo, glob_rule("ledger"), enable_push=True)
    assert site.call("DELETE", f"/repos/{repo}/branches/ledger", who=who).status_code == 403
    renamed = site.call("PATCH", f"/repos/{repo}/branches/ledger", {"name": "stolen"}, who=who)
    # Forgejo refuses a glob's branch with a fault of its own: 500.
    assert renamed.status_code in ((403, 422) if site.name == "embedded" else (403, 422, 500))
    assert "refs/heads/ledger" in site.client("founder").ls_refs(repo, ["refs/heads/"])


def test_a_plain_rule_moves_along_with_a_renamed_branch(site) -> None:
    """Why all rules of ours are globs: the fresh branch of the old name is unprotected."""
    repo = site.repo()
    site.commit(repo, "ledger", {"a": "1\n"})
    rule(site, repo, "ledger")
    renamed = site.call("PATCH", f"/repos/{repo}/branches/ledger", {"name": "stolen"}, who="dev")
    assert renamed.status_code == 204
    assert [r.rule_name for r in site.client("founder").protections(repo)] == ["stolen"]
    assert (
        site.call(
            "POST", f"/repos/{repo}/branches", {"new_branch_name": "ledger", "old_ref_name": "main"}, who="dev"
        ).status_code
        == 201
    )


def test_a_new_branch_under_a_shut_rule_is_not_made_by_the_api(site) -> None:
    repo = site.repo()
    rule(site, repo, glob_rule("journal"))
    made = site.call(
        "POST", f"/repos/{repo}/branches", {"new_branch_name": "journal", "old_ref_name": "main"}, who="dev"
    )
    assert made.status_code in (403, 409, 500)
    assert "refs/heads/journal" not in site.client("founder").ls_refs(repo, ["refs/heads/"])


def test_protected_files_block_a_merge(site) -> None:
    repo = site.repo()
    rule(site, repo, protected_file_patterns="*.lock")
    number, sha = site.pull(repo, files={"poetry.lock": "x\n"})
    with pytest.raises(ForgeRefused) as caught:
        site.client("dev").merge(repo, number, head=sha, title="t", message="m")
    assert caught.value.detail == "not allowed to merge [reason: Changed protected files]"


@pytest.mark.parametrize(("apply_to_admins", "status"), [(False, 200), (True, 405)])
def test_force_merge_is_for_admins_the_rule_does_not_bind(site, apply_to_admins: bool, status: int) -> None:
    repo = site.repo()
    rule(site, repo, required_approvals=1, apply_to_admins=apply_to_admins)
    number, sha = site.pull(repo)
    body = {"Do": "merge", "head_commit_id": sha, "force_merge": True}
    assert site.call("POST", f"/repos/{repo}/pulls/{number}/merge", body, who="dev").status_code == 405
    assert site.call("POST", f"/repos/{repo}/pulls/{number}/merge", body).status_code == status


def test_force_merge_does_not_pass_the_merge_whitelist(site) -> None:
    repo = site.repo()
    rule(site, repo, enable_merge_whitelist=True)
    number, sha = site.pull(repo)
    body = {"Do": "merge", "head_commit_id": sha, "force_merge": True}
    answer = site.call("POST", f"/repos/{repo}/pulls/{number}/merge", body)
    assert (answer.status_code, answer.json()["message"]) == (405, "User not allowed to merge PR")

"""The set-up's difference is pure, complete and empty when there is nothing to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from factory.config.model import DEFAULT_ACCOUNTS
from factory.errors import ConfigInvalid
from factory.forge.releases import TagRule
from factory.forge.settings import ONLY_MERGE
from factory.forge.setup.observed import Observed, RepoObserved
from factory.forge.setup.plan import plan_setup
from factory.forge.setup.steps import (
    ActionsOff,
    AddLabel,
    CreateAccount,
    CreateRepo,
    MintToken,
    OnlyMerge,
    Propose,
    Protect,
    ProtectTags,
    SetCollaborator,
    SetupStep,
    Unprotect,
)
from factory.forge.values import MERGE_STYLES, BranchProtection, ForgeVersion, Label, Repo, RepoName
from factory.forge.wanted import SCOPES, Wanted, wanted_setup

PROJECT, OPS = RepoName("founder", "tally"), RepoName("founder", "tally-ops")
V15 = ForgeVersion("forgejo", "15.0.3+gitea-1.22.0", 15)


def wanted(**changes: object) -> Wanted:
    arguments: dict[str, object] = {
        "accounts": DEFAULT_ACCOUNTS,
        "approvers": ["founder"],
        "direct_patterns": "readme.md;knowledge/**",
        "labels": [Label(0, "backlog", "0e8a16", "x")],
        "new_people": ["founder"],
    }
    return wanted_setup(PROJECT, OPS, **{**arguments, **changes})  # type: ignore[arg-type]


def done(want: Wanted) -> Observed:
    """A forge on which everything wanted is there."""
    repos = {}
    for repo in want.repos:
        permissions = {**repo.collaborators, **dict.fromkeys(repo.people, "write"), repo.name.owner: "owner"}
        rules = repo.protections if repo.protect else ()
        tags = (TagRule(1, "*", repo.taggers),) if repo.taggers and repo.protect else ()
        labels = frozenset(label.name for label in repo.labels)
        styles = ONLY_MERGE if repo.only_merge else frozenset(MERGE_STYLES)
        value = Repo(1, repo.name, repo.default_branch, True, False, False, False, False, styles=styles)
        repos[repo.name] = RepoObserved(value, permissions, labels, rules, tags)
    logins = frozenset(account.login for account in want.accounts)
    return Observed(V15, logins, repos, logins)


def kinds(steps: tuple[SetupStep, ...]) -> list[type]:
    return [type(step) for step in steps]


def test_nothing_to_do_is_no_step() -> None:
    want = wanted(protect=True)
    assert plan_setup(done(want), want) == ()


def test_a_bare_forge_gets_everything_in_an_order_that_works() -> None:
    want = wanted()
    steps = plan_setup(Observed(V15, frozenset(), {}), want)
    order = [CreateAccount, CreateRepo, ActionsOff, OnlyMerge, SetCollaborator, AddLabel, MintToken, Protect]
    first = {kind: kinds(steps).index(kind) for kind in order}
    last = {kind: len(steps) - 1 - kinds(steps)[::-1].index(kind) for kind in order}
    assert last[CreateAccount] < first[CreateRepo]
    assert last[CreateRepo] < first[SetCollaborator]
    # Whoever is on a rule's whitelist without the right at that moment is silently dropped.
    assert last[SetCollaborator] < first[Protect]
    # A token limited to repos needs them.
    assert last[CreateRepo] < first[MintToken]
    assert [step.login for step in steps if isinstance(step, CreateAccount) and step.human] == ["founder"]
    assert all(str(step) for step in steps)


BOTS = frozenset(DEFAULT_ACCOUNTS.values())


@pytest.mark.parametrize(("product", "bare"), [("forgejo", frozenset()), ("embedded", BOTS)])
def test_where_the_forge_demands_none_no_bot_has_a_password(product: str, bare: frozenset[str]) -> None:
    steps = plan_setup(Observed(replace(V15, product=product), frozenset(), {}), wanted())
    assert {step.login for step in steps if isinstance(step, CreateAccount) and step.bare} == bare


def test_only_what_is_missing_is_done() -> None:
    want = wanted()
    have = done(want)
    ops = have.repos[OPS]
    broken = replace(
        have,
        accounts=have.accounts - {"dev-bot"},
        tokens=have.tokens - {"vault-bot"},
        repos={
            **have.repos,
            OPS: replace(
                ops,
                repo=replace(ops.repo, has_actions=True, styles=ONLY_MERGE | {"allow_squash_merge"}),
                permissions={**ops.permissions, "dev-bot": "write", "sentinel-bot": "read"},
                protections=ops.protections[1:],
            ),
            PROJECT: replace(have.repos[PROJECT], labels=frozenset()),
        },
    )
    steps = [step for step in plan_setup(broken, want) if not isinstance(step, Propose)]
    assert steps == [
        CreateAccount("dev-bot"),
        AddLabel(PROJECT, Label(0, "backlog", "0e8a16", "x")),
        ActionsOff(OPS),
        OnlyMerge(OPS),
        SetCollaborator(OPS, "dev-bot", "read"),
        SetCollaborator(OPS, "sentinel-bot", "admin"),
        MintToken("vault-bot", ("write:issue", "write:repository"), (OPS,)),
        Protect(OPS, want.repos[1].protections[0]),
    ]


RULES = {rule.rule_name: rule for rule in wanted().repos[1].protections}


@pytest.mark.parametrize(
    ("rule", "field", "is_"),
    [
        ("mai[n]", "enable_push", False),
        ("mai[n]", "merge_whitelist_usernames", ("factory-bot", "vault-bot")),
        ("mai[n]", "required_approvals", 1),
        ("mai[n]", "enable_approvals_whitelist", True),
        ("mai[n]", "approvals_whitelist_usernames", ("founder",)),
        ("mai[n]", "dismiss_stale_approvals", True),
        ("mai[n]", "ignore_stale_approvals", True),
        ("mai[n]", "block_on_rejected_reviews", True),
        ("mai[n]", "block_on_official_review_requests", True),
        ("mai[n]", "block_on_outdated_branch", False),
        ("mai[n]", "protected_file_patterns", ""),
        ("mai[n]", "unprotected_file_patterns", "readme.md;knowledge/**"),
        ("mai[n]", "apply_to_admins", True),
        ("aut[o]", "enable_push", False),
        ("aut[o]", "merge_whitelist_usernames", ("vault-bot",)),
        ("aut[o]", "required_approvals", 0),
        ("ledge[r]", "push_whitelist_usernames", ("dispatcher-bot",)),
        ("ledge[r]", "enable_merge_whitelist", True),
        ("ledge[r]", "merge_whitelist_usernames", ()),
        ("journa[l]", "push_whitelist_usernames", ("factory-bot",)),
        ("journa[l]", "enable_merge_whitelist", True),
        ("journa[l]", "merge_whitelist_usernames", ()),
    ],
)
def test_the_ops_repos_rules_are_those_of_the_design(rule: str, field: str, is_: object) -> None:
    assert getattr(RULES[rule], field) == is_


@pytest.mark.parametrize(
    ("repo", "login", "is_"),
    [(1, f"{name}-bot", "read") for name in ("dev", "review", "gardener", "planner", "predictor", "architect")]
    + [(1, "supervisor-bot", "read")]
    + [(1, login, "write") for login in ("factory-bot", "vault-bot", "dispatcher-bot")]
    + [(0, login, "write") for login in ("dev-bot", "review-bot", "factory-bot")]
    + [(0, "release-bot", "write"), (1, "release-bot", None)]
    + [(0, "sentinel-bot", "admin"), (1, "sentinel-bot", "admin"), (0, "vault-bot", None), (0, "dispatcher-bot", None)],
)  # fmt: skip
def test_rights(repo: int, login: str, is_: str | None) -> None:
    assert wanted().repos[repo].collaborators.get(login) == is_


def test_the_sentinels_only_scope_is_reading() -> None:
    steps = plan_setup(Observed(V15, frozenset(), {}), wanted())
    sentinel = next(step for step in steps if isinstance(step, MintToken) and step.login == "sentinel-bot")
    assert sentinel.scopes == ("read:repository",)
    assert sentinel.repos == ()


@pytest.mark.parametrize("duty", sorted(SCOPES))
def test_no_token_can_change_settings_or_see_other_repos(duty: str) -> None:
    steps = plan_setup(Observed(V15, frozenset(), {}), wanted())
    token = next(step for step in steps if isinstance(step, MintToken) and step.login == DEFAULT_ACCOUNTS[duty])
    # Limited to repos, a token has no admin's rights, and the sentinel's could not read a rule. It only reads.
    assert token.repos or token.scopes == ("read:repository",)
    assert not any(
        scope == "all" or "admin" in scope or "user" in scope or "organization" in scope for scope in token.scopes
    )


def test_before_forgejo_15_tokens_cannot_be_limited_to_repos() -> None:
    old = Observed(ForgeVersion("forgejo", "11.0.15+gitea-1.22.0", 11), frozenset(), {})
    assert all(step.repos == () for step in plan_setup(old, wanted()) if isinstance(step, MintToken))


# the project's own rules

RULE = BranchProtection("main", required_approvals=3)


@pytest.mark.parametrize("protect", [True, False])
@pytest.mark.parametrize("name", ["main", "**", "ma*"])
def test_the_projects_own_rule_is_never_touched(protect: bool, name: str) -> None:
    want = wanted(protect=protect)
    have = done(want)
    have = replace(
        have, repos={**have.repos, PROJECT: replace(have.repos[PROJECT], protections=(replace(RULE, rule_name=name),))}
    )
    step = plan_setup(have, want)[0]
    assert isinstance(step, Propose)
    assert name in str(step)
    assert not any(isinstance(step, Protect | Unprotect) for step in plan_setup(have, want))


def test_without_protect_the_rule_is_a_proposal() -> None:
    want = wanted(protect=False)
    rule, tags = plan_setup(done(want), want)
    assert isinstance(rule, Propose)
    assert "--protect" in str(rule)
    assert isinstance(tags, Propose)
    assert str(tags) == (
        "proposed only: keep the tags of founder/tally for founder, release-bot (apply it with --protect)"
    )


@pytest.mark.parametrize(
    ("there", "step"),
    [
        ((), ProtectTags(PROJECT, ("founder", "release-bot"))),
        ((TagRule(1, "*", ("founder",)),), ProtectTags(PROJECT, ("founder", "release-bot"))),
        ((TagRule(1, "*", ("release-bot", "founder")),), None),
        ((TagRule(1, "v*", ("founder",)),), Propose(PROJECT, TagRule(0, "*", ("founder", "release-bot")),
                                                    "the project's own rule v* stays in force")),
    ],
)  # fmt: skip
def test_tags_are_for_people_and_the_account_of_releases(there: tuple[TagRule, ...], step: SetupStep | None) -> None:
    want = wanted(protect=True)
    have = done(want)
    have = replace(have, repos={**have.repos, PROJECT: replace(have.repos[PROJECT], tag_rules=there)})
    assert plan_setup(have, want) == (() if step is None else (step,))


def test_a_rule_that_would_win_over_ours_is_removed_from_the_ops_repo() -> None:
    want = wanted(protect=True)
    have = done(want)
    ours = have.repos[OPS].protections
    foreign = (BranchProtection("Main", enable_push=True), BranchProtection("**", enable_push=True))
    have = replace(have, repos={**have.repos, OPS: replace(have.repos[OPS], protections=(*foreign, *ours))})
    assert plan_setup(have, want) == (Unprotect(OPS, "Main"), Unprotect(OPS, "**"))


def test_a_weakened_rule_is_put_right_and_the_step_says_how() -> None:
    want = wanted(protect=True)
    have = done(want)
    rules = tuple(
        replace(rule, required_approvals=0, merge_whitelist_usernames=("dev-bot", "factory-bot"))
        if rule.rule_name == "mai[n]"
        else rule
        for rule in have.repos[OPS].protections
    )
    have = replace(have, repos={**have.repos, OPS: replace(have.repos[OPS], protections=rules)})
    (step,) = plan_setup(have, want)
    assert isinstance(step, Protect)
    assert "required_approvals: 0 instead of 1" in str(step)
    assert "missing vault-bot, not asked for dev-bot" in str(step)


def test_the_first_pass_leaves_branches_open_for_the_seed() -> None:
    steps = plan_setup(Observed(V15, frozenset(), {}), wanted(protect=True).without_protections())
    assert not any(isinstance(step, Protect | Propose | Unprotect) for step in steps)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"approvers": []}, "nobody is listed as approver"),
        ({"approvers": ["dev-bot"]}, "account of the factory is listed as approver"),
        ({"accounts": {**DEFAULT_ACCOUNTS, "reviewer": "dev-bot"}}, "would be dev and reviewer"),
        ({"accounts": {**DEFAULT_ACCOUNTS, "reviewer": "factory-bot"}}, "would be factory and reviewer"),
        ({"accounts": {**DEFAULT_ACCOUNTS, "release": "vault-bot"}}, "would make releases and be vault"),
        ({"accounts": {k: v for k, v in DEFAULT_ACCOUNTS.items() if k != "vault"}}, "no account named for vault"),
    ],
)
def test_what_cannot_be_safe_is_refused(changes: dict[str, object], match: str) -> None:
    with pytest.raises(ConfigInvalid, match=match):
        wanted(**changes)


def test_several_duties_may_share_an_account() -> None:
    shared = {**DEFAULT_ACCOUNTS, "planner": "gardener-bot"}
    steps = plan_setup(Observed(V15, frozenset(), {}), wanted(accounts=shared))
    minted = [step for step in steps if isinstance(step, MintToken) and step.login == "gardener-bot"]
    assert [step.scopes for step in minted] == [("read:repository", "write:issue", "write:repository")]

"""Actions, formulas and policies to begin from: the smallest good ones, and any that can be."""

from __future__ import annotations

import string
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from factory.vault.action import Action, Tier
from factory.vault.formulas import METHODS, POLICY, Host, Param, VaultFormula
from factory.vault.policy import FormulaRule, Policy

T0 = datetime(2026, 11, 21, 8, tzinfo=UTC)
DIGEST = "d" * 64

ACTION = Action(
    id="2026-11-21-release-7f3a", formula="release@1", blast_radius=Tier.LOW, target="release:founder/hello:v1.8.2",
    not_before=T0, expires=T0 + timedelta(hours=48), reason="release 1.8.2", requester="run:r20261121T080000000-0a1b",
    params={"repo": "founder/hello", "tag": "v1.8.2"},
)  # fmt: skip

FORMULA = VaultFormula(
    name="release", version=1, digest=DIGEST, description="Release.", effect_class="A", floor=Tier.LOW,
    params={"repo": Param("repo", "text"), "tag": Param("tag", "name"), "draft": Param("draft", "flag", False)},
    lane=("repo", "tag"),
)  # fmt: skip

RULE = FormulaRule(digest=DIGEST, tier=Tier.LOW)

POLICY_1 = Policy(
    version=1, digest="p" * 64, admins=frozenset({1}), approvers=frozenset({2}), formulas={"release@1": RULE},
    per_day={Tier.LOW: 50, Tier.MEDIUM: 50, Tier.HIGH: 20}, per_requester=20, pending=5, max_ttl_hours=72,
    signed=frozenset(), remember_days=30,
)  # fmt: skip


def policy(**rule: Any) -> Policy:
    """The policy with another rule for the formula."""
    return replace(POLICY_1, formulas={"release@1": replace(RULE, **rule)})


_ids = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])", fullmatch=True)
_secrets = st.lists(st.from_regex(r"[A-Z][A-Z0-9_]{0,8}", fullmatch=True), max_size=3, unique=True).map(tuple)
_texts = st.text(st.sampled_from(string.ascii_letters + string.digits + " \"\\'=#[]{},.:-éßЖ中"), max_size=40)
_moments = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1)).map(  # noqa: DTZ001 - made UTC in the next line
    lambda when: when.replace(microsecond=0, tzinfo=UTC)
)
_lists = st.lists(st.one_of(_texts, st.integers(0, 9)), max_size=3).map(tuple)
_values = st.one_of(_texts, st.booleans(), st.integers(-(2**53), 2**53), _lists)
_refs = st.lists(st.from_regex(r"[a-z]{1,5}/[a-z]{1,5}#[1-9][0-9]{0,3}", fullmatch=True), max_size=3, unique=True)
_targets = st.from_regex(r"[A-Za-z0-9@][A-Za-z0-9@._:/+-]{0,50}", fullmatch=True)


@st.composite
def actions(draw: st.DrawFn) -> Action:
    """Any action that has a file."""
    start = draw(_moments)
    runs = draw(st.integers(1, 5))
    return Action(
        id=draw(_ids), formula=draw(st.from_regex(r"[a-z][a-z0-9-]{0,39}@[1-9][0-9]{0,5}", fullmatch=True)),
        blast_radius=draw(st.sampled_from(Tier)), target=draw(_targets),
        not_before=start, expires=start + timedelta(seconds=draw(st.integers(1, 10**7))), reason=draw(_texts),
        requester=draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:@/-]{0,30}", fullmatch=True)), secrets=draw(_secrets),
        unblocks=tuple(draw(_refs)),
        runs=runs, every_hours=draw(st.integers(1, 24 * 366)) if runs > 1 else 0,
        params=draw(st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,9}", fullmatch=True), _values, max_size=4)),
    )  # fmt: skip


hosts = st.builds(Host, st.sampled_from(METHODS), st.sampled_from(["example.org", "api.test", POLICY]), st.just("/"))


@st.composite
def rulings(draw: st.DrawFn) -> tuple[Action, VaultFormula, Policy, Policy | None, bool]:
    """Arguments of ``policy.ruling``: an action of a formula, under two policies that may or may not name it."""
    action = replace(ACTION, blast_radius=draw(st.sampled_from(Tier)), secrets=draw(_secrets))
    formula = replace(FORMULA, effect_class=draw(st.sampled_from("ABCD")), floor=draw(st.sampled_from(Tier)),
                      hosts=tuple(draw(st.lists(hosts, max_size=3))))  # fmt: skip

    def some() -> Policy:
        rule = replace(RULE, tier=draw(st.sampled_from(Tier)), hosts=tuple(draw(st.lists(hosts, max_size=3))))
        return replace(POLICY_1, formulas={"release@1": rule} if draw(st.booleans()) else {})

    return action, formula, some(), some() if draw(st.booleans()) else None, draw(st.booleans())

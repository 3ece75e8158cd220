"""The policy file, the effective tier, and what formula and policy allow of an action."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.vault.action import Action, Tier
from factory.vault.canonical import MAX_INT, Refused, sha256
from factory.vault.formulas import METHODS, Host, VaultFormula
from factory.vault.policy import MAX_POLICY, PATH, FormulaRule, Inject, Policy, check, hosts, read, ruling
from tests.unit.vault.samples import ACTION, DIGEST, FORMULA, POLICY_1, RULE, policy, rulings
from tests.unit.vault.samples import hosts as any_hosts

LOW, MEDIUM, HIGH = Tier
TEXT = f"""\
v = 1
version = 7
admins = [1, 2]
approvers = [3]
per_requester_day = 4
pending = 6
max_ttl_hours = 48
require_signature = ["high"]
remember_days = 9
cooling_hours = 5
[per_day]
low = 10
high = 0
[formulas."release@1"]
digest = "{DIGEST}"
tier = "medium"
secrets = ["TOKEN"]
hosts = ["GET,POST api.example.org/v1"]
per_day = 5
max_runs = 30
settings = {{ place = "prod" }}
[formulas."release@1".inject."api.example.org"]
secret = "TOKEN"
header = "Authorization"
prefix = "Bearer "
"""


# --- the file ---------------------------------------------------------------------------------------------------------


def test_everything_is_read() -> None:
    assert read(TEXT.encode()) == Policy(
        version=7, digest=sha256(TEXT.encode()), admins=frozenset({1, 2}), approvers=frozenset({3}),
        formulas={"release@1": FormulaRule(
            digest=DIGEST, tier=MEDIUM, secrets=("TOKEN",), per_day=5, max_runs=30, settings={"place": "prod"},
            hosts=(Host("GET", "api.example.org", "/v1"), Host("POST", "api.example.org", "/v1")),
            inject={"api.example.org": Inject("TOKEN", "Authorization", "Bearer ")},
        )},
        per_day={LOW: 10, MEDIUM: 50, HIGH: 0}, per_requester=4, pending=6, max_ttl_hours=48, signed=frozenset({HIGH}),
        remember_days=9, cooling_hours=5,
    )  # fmt: skip


def test_where_it_stands() -> None:
    """Its history is what authority is drawn from: in another place there would be none."""
    assert PATH == "vault/policy.toml"


def test_what_is_not_said() -> None:
    made = read(b"v = 1\nadmins = [1]\napprovers = []\n")
    assert made.formulas == {}
    assert made.per_day == {LOW: 50, MEDIUM: 50, HIGH: 20}
    assert (made.version, made.per_requester, made.pending, made.max_ttl_hours, made.remember_days) == (
        1,
        20,
        5,
        72,
        30,
    )
    assert made.signed == frozenset()
    assert made.cooling_hours == POLICY_1.cooling_hours == 0
    rule = read(f'v = 1\nadmins = [1]\napprovers = []\n[formulas."x@1"]\ndigest = "{DIGEST}"\ntier = "low"\n'.encode())
    assert rule.formulas["x@1"] == FormulaRule(DIGEST, LOW)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("v = 1\n", "v = 2\n", "v must be a whole number from 1 to 1"), ("v = 1\n", "", "v is missing"),
        ("v = 1\n", "v = 1\nmore = 1\n", "more is unknown"),
        ("v = 1\n", "v = true\n", "v must be"), ("v = 1\n", "v = 1.0\n", "v must be"),
        ("version = 7", "version = 0", "version must be"), ("version = 7", "version = true", "version must be"),
        ("version = 7", f"version = {MAX_INT + 1}", "version must be"),
        ("admins = [1, 2]", "admins = []", "nobody is listed"), ("admins = [1, 2]", "", "admins is missing"),
        ("admins = [1, 2]", "admins = [0]", "admins[0] must be"),
        ("admins = [1, 2]", "admins = [true]", "admins[0] must be"),
        ("admins = [1, 2]", 'admins = ["ann"]', "admins[0] must be"),
        ("admins = [1, 2]", "admins = [1, 9]", "account of the factory is listed"),
        ("approvers = [3]", "approvers = [9]", "account of the factory is listed"),
        ("approvers = [3]", "", "approvers is missing"),
        ("approvers = [3]", "approvers = 3", "approvers must be"), ("low = 10", "low = -1", "low must be"),
        ("low = 10", "low = 10001", "low must be"), ("low = 10", "lower = 1", "per_day.lower is unknown"),
        ("[per_day]\nlow = 10\nhigh = 0\n", "per_day = 5\n", "per_day must be a table"),
        ("per_requester_day = 4", "per_requester_day = -1", "per_requester_day must be"),
        ("per_requester_day = 4", "per_requester_day = 10001", "per_requester_day must be"),
        ("pending = 6", "pending = 0", "pending must be"), ("pending = 6", "pending = 1001", "pending must be"),
        ("max_ttl_hours = 48", "max_ttl_hours = 0", "max_ttl_hours must"),
        ("max_ttl_hours = 48", "max_ttl_hours = 745", "max_ttl_hours must"),
        ("remember_days = 9", "remember_days = -1", "remember_days must"),
        ("remember_days = 9", "remember_days = 3651", "remember_days must"),
        ("cooling_hours = 5", "cooling_hours = -1", "cooling_hours must"),
        ("cooling_hours = 5", "cooling_hours = 337", "cooling_hours must"),
        ("cooling_hours = 5", "cooling_hours = true", "cooling_hours must"),
        ('["high"]', '["none"]', "require_signature[0] must be one of high, low, medium"),
        ('["high"]', '"high"', "require_signature must"),
        ('["high"]', "[1]", "require_signature[0] must"),
        ('"release@1"]\ndigest', '"release"]\ndigest', "formulas.'release' is no name"),
        (f'"{DIGEST}"', '"d"', "formulas.release@1.digest must be"),
        (f'digest = "{DIGEST}"\n', "", "formulas.release@1"),
        ('tier = "medium"', 'tier = "none"', "formulas.release@1.tier must be one of"),
        ('tier = "medium"\n', "", "formulas.release@1"), ('"TOKEN"]', '"token"]', "secrets"),
        ('["TOKEN"]', '"TOKEN"', "formulas.release@1"),
        ("GET,POST api", "YELL api", "hosts[0] must be"), ('["GET,POST api.example.org/v1"]', '"GET a"',
        "formulas.release@1"),
        ("per_day = 5", "per_day = -1", "formulas.release@1.per_day must be"),
        ("per_day = 5", "per_day = 10001", "formulas.release@1.per_day must be"),
        ("max_runs = 30", "max_runs = 0", "formulas.release@1.max_runs must be"),
        ("max_runs = 30", "max_runs = 367", "formulas.release@1.max_runs must be"),
        ("max_runs = 30", "max_runs = 30\nlabel = 1", "formulas.release@1.label is unknown"),
        ("settings = { place = \"prod\" }", "settings = 1", "formulas.release@1.settings must be a table"),
        ('secret = "TOKEN"', 'secret = "OTHER"', "inject not valid"),
        ('"Authorization"', '"Bad Header"', "inject.api.example.org.header must be"),
        ('"Authorization"', '"1X"', "header must be"), ('header = "Authorization"\n', "", "formulas.release@1"),
        ('"Authorization"', f'"{"h" * 65}"', "header must be"),
        ('prefix = "Bearer "', 'other = "x"', "formulas.release@1"),
        ('prefix = "Bearer "', 'prefix = "x\\r\\nHost: y"', "inject not valid"),
        ('prefix = "Bearer "', "prefix = 1", "formulas.release@1"),
        ('prefix = "Bearer "', f'prefix = "{"p" * 101}"', "inject not valid"),
    ],
)  # fmt: skip
def test_what_is_not_a_policy(old: str, new: str, words: str) -> None:
    assert old in TEXT
    with pytest.raises(Refused) as raised:
        read(TEXT.replace(old, new, 1).encode(), frozenset({9}))
    assert raised.value.code == "bad-policy"
    assert words in raised.value.words


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version = 7", f"version = {MAX_INT}"), ("version = 7", "version = 1"),
        ("admins = [1, 2]", f"admins = [{MAX_INT}]"),
        ("low = 10", "low = 0"), ("low = 10", "low = 10000"), ("per_requester_day = 4", "per_requester_day = 0"),
        ("per_requester_day = 4", "per_requester_day = 10000"), ("pending = 6", "pending = 1"),
        ("pending = 6", "pending = 1000"),
        ("max_ttl_hours = 48", "max_ttl_hours = 1"), ("max_ttl_hours = 48", "max_ttl_hours = 744"),
        ("remember_days = 9", "remember_days = 0"), ("remember_days = 9", "remember_days = 3650"),
        ("cooling_hours = 5", "cooling_hours = 0"), ("cooling_hours = 5", "cooling_hours = 336"),
        ("per_day = 5", "per_day = 0"),
        ("per_day = 5", "per_day = 10000"), ("max_runs = 30", "max_runs = 1"), ("max_runs = 30", "max_runs = 366"),
        ('["high"]', '["low", "medium", "high"]'), ('["high"]', "[]"), ('"Authorization"', '"X"'),
        ('"Authorization"', f'"{"h" * 64}"'),
        ('prefix = "Bearer "\n', ""), ('prefix = "Bearer "', f'prefix = "{"p" * 100}"'),
        ("v = 1\n", "v = 1\nlogins = {}\n"),
    ],
)  # fmt: skip
def test_bounds_that_still_hold(old: str, new: str) -> None:
    assert old in TEXT
    assert read(TEXT.replace(old, new, 1).encode(), frozenset({9})).version


def test_bytes_that_are_no_file() -> None:
    exact = TEXT.encode() + b"# " + b"x" * (MAX_POLICY - len(TEXT) - 2)
    assert len(exact) == MAX_POLICY == 262144
    assert read(exact)
    with pytest.raises(Refused, match="262145 bytes, more than 262144"):
        read(exact + b"x")
    for bad in (b"\xff", b"x = [", b"a = " + b"[" * 5000):
        with pytest.raises(Refused, match="bad-policy: not TOML"):
            read(bad)


def test_a_text_is_no_list_of_its_letters() -> None:
    for line in ('secrets = "AB"', 'hosts = ""'):
        text = f'v = 1\nadmins = [1]\napprovers = []\n[formulas."x@1"]\ndigest = "{DIGEST}"\ntier = "low"\n{line}\n'
        with pytest.raises(Refused, match=f"{line.split()[0]} must be a list"):
            read(text.encode())


def test_all_problems_are_told_once_and_together() -> None:
    text = 'v = 2\nadmins = ["x"]\napprovers = [9]\nzz = 1\nrequire_signature = 1\n[formulas]\nx = 1\n'
    with pytest.raises(Refused) as raised:
        read(text.encode(), frozenset({9}))
    words = raised.value.words.split("; ")
    assert words == [
        "admins[0] must be a whole number from 1 to 9007199254740992", "formulas.'x' is no name of its form",
        "formulas.x must be a table", "require_signature must be a list", "v must be a whole number from 1 to 1",
        "zz is unknown",
    ]  # fmt: skip


def test_attack_3_an_account_of_the_factory_is_never_listed() -> None:
    for key in ("admins", "approvers"):
        with pytest.raises(Refused, match="account of the factory"):
            read("v = 1\nadmins = [1]\napprovers = []\n".replace(f"{key} = [", f"{key} = [9, ").replace(", ]",
            "]").encode(),
                 frozenset({9}))  # fmt: skip


def test_whose_approval_counts() -> None:
    assert POLICY_1.bench(LOW) == POLICY_1.bench(MEDIUM) == {1, 2}
    assert POLICY_1.bench(HIGH) == {1}


# --- the tier ---------------------------------------------------------------------------------------------------------


def tier(action: Action = ACTION, formula: VaultFormula = FORMULA, now: Policy = POLICY_1,
base: Policy | None = POLICY_1,
         repeated: bool = False) -> tuple[Tier, tuple[str, ...]]:  # fmt: skip
    made = ruling(action, formula, now, base, repeated=repeated)
    return made.tier, made.reasons


def test_nothing_that_lifts_it_is_low() -> None:
    assert tier() == (LOW, (
        "release@1 is at least low", "the request says low", "the policy says low",
        "the policy at the request's beginning says low",
    ))  # fmt: skip


@pytest.mark.parametrize(
    ("change", "expected", "words"),
    [
        ({"action": replace(ACTION, blast_radius=MEDIUM)}, MEDIUM, "the request says medium"),
        ({"action": replace(ACTION, blast_radius=HIGH)}, HIGH, "the request says high"),
        ({"formula": replace(FORMULA, floor=MEDIUM)}, MEDIUM, "release@1 is at least medium"),
        ({"formula": replace(FORMULA, floor=HIGH)}, HIGH, "release@1 is at least high"),
        ({"now": policy(tier=MEDIUM)}, MEDIUM, "the policy says medium"),
        ({"now": policy(tier=HIGH)}, HIGH, "the policy says high"),
        ({"now": replace(POLICY_1, formulas={})}, HIGH, "the policy does not name it"),
        ({"base": policy(tier=MEDIUM)}, MEDIUM, "the policy at the request's beginning says medium"),
        ({"base": policy(tier=HIGH)}, HIGH, "the policy at the request's beginning says high"),
        ({"base": replace(POLICY_1, formulas={})}, HIGH, "the policy at the request's beginning does not name it"),
        ({"base": None}, HIGH, "the policy at the request's beginning does not name it"),
        ({"formula": replace(FORMULA, effect_class="B")}, MEDIUM, "repeating it is not harmless by itself (class B)"),
        ({"formula": replace(FORMULA, effect_class="C")}, MEDIUM, "repeating it is not harmless by itself (class C)"),
        ({"formula": replace(FORMULA, effect_class="D")}, HIGH,
        "it can neither be repeated nor looked at afterwards (class D)"),
        ({"action": replace(ACTION, secrets=("A", "B"))}, MEDIUM, "it uses the secret A"),
        ({"formula": replace(FORMULA, hosts=(Host("POST", "a"),))}, MEDIUM, "it sends to other hosts"),
        ({"formula": replace(FORMULA, hosts=(Host("GET", "a"), Host("HEAD", "a")))}, LOW, "the request says low"),
        ({"formula": replace(FORMULA, hosts=(Host("PUT", "policy"),)), "now": policy(hosts=(Host("PUT", "a"),))},
        MEDIUM,
         "it sends to other hosts"),
        ({"repeated": True}, MEDIUM, "the same was done within 30 days"),
    ],
)  # fmt: skip
def test_each_reason_lifts_it(change: dict[str, Any], expected: Tier, words: str) -> None:
    got, reasons = tier(**change)
    assert got is expected
    assert words in reasons
    if expected is not LOW:
        assert [reason for reason in reasons if reason.endswith("low")] == [] or "repeated" in change


@pytest.mark.parametrize("effect", ["create_tag", "create_release", "upload_asset", "publish_site", "promote_file"])
def test_what_others_see_is_never_low(effect: str) -> None:
    assert tier(formula=replace(FORMULA, effects=(effect,))) == (MEDIUM, ("others see what it does",))
    assert tier(formula=replace(FORMULA, effects=("file_pending", effect))) == (MEDIUM, ("others see what it does",))


def test_what_nobody_else_sees_may_be_low() -> None:
    assert tier(formula=replace(FORMULA, effects=("file_pending",)))[0] is LOW


def test_the_same_again_rises_by_one_and_no_further() -> None:
    assert tier(repeated=True)[0] is MEDIUM
    assert tier(action=replace(ACTION, blast_radius=MEDIUM), repeated=True) == (
        HIGH, ("the same was done within 30 days", "the request says medium")
    )  # fmt: skip
    assert tier(action=replace(ACTION, blast_radius=HIGH), repeated=True) == (HIGH, ("the request says high",))


def test_reasons_are_all_those_of_the_highest_and_none_twice() -> None:
    both = tier(action=replace(ACTION, blast_radius=MEDIUM, secrets=("A",)), formula=replace(FORMULA, effect_class="B"))
    assert both == (
        MEDIUM,
        ("the request says medium", "repeating it is not harmless by itself (class B)", "it uses the secret A"),
    )


@given(rulings(), st.sampled_from(["secret", "host", "declared", "floor", "class", "repeated", "policy", "base",
"no base", "unnamed"]),
       any_hosts, st.sampled_from(METHODS))  # fmt: skip
def test_adding_never_lowers_a_tier(case: Any, more: str, host: Host, method: str) -> None:
    """Of rule R6: whatever is added to a request, its formula, or asked of the policy, the tier does not fall."""
    action, formula, now, base, repeated = case
    before = ruling(action, formula, now, base, repeated=repeated).tier
    if more == "secret":
        action = replace(action, secrets=(*action.secrets, "ZZ_MORE"))
    elif more == "host":
        formula = replace(formula, hosts=(*formula.hosts, replace(host, method=method)))
    elif more == "declared":
        action = replace(action, blast_radius=Tier(min(action.blast_radius + 1, 3)))
    elif more == "floor":
        formula = replace(formula, floor=Tier(min(formula.floor + 1, 3)))
    elif more == "class":
        formula = replace(formula, effect_class="ABCD"[min("ABCD".index(formula.effect_class) + 1, 3)])
    elif more == "repeated":
        repeated = True
    elif more in ("policy", "base"):
        raised = {
            key: replace(rule, tier=Tier(min(rule.tier + 1, 3)), hosts=(*rule.hosts, host))
            for key, rule in (now if more == "policy" or base is None else base).formulas.items()
        }
        now, base = (
            (replace(now, formulas=raised), base)
            if more == "policy"
            else (now, base and replace(base, formulas=raised))
        )
    elif more == "no base":
        base = None
    else:
        now = replace(now, formulas={})
        # Without a rule there are no hosts of the policy either: what stays must still not be lower.
    assert ruling(action, formula, now, base, repeated=repeated).tier >= before


@given(rulings())
def test_attack_24_no_input_is_above_the_result(case: Any) -> None:
    action, formula, now, base, repeated = case
    made = ruling(action, formula, now, base, repeated=repeated)
    for other in (now, base):
        assert made.tier >= (other.formulas["release@1"].tier if other is not None and other.formulas else HIGH)
    assert made.tier >= max(action.blast_radius, formula.floor)
    assert made.reasons
    if formula.effect_class == "D":
        assert made.tier is HIGH
    if (
        formula.effect_class != "A"
        or action.secrets
        or not all(h.method in ("GET", "HEAD") for h in hosts(formula, now))
    ):
        assert made.tier >= MEDIUM


# --- hosts and the check ----------------------------------------------------------------------------------------------


def test_hosts_are_the_formulas_own_and_where_it_says_so_the_policys_of_its_methods() -> None:
    own, named = Host("GET", "own.org"), (Host("GET", "a.org"), Host("POST", "b.org"), Host("PUT", "c.org"))
    with_policy = replace(FORMULA, hosts=(own, Host("GET", "policy"), Host("PUT", "policy")))
    assert hosts(with_policy, policy(hosts=named)) == (own, named[0], named[2])
    assert hosts(replace(FORMULA, hosts=(own,)), policy(hosts=named)) == (own,)
    assert hosts(with_policy, replace(POLICY_1, formulas={})) == (own,)


def found(action: Action = ACTION, formula: VaultFormula = FORMULA, now: Policy = POLICY_1) -> list[tuple[str, str]]:
    return [(f.code, f.key) for f in check(action, formula, now)]


def test_the_sample_is_allowed() -> None:
    assert found() == []


def test_what_the_policy_does_not_allow() -> None:
    assert found(now=replace(POLICY_1, formulas={})) == [("unknown-formula", "formula")]
    assert found(now=policy(digest="e" * 64)) == [("formula-digest", "formula")]
    assert found(formula=replace(FORMULA, version=2)) == [("unknown-formula", "formula")]
    assert found(replace(ACTION, target="x"), now=replace(POLICY_1, formulas={})) == [
        ("unknown-formula", "formula"), ("wrong-target", "target"),
    ]  # fmt: skip
    assert found(replace(ACTION, runs=2, every_hours=1)) == [("too-many-runs", "runs")]
    assert found(replace(ACTION, runs=2, every_hours=1), now=policy(max_runs=2)) == []


def test_attack_31_a_secret_must_be_both_the_formulas_and_the_policys() -> None:
    wants = replace(ACTION, secrets=("A", "B"))
    for own, given_, bad in (
        (("A", "B"), ("A", "B"), []), (("A", "B"), ("A",), ["B"]), (("A", "B", "C"), ("C",), ["A", "B"]),
        (("policy",), ("A", "B"), []), (("policy",), ("A",), ["B"]), (("policy", "B"), ("A",), ["B"]),
    ):  # fmt: skip
        findings = check(wants, replace(FORMULA, secrets=own), policy(secrets=given_))
        assert [f.code for f in findings] == ["secret-not-allowed"] * len(bad)
        assert [f.message for f in findings] == [f"{name} is not for release@1" for name in bad]
    many = tuple("HGFEDCBA")
    findings = check(replace(ACTION, secrets=many), replace(FORMULA, secrets=("policy",)), POLICY_1)
    assert [f.message for f in findings] == [f"{name} is not for release@1" for name in sorted(many)]
    (finding,) = check(
        replace(ACTION, secrets=("A",)), replace(FORMULA, secrets=("policy",)), policy(secrets=("C", "B"))
    )
    assert finding.hint == "formula and policy both allow C, B"
    (finding,) = check(replace(ACTION, secrets=("A",)), replace(FORMULA, secrets=("policy",)), POLICY_1)
    assert finding.hint == "formula and policy both allow none"
    only = found(wants, replace(FORMULA, secrets=("A",)), policy(secrets=("A", "B")))
    assert only == [("secret-not-allowed", "secrets")], "the policy cannot give what is not the formula's"


def test_attack_31_secrets_by_exact_name() -> None:
    formula, given_ = replace(FORMULA, secrets=("A_KEY", "B_KEY")), policy(secrets=("A_KEY", "B_KEY"))
    assert found(replace(ACTION, secrets=("A_KEY", "B_KEY")), formula, given_) == []
    findings = check(replace(ACTION, secrets=("C_KEY", "A_KE", "A_KEY")), formula, given_)
    assert [f.message for f in findings] == ["A_KE is not for release@1", "C_KEY is not for release@1"]


def test_how_long_a_request_may_live() -> None:
    start = ACTION.not_before
    exact = replace(ACTION, expires=start + timedelta(hours=72))
    assert found(exact) == []
    assert found(replace(exact, expires=exact.expires + timedelta(seconds=1))) == [("too-long", "expires")]
    row = replace(ACTION, runs=3, every_hours=100, expires=start + timedelta(hours=272))
    assert found(row, now=policy(max_runs=3)) == [], "counted from the last start"
    assert found(replace(row, expires=row.expires + timedelta(hours=1)), now=policy(max_runs=3)) == [
        ("too-long", "expires")
    ]


def test_the_rule_is_what_the_policy_says_of_exactly_that_version() -> None:
    assert RULE.digest == DIGEST
    assert found(now=replace(POLICY_1, formulas={"release@10": RULE})) == [("unknown-formula", "formula")]

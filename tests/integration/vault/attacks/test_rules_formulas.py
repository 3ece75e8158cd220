"""Rules about formulas, each broken once: what others see is never low, and what replaces a packaged one says which."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from factory.vault import gather, policy
from factory.vault.canonical import Refused, sha256
from factory.vault.run.effects import EFFECTS
from factory.vault.verify import Case, decide
from tests.integration.vault.attacks.blind import Blind
from tests.integration.vault.attacks.register import RUNS, Seen, rule
from tests.integration.vault.attacks.sample import sample_action, sample_case
from tests.integration.vault.house import FACTORY_BOT, TIERS, House, formula_bytes, policy_bytes


def low(*effects: str) -> Case:
    """A formula of an ops repo's own that calls itself harmless, which the policy calls low, on the branch for that."""
    case = sample_case("alpha", sample_action("alpha"))
    assert case.formula is not None
    pulls = tuple(replace(pull, base="auto", reviews=()) for pull in case.pulls)
    return replace(case, base="auto", pulls=pulls, formula=replace(case.formula, effects=effects))


@rule("Publishing a site, and whatever else others see, is never low", vault="wrong-branch",
      check="an effect of the host that others see lifts the tier to medium")  # fmt: skip
@pytest.mark.parametrize("effect", sorted(policy.SEEN))
def test_rule_what_others_see_is_never_low(off: Blind, effect: str) -> Seen:
    with pytest.raises(Refused) as refused:
        decide(low(effect))
    off.patch.setattr(policy, "SEEN", frozenset())
    return Seen("-", refused.value.code, RUNS if decide(low(effect)).ruling.tier.word == "low" else "")


def test_every_effect_of_the_host_is_seen_but_a_file_for_a_person() -> None:
    assert set(EFFECTS) - policy.SEEN == {"file_pending", "file_evidence"}
    for unseen in ("file_pending", "file_evidence"):
        assert decide(low(unseen)).ruling.tier.word == "low"


def override(house: House, formula: bytes) -> None:
    """An admin approved this formula and the policy that names its digest."""
    rules = policy_bytes(2, TIERS, formulas=lambda name: formula if name == "gamma" else formula_bytes(name))
    pull = house.open(house.action())
    house.git.run("update-ref", "-d", f"refs/heads/{house_branch(house)}")
    head = house.commit({"formulas/gamma.toml": formula, "vault/policy.toml": rules}, house.ref("heads/main"))
    house.ref(f"pull/{pull.number}/head", head)
    house.pulls_[pull.number] = replace(pull, head_sha=head, poster=FACTORY_BOT)
    house.merge(house.review(house.pulls_[pull.number]))
    dispatcher, _ = house.dispatcher("adopter")
    dispatcher.turn()
    assert len(dispatcher.ledger.trust) == 2


def house_branch(house: House) -> str:
    names = house.git.run("for-each-ref", "--format=%(refname)", "refs/heads/vault/").decode().split()
    return names[0].removeprefix("refs/heads/")


@rule("A formula that replaces a packaged one says of which version; after an upgrade it is refused",
      vault="formula-override", check="its line overrides is the digest of the packaged one there is now")  # fmt: skip
def test_rule_an_override_of_another_version_is_refused(tmp_path: Path, off: Blind) -> Seen:
    packaged = formula_bytes("gamma") or b""
    mine = packaged.replace(b"Stands for any formula.", b"Does it our way.")
    said = {name: f'overrides = "{digest}"\n'.encode() for name, digest in (
        ("right", sha256(packaged)), ("older", sha256(b"the packaged one of an older version")))}  # fmt: skip

    def starts(name: str, formula: bytes) -> tuple[int, str]:
        house = House(tmp_path / name)
        override(house, formula)
        action = house.ask("gamma")
        dispatcher, runner = house.dispatcher()
        dispatcher.turn()
        return len(runner.orders), str(dispatcher.ledger.state(action.id).evidence.get("code", ""))

    assert starts("same", packaged) == (1, ""), "the same bytes are no other version"
    assert starts("right", said["right"] + mine) == (1, "")
    found = {starts("older", said["older"] + mine), starts("none", mine)}
    assert found == {(0, "formula-override")}
    real = gather.must
    off.patch.setattr(gather, "must", lambda good, code, words: real(good or code == "formula-override", code, words))
    return Seen("-", "formula-override", RUNS if starts("off", said["older"] + mine) == (1, "") else "")

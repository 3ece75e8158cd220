"""Rules about how people decide, each tried once: by a form or a review and in no other way."""

from __future__ import annotations

import httpx
import pytest

from factory.forge.values import CheckState
from factory.vault import authority, gather
from factory.vault.ledger import Ledger
from tests.integration.vault.attacks.blind import Blind
from tests.integration.vault.attacks.browsing import sign_in
from tests.integration.vault.attacks.keep import APPROVER, DEV, FACTORY, FOUNDER, VAULT, Asked, Keep
from tests.integration.vault.attacks.raid import effects, raid
from tests.integration.vault.attacks.register import RUNS, Seen, held, rule

WAYS = ("", "/review", "/reviews", "/merge", "/update", "/files", "/commits")
ASKING: tuple[dict[str, str], ...] = (
    {}, {"event": "APPROVED", "state": "approve", "kind": "approve", "body": "x"},
    {"Do": "merge", "style": "merge", "_method": "POST", "confirm": "1"},
)  # fmt: skip


@rule("Nothing is approved or merged by a GET: a link, a picture or a chat's preview decides nothing", forge="blocks",
      vault="no-approval", check="an approval is a review of a person in the forge's own record")  # fmt: skip
def test_rule_no_approval_by_a_get(own: Keep, off: Blind) -> Seen:
    """Every address about the request, opened by an admin: with the admin's token, and in the admin's browser."""
    own.broken_into("it is about the pages of the embedded forge")

    def opened(asked: Asked) -> None:
        root = f"/repos/{own.ops}/pulls/{asked.number}"
        before = own.site.client(FOUNDER).pull(own.ops, asked.number)
        for way in WAYS:
            for query in ASKING:
                own.site.call("GET", f"{root}{way}", who=FOUNDER, **{**query, "commit_id": asked.head})
        with httpx.Client(base_url=own.site.url, timeout=20, trust_env=False, follow_redirects=True) as browser:
            login = own.site.login(FOUNDER)
            sign_in(browser, own.site.url, login, own.site.passwords[login])
            for way in WAYS:
                for query in ASKING:
                    browser.get(f"/{own.ops}/pulls/{asked.number}{way}", params={**query, "commit": asked.head})
        assert own.site.client(FOUNDER).reviews(own.ops, asked.number) == []
        assert own.site.client(FOUNDER).pull(own.ops, asked.number) == before

    def act() -> str:
        asked = own.ask(own.action("gamma"))
        opened(asked)
        own.said.append("nothing was approved")
        own.merged(asked)
        return asked.id

    return raid(own, act, off.approval)


@rule("A status, whoever posts it, says nothing to the vault", forge="blocks", vault="no-approval",
      off="cannot: no code of the vault reads statuses", check="an approval is a review of a person")  # fmt: skip
@pytest.mark.parametrize("who", [DEV, FACTORY, VAULT])
def test_rule_statuses_say_nothing(keep: Keep, who: str) -> Seen:
    """Every context green, also those of others."""
    asked = keep.ask(keep.action("gamma"))
    if who != DEV:
        for context in ("factory/ci", "vault", "approved", "review"):
            body = {"context": context, "state": CheckState.SUCCESS.value, "description": "approved"}
            path = f"/repos/{keep.ops}/statuses/{asked.head}"
            keep.site.client(who).send("POST", path, doing="saying so", body=body)
    forge = "blocks" if not keep.merge(asked) else "allows"
    keep.force(asked)
    assert effects(keep, asked.id) == 0
    code = str(keep.dispatch().ledger.state(asked.id).evidence["code"])
    return Seen(forge, code, "cannot: no code of the vault reads statuses")


held("A required check counts only from the account that it names, by its number",
     "tests/unit/plan/test_pulls.py::test_a_status_from_another_id_under_our_login_does_not_count",
     vault="it is left out, and reported",
     off="cannot here: that is the factory's merge of a project; the vault reads no checks",
     check="who posted a status is compared by account id")  # fmt: skip


@rule("Approvers and admins are people: a policy that lists an account of the factory is none", forge="allows",
      vault="the policy stays as it was",
      check="no account that GENESIS names is listed, and none of them approves")  # fmt: skip
def test_rule_approvers_and_admins_are_people(own: Keep, off: Blind) -> Seen:
    """By a change that an admin approved, who took the account for a colleague's."""
    for version, lists in enumerate(({"admins": (FOUNDER, FACTORY)}, {"approvers": (APPROVER, FACTORY)}), 2):
        own.edit({"vault/policy.toml": own.policy(version, **lists)})
        served = own.dispatch()
        served.turn()
        assert "does not count: an account of the factory is listed" in served.program.said
        assert len(served.ledger.trust) == 1
        own.edit({"vault/policy.toml": own.policy()})  # as it was
    off.patch.setattr(authority, "bots", nobody)
    off.patch.setattr(gather, "bots", nobody)
    off.review("official")  # as where the forge's own list of who may approve names it, too
    own.edit({"vault/policy.toml": own.policy(4, admins=(FOUNDER, FACTORY))})
    asked = own.ask(own.action("gamma"))
    own.review(asked, FACTORY)
    own.merged(asked)
    ran = effects(own, asked.id) == 1
    return Seen("allows", "the policy stays as it was", RUNS if ran else str(own.dispatch().ledger.state(asked.id)))


def nobody(ledger: Ledger) -> frozenset[int]:
    return frozenset()

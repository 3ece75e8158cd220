"""Rules about the emergency brake: who may pull it, and that it holds where the forge does not answer."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from factory.app import vault_settling
from factory.app.deployment import Deployment
from factory.app.vault_opening import Vault
from factory.app.vault_settling import Said, freeze, unfreeze
from factory.errors import ForgeRefused, PolicyDenied, UsageError
from factory.vault.ledger import Entry, Ledger
from factory.vault.people.settling import Word
from factory.vault.watch import frozen
from tests.integration.vault.attacks.blind import Blind
from tests.integration.vault.attacks.keep import APPROVER, FOUNDER, OUTSIDER, Asked, Keep
from tests.integration.vault.attacks.raid import effects
from tests.integration.vault.attacks.register import RUNS, Seen, rule

ANYBODY = "it happens: anybody freezes it"
NOWHERE = "http://127.0.0.1:9"
"""Nobody listens there."""


def said(keep: Keep, who: str, why: str) -> Said:
    return Said(why, keep.site.tokens[keep.site.login(who)])


def ready(keep: Keep) -> Asked:
    """A low action that starts with the next turn."""
    asked = keep.ask(keep.action("alpha"), "auto")
    keep.merged(asked)
    return asked


@rule("A vault is frozen by the word of every admin and approver, and of nobody else; only an admin lets it go on",
      forge="allows", vault="it goes on", off=ANYBODY, check="who says it is listed by the policy in force")
def test_rule_who_freezes(own: Keep, monkeypatch: pytest.MonkeyPatch) -> Seen:
    there, folder = own.host.deployment, own.host.folder
    assert effects(own, ready(own).id) == 1
    for who in (APPROVER, FOUNDER):
        told = freeze(there, said(own, who, "a key has leaked"))
        assert (told["by"], told["told"], told["was"]) == (own.site.login(who), True, "")
        assert own.ledger().frozen == f"{own.site.login(who)} says: a key has leaked"
        assert frozen.words(folder) == "", "the ledger knows"
        again = freeze(there, said(own, who, "once more"))
        assert again["was"] == own.ledger().frozen
        waits = ready(own)
        assert effects(own, waits.id) == 0
        with pytest.raises(PolicyDenied, match="as an admin"):
            unfreeze(there, said(own, APPROVER, "it is fine"))
        unfreeze(there, said(own, FOUNDER, "the key is changed"))
        assert effects(own, waits.id) == 1
    with pytest.raises(UsageError, match="the ledger keeps why"):
        freeze(there, said(own, FOUNDER, " "))
    with pytest.raises(PolicyDenied, match="as an admin or an approver"):
        freeze(there, said(own, OUTSIDER, "nobody shall work"))
    with pytest.raises(ForgeRefused):
        freeze(there, Said("with somebody's token", "0" * 40))
    assert (frozen.words(folder), own.ledger().frozen) == ("", "")
    assert effects(own, ready(own).id) == 1

    def anybody(vault: Vault, doing: str, said: Said, *, approver: bool = False) -> Word:
        return Word("anybody", 1, said.reason, vault.now, "host")

    monkeypatch.setattr(vault_settling, "word_of", anybody)
    freeze(there, said(own, OUTSIDER, "nobody shall work"))
    return Seen("allows", "it goes on", ANYBODY if effects(own, ready(own).id) == 0 else "")


@rule("Where the forge does not answer whoever freezes, this host stops all the same: over restarts, and the ledger is "
      "told as soon as it can be", vault="frozen", check="this host keeps that it is frozen until the ledger knows")
def test_rule_frozen_where_the_forge_does_not_answer(own: Keep, off: Blind) -> Seen:
    """The person's command gets no answer; the dispatcher's next question does."""
    served, folder = own.dispatch(), own.host.folder
    assert effects(own, ready(own).id) == 1

    def stopped() -> str:
        """What it says; something is ready to start."""
        with closing(Deployment(replace(own.host.deployment.host, forge_url=NOWHERE))) as away:
            told = freeze(away, said(own, APPROVER, "a key has leaked"))
        assert (told["told"], told["by"]) == (False, "")
        assert told["trouble"]
        return frozen.words(folder)

    waits = ready(own)
    words = stopped()
    assert words == "somebody on host says: a key has leaked"
    served.end()
    assert effects(own, waits.id) == 0, "another process of this host"
    assert (own.ledger().frozen, frozen.words(folder)) == (words, ""), "the ledger knows, so other hosts do"
    own.run(2)
    assert effects(own, waits.id) == 0
    unfreeze(own.host.deployment, said(own, FOUNDER, "the key is changed"))
    assert effects(own, waits.id) == 1
    off.patch.setattr(frozen, "words", nothing)
    served.turn()  # it is to be the one that does not look, when the command wakes it
    waits = ready(own)
    with closing(Deployment(replace(own.host.deployment.host, forge_url=NOWHERE))) as away:
        freeze(away, said(own, APPROVER, "a key has leaked"))
    return Seen("-", "frozen", RUNS if effects(own, waits.id) == 1 else "")


def nothing(folder: Path) -> str:
    return ""


def test_where_the_dispatcher_was_first_to_tell_the_ledger_it_is_told(
    own: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks at what this host keeps, and may do so between the command's look at the ledger and its entry."""
    assert effects(own, ready(own).id) == 1
    really, looks = vault_settling.stopped, list[str]()

    def overtaken(ledger: Ledger, word: Word) -> tuple[Entry, ...]:
        wanted = really(ledger, word)
        if not looks:
            own.dispatch().turn()
        looks.append(ledger.frozen)
        return wanted

    monkeypatch.setattr(vault_settling, "stopped", overtaken)
    told = freeze(own.host.deployment, said(own, APPROVER, "a key has leaked"))
    words = f"{own.site.login(APPROVER)} says: a key has leaked"
    assert looks == ["", words]
    assert (told["told"], told["trouble"]) == (True, "")
    assert own.ledger().frozen == words
    assert frozen.words(own.host.folder) == ""

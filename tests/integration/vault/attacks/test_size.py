"""Attacks by sheer size on what the dispatcher has to fetch."""

from __future__ import annotations

import random

from factory.app import dispatcher
from tests.integration.vault.attacks.blind import Blind
from tests.integration.vault.attacks.keep import Keep
from tests.integration.vault.attacks.register import Seen, attack

STAYS = "nothing starts, and it is told"


@attack(23, "A pack that is to fill the dispatcher's disk", forge="allows", vault=STAYS,
        check="no file that it or its git writes grows beyond a bound")  # fmt: skip
def test_attack_23_a_pack_that_fills_the_disk(own: Keep, off: Blind) -> Seen:
    assert dispatcher.FILE_BYTES == 2**30
    real = dispatcher.FILE_BYTES
    off.patch.setattr(dispatcher, "FILE_BYTES", 2**19)  # the bound holds at any number
    asked = own.ask(own.action("gamma"))
    own.review(asked)
    own.merged(asked)
    own.edit({"evidence/large.bin": random.Random(23).randbytes(2**20)})
    served, runs = own.dispatcher()
    served.turn()
    assert runs.orders == []
    assert "git fetch" in served.trouble, served.trouble
    off.patch.setattr(dispatcher, "FILE_BYTES", real)
    served.turn()
    assert [order.id for order in runs.orders] == [asked.id], served.trouble
    return Seen("allows", STAYS)

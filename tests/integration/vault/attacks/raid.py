"""An attack carried out twice: the vault refuses it; with the check off, it has its effect."""

from __future__ import annotations

from collections.abc import Callable

from tests.integration.vault.attacks.keep import Keep
from tests.integration.vault.attacks.register import RUNS, Forge, Seen


def raid(keep: Keep, act: Callable[[], str], off: Callable[[], object]) -> Seen:
    """``act`` carries it out and names the action; ``off`` switches the check off."""
    forge, code = refused(keep, act)
    off()
    id = act()
    assert effects(keep, id) == 1, (keep.dispatch().alarms, keep.dispatch().ledger.state(id))
    return Seen(forge, code, RUNS)


def refused(keep: Keep, act: Callable[[], str]) -> tuple[Forge, str]:
    """What the forge did, and the code with which the vault refused."""
    keep.said.clear()
    id = act()
    forge: Forge = "blocks" if keep.said else "allows"
    assert effects(keep, id) == 0
    state = keep.dispatch().ledger.state(id)
    assert state.kind in ("REFUSED", "REVOKED"), (state, keep.dispatch().alarms)
    return forge, str(state.evidence["code"])


def effects(keep: Keep, id: str) -> int:
    """How often the action started when the module's dispatcher has had a turn: as written down behind its runner's
    port, and each of these runs stands on the forge's ledger as STARTED."""
    keep.dispatch().turn()
    runs = [order for order in keep.runner().orders if order.id.partition("+")[0] == id and not order.probe]
    started = {entry.run for order in runs for entry in keep.entries(order.id) if entry.kind == "STARTED"}
    assert {order.run for order in runs} <= started, "nothing starts before its STARTED stands on the ledger"
    return len(runs)

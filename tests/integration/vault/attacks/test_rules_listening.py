"""Rules about who can reach what listens here, each broken once: from another address than the loopback one."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.integration.vault.attacks.keep import FOUNDER, Asked, Keep
from tests.integration.vault.attacks.register import Seen, held, rule
from tests.integration.vault.attacks.test_rules_pages import broken

TO_ALL = ("-m", "factory.devforge", "--host", "0.0.0.0")
"""As a host that wants it says."""


OTHERS = ("127.0.0.2", "127.255.255.254", "[::1]")
"""Addresses of this machine that are not the one which is bound; no test asks for one that the network could answer.
What is bound to 127.0.0.1 is out of reach under each of its other addresses alike."""


def from_afar(browser: httpx.Client, keep: Keep, asked: Asked) -> httpx.Response:
    """Somebody in the network has the token of an admin, and says that it is the forge's own name that was asked."""
    del browser
    headers = {"Authorization": f"token {keep.site.tokens[keep.site.login(FOUNDER)]}",
               "Host": keep.site.url.rpartition("/")[2]}  # fmt: skip
    body = {"event": "APPROVED", "commit_id": asked.head, "body": ""}
    answers = []
    with httpx.Client(timeout=20, trust_env=False, headers=headers) as far:
        for one in OTHERS:
            url = f"http://{one}:{keep.site.url.rpartition(':')[2]}"
            try:
                answers.append(far.post(f"{url}/api/v1/repos/{keep.ops}/pulls/{asked.number}/reviews", json=body))
            except httpx.ConnectError as error:
                keep.said.append(str(error))
    return next(iter(answers), httpx.Response(503, text="nobody is there"))


@rule("The embedded forge listens on loopback unless the host says otherwise: nobody in the network gets to it",
      forge="blocks", vault="no-approval", check="it is bound to 127.0.0.1")  # fmt: skip
def test_rule_the_forge_is_for_this_machine_alone(own: Keep, tmp_path: Path) -> Seen:
    return broken(own, TO_ALL, from_afar, tmp_path / "open")


held("All that factory up starts listens on loopback or on Unix sockets: forge, operator pages, gateway, the vault",
     "tests/integration/cli/test_up_ends.py::test_what_it_starts_listens_on_loopback_alone", forge="blocks",
     vault="nobody in the network gets to it", check="each of them is bound to 127.0.0.1 or to a Unix socket",
     off="cannot here: the forge's own row shows it without")  # fmt: skip

"""A canary that a run was given on a descriptor, in twelve encodings, through eight channels: where each of them ends.

``python -m tests.integration.vault.run.leaks`` runs them all and writes docs/reference/vault-leaks.md; a test does the
same and compares. A cell is what was seen, and is only there if the canary reached neither git nor the forge.
"""

from __future__ import annotations

import base64
import gzip
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from factory.forge.client import ForgejoClient
from factory.testing.forge_process import ForgeProcess
from factory.vault.formulas import VaultFormula
from factory.vault.ledger import Entry, State
from factory.vault.people.telling import comment, result_of
from factory.vault.ports import Order, Outcome
from factory.vault.run.encodings import ENCODINGS
from factory.vault.run.inside import layout
from factory.vault.run.redact import Redactor
from factory.vault.run.result import KEPT_BACK
from tests.integration.vault.run.conftest import Tried
from tests.integration.vault.run.house import CANARY, INSTANCE, NOW, House, Outside, formula, token
from tests.integration.vault.run.shop import REPO, Shop, view_of

ROOT = Path(__file__).parents[4]
PAGE = ROOT / "docs" / "reference" / "vault-leaks.md"
CHANNELS = ("stdout", "result field", "file name", "exit code", "error", "tag message", "comment", "log artifact")
ENCODERS = {
    "raw": "t", "base64": "base64.b64encode(b'id:' + v).decode()",
    "base64url": "base64.urlsafe_b64encode(b'id=' + v).decode().rstrip('=')", "base32": "base64.b32encode(v).decode()",
    "hex": "v.hex()", "hex upper": "v.hex().upper()", "percent": "''.join('%%%02x' % b for b in v)",
    "percent twice": "quote(quote(t, safe=''), safe='')", "json": "json.dumps(t)",
    "unicode escapes": "''.join('\\\\u%04x' % ord(c) for c in t)", "reversed": "t[::-1]",
    "gzip base64": "base64.b64encode(gzip.compress(v)).decode()",
}  # fmt: skip
"""As a run's program writes it: ``v`` are the canary's bytes, ``t`` its text."""
LEAK = """
import base64, gzip, io, json, os, sys, tarfile
from urllib.parse import quote
v = os.read(4, 9999)
t = v.decode()
said = {encoder}
name = ''.join(c if c.isalnum() else '_' for c in said)[:200]
print('stdout says', said)
open('{out}/' + name, 'w').write(said)
open('{out}/tag', 'w').write(said)
open('{out}/result.json', 'w').write(json.dumps(dict(
    note='field ' + said, value=dict(x=said), tag=said, title=said, notes=said, message=said, name=name, asset=name)))
if {fail}:
    print('error says', said, file=sys.stderr)
    sys.exit(ord(said[0]))
with tarfile.open('{out}/archive', 'w:gz') as archive:
    archive.addfile(tarfile.TarInfo('nothing'), io.BytesIO())
"""
KEPT, CUT, NONE = "kept back", "cut out", "no way"


def leaky(encoding: str, *, fail: bool) -> VaultFormula:
    code = LEAK.format(encoder=ENCODERS[encoding], out=layout.OUT, fail=fail)
    return formula(code, effects="create_tag create_release upload_asset")


class Hunt:
    """Where the canary could have gone: everything that leaves this host."""

    def __init__(self, shop: Shop, house: House) -> None:
        self.shop, self.house, self.known = shop, house, Redactor()
        self.known.know("CANARY", CANARY)

    def holds(self, *data: str | bytes) -> bool:
        return any(self.known.find(one if isinstance(one, bytes) else one.encode()) for one in data)

    def ledger(self, order: Order, outcome: Outcome) -> tuple[bytes, str]:
        """The entry as it goes into git, and the comment on the pull request."""
        evidence = {"words": outcome.words, "log_sha256": outcome.log_sha256,
                    **{f"result_{key}": text for key, text in outcome.result.items()}}  # fmt: skip
        kind = {"done": "DONE", "clean": "FAILED"}.get(outcome.state, "UNKNOWN")
        entry = Entry(kind, order.id, order.run, INSTANCE, NOW, order.epoch, "d" * 64, evidence)
        state = State(order.id, kind, order.epoch, order.run, INSTANCE, NOW, evidence=evidence, started=NOW)
        return entry.write() + result_of(state, 1, {}).write().encode(), comment(state)

    def forge(self, tag: str) -> list[bytes]:
        """What stands on the forge under this tag: objects, texts, names, bytes of files."""
        found, release = self.shop.bot.tag(REPO, tag), self.shop.bot.release_of(REPO, tag)
        texts = [] if found is None else [found.name.encode(), found.message.encode()]
        if release is not None:
            texts += [release.title.encode(), release.body.encode(), *(asset.name.encode() for asset in release.assets)]
            texts += [self.shop.asset(tag)] if release.assets else []
        return texts


def row(encoding: str, hunt: Hunt) -> dict[str, str]:
    """The eight cells of one encoding. Raises AssertionError where something reached git or the forge."""
    house, tag = hunt.house, f"v1-{ENCODINGS.index(encoding)}"
    house.secrets["CANARY"] = CANARY
    order = house.order(leaky(encoding, fail=False), secrets=("CANARY",), tag=tag, commit=hunt.shop.commit,
                        id=f"2026-11-28-leak-{ENCODINGS.index(encoding)}")  # fmt: skip
    outcome = house.run(order)
    assert outcome.state == "done", house.log(order)
    failing = replace(order, run=token(), formula=leaky(encoding, fail=True))
    failed = house.run(failing)
    plain = house.run(replace(failing, run=token(), formula=formula("exit(1)")))
    cells: dict[str, str] = {}
    for number, (one, end) in enumerate(((order, outcome), (failing, failed))):
        entry, said = hunt.ledger(one, end)
        assert not hunt.holds(entry, said, end.words, *end.result.values())
        assert not hunt.holds(house.log(one))
        cells["log artifact" if number else "stdout"] = KEPT if "[withheld" in house.log(one) else CUT
    on_forge = hunt.forge(tag)
    assert len(on_forge) == 6
    assert not hunt.holds(*on_forge)
    assert (failed.state, failed.words, failed.result) == (plain.state, plain.words, plain.result)
    assert ("error says" in house.log(failing)) == (cells["log artifact"] == CUT)
    kept = outcome.result == {} and outcome.words == f"done; {KEPT_BACK}" and "held CANARY (" in house.log(order)
    return cells | {
        "result field": KEPT if kept else "?", "comment": KEPT if kept else "?", "exit code": NONE, "error": NONE,
        "file name": NONE, "tag message": NONE,
    }  # fmt: skip


def matrix(folder: Path) -> Mapping[str, Mapping[str, str]]:
    """Encoding -> channel -> where it ended; all of them really run, against an embedded forge."""
    with ForgeProcess.start(folder / "forge") as process, Outside().serving() as outside:
        shop = Shop(process.url, ForgejoClient(process.url, uds=process.admin_socket), folder)
        house = House(folder, Tried(), outside, project=view_of(shop, folder), forge=lambda: (shop.bot, "release-bot"))  # type: ignore[arg-type]
        try:
            hunt = Hunt(shop, house)
            found = {encoding: row(encoding, hunt) for encoding in ENCODINGS}
            shop.admin.close()
            everywhere = [path.read_bytes() for path in (folder / "forge").rglob("*") if path.is_file()]
            assert len(everywhere) > 20
            assert not hunt.holds(*everywhere)
            return found
        finally:
            house.close()
            shop.close()


HEAD = """# Where a leaked secret ends

A program in a run was given a canary on a descriptor (the worst case: the broker's secrets never get that far), wrote
it in each of twelve ways, and sent it through each of eight channels. All of it really ran, in bubblewrap and against
an embedded forge; afterwards ledger entries, the files that repeat them, the comment, everything on the forge and every
byte of its database and repos were searched for the canary in all twelve forms.
**0 of {count} reached git or the forge.**

- *{cut}*: it was printed; in the log, which stays on the dispatcher's host (0600), stands the secret's name instead.
- *{kept}*: the piece in which it stood stays behind, the whole result or a piece of the log; that something was kept
  back is told, and which secret in which form stands in the log.
- *{none}*: nothing of the run goes through that channel. Files leave under names of ours, tag and release say what was
  approved, and of 256 exit codes and any error text "its step failed" is told.

What this cannot find: a value enciphered, or spread over many results. Against that stand the typed result, its caps,
and the broker, which keeps a secret out of the sandbox altogether. How much a run says by how it ends is measured
([attack 29](vault-attacks.md)): it is one of four fixed endings, and of its requests one of three fixed texts; hosts,
paths and numbers stay in the log. *When* it ends it chooses itself, and whoever sees the ledger sees that to the
second: of a run of a quarter of an hour that may be ten bits. What a run sends to a host that it may ask is for that
host to read.

The page is written by `python -m tests.integration.vault.run.leaks`; a test runs it all again and compares.

"""


def page(found: Mapping[str, Mapping[str, str]]) -> str:
    """The page's text."""
    count = len(ENCODINGS) * len(CHANNELS)
    rows = [f"| Encoding | {' | '.join(CHANNELS)} |", f"|---|{'---|' * len(CHANNELS)}"]
    rows += [f"| {name} | {' | '.join(found[name][channel] for channel in CHANNELS)} |" for name in ENCODINGS]
    return HEAD.format(count=count, cut=CUT, kept=KEPT, none=NONE) + "\n".join(rows) + "\n"


def encoded(encoding: str) -> bytes:
    """The canary as the run's program writes it."""
    scope = {"v": CANARY, "t": CANARY.decode(), "base64": base64, "gzip": gzip}
    exec("import json\nfrom urllib.parse import quote", scope)
    return str(eval(ENCODERS[encoding], scope)).encode()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        PAGE.write_text(page(matrix(Path(made))), encoding="utf-8")
    print(PAGE.relative_to(ROOT))

"""Writes docs/reference/vault-attacks.md from what the tests of attacks declare.

``python -m tests.integration.vault.attacks.table``. Nothing is run for it. That each line is true is held by its test,
that the page is these lines by ``test_page.py``.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from tests.integration.vault.attacks.register import ROOT, ROWS, RUNS, Row

PAGE = ROOT / "docs" / "reference" / "vault-attacks.md"
HEAD = """# Attacks on the vault, one by one

Every line is a test that carries the attack out on the embedded forge, with the adversary's own account, over its API
or with git. *Forge* says whether the forge itself refuses with the rules that `factory init` sets; where it does, the
test goes on as if it had not (a forge that was broken into, a site admin, a race), and the vault must refuse all the
same. *Check off* says what happens when just that check of the vault is switched off: then the attack has its effect,
or the line says why it cannot. A dash: the forge has no say in it.

What refuses or starts is the program that `factory up` starts for the vault, as a process of its own: its account's
token, its state folder, git and HTTP to the forge, the ledger on its branch, and a sentinel that is a process as well.
What it did is read from outside: from the ledger, from what it says of itself (`factory status`), and from behind its
runner's port, where a start is written down (where a test is about runs, it is had). A check is switched off inside
that process, after it was forked and before its program begins; the program itself has no switch. Where hours pass,
they pass by the clocks that this process reads. Tests without such a process are about a function of bytes or values,
a page, a command, or one git command, or need crashes between two steps; they say so.

Those that are about a forge run on a real Forgejo as well, where one is given: [how, and what was found
there](forgejo-compatibility.md#the-attacks-on-the-vault).

The page is written by `python -m tests.integration.vault.attacks.table`; a test holds it to what the tests declare.
What the codes mean to people stands in [the words of refusals](../../factory/vault/people/words.py).

"""
TITLE = "| # | Attack | Forge | Vault | The check | Check off | Test |\n|---|---|---|---|---|---|---|\n"
RULES = """
## Rules

What holds at the joints, each broken once by a test.

No dispatcher decides anything by a host key: who may write to the ledger is the forge's account for it, and what may
follow is the ledger's own rules. A host key lets an auditor see which host wrote an entry. Which keys count at which
point is on the ledger: GENESIS names the first, KEY_ADD and KEY_REVOKE follow a TRUST in its push and say what the file
at its commit (`vault/secrets/recipients.toml`, of the controlled set) has more and less; the audit compares them with
it. The keys that secrets are encrypted to stand in the same file.

| Rule | Forge | Vault | The check | Check off | Test |
|---|---|---|---|---|---|
"""


def rows() -> list[Row]:
    """All that the modules here declare, attacks by number first."""
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.stem.startswith("test_") or path.stem == "others":
            importlib.import_module(f"tests.integration.vault.attacks.{path.stem}")
    found = {(row.key, row.words, row.test): row for row in ROWS}
    return sorted(found.values(), key=lambda row: (row.key if isinstance(row.key, int) else 100, row.test))


def page() -> str:
    """The page's text."""
    found = rows()
    attacks = [_line(str(row.key), row) for row in found if isinstance(row.key, int)]
    rules = [_line("", row) for row in found if isinstance(row.key, str)]
    return HEAD + TITLE + "".join(attacks) + (RULES + "".join(rules) if rules else "")


def _line(key: str, row: Row) -> str:
    vault = " or ".join(f"`{one}`" for one in row.vault) if row.code else "; ".join(row.vault)
    name = row.test.rpartition("::")[2] or row.test
    link = f"[`{name}`](../../{row.test.partition('::')[0]})"
    off = "**it runs**" if row.off == RUNS else row.off
    words = [row.words, row.forge.replace("-", "–"), vault, row.check, off, link]
    return "| " + " | ".join(word.replace("|", "\\|") for word in ([key, *words] if key else words)) + " |\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {len(rows())} lines")

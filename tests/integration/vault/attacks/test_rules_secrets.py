"""Rules about secrets, each broken once: whose a file is, for whom, which version, and who said that it counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from factory.config.role import load_roles
from factory.errors import ConfigInvalid
from factory.formula.load import load_formula
from factory.formula.model import Context
from factory.git import objects
from factory.session.prompt import context_files
from factory.vault.keys import agekey, opening
from factory.vault.keys.envelope import Envelope
from factory.vault.keys.errors import SecretRefused
from factory.vault.keys.labels import Label, file_of, label_of
from factory.vault.keys.opening import Opener
from tests.integration.vault.attacks.register import RUNS, Seen, rule
from tests.unit.vault.keys.shelves import House, house

PROD, DOCS = b"the key to production", b"the key to the docs"
SITE = "publish-site@1"
QUOTES = "it happens: what is encrypted stands in a prompt"
WORK = """schema = 1
name = "work"
version = 1
role = "dev"
description = "d"
[context]
ops = ["%s"]
[[steps]]
id = "s"
kind = "agent"
prompt = "{{ context.ops | quoted }}"
"""


@pytest.fixture
def here(tmp_path: Path) -> House:
    made = house(tmp_path)
    made.set("PROD", PROD, "release@1")
    made.set("DOCS", DOCS, SITE)
    return made


def opened(here: House, name: str, formula: str, **how: str) -> bytes | str:
    """What a run of the formula gets; or with which code it gets nothing."""
    order = here.order(formula, (name,), **how)
    try:
        return Opener(here.state, here.mirror).secret(name, order)
    except SecretRefused as refused:
        return refused.code


def seen(here: House, asked: Callable[[], bytes | str], code: str, off: Callable[[], object], value: bytes) -> Seen:
    """Refused with that code; with the check off, the value is handed out."""
    assert asked() == code
    off()
    return Seen("-", "the run gets nothing", RUNS if asked() == value else "it gets something else")


def inside(patch: pytest.MonkeyPatch, **facts: object) -> None:
    """What a ciphertext says of itself is not looked at: these facts are taken for it."""
    real = opening.unseal

    def unseal(*args: object) -> Envelope:
        return replace(real(*args), **facts)  # type: ignore[arg-type]

    patch.setattr(opening, "unseal", unseal)


@rule("A secret says inside which one it is: PROD in the place of DOCS is refused", vault="the run gets nothing",
      check="the name inside is that of the place")  # fmt: skip
def test_rule_prod_into_docs(here: House, monkeypatch: pytest.MonkeyPatch) -> Seen:
    """By a change that an admin approved: what lies there is unreadable to who approves it."""
    file = objects.read_file(here.mirror, here.tip, file_of("PROD")) or b""
    label = Label.on("DOCS", 1, (SITE,), (agekey.make(here.state),), file)
    here.write({file_of("DOCS"): file, label_of("DOCS"): label.write()})
    return seen(here, lambda: opened(here, "DOCS", SITE), "secret-swapped",
                lambda: inside(monkeypatch, name="DOCS", formulas=(SITE,)), PROD)  # fmt: skip


@rule("A secret says inside which formulas may have it; a label or a policy that says more gives nothing",
      vault="the run gets nothing",
      check="the formulas inside are those of the label, and the order's is one of them")  # fmt: skip
def test_rule_only_its_formulas(here: House, monkeypatch: pytest.MonkeyPatch) -> Seen:
    assert opened(here, "PROD", SITE) == "secret-formula"
    file = objects.read_file(here.mirror, here.tip, file_of("PROD")) or b""
    formulas = (SITE, "release@1")
    label = Label.on("PROD", 1, formulas, (agekey.make(here.state),), file)
    here.write({label_of("PROD"): label.write()})
    return seen(here, lambda: opened(here, "PROD", SITE), "secret-label",
                lambda: inside(monkeypatch, formulas=formulas), PROD)  # fmt: skip


@rule("A secret says inside which version it is; an older one is not brought back", vault="the run gets nothing",
      check="the newest version that this host opened is remembered")  # fmt: skip
def test_rule_no_older_version(here: House, monkeypatch: pytest.MonkeyPatch) -> Seen:
    old = {path: objects.read_file(here.mirror, here.tip, path) for path in (file_of("PROD"), label_of("PROD"))}
    here.set("PROD", b"another key", "release@1")
    assert opened(here, "PROD", "release@1") == b"another key"
    here.write(old)
    return seen(here, lambda: opened(here, "PROD", "release@1"), "secret-rolled-back",
                lambda: monkeypatch.setattr(Opener, "_remember", lambda *_: None), PROD)  # fmt: skip


@rule("Secrets are of the controlled set: what was pushed since the last TRUST does not count",
      vault="the run gets what was trusted", check="secrets are read at the commit that the ledger names")  # fmt: skip
def test_rule_secrets_as_of_the_last_trust(here: House) -> Seen:
    """A value of the attacker's own, encrypted to the key that everybody knows."""
    trusted = here.tip
    here.set("PROD", b"mine", "release@1")
    assert opened(here, "PROD", "release@1", trust=trusted) == PROD
    off = opened(here, "PROD", "release@1")
    return Seen("-", "the run gets what was trusted", RUNS if off == b"mine" else "it gets something else")


@rule("Secrets are never in a session's view: no formula of a session may quote a file of vault/secrets",
      vault="such a formula is none", off=QUOTES,
      check="what a formula quotes of the ops repo is not below vault/secrets")  # fmt: skip
def test_rule_never_in_a_sessions_view(here: House) -> Seen:
    """All else that a session sees is a clone of the project, from which no token of ours reaches the ops repo."""
    roles = load_roles({}).known

    def loaded(path: str) -> Context:
        return load_formula((WORK % path).encode(), "formulas/work.toml", roles=roles, checks=frozenset()).context

    assert loaded("knowledge/dev/memory.md").ops == ("knowledge/dev/memory.md",)
    for path in (file_of("PROD"), label_of("PROD"), "vault//secrets/PROD.age", "vault/secrets/recipients.toml"):
        with pytest.raises(ConfigInvalid) as refused:
            loaded(path)
        assert "never in a session's view" in refused.value.problems[0].message
    objects.create_ref(here.mirror, "refs/heads/main", here.tip)
    told = context_files(Context(ops=(file_of("PROD"),)), here.mirror, here.tip, here.mirror)
    file = objects.read_file(here.mirror, here.tip, file_of("PROD")) or b""
    quoted = told["ops"] == {file_of("PROD"): file.decode("utf-8", "replace")}
    return Seen("-", "such a formula is none", QUOTES if quoted else "")

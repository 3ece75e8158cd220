"""A run gets a secret only where everything that is said of it agrees. Each way of tampering is named by its code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyrage
import pytest
from pyrage import x25519

from factory.git import objects
from factory.git.values import MODE_EXECUTABLE, MODE_SYMLINK
from factory.vault.keys import agekey
from factory.vault.keys.envelope import MAX_FILE, Envelope, seal
from factory.vault.keys.errors import KeyMissing, SecretRefused
from factory.vault.keys.labels import Label, file_of, label_of
from factory.vault.keys.opening import Opener
from tests.unit.vault.keys.shelves import House, house


@pytest.fixture
def here(tmp_path: Path) -> House:
    made = house(tmp_path)
    made.set("TOKEN", b"prod value")
    made.set("OTHER", b"docs value")
    return made


def refused(here: House, name: str = "TOKEN", formula: str = "release@1", **how: object) -> SecretRefused:
    with pytest.raises(SecretRefused) as raised:
        Opener(here.state, here.mirror).secret(name, here.order(formula, **how))  # type: ignore[arg-type]
    assert b"value" not in str(raised.value).encode()
    assert raised.value.hint
    return raised.value


def read(here: House, path: str) -> bytes:
    data = objects.read_file(here.mirror, here.tip, path)
    assert data is not None
    return data


def test_the_run_it_is_for_gets_it(here: House) -> None:
    assert Opener(here.state, here.mirror).secret("TOKEN", here.order()) == b"prod value"


def test_it_is_read_as_approved_not_as_it_stands_now(here: House) -> None:
    approved = here.tip
    here.write({file_of("TOKEN"): b"junk", label_of("TOKEN"): None})
    assert Opener(here.state, here.mirror).secret("TOKEN", here.order(trust=approved)) == b"prod value"


def test_security_rules_prod_into_docs(here: House) -> None:
    """age ciphertext is unauthenticated: PROD's file and label in DOCS' place."""
    here.write({file_of("OTHER"): read(here, file_of("TOKEN"))})
    assert refused(here, "OTHER").code == "secret-digest"
    label = replace(Label.on("OTHER", 1, ("release@1",), (agekey.make(here.state),), read(here, file_of("OTHER"))))
    here.write({label_of("OTHER"): label.write()})
    assert refused(here, "OTHER").code == "secret-swapped"


def test_without_the_name_inside_the_swap_would_succeed(here: House, monkeypatch: pytest.MonkeyPatch) -> None:
    here.write({file_of("OTHER"): read(here, file_of("TOKEN"))})
    label = Label.on("OTHER", 1, ("release@1",), (agekey.make(here.state),), read(here, file_of("OTHER")))
    here.write({label_of("OTHER"): label.write()})
    from factory.vault.keys import opening

    real = opening.unseal
    monkeypatch.setattr(opening, "unseal", lambda *args: replace(real(*args), name="OTHER"))
    assert Opener(here.state, here.mirror).secret("OTHER", here.order()) == b"prod value"


def test_wrong_formula(here: House) -> None:
    assert refused(here, formula="release@2").code == "secret-formula"
    assert refused(here, formula="publish-site@1").code == "secret-formula"


def test_not_given_by_the_policy(here: House) -> None:
    assert refused(here, secrets=("OTHER",)).code == "secret-formula"
    assert refused(here, "../../state/age").code == "secret-formula"


def test_a_label_that_says_another_formula_or_version_than_the_inside(here: House) -> None:
    file, key = read(here, file_of("TOKEN")), agekey.make(here.state)
    for label in (
        Label.on("TOKEN", 1, ("publish-site@1",), (key,), file),
        Label.on("TOKEN", 2, ("release@1",), (key,), file),
    ):
        here.write({label_of("TOKEN"): label.write()})
        assert refused(here, formula="publish-site@1").code == "secret-label"


def test_a_broken_label(here: House) -> None:
    here.write({label_of("TOKEN"): b"v = 1\n"})
    assert refused(here).code == "secret-label"


@pytest.mark.parametrize("part", [file_of("TOKEN"), label_of("TOKEN")])
def test_missing(here: House, part: str) -> None:
    here.write({part: None})
    assert refused(here).code == "secret-missing"
    assert part in str(refused(here))


def test_truncated(here: House) -> None:
    file = read(here, file_of("TOKEN"))[:-80]
    label = Label.on("TOKEN", 1, ("release@1",), (agekey.make(here.state),), file)
    here.write({file_of("TOKEN"): file, label_of("TOKEN"): label.write()})
    assert refused(here).code == "secret-damaged"


def test_other_recipient(here: House) -> None:
    other = x25519.Identity.generate()
    file = seal(Envelope("TOKEN", ("release@1",), 1, b"their value"), [str(other.to_public())])
    label = Label.on("TOKEN", 1, ("release@1",), (str(other.to_public()),), file)
    here.write({file_of("TOKEN"): file, label_of("TOKEN"): label.write()})
    assert refused(here).code == "secret-not-ours"


def test_a_plaintext_of_somebody_elses_tool(here: House) -> None:
    file = pyrage.encrypt(b"raw value", [x25519.Recipient.from_str(agekey.make(here.state))], armored=True)
    label = Label.on("TOKEN", 1, ("release@1",), (agekey.make(here.state),), file)
    here.write({file_of("TOKEN"): file, label_of("TOKEN"): label.write()})
    assert refused(here).code == "secret-damaged"


@pytest.mark.parametrize("part", [file_of("TOKEN"), label_of("TOKEN")])
@pytest.mark.parametrize("mode", [MODE_SYMLINK, MODE_EXECUTABLE])
def test_symlink_or_program(here: House, part: str, mode: int) -> None:
    import pygit2

    git = pygit2.Repository(str(here.mirror))
    base = git[here.tip].tree  # type: ignore[attr-defined]
    inner = git.TreeBuilder(base["vault/secrets"])
    blob = git.create_blob(b"../../README.md") if mode == MODE_SYMLINK else base[part].id
    inner.insert(part.rpartition("/")[2], blob, mode)
    vault = git.TreeBuilder()
    vault.insert("secrets", inner.write(), 0o040000)
    top = git.TreeBuilder(base)
    top.insert("vault", vault.write(), 0o040000)
    me = pygit2.Signature("x", "x@example.test")
    here.tip = str(git.create_commit(None, me, me, "x", top.write(), [here.tip]))
    assert refused(here).code == "secret-not-plain"


def test_a_folder_or_a_giant_in_its_place(here: House) -> None:
    here.write({file_of("TOKEN"): None})
    here.write({f"{file_of('TOKEN')}/x": b"x"})
    assert refused(here).code == "secret-not-plain"
    here.write({file_of("OTHER"): b"x" * (MAX_FILE + 1)})
    assert refused(here, "OTHER").code == "secret-not-plain"


def test_an_older_version_brought_back(here: House) -> None:
    old = {path: read(here, path) for path in (file_of("TOKEN"), label_of("TOKEN"))}
    here.set("TOKEN", b"newer value")
    assert Opener(here.state, here.mirror).secret("TOKEN", here.order()) == b"newer value"
    here.write(old)
    assert refused(here).code == "secret-rolled-back"
    here.set("TOKEN", b"value 3")
    assert Opener(here.state, here.mirror).secret("TOKEN", here.order()) == b"value 3"


def test_a_version_mark_that_cannot_be_read_stops_it(here: House) -> None:
    Opener(here.state, here.mirror).secret("TOKEN", here.order())
    (here.state / "vault" / "versions" / "TOKEN").write_text("x")
    assert refused(here).code == "secret-rolled-back"


def test_a_host_without_its_key(here: House) -> None:
    agekey.path_of(here.state).unlink()
    with pytest.raises(KeyMissing):
        Opener(here.state, here.mirror).secret("TOKEN", here.order())

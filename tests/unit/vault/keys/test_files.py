"""The forms of the key file, of a ciphertext's inside, of labels and recipients."""

from __future__ import annotations

import stat
from pathlib import Path

import pyrage
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyrage import x25519

from factory.errors import ConfigInvalid
from factory.vault.keys import agekey
from factory.vault.keys.envelope import MAX_FILE, MAX_VALUE, Envelope, keyholders, seal, unseal
from factory.vault.keys.errors import KeyMissing, SecretRefused
from factory.vault.keys.labels import Label, Recipients, read_label, read_recipients

ME, OTHER = x25519.Identity.generate(), x25519.Identity.generate()
MINE, THEIRS = str(ME.to_public()), str(OTHER.to_public())


class TestKeyFile:
    def test_it_is_made_once_and_for_its_owner_only(self, tmp_path: Path) -> None:
        first = agekey.make(tmp_path)
        assert agekey.make(tmp_path) == first
        path = agekey.path_of(tmp_path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    def test_a_new_key_stands_before_the_old_and_the_old_goes_when_it_is_told_to(self, tmp_path: Path) -> None:
        old = agekey.make(tmp_path)
        new = agekey.add(tmp_path)
        assert agekey.public(tmp_path) == (new, old)
        assert agekey.keep(tmp_path, [old]) == ()
        assert agekey.keep(tmp_path, []) == (old,)
        assert agekey.public(tmp_path) == (new,)

    def test_one_that_others_can_read_is_not_used(self, tmp_path: Path) -> None:
        agekey.make(tmp_path)
        agekey.path_of(tmp_path).chmod(0o640)
        with pytest.raises(KeyMissing, match="yours alone"):
            agekey.read(tmp_path)

    def test_a_link_is_not_followed(self, tmp_path: Path) -> None:
        agekey.make(tmp_path)
        path = agekey.path_of(tmp_path)
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(KeyMissing):
            agekey.make(tmp_path)

    def test_a_broken_key_is_not_quoted_and_not_replaced(self, tmp_path: Path) -> None:
        agekey.make(tmp_path)
        path = agekey.path_of(tmp_path)
        text = path.read_text().replace("AGE-SECRET-KEY-1", "AGE-SECRET-KEY-2")
        path.write_text(text)
        for call in (agekey.read, agekey.make):
            with pytest.raises(KeyMissing) as raised:
                call(tmp_path)
            assert "AGE-SECRET" not in str(raised.value)
            assert raised.value.__cause__ is None
        assert path.read_text() == text

    def test_none_says_what_to_do(self, tmp_path: Path) -> None:
        with pytest.raises(KeyMissing, match="not there") as raised:
            agekey.public(tmp_path)
        assert "factory secret set" in str(raised.value.hint)


class TestEnvelope:
    @given(st.binary(min_size=1, max_size=300), st.integers(1, 10**6), st.sets(st.sampled_from("abcd"), min_size=1))
    def test_what_goes_in_comes_out(self, value: bytes, version: int, names: set[str]) -> None:
        envelope = Envelope("TOKEN", tuple(sorted(f"{name}@1" for name in names)), version, value)
        sealed = seal(envelope, [MINE])
        assert sealed.isascii()
        assert unseal(sealed, [OTHER, ME], "x") == envelope

    def test_the_value_is_in_no_repr(self) -> None:
        assert "hunter2" not in repr(Envelope("TOKEN", ("a@1",), 1, b"hunter2"))

    @pytest.mark.parametrize(
        "envelope",
        [
            Envelope("token", ("a@1",), 1, b"x"),
            Envelope("../X", ("a@1",), 1, b"x"),
            Envelope("TOKEN", (), 1, b"x"),
            Envelope("TOKEN", ("a",), 1, b"x"),
            Envelope("TOKEN", ("b@1", "a@1"), 1, b"x"),
            Envelope("TOKEN", ("a@1", "a@1"), 1, b"x"),
            Envelope("TOKEN", ("a@1",), 0, b"x"),
            Envelope("TOKEN", ("a@1",), True, b"x"),
            Envelope("TOKEN", ("a@1",), 1, b""),
            Envelope("TOKEN", ("a@1",), 1, b"x" * (MAX_VALUE + 1)),
        ],
    )
    def test_what_has_no_one_form_is_not_sealed(self, envelope: Envelope) -> None:
        with pytest.raises(ValueError, match=r"secret|version|formulas"):
            seal(envelope, [MINE])

    def test_it_needs_readers_that_are_keys(self) -> None:
        good = Envelope("TOKEN", ("a@1",), 1, b"x")
        with pytest.raises(ValueError, match="somebody"):
            seal(good, [])
        with pytest.raises(ValueError, match="no public key"):
            seal(good, ["ssh-ed25519 AAAA"])

    def test_the_largest_for_the_most_readers_fits_a_file(self) -> None:
        sealed = seal(Envelope("TOKEN", ("a@1",), 1, b"\xff" * MAX_VALUE), [MINE] * 64)
        assert len(sealed) <= MAX_FILE
        assert keyholders(sealed) == 64

    @pytest.mark.parametrize(
        "plain",
        [
            b"hunter2",
            b'{"formulas":["a@1"],"kind":"factory-secret","name":"TOKEN","v":1,"version":1}',
            b'{"formulas":["a@1"],"kind":"factory-secret","name":"TOKEN","v":1,"version":1}\n',
            b'{"formulas":["a@1"],"kind":"other","name":"TOKEN","v":1,"version":1}\nx',
            b'{"formulas":["a@1"],"kind":"factory-secret","name":"TOKEN","v":2,"version":1}\nx',
            b'{"formulas":"a@1","kind":"factory-secret","name":"TOKEN","v":1,"version":1}\nx',
            b'{"formulas":["a@1"],"kind":"factory-secret","name":1,"v":1,"version":1}\nx',
            b'{"kind":"factory-secret","formulas":["a@1"],"name":"TOKEN","v":1,"version":1}\nx',
            b'{"formulas":["a@1"],"kind":"factory-secret","more":1,"name":"TOKEN","v":1,"version":1}\nx',
            b"[1]\nx",
            b"[" * 50_000 + b"\nx",
            b"\xff\nx",
        ],
    )
    def test_a_plaintext_of_another_form_is_refused_and_not_quoted(self, plain: bytes) -> None:
        sealed = pyrage.encrypt(plain, [ME.to_public()], armored=True)
        with pytest.raises(SecretRefused) as raised:
            unseal(sealed, [ME], "opening X")
        assert raised.value.code == "secret-damaged"
        assert "hunter2" not in str(raised.value)

    def test_other_recipient(self) -> None:
        sealed = seal(Envelope("TOKEN", ("a@1",), 1, b"x"), [THEIRS])
        with pytest.raises(SecretRefused) as raised:
            unseal(sealed, [ME], "opening X")
        assert raised.value.code == "secret-not-ours"

    def test_every_truncation_and_every_changed_line_is_damage(self) -> None:
        sealed = seal(Envelope("TOKEN", ("a@1",), 1, b"x" * 200), [MINE])
        lines = sealed.splitlines(keepends=True)
        cut = [sealed[:at] for at in range(0, len(sealed) - 1, 7)]
        changed = [b"".join([*lines[:n], lines[n].swapcase(), *lines[n + 1 :]]) for n in range(1, len(lines) - 1)]
        for bad in [*cut, *changed, sealed + sealed, b"", b"x" * (MAX_FILE + 1)]:
            with pytest.raises(SecretRefused) as raised:
                unseal(bad, [ME], "opening X")
            assert raised.value.code in ("secret-damaged", "secret-not-ours")

    def test_who_may_read_is_counted_without_reading(self) -> None:
        envelope = Envelope("TOKEN", ("a@1",), 1, b"x")
        assert keyholders(seal(envelope, [MINE])) == 1
        assert keyholders(seal(envelope, [MINE, THEIRS, THEIRS])) == 3
        assert keyholders(b"junk") is None
        assert keyholders(b"-----BEGIN AGE ENCRYPTED FILE-----\nAA\n-----END AGE ENCRYPTED FILE-----\n") is None
        assert keyholders(b"-----BEGIN AGE ENCRYPTED FILE-----\nAAA=\n-----END AGE ENCRYPTED FILE-----\n") is None


class TestLabels:
    LABEL = Label("TOKEN", 3, ("a@1", "b@2"), (MINE,), "0" * 64)

    def test_it_is_read_as_it_is_written(self) -> None:
        assert read_label("TOKEN", self.LABEL.write()) == self.LABEL

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (b'"TOKEN"', b'"OTHER"'),
            (b"version = 3", b"version = 0"),
            (b"version = 3", b"version = true"),
            (b"version = 3", b'version = "3"'),
            (b"v = 1\n", b"v = 2\n"),
            (b"v = 1\n", b""),
            (b'["a@1", "b@2"]', b"[]"),
            (b'["a@1", "b@2"]', b'["a"]'),
            (b'["a@1", "b@2"]', b"[1]"),
            (b'["age1', b'["agex'),
            (b"0" * 64, b"0" * 63),
            (b"\nversion", b"\n\nversion"),
            (b"\nversion", b"\nmore = 1\nversion"),
            (b"keys = [", b"keys = 1 #["),
        ],
    )
    def test_any_other_form_is_refused(self, old: bytes, new: bytes) -> None:
        text = self.LABEL.write()
        assert old in text
        with pytest.raises(ConfigInvalid, match=r"vault/secrets/TOKEN\.toml"):
            read_label("TOKEN", text.replace(old, new))

    def test_recipients_are_read_as_they_are_written_and_may_hold_words_of_people(self) -> None:
        given = Recipients({"h1": MINE}, {"ann": THEIRS})
        assert read_recipients(given.write()) == given
        assert read_recipients(b"# in the safe\n" + given.write()) == given
        assert read_recipients(None) == Recipients()
        assert given.keys == tuple(sorted([MINE, THEIRS]))
        assert given.holder(THEIRS) == "ann (recovery)"
        assert given.holder("age1" + "x" * 50) == "age1xxxxxxxxxxxx..."

    def test_the_hosts_keys_stand_beside_them_where_there_are_any(self) -> None:
        key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIL3S49WMPdry1QNVmwKVml2LesgPnp+nhmY3iXTqQjXL"
        given = Recipients({"h1": MINE}, {}, {"h1": key, "h-2": key})
        assert read_recipients(given.write()) == given
        assert b"host_keys" not in Recipients({"h1": MINE}).write(), "as every version has read it"
        assert given.keys == (MINE,), "nothing is encrypted to them"
        for bad in (f"{key} ann@laptop", f" {key}", "ssh-ed25519 AAAA", "x", MINE):
            with pytest.raises(ConfigInvalid, match=r"host_keys\.h1"):
                read_recipients(f'v = 1\n[host_keys]\nh1 = "{bad}"\n'.encode())
        with pytest.raises(ConfigInvalid, match="is no name"):
            read_recipients(f'v = 1\n[host_keys]\nH1 = "{key}"\n'.encode())

    def test_every_problem_of_recipients_is_told_at_once(self) -> None:
        text = f'v = 2\nmore = 1\n[dispatchers]\n"H 1" = "{MINE}"\nh2 = 5\n[recovery]\nann = "age1nothing"\n'.encode()
        with pytest.raises(ConfigInvalid) as raised:
            read_recipients(text)
        said = "\n".join(map(str, raised.value.problems))
        for words in ("only v = 1", "unknown key more", "'H 1' is no name", "dispatchers.h2", "recovery.ann"):
            assert words in said
        for bad in (b"v = ", b"\xff", b"v = 1\ndispatchers = 1\n"):
            with pytest.raises(ConfigInvalid):
                read_recipients(bad)

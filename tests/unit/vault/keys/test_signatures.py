"""Signatures made and checked by the real ssh-keygen, and the text they travel in."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from factory.vault.canonical import json_bytes
from factory.vault.keys import sshsig
from factory.vault.keys.approving import (
    MOST_BLOCKS,
    NAMESPACE,
    Approvals,
    Block,
    Letter,
    blocks,
    new_nonce,
    roll,
    signed_bytes,
)
from factory.vault.keys.errors import KeyMissing
from factory.vault.keys.hostkeys import HostKeys, forget_old, host_key, make_keys, make_next, next_key, wanted
from factory.vault.keys.sshsig import Signer, fits, make_key, public_key, sign
from factory.vault.ports import Unclear
from factory.vault.verify import statement
from tests.unit.vault.keys.ed25519 import hardware_key, hardware_signature

ANN, BOB = 7, 8
STATEMENT = statement({"v": 1, "blob_sha256": "0" * 64, "turn": 3}, "r" * 40, datetime(2026, 11, 21, tzinfo=UTC))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[Path, str]]:
    folder = tmp_path_factory.mktemp("keys")
    return {who: (folder / str(who), make_key(folder / str(who), "x")) for who in (ANN, BOB)}


@pytest.fixture
def allowed(tmp_path: Path, keys: dict[int, tuple[Path, str]]) -> Path:
    file = tmp_path / "vault" / "allowed_signers"
    file.parent.mkdir()
    file.write_text("".join(f'{who} namespaces="{NAMESPACE}" {key} comment\n' for who, (_, key) in keys.items()))
    return file


def block(key: Path, who: int = ANN, nonce: str = "", namespace: str = NAMESPACE, text: bytes = STATEMENT) -> Block:
    nonce = nonce or new_nonce()
    return Block(who, nonce, sign(key, namespace, signed_bytes(text, who, nonce)))


def signers(allowed: Path, *made: Block, poster: int = ANN, text: bytes = STATEMENT) -> set[int]:
    letters = [Letter(poster, one.write("Words.")) for one in made]
    return set(Approvals(allowed.parent, lambda pulls: letters).signers(text, (4,)))


class TestKeys:
    def test_the_host_key_is_made_once_and_is_private(self, tmp_path: Path) -> None:
        made = make_keys(tmp_path, "h1")
        assert make_keys(tmp_path, "h1") == made
        assert made.ssh.startswith("ssh-ed25519 ")
        assert made.age.startswith("age1")
        path = host_key(tmp_path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert public_key(path.with_name("host_key.pub").read_text()) == made.ssh
        assert sorted(p.name for p in path.parent.iterdir()) == ["age.key", "host_key", "host_key.pub"]

    def test_a_broken_one_is_said_and_not_replaced(self, tmp_path: Path) -> None:
        make_keys(tmp_path, "h1")
        host_key(tmp_path).write_text("junk")
        with pytest.raises(KeyMissing, match="host_key"):
            make_keys(tmp_path, "h1")
        with pytest.raises(Unclear, match="signing the ledger"):
            HostKeys(tmp_path, lambda pulls: ()).sign(b"x")
        assert host_key(tmp_path).read_text() == "junk"

    def test_a_key_to_come_signs_where_it_is_in_force_and_takes_the_others_place(self, tmp_path: Path) -> None:
        old = make_keys(tmp_path, "h1").ssh
        new = make_next(tmp_path, "h1")
        assert (wanted(tmp_path), make_next(tmp_path, "h1")) == (new, new), "it is made once"
        said = [({f"h1 {old}"}, old), ({f"h2 {old}", f"h1 {new}"}, new), (set(), old), ({f"h1 {new}x"}, old)]
        for lines, key in said:
            text = HostKeys(tmp_path, lambda pulls: (), lambda lines=lines: frozenset(lines)).sign(b"batch")
            assert fits(text, "ledger@1", b"batch", [Signer(1, key)], 1)
        assert forget_old(tmp_path) == old
        assert not next_key(tmp_path).exists()
        assert (wanted(tmp_path), make_keys(tmp_path, "h1").ssh) == (new, new)
        make_next(tmp_path, "h1")
        next_key(tmp_path).with_name("host_key.new.pub").replace(host_key(tmp_path).with_name("host_key.pub"))
        assert forget_old(tmp_path) == new, "cut off half way, it goes on"
        assert sorted(p.name for p in host_key(tmp_path).parent.iterdir()) == ["age.key", "host_key", "host_key.pub"]

    def test_a_host_without_one_signs_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert HostKeys(tmp_path, lambda pulls: ()).sign(b"x") == ""
        monkeypatch.setattr(sshsig, "PATH", str(tmp_path))
        assert make_keys(tmp_path, "h1").ssh == ""
        with pytest.raises(KeyMissing) as raised:
            sshsig.program()
        assert "openssh-client" in str(raised.value.hint)

    def test_its_signature_is_of_these_bytes_for_this_use(self, tmp_path: Path) -> None:
        made = make_keys(tmp_path, "h1")
        text = HostKeys(tmp_path, lambda pulls: ()).sign(b"batch")
        assert fits(text, "ledger@1", b"batch", [Signer(1, made.ssh)], 1)
        assert not fits(text, "ledger@1", b"batch2", [Signer(1, made.ssh)], 1)
        assert not fits(text, NAMESPACE, b"batch", [Signer(1, made.ssh)], 1)

    @pytest.mark.parametrize(
        "bad", ["", "ssh-ed25519", "ssh-ed25519 AAAA", "ssh-rsa " + "A" * 400, "x y", "age1 " + "A" * 40]
    )
    def test_what_is_no_public_key(self, bad: str) -> None:
        with pytest.raises(ValueError, match="no public key"):
            public_key(bad)


class TestSigners:
    def test_an_admins_signature_is_found(self, allowed: Path, keys: dict[int, tuple[Path, str]]) -> None:
        assert signers(allowed, block(keys[ANN][0])) == {ANN}
        assert signers(allowed, block(keys[ANN][0]), block(keys[BOB][0], BOB)) == {ANN, BOB}

    def test_who_posted_it_says_nothing(self, allowed: Path, keys: dict[int, tuple[Path, str]]) -> None:
        assert signers(allowed, block(keys[ANN][0]), poster=99) == {ANN}

    def test_another_statement(self, allowed: Path, keys: dict[int, tuple[Path, str]]) -> None:
        other = json_bytes({"v": 1, "blob_sha256": "1" * 64})
        assert signers(allowed, block(keys[ANN][0], text=other)) == set()
        assert signers(allowed, block(keys[ANN][0], text=other), text=other) == {ANN}

    def test_another_namespace(self, allowed: Path, keys: dict[int, tuple[Path, str]]) -> None:
        for namespace in ("git", "file", "ledger@1", "vault-approve@2"):
            assert signers(allowed, block(keys[ANN][0], namespace=namespace)) == set()

    def test_in_somebody_elses_name(self, allowed: Path, keys: dict[int, tuple[Path, str]]) -> None:
        assert signers(allowed, block(keys[BOB][0], ANN)) == set()
        mine = block(keys[BOB][0], BOB)
        assert signers(allowed, Block(ANN, mine.nonce, mine.signature)) == set()

    def test_a_changed_nonce(self, allowed: Path, keys: dict[int, tuple[Path, str]]) -> None:
        mine = block(keys[ANN][0])
        assert signers(allowed, Block(ANN, new_nonce(), mine.signature)) == set()

    def test_a_key_that_nobody_listed(self, allowed: Path, tmp_path: Path) -> None:
        make_key(tmp_path / "own", "x")
        assert signers(allowed, block(tmp_path / "own")) == set()

    def test_nobody_is_listed(self, tmp_path: Path, keys: dict[int, tuple[Path, str]]) -> None:
        (tmp_path / "vault").mkdir()
        assert signers(tmp_path / "vault" / "allowed_signers", block(keys[ANN][0])) == set()

    def test_a_nonce_stands_for_one_statement(self, allowed: Path, keys: dict[int, tuple[Path, str]]) -> None:
        nonce, other = new_nonce(), json_bytes({"v": 1, "blob_sha256": "1" * 64})
        assert signers(allowed, block(keys[ANN][0], nonce=nonce)) == {ANN}
        assert signers(allowed, block(keys[ANN][0], nonce=nonce)) == {ANN}, "it is asked at VERIFIED and before STARTED"
        assert signers(allowed, block(keys[ANN][0], nonce=nonce, text=other), text=other) == set()
        (allowed.parent / "nonces" / nonce).unlink()
        assert signers(allowed, block(keys[ANN][0], nonce=nonce, text=other), text=other) == {ANN}, "with the check off"

    def test_a_bad_signature_spends_no_nonce(self, allowed: Path, keys: dict[int, tuple[Path, str]]) -> None:
        nonce = new_nonce()
        assert signers(allowed, block(keys[BOB][0], ANN, nonce)) == set()
        assert not (allowed.parent / "nonces").exists()

    def test_a_key_that_is_valid_no_more(self, allowed: Path, keys: dict[int, tuple[Path, str]]) -> None:
        mine = block(keys[ANN][0])
        for options, good in (('valid-before="20200101"', False), ('valid-after="20200101"', True),
                              (f'namespaces="{NAMESPACE}",valid-before="20200101"', False)):  # fmt: skip
            allowed.write_text(f"{ANN} {options} {keys[ANN][1]}\n")
            assert signers(allowed, mine) == ({ANN} if good else set())

    @pytest.mark.parametrize("flags", [0, 1, 4, 5])
    def test_a_hardware_key_must_have_been_touched_and_have_checked_its_owner(self, allowed: Path, flags: int) -> None:
        seed = b"s" * 32
        allowed.write_text(f'{ANN} namespaces="{NAMESPACE}" {hardware_key(seed)} yubikey\n')
        nonce = new_nonce()
        made = hardware_signature(seed, NAMESPACE, signed_bytes(STATEMENT, ANN, nonce), flags)
        assert signers(allowed, Block(ANN, nonce, made)) == ({ANN} if flags == 5 else set())

    def test_without_that_check_the_untouched_key_would_do(
        self, allowed: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seed, nonce = b"s" * 32, new_nonce()
        allowed.write_text(f"{ANN} {hardware_key(seed)}\n")
        made = hardware_signature(seed, NAMESPACE, signed_bytes(STATEMENT, ANN, nonce), 0)
        monkeypatch.setattr(sshsig, "_present", lambda text: True)
        assert signers(allowed, Block(ANN, nonce, made)) == {ANN}

    def test_damaged_text_is_no_signature_and_no_end(self, allowed: Path, keys: dict[int, tuple[Path, str]]) -> None:
        good = block(keys[ANN][0])
        lines = good.signature.splitlines()
        for bad in ("", "x", "\n".join(lines[:2] + lines[3:]), good.signature.replace("SSH SIGN", "SSH SIGM"),
                    lines[0] + "\n" + "A" * 70 + "\n" + lines[-1], lines[0] + "\nU1NIU0lHAAAAAQ==\n" + lines[-1],
                    lines[0] + "\n=\n" + lines[-1]):  # fmt: skip
            assert not fits(bad, NAMESPACE, signed_bytes(STATEMENT, ANN, good.nonce), [Signer(ANN, keys[ANN][1])], ANN)
        assert signers(allowed, Block(ANN, good.nonce, lines[0] + "\nAAAA\n" + lines[-1]), good) == {ANN}


class TestBlocks:
    def test_they_are_found_in_any_text_and_with_any_line_ends(self) -> None:
        one = Block(ANN, "0" * 32, "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----")
        two = Block(BOB, "1" * 32, one.signature)
        text = f"Hello\n\n{one.write('First.')}\nand {two.write('Second.')}bye"
        assert set(blocks([Letter(1, text)])) == {one, two}
        assert set(blocks([Letter(1, text.replace("\n", "\r\n"))])) == {one, two}
        assert blocks([Letter(1, text), Letter(2, text)]) == blocks([Letter(1, text)])

    @pytest.mark.parametrize(
        ("old", "new"),
        [("approver: 7", "approver: 0"), ("approver: 7", "approver: ann"), ("nonce: 0", "nonce: x"),
        ("signature: 1", "signature: 2"),
         ("AAAA", "AA AA"), ("BEGIN SSH", "BEGIN PGP")],
    )  # fmt: skip
    def test_what_is_not_quite_one(self, old: str, new: str) -> None:
        text = Block(ANN, "0" * 32, "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----").write("x")
        assert old in text
        assert blocks([Letter(1, text.replace(old, new, 1))]) == ()

    def test_a_flood_does_not_push_the_signers_own_out(self) -> None:
        def made(number: int) -> Block:
            return Block(ANN, f"{number:032x}", "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----")

        flood = [Letter(99, made(number).write("x")) for number in range(200)]
        mine = Letter(ANN, made(10**6).write("x"))
        found = blocks([*flood, mine, *flood])
        assert len(found) == MOST_BLOCKS
        assert found[0] == made(10**6)

    def test_the_statement_is_signed_with_who_and_the_nonce(self) -> None:
        assert signed_bytes(b'{"a":1}', 7, "n") == b'{"a":1,"approver":7,"nonce":"n"}'
        for bad in (b'{"a": 1}', b"[]", b"{", b'{"approver":1}', b'{"nonce":"x"}'):
            with pytest.raises(ValueError, match=r"statement|Expecting|property"):
                signed_bytes(bad, 7, "n")


class TestRoll:
    def test_every_line_counts_or_is_told(self, tmp_path: Path, keys: dict[int, tuple[Path, str]]) -> None:
        key = keys[ANN][1]
        lines = [
            "# the admins", "", f"7 {key}", f'8 namespaces="{NAMESPACE}" {key} ann@x',
            f'9 namespaces="git,{NAMESPACE}",valid-before="20300101Z" {key}',
            f"* {key}", f"ann {key}", f"7,8 {key}", f"!7 {key}", f"0 {key}", f'7 namespaces="git" {key}',
            f"7 cert-authority {key}",
            f'7 namespaces="*" {key}', f"7 {key.split()[0]} AAAA", "7", f'7 valid-before="tomorrow" {key}',
        ]  # fmt: skip
        file = tmp_path / "allowed_signers"
        file.write_text("\n".join(lines))
        found = roll(file)
        assert found.signers == (Signer(7, key), Signer(8, key), Signer(9, key, 'valid-before="20300101Z"'))
        assert [wrong.partition(": ")[0] for wrong in found.wrong] == [f"allowed_signers:{n}" for n in range(6, 17)]
        assert roll(tmp_path / "none").signers == ()

    def test_a_file_that_others_may_write_lists_nobody(self, allowed: Path) -> None:
        allowed.chmod(0o664)
        assert roll(allowed).signers == ()
        assert "chmod go-w" in roll(allowed).wrong[0]

    def test_a_pattern_of_the_file_widens_nothing(self, allowed: Path, keys: dict[int, tuple[Path, str]]) -> None:
        """OpenSSH's own reader would take the star for every account."""
        allowed.write_text(f"* {keys[BOB][1]}\n")
        assert signers(allowed, block(keys[BOB][0], ANN)) == set()


class TestPort:
    def test_what_cannot_be_read_is_unclear(
        self, tmp_path: Path, keys: dict[int, tuple[Path, str]], allowed: Path
    ) -> None:
        def broken(pulls: tuple[int, ...]) -> list[Letter]:
            raise KeyMissing(f"no answer about {pulls}")

        with pytest.raises(Unclear, match="signatures on pull request 4, 5"):
            HostKeys(tmp_path, broken).signers(STATEMENT, (4, 5))
        letters = [Letter(1, block(keys[ANN][0]).write("x"))]
        assert HostKeys(tmp_path, lambda pulls: letters if pulls == (4,) else []).signers(STATEMENT, (4,)) == {ANN}

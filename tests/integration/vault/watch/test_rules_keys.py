"""Rules about the keys with which hosts sign the ledger: forge, sentinel and dispatcher are real processes."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyrage import x25519

from factory.app.people import as_person
from factory.app.services import forge_home
from factory.app.vault_audit import audit_ledger
from factory.app.vault_secrets import drop_old_keys, listed, open_secrets, reseal_secrets
from factory.forge.values import ReviewState
from factory.git.hardened import Git
from factory.vault.canonical import Refused, json_bytes, sha256
from factory.vault.chain import Chain
from factory.vault.keys import sshsig
from factory.vault.keys.hostkeys import NAMESPACE, host_key
from factory.vault.ledger import ALL, Entry, Ledger
from factory.vault.people import audit as auditing
from tests.integration.vault.attacks.blind import Blind
from tests.integration.vault.attacks.register import Seen, rule
from tests.integration.vault.attacks.served import Served
from tests.integration.vault.commits import git
from tests.integration.vault.watch.conftest import House

RAN = ["STARTED", "DONE"]
TAKEN, NAMED = "it takes what that key signs", "the audit names the host and the push"


@pytest.fixture
def second(tmp_path: Path) -> tuple[Path, str]:
    """Another host's key, and how it says its keys."""
    ssh = sshsig.make_key(tmp_path / "key", "dispatcher@h2")
    return tmp_path / "key", f"{x25519.Identity.generate().to_public()} {ssh}"


@contextmanager
def writer(house: House, key: Path) -> Iterator[Chain]:
    """A host that writes the ledger with the dispatcher's token, and signs with this key."""
    remote, place = house.deployment.remote("dispatcher-bot", house.ops), Path(tempfile.mkdtemp(prefix="writer-"))
    git = Git(place / "repo.git", remote.url, remote.token)
    chain = Chain(git, place / "mark", lambda data: sshsig.sign(key, NAMESPACE, data).strip())
    try:
        chain.sync()
        yield chain
    finally:
        shutil.rmtree(place)


def entry(kind: str, **evidence: Any) -> Entry:
    now = datetime.now(UTC).replace(microsecond=0)
    return Entry(kind, ALL, secrets.token_hex(16), "h2/1", now, evidence=evidence)


def written(house: House, key: Path) -> int:
    """Two entries that say nothing, signed with this key; the number of the last one."""
    with writer(house, key) as chain:
        assert len(chain.append([entry("FREEZE", words="x"), entry("UNFREEZE", words="x")])) == 2
        return chain.ledger.count - 1


def forced(house: House, key: Path, forged: Entry) -> None:
    """The entry on the ledger, whatever its rules say, as who has the account that may write there can put it."""
    with writer(house, key) as chain:
        made = replace(forged, seq=chain.ledger.count, prev=chain.ledger.tip)
        batch = json_bytes([chain.ledger.root, chain.ledger.tip, [sha256(made.write())]])
        note = sshsig.sign(key, NAMESPACE, batch).strip()
        (commit,) = chain.git.append(chain.ledger.tip, [(made.path, made.write())], note)
        assert chain.git.push(commit, "ledger")


def approved(house: House, **change: Any) -> str:
    """What `factory secret rotate --all` proposes, approved by the founder and merged; what its words are."""
    secret = open_secrets(house.deployment)
    facts = reseal_secrets(secret, **{"add": {}, "new_key": False, "hosts": {}, "drop": (), **change})
    factory = house.bot("factory-bot")
    pull = factory.pull(house.ops, facts["number"])
    with as_person(house.deployment, "founder") as founder:
        founder.review(house.ops, pull.number, state=ReviewState.APPROVED, body="", commit=pull.head_sha)
    factory.merge(house.ops, pull.number, head=pull.head_sha, title="Merge", message="approved")
    return str(pull.body)


def codes(house: House) -> list[tuple[int, str, str]]:
    return [(fault["seq"], fault["code"], fault["words"]) for fault in audit_ledger(house.deployment)["faults"]]


def last(house: House, count: int) -> list[tuple[str, str]]:
    """The last entries of the ledger and what each was written on."""
    with writer(house, Path("/nonexistent")) as chain:
        names = [c.changes[0].path.decode() for c in chain.git.history(chain.ledger.tip)][-count:]
        blobs = chain.git.read([f"{chain.ledger.tip}:{name}" for name in names], 65536)
    lines = [(data or b"").decode().split("\n") for data in blobs]
    return [(name.rsplit("-", 1)[1], next(x for x in rows if x.startswith("prev"))) for name, rows in
            zip(names, lines, strict=True)]  # fmt: skip


@rule("What a host signs counts from its KEY_ADD to its KEY_REVOKE, and after that the audit names it", forge="allows",
      vault=NAMED, off=TAKEN, check="a push is signed by a key in force where it stands")  # fmt: skip
def test_rule_a_push_by_a_revoked_key_is_named(
    watched: House, serving: Served, second: tuple[Path, str], off: Blind
) -> Seen:
    """A second host joins by a pull request that an admin approves, and leaves by another."""
    key, keys = second
    serving.turn()
    assert listed(open_secrets(watched.deployment))["joins_with"] == "", "this host has joined"
    early = written(watched, key)
    assert [(seq, code) for seq, code, _ in codes(watched)] == [(early, "bad-signature")]
    body = approved(watched, hosts={"h2": keys})
    assert f"from now on h2: `{keys.partition(' ')[2]}`" in body
    assert len(watched.ledger().keys) == 1, "approved and merged it does not count yet"
    serving.turn()
    (_, before), (trust, one), (added, two) = last(watched, 3)
    assert ([trust, added], one == two, before != one) == (["TRUST.toml", "KEY_ADD.toml"], True, True), "one push"
    assert f"h2 {keys.partition(' ')[2]}" in watched.ledger().keys
    written(watched, key)
    assert [seq for seq, _, _ in codes(watched)] == [early], "since then it counts"
    asked = watched.ask()
    watched.merge(asked)
    assert watched.fired(serving, asked)[-2:] == RAN

    assert f"no more h2: `{keys.partition(' ')[2]}`" in approved(watched, drop=("h2",))
    serving.turn()
    assert [kind for kind, _ in last(watched, 2)] == ["TRUST.toml", "KEY_REVOKE.toml"]
    assert len(watched.ledger().keys) == 1
    late = written(watched, key)
    (first, found) = codes(watched)
    assert (first[0], found[0]) == (early, late)
    assert found[1:] == ("revoked-key", "the key of h2, which was revoked, signed it")
    with watched_by_all(off):
        still = [seq for seq, _, _ in codes(watched)]
    return Seen("allows", NAMED, TAKEN if still == [early] else str(still))


@contextmanager
def watched_by_all(off: Blind) -> Iterator[None]:
    """The audit takes any key that was ever in force."""
    real = auditing._bars

    def bars(*args: Any) -> Sequence[Any]:
        ever = [bar.revoked for bar in real(*args)]
        return [replace(bar, keys=(*bar.keys, *(line.partition(" ")[2] for line in gone)))
                for bar, gone in zip(real(*args), ever, strict=True)]  # fmt: skip

    off.patch.setattr(auditing, "_bars", bars)
    yield
    off.patch.setattr(auditing, "_bars", real)


def test_the_hosts_own_key_is_replaced(watched: House, serving: Served) -> None:
    """As when somebody may have copied it: the TRUST that revokes it is the last that it signs."""
    serving.turn()
    before = codes(watched)
    (old,) = watched.ledger().keys
    body = approved(watched, new_key=True)
    assert "from now on" in body
    assert "no more" in body
    serving.turn()
    assert [kind for kind, _ in last(watched, 3)] == ["TRUST.toml", "KEY_ADD.toml", "KEY_REVOKE.toml"]
    (new,) = watched.ledger().keys
    assert new != old
    asked = watched.ask()
    watched.merge(asked)
    assert watched.fired(serving, asked)[-2:] == RAN
    assert codes(watched) == before, "each was signed by the one in force"
    copied = written(watched, host_key(watched.state))
    assert [(seq, code) for seq, code, _ in codes(watched) if (seq, code) not in [x[:2] for x in before]] == [
        (copied, "revoked-key")
    ]
    dropped = drop_old_keys(open_secrets(watched.deployment))["dropped"]
    assert old.partition(" ")[2] in dropped
    assert sshsig.public_of(host_key(watched.state)) == new.partition(" ")[2]
    asked = watched.ask()
    watched.merge(asked)
    assert watched.fired(serving, asked)[-2:] == RAN
    assert len(codes(watched)) == len(before) + 1


@rule("A dispatcher's key is added and revoked through TRUST only", forge="allows", vault="bad-entry", off=TAKEN,
      check="KEY_ADD and KEY_REVOKE follow a TRUST of the same commit in its push")  # fmt: skip
def test_rule_a_key_is_added_through_trust_only(
    watched: House, serving: Served, second: tuple[Path, str], off: Blind
) -> Seen:
    """Whoever got hold of the account that may write the ledger names a key of their own. The last test here: nobody
    reads this ledger any more."""
    serving.turn()
    bare = forge_home(watched.state) / "repos" / watched.ops.owner / f"{watched.ops.name}.git"
    tip, commit = git(bare, "rev-parse", "refs/heads/ledger"), watched.ledger().trust[-1].evidence["commit"]
    own, before = next(iter(watched.ledger().keys)), {seq for seq, _, _ in codes(watched)}
    key = f"h2 {second[1].partition(' ')[2]}"
    seen = set[str]()
    for kind, line in (("KEY_ADD", key), ("KEY_REVOKE", own)):
        forced(watched, second[0], entry(kind, commit=commit, host_key=line))
        with pytest.raises(Refused) as refused:
            serving.turn()
        assert "does not follow" in refused.value.words
        found = [code for seq, code, _ in codes(watched) if seq not in before]
        assert found == ["does-not-follow", "bad-signature"], "so says the audit"
        seen.add(refused.value.code)
        git(bare, "update-ref", "refs/heads/ledger", tip)
        serving.turn()
    real = Ledger.why_not

    def why_not(ledger: Ledger, entry: Entry) -> str:
        return "" if entry.kind.startswith("KEY_") else real(ledger, entry)

    off.patch.setattr(Ledger, "why_not", why_not)
    forced(watched, second[0], entry("KEY_ADD", commit=commit, host_key=key))
    at = watched.ledger().count - 1
    written(watched, second[0])
    asked = watched.ask()
    watched.merge(asked)
    assert watched.fired(serving, asked)[-2:] == RAN
    faults = codes(watched)
    new = [seq for seq, _, _ in faults if seq not in before]
    return Seen("allows", seen.pop(), TAKEN if new == [at] else str(faults))

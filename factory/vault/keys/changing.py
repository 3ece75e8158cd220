"""A change of ``vault/secrets`` as edits and as words for who approves it. Values pass through memory only.

Nothing here writes or pushes; what is returned becomes a pull request that an admin approves, like every change of the
controlled set.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from factory.errors import Problem, UsageError
from factory.ops.edit import CannotEdit, Edit
from factory.vault.action import FORMULA, SECRET
from factory.vault.keys import agekey
from factory.vault.keys.envelope import MAX_VALUE, Envelope, recipient, seal
from factory.vault.keys.hostkeys import make_next, next_key
from factory.vault.keys.labels import HOLDER, RECIPIENTS, Label, Recipients, file_of, label_of
from factory.vault.keys.opening import highest, plain_file
from factory.vault.keys.shelf import Kept, Shelf, content
from factory.vault.keys.sshsig import public_key


@dataclass(frozen=True)
class Place:
    """Where secrets are changed: this host's state and name, the mirror it reads, the commit it starts from."""

    state: Path
    host: str
    mirror: Path
    shelf: Shelf
    host_key: str = ""
    """The public half of the key with which this host signs the ledger; empty without one."""
    in_force: Mapping[str, str] = field(default_factory=dict)
    """Host -> key, as the ledger has them now."""


@dataclass(frozen=True)
class Change:
    """What is to be proposed. ``notes``: what else a person has to do or know."""

    edits: tuple[Edit, ...]
    title: str
    slug: str
    body: str
    recipients: Recipients
    """Who can read secrets once it is approved."""
    secrets: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()


def put(place: Place, name: str, value: bytes, formulas: Collection[str]) -> Change:
    """A new secret, or another value for one, for exactly these formulas. Raises UsageError, SecretRefused."""
    doing = f"setting the secret {name[:64]}"
    if not SECRET.fullmatch(name):
        raise UsageError(f"{doing}: a name is capital letters, digits and _, at most 64", hint="like DEPLOY_TOKEN")
    bad = sorted(formula for formula in formulas if not FORMULA.fullmatch(formula))
    if bad or not formulas:
        why = f"{bad[0][:60]!r} is no formula's name and version" if bad else "no formula is named that may have it"
        raise UsageError(f"{doing}: {why}", hint=f"factory secret set {name} --for release@1")
    if not 0 < len(value) <= MAX_VALUE:
        raise UsageError(f"{doing}: the value has {len(value)} bytes; from 1 to {MAX_VALUE} is possible")
    _refuse_unknown_readers(place)
    recipients, keys = _with_this_host(place), _keys_before(place)
    before = place.shelf.find(name)
    envelope = Envelope(name, tuple(sorted(set(formulas))), _next_version(place, name, before), value)
    label, edits = _sealed(place, envelope, recipients)
    body = (
        f"Secret `{name}`, version {label.version} (before it: {_version(before)}), for {_list(label.formulas)}.\n\n"
        f"{_readers(label.keys, recipients)}{_signers(keys, recipients)}"
    )
    notes = ["if the value before it was known to others, end it where it is used: its file stays in the history"]
    return Change(
        (*edits, *_recipient_edits(place, recipients)), f"Set the secret {name}", f"secret-{name}", body, recipients,
        (label,), (*(notes if before else ()), *_lonely(recipients)),
    )  # fmt: skip


def reseal(
    place: Place, *, add: Mapping[str, str], drop: Collection[str], new_key: bool,
    hosts: Mapping[str, str] | None = None,
) -> Change:  # fmt: skip
    """All secrets again, with the same values, to the keys that are wanted from now on.

    ``add``: recovery keys by name; ``hosts``: other hosts that join, by name their age key, a blank and the key with
    which they sign the ledger; ``drop``: names of holders who shall not read later versions, and of hosts whose
    signature shall not count; ``new_key``: this host gets another key. Raises UsageError, and SecretRefused when this
    host cannot read one of them."""
    _refuse_unknown_readers(place)
    before = _keys_before(place)
    recipients = _changed(replace(place.shelf.recipients, host_keys=before), add, hosts or {}, drop, place.host)
    held = [content(place.state, place.mirror, place.shelf.commit, kept.name) for kept in place.shelf.secrets]
    if new_key:
        if place.host_key and place.host_key in place.in_force.values() and next_key(place.state).exists():
            raise UsageError("making a new key: the one before is still kept", hint="factory secret rotate --drop-old")
        agekey.make(place.state)
        agekey.add(place.state)
        place = replace(place, host_key=make_next(place.state, place.host))
    recipients = _with_this_host(place, recipients)
    if set(drop) & set(before) and not recipients.host_keys:
        raise UsageError(
            f"revoking the key of {min(set(drop) & set(before))}: it is the last that signs the ledger",
            hint="the same `factory init` again makes a key of this host, which takes its place",
        )
    labels: list[Label] = []
    edits: list[Edit] = []
    for envelope in held:
        kept = place.shelf.find(envelope.name)
        if kept is not None and kept.label is not None and kept.label.keys == recipients.keys:
            continue
        newer = replace(envelope, version=_next_version(place, envelope.name, kept))
        label, made = _sealed(place, newer, recipients)
        labels.append(label)
        edits += made
    gone = sorted(set(place.shelf.recipients.keys) - set(recipients.keys))
    notes = list(_lonely(recipients))
    if gone:
        who = "; ".join(place.shelf.recipients.holder(key) for key in gone)
        names = ", ".join(envelope.name for envelope in held) or "none yet"
        notes.append(
            f"who holds a key of before ({who}) can still read what is in the history: change the values where they "
            f"are used, and set each anew: {names}"
        )
    if new_key:
        notes.append("the old keys stay on this host until this is approved; then: factory secret rotate --drop-old")
    again = "\n".join(f"- `{label.name}`, version {label.version}, for {_list(label.formulas)}" for label in labels)
    told = f"The same values, encrypted anew:\n\n{again}" if again else "No secret has to be encrypted anew."
    body = f"{told}\n\n{_readers(recipients.keys, recipients)}{_signers(before, recipients)}"
    return Change(
        (*edits, *_recipient_edits(place, recipients)), "Change who can read the vault's secrets", "secret-recipients",
        body, recipients, tuple(labels), tuple(notes),
    )  # fmt: skip


def take_away(place: Place, name: str, named_by: Collection[str]) -> Change:
    """Without a secret. Raises UsageError when there is none of that name."""
    if not SECRET.fullmatch(name) or place.shelf.find(name) is None:
        raise UsageError(f"removing the secret {name[:64]}: there is none of that name", hint="factory secret list")
    notes = ["what it opened stays open until it is ended there: its file stays in the history"]
    if named_by:
        notes.append(f"{', '.join(sorted(named_by))} may still ask for it: factory edit vault/policy.toml")
    edits = tuple(_edit(place, path, None) for path in (file_of(name), label_of(name)))
    body = f"The secret `{name}` is not kept any more. Formulas that name it: {_list(named_by) or 'none'}."
    return Change(edits, f"Remove the secret {name}", f"secret-{name}", body, place.shelf.recipients, (), tuple(notes))


def _sealed(place: Place, envelope: Envelope, recipients: Recipients) -> tuple[Label, tuple[Edit, Edit]]:
    file = seal(envelope, recipients.keys)
    label = Label.on(envelope.name, envelope.version, envelope.formulas, recipients.keys, file)
    return label, (_edit(place, file_of(envelope.name), file), _edit(place, label_of(envelope.name), label.write()))


def _version(kept: Kept | None) -> str:
    if kept is None:
        return "none"
    return f"version {kept.label.version}" if kept.label is not None else "a file without a label"


def _next_version(place: Place, name: str, before: Kept | None) -> int:
    there = before.label.version if before is not None and before.label is not None else 0
    return max(there, highest(place.state, name)) + 1


def _refuse_unknown_readers(place: Place) -> None:
    # Written over, a file that cannot be read would lose the recovery keys that stand in it.
    if place.shelf.trouble:
        raise UsageError(f"changing secrets: {place.shelf.trouble}", hint=f"factory edit {RECIPIENTS}")


def _keys_before(place: Place) -> Mapping[str, str]:
    """With which keys the hosts sign the ledger as things stand: by the file, or else by the ledger itself."""
    return place.shelf.recipients.host_keys or place.in_force


def _with_this_host(place: Place, recipients: Recipients | None = None) -> Recipients:
    """This host among them, with its keys as they are now. A file that says nothing of hosts' keys goes on doing so
    while there is no more to say than the ledger does."""
    there = recipients or replace(place.shelf.recipients, host_keys=_keys_before(place))
    own = {place.host: place.host_key} if place.host_key else {}
    keys = {**there.host_keys, **own}
    silent = not place.shelf.recipients.host_keys and keys == place.in_force
    dispatchers = {**there.dispatchers, place.host: agekey.make(place.state)}
    return replace(there, dispatchers=dispatchers, host_keys={} if silent else keys)


def _changed(
    there: Recipients, add: Mapping[str, str], hosts: Mapping[str, str], drop: Collection[str], host: str
) -> Recipients:
    doing = "changing who can read secrets"
    for name, key in add.items():
        if not HOLDER.fullmatch(name):
            raise UsageError(f"{doing}: {name[:40]!r} is no name of a holder", hint="--recovery ann=age1...")
        try:
            recipient(key)
        except ValueError as error:
            raise UsageError(f"{doing}: {error}", hint="age-keygen makes a key and shows its public half") from None
    joining = {name: _joining(doing, name, keys) for name, keys in hosts.items()}
    unknown = sorted(set(drop) - {*there.recovery, *there.dispatchers, *there.host_keys, *add, *joining, host})
    if unknown or host in drop:
        why = f"nobody called {unknown[0][:40]} can" if unknown else f"{host} is this host, which must"
        raise UsageError(f"{doing}: {why} read them", hint="factory secret list")
    readers = {**there.dispatchers, **{name: age for name, (age, _) in joining.items()}}
    signers = {**there.host_keys, **{name: ssh for name, (_, ssh) in joining.items() if ssh}}
    return Recipients(
        {name: key for name, key in readers.items() if name not in drop},
        {name: key for name, key in {**there.recovery, **add}.items() if name not in drop},
        {name: key for name, key in signers.items() if name not in drop},
    )


def _joining(doing: str, name: str, keys: str) -> tuple[str, str]:
    """A host's two keys as `factory secret list` shows them there; the second is missing where it has none."""
    age, _, ssh = keys.strip().partition(" ")
    hint = "`factory secret list` on that host shows the line that says its keys"
    if not HOLDER.fullmatch(name):
        raise UsageError(f"{doing}: {name[:40]!r} is no name of a host", hint=hint)
    try:
        recipient(age)
        return age, public_key(ssh) if ssh else ""
    except ValueError as error:
        raise UsageError(f"{doing}: {error}", hint=hint) from None


def _recipient_edits(place: Place, wanted: Recipients) -> tuple[Edit, ...]:
    return (_edit(place, RECIPIENTS, wanted.write()),) if wanted != place.shelf.recipients else ()


def _edit(place: Place, path: str, new: bytes | None) -> Edit:
    """The whole file anew; not if somebody changed it since it was looked at."""
    before = plain_file(place.mirror, place.shelf.commit, path, f"reading {path}")

    def apply(old: bytes | None) -> bytes | None:
        if old != before:
            raise CannotEdit(Problem(path, None, "somebody changed it meanwhile", "run the same command again"))
        return new

    return Edit(path, apply)


def _readers(keys: Collection[str], recipients: Recipients) -> str:
    who = "\n".join(f"- {recipients.holder(key)}: `{key}`" for key in keys)
    return f"Who can read it (no value stands in this pull request):\n\n{who}"


def _signers(before: Mapping[str, str], recipients: Recipients) -> str:
    """What the change does to whose signature counts on the ledger; empty where it does nothing to it."""
    after = recipients.host_keys or before
    new = [f"- from now on {name}: `{key}`" for name, key in sorted(after.items()) if before.get(name) != key]
    old = [f"- no more {name}: `{key}`" for name, key in sorted(before.items()) if after.get(name) != key]
    return "\n\nWhose signature on the ledger counts:\n\n" + "\n".join([*new, *old]) if new or old else ""


def _lonely(recipients: Recipients) -> tuple[str, ...]:
    if recipients.recovery or len(recipients.dispatchers) > 1:
        return ()
    return (
        "only this host can read them; its disk is all there is: factory secret rotate --all --recovery ann=age1...",
    )


def _list(names: Collection[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))

"""Attacks in the action file: its place, mode and name, its bytes, its types."""

from __future__ import annotations

import contextlib
import re
import time
import tomllib
from collections.abc import Callable
from dataclasses import replace

import pytest

from factory.vault import action as actions
from factory.vault import canonical, formulas, gather, ledger, verify
from factory.vault.action import Action
from factory.vault.canonical import MAX_BYTES, Refused
from factory.vault.verify import Case
from factory.vault.watch import loop
from tests.contract.conftest import fresh
from tests.integration.vault.attacks.blind import Blind
from tests.integration.vault.attacks.keep import VAULT, Keep
from tests.integration.vault.attacks.raid import effects, raid, refused
from tests.integration.vault.attacks.register import Seen, attack
from tests.integration.vault.attacks.sample import sample_action, sample_case
from tests.integration.vault.house import formula_bytes


def approved(keep: Keep, action: Action, data: bytes | None = None) -> str:
    """A request with these bytes that an admin approved, merged."""
    asked = keep.ask(action, data=data)
    keep.review(asked)
    keep.merged(asked)
    return action.id


def pushed_by_hand(keep: Keep, action: Action, path: str, mode: str, data: bytes) -> str:
    """The same, of a commit that no API would make."""
    main = keep.tip("main")
    head = keep.commit({path: data}, main, modes={path: mode})
    assert not keep.push(VAULT, f"{head}:refs/heads/vault/{action.id}")
    asked = keep.propose(action.id, f"vault/{action.id}", head)
    keep.review(asked)
    keep.merged(asked)
    return action.id


def lenient(off: Blind) -> None:
    """Any bytes that say an action are taken for one."""
    real = Action.write
    off.patch.setattr(canonical, "_LINE", re.compile(rb"(?s).*"))
    off.patch.setattr(Action, "write", lambda self: Alike(real(self)))


class Alike(bytes):
    """Bytes that are equal to any."""

    def __ne__(self, other: object) -> bool:
        return False


@attack(11, "The merge puts the approved file somewhere else", forge="blocks", vault="wrong-merge",
        check="merging is done again and must give the same; a file is called as its id says")  # fmt: skip
def test_attack_11_moved_by_the_merge(keep: Keep, off: Blind) -> Seen:
    def act() -> str:
        action = keep.action("gamma")
        asked = keep.ask(action)
        keep.review(asked)
        keep.said.append("no merge over the API does that")
        other = f"{action.id}-x"
        moved = {action.path: None, f"vault/actions/{other}.toml": action.write()}
        keep.merge_wrongly(asked, moved)
        return other

    def blind() -> None:
        off.case(lambda case: replace(case, expected_tree=case.tree, at_head=case.data))
        for module in (verify, gather):
            off.patch.setattr(module, "read", lambda data, name: actions.read(data, name.replace("-x.", ".")))

    return raid(keep, act, blind)


@attack(12, "The merged file is edited while the action waits", forge="allows", vault="nothing is done",
        off="cannot: the bytes are read at the commit that added the file",
        check="only the commit that adds a file counts")  # fmt: skip
def test_attack_12_edited_after_the_merge(own: Keep) -> Seen:
    runner = own.runner()
    runner.fate = lambda order: None
    approved(own, own.action("gamma", place="here"))
    action = own.action("gamma", place="here", reason="as approved")
    approved(own, action)
    own.dispatch().turn()
    assert own.dispatch().ledger.state(action.id).kind == "VERIFIED"
    own.edit({action.path: replace(action, reason="another thing").write()})
    own.dispatch().turn()
    assert "has no effect" in own.dispatch().alarms[action.id]
    runner.end(runner.orders[-1])
    assert effects(own, action.id) == 1
    assert runner.orders[-1].action.reason == "as approved"
    own.edit({action.path: None})
    own.edit({action.path: replace(action, reason="once more").write()})
    runner.end(runner.orders[-1])
    assert effects(own, action.id) == 1
    assert own.run(2)[1].orders == [], "nor for a dispatcher that sees it all for the first time"
    return Seen("allows", "nothing is done", "cannot: the bytes are read at the commit that added the file")


@attack(14, "The same id again, after its file was deleted", forge="allows", vault="nothing is done",
        check="an id that the ledger knows is never verified again")  # fmt: skip
def test_attack_14_the_same_id_again(own: Keep, off: Blind) -> Seen:
    action = own.action("gamma")
    approved(own, action)
    assert effects(own, action.id) == 1
    own.dispatch().turn()
    assert own.dispatch().ledger.state(action.id).kind == "DONE"

    def again() -> int:
        own.edit({action.path: None})
        changed = replace(action, reason="once more")
        asked = own.ask(changed, branch=f"vault/{fresh('again')}")
        own.review(asked)
        own.merged(asked)
        return len(own.run(1)[1].orders)

    assert again() == 0
    off.patch.setattr(ledger, "AFTER", {**ledger.AFTER, "VERIFIED": ledger.AFTER["VERIFIED"] | {"DONE"}})
    off.patch.setattr(loop, "MAX_ROUNDS", 1)  # without that check it would go on for ever
    off.patch.setattr(gather.Gather, "scan", lambda self, scan=gather.Gather.scan: [scan(self), *self.merges][1:])
    assert again() == 1
    return Seen("allows", "nothing is done")


@attack(16, "A link, or a file that may be executed", forge="allows", vault="not-an-addition",
        check="only plain files of mode 100644 are read")  # fmt: skip
@pytest.mark.parametrize("mode", ["120000", "100755"])
def test_attack_16_modes(keep: Keep, off: Blind, mode: str) -> Seen:
    def act() -> str:
        action = keep.action("gamma")
        return pushed_by_hand(keep, action, action.path, mode, action.write())

    def plain(case: Case) -> Case:
        changes = tuple(replace(change, mode="100644") for change in case.merge.changes)
        return replace(case, merge=replace(case.merge, changes=changes))

    return raid(keep, act, lambda: off.case(plain))


@attack(16, "A submodule in place of the file", forge="allows", vault="not-an-addition",
        off="cannot: there are no bytes to read",
        check="only plain files of mode 100644 are read")  # fmt: skip
def test_attack_16_submodule(keep: Keep, off: Blind) -> Seen:
    def act() -> str:
        action = keep.action("gamma")
        return pushed_by_hand(keep, action, action.path, "160000", keep.tip("main").encode())

    forge, code = refused(keep, act)
    off.case(lambda c: replace(c, merge=replace(c.merge, changes=tuple(
        replace(change, mode="100644") for change in c.merge.changes))))  # fmt: skip
    assert refused(keep, act)[1] == "too-large"
    return Seen(forge, code, "cannot: there are no bytes to read")


NAMES = ["A", "a b", "-a", "a-", "a.b", "a/b", "x\ny", "caf\u00e9", "a" * 65, "a\\b", "..", "depl\u043ey", "a\tb", "_"]


@attack(17, "A name with a dash in front, a newline, a slash, a foreign letter", forge="allows", vault="bad-name",
        check="an id is 2 to 64 of a-z, 0-9 and dashes inside")  # fmt: skip
def test_attack_17_names(keep: Keep, own: Keep, off: Blind) -> Seen:
    def act(name: str = "-a", where: Keep = keep) -> str:
        action = where.action("gamma")
        path = f"vault/actions/{name}.toml"
        pushed_by_hand(where, action, path, "100644", replace(action, id=name).write())
        return f"bad-{canonical.sha256(path.encode())[:16]}"

    forge, code = refused(keep, act)
    for name in ("x\ny", "depl\u043ey"):
        assert refused(keep, lambda name=name: act(name))[1] == code
    for name in NAMES:
        case = named(name)
        with pytest.raises(Refused) as no:
            verify.content(case)
        assert no.value.code == code, name
    options = re.compile(r"-?[a-z0-9-]+")
    for module in (actions, gather, verify, ledger):
        off.patch.setattr(module, "ID", options)
    act("-b", own)
    own.dispatch().turn()
    assert [order.id for order in own.runner().orders] == ["-b"], "whose entries nobody else would read"
    return Seen(forge, code)


def named(name: str) -> Case:
    case = sample_case()
    change = replace(case.merge.changes[0], path=f"vault/actions/{name}.toml".encode())
    return replace(case, id=name, merge=replace(case.merge, changes=(change,)))


@attack(18, "A name that looks like another one", forge="allows", vault="bad-param",
        check="names are ASCII and compared byte by byte")  # fmt: skip
@pytest.mark.parametrize("twin", ["h\u0435re", "he\u0301re"])
def test_attack_18_twins(keep: Keep, off: Blind, twin: str) -> Seen:
    def act() -> str:
        action = keep.action("gamma", params={"place": twin}, target="gamma:here")
        return approved(keep, action)

    for formula in ("g\u0430mma@1", "gamma@\u0661"):
        assert "bad-formula" in codes(sample_action(formula=formula).write())
    off.patch.setattr(actions, "trouble", lambda text, limit: None)  # the second twin is no NFC
    seen = refused(keep, act)
    off.patch.setattr(formulas, "TYPES", {**formulas.TYPES, "name": None})
    off.patch.setattr(formulas.VaultFormula, "target", lambda self, params: "gamma:here")
    assert effects(keep, act()) == 1
    return Seen(*seen)


def codes(data: bytes, name: str = "2026-11-28-sample-0001.toml") -> set[str]:
    return {finding.code for finding in actions.check(data, name)[1]}


@attack(19, "Characters that a reader does not see, or that turn a line around", forge="allows", vault="bad-text",
        check="a text holds only what is seen")  # fmt: skip
def test_attack_19_invisible(keep: Keep, off: Blind) -> Seen:
    hidden = "release 1.8.2\u202e ton od"
    unseen = {"bad-text", "not-toml", "not-canonical"}
    for char in "\u202e\u200b\u2066\ufeff\u00ad\x00\x1b\u2028\ue000\U000e0041\u3164\ufe0f\u034f":
        assert codes(sample_action(reason=f"a{char}b").write()) & unseen, f"U+{ord(char):04X}"
        assert codes(sample_action(params={"place": "here", "words": f"a{char}b"}).write()) & unseen

    def blind() -> None:
        off.patch.setattr(actions, "trouble", lambda text, limit: None)

    return raid(keep, lambda: approved(keep, keep.action("gamma", reason=hidden)), blind)


GOOD = sample_action(params={"place": "here", "words": "so"}).write().decode()
CONFUSED = {
    "true for a number": ("v = 1", "v = true", "version"),
    "a text for a number": ("v = 1", 'v = "1"', "version"),
    "a fraction for a whole number": ("v = 1", "v = 1.0", "not-canonical"),
    "a date for a text": ('"so"', "2026-11-28T12:00:00Z", "bad-type"),
    "a text for a date": ("2026-11-28T13:00:00Z", '"2026-11-28T13:00:00Z"', "bad-time"),
    "a date without a zone": ("2026-11-28T13:00:00Z", "2026-11-28T13:00:00", "not-canonical"),
    "a list for a text": ('"so"', '["so", ["so"]]', "not-canonical"),
    "an unknown key": ("v = 1", "v = 1\nw = 1", "unknown-key"),
    "a key that looks like another": ("reason", "r\u0435ason", "not-canonical"),
    "no number": ('"so"', "[nan]", "not-canonical"),
    "no end": ('"so"', "[inf]", "not-canonical"),
    "a number with 400 digits": ('"so"', "9" * 400, "bad-type"),
    "a number of the wrong sign": ('"so"', "-" + "9" * 20, "bad-type"),
    "NUL in a text": ('"so"', '"s\\u0000o"', "not-canonical"),
    "a number for a name": ("secrets = []", "secrets = [1]", "bad-secrets"),
}


@attack(20, "A value of another type than it looks", forge="allows", vault="bad-param",
        check="every value has exactly its parameter's type")  # fmt: skip
def test_attack_20_types(keep: Keep, off: Blind) -> Seen:
    assert not codes(GOOD.encode())
    for what, (old, new, code) in CONFUSED.items():
        assert GOOD.count(old) == 1, what
        assert code in codes(GOOD.replace(old, new).encode()), (what, codes(GOOD.replace(old, new).encode()))

    def act() -> str:
        return approved(keep, keep.action("gamma", params={"place": 5}, target="gamma:5"))

    return raid(keep, act, lambda: off.patch.setattr(formulas, "_wrong", lambda param, value: None))


DIFFERENT: dict[str, Callable[[bytes], bytes]] = {
    "a comment": lambda data: b"# release only\n" + data,
    "a quoted key": lambda data: data.replace(b"reason =", b'"reason" ='),
    "a dotted key": lambda data: data.replace(b"\n[params]\nplace =", b"\nparams.place ="),
    "another order": lambda data: data.replace(b"v = 1\n", b"", 1).replace(b"\n\n[params]", b"\nv = 1\n\n[params]"),
    "a literal text": lambda data: data.replace(b'reason = "because"', b"reason = 'because'"),
    "an escape": lambda data: data.replace(b'"because"', b'"\\u0062ecause"'),
    "spaces": lambda data: data.replace(b"reason = ", b"reason  = "),
    "a Windows line end": lambda data: data.replace(b"\n", b"\r\n", 1),
    "no last line end": lambda data: data.removesuffix(b"\n"),
}


@attack(21, "Bytes that two parsers could read differently", forge="allows", vault="not-canonical",
        check="a file is byte for byte what the factory writes for what it says")  # fmt: skip
@pytest.mark.parametrize("what", ["a comment", "another order"])
def test_attack_21_parser_differential(keep: Keep, off: Blind, what: str) -> Seen:
    for name, change in DIFFERENT.items():
        data = change(sample_action().write())
        assert data != sample_action().write(), name
        assert tomllib.loads(data.decode()) == tomllib.loads(sample_action().write().decode()), name
        assert codes(data) & {"not-canonical", "legacy"}, name
    assert codes(b"v = 1\n" + sample_action().write()) == {"not-toml"}
    assert codes(sample_action().write() + b"\n[params]\n") == {"not-toml"}

    def act() -> str:
        action = keep.action("gamma")
        return approved(keep, action, DIFFERENT[what](action.write()))

    return raid(keep, act, lambda: lenient(off))


DOTTED = b"v = 1\na" + b".a" * 5000 + b" = 1\n"
NESTED = b"v = 1\na = " + b"[" * 8000 + b"]" * 8000 + b"\n"


def seconds(what: Callable[[], object]) -> float:
    """Of computing, of this process."""
    began = time.process_time()
    with contextlib.suppress(Refused, ValueError):
        what()
    return max(time.process_time() - began, 1e-6)


@attack(22, "TOML that takes seconds to parse", forge="allows", vault="not-canonical", off="it takes all that time",
        check="form and size are looked at before anything is parsed")  # fmt: skip
def test_attack_22_slow_toml(keep: Keep, off: Blind) -> Seen:
    """Approved and merged; what the dispatcher's turn computes for its answer."""
    parsed = seconds(lambda: tomllib.loads(DOTTED.decode()))

    def answered(data: bytes) -> tuple[str, float]:
        """With which code, and after how many seconds of computing."""
        served = keep.dispatch()
        served.turn()
        id, before = approved(keep, keep.action("gamma"), data), served.program.computed
        served.turn()
        return str(served.ledger.state(id).evidence["code"]), served.program.computed - before

    for data in (DOTTED, NESTED):
        assert len(data) <= MAX_BYTES
        code, checked = answered(data)
        assert code == "not-canonical"
        assert checked < max(parsed, 1.0), (checked, parsed)
    off.patch.setattr(canonical, "_LINE", re.compile(rb"(?s).*"))
    _, long = answered(DOTTED)
    assert long > parsed, "it is parsed, and more than once"
    return Seen("allows", code, "it takes all that time")


def test_looking_at_the_form_takes_a_hundredth_of_parsing() -> None:
    """Without a process: it is the time that a function of bytes takes."""
    assert codes(b"x" * (MAX_BYTES + 1)) == {"too-large"}
    assert codes(NESTED) == {"not-canonical"}
    checked = min(seconds(lambda: canonical.load(DOTTED)) for _ in range(3))
    parsed = seconds(lambda: tomllib.loads(DOTTED.decode()))
    assert parsed > 100 * checked, (parsed, checked)
    assert checked < 0.02


@attack(23, "A file of a megabyte", forge="allows", vault="too-large",
        off="cannot: nothing that is else in order is that large",
        check="16 KiB, looked at before it is read")  # fmt: skip
def test_attack_23_a_large_file(keep: Keep) -> Seen:
    action = keep.action("gamma")
    forge, code = refused(keep, lambda: approved(keep, action, action.write() + b"#" * 2**20))
    return Seen(forge, code, "cannot: nothing that is else in order is that large")


SMUGGLED = ["--force", "-rf", "x\nDELETE", "x\x00y", "x\ty"]


@attack(26, "A value that becomes an option, a command or a template", forge="allows", vault="bad-param",
        check="a value begins with no dash, holds no line end, and is put into no text")  # fmt: skip
def test_attack_26_smuggled_values(keep: Keep, off: Blind) -> Seen:
    formula = formulas.read(formula_bytes("gamma") or b"")
    for value in SMUGGLED:
        action = sample_action(params={"place": "here", "words": value})
        found = codes(action.write()) | {finding.code for finding in formula.check(action)}
        assert found & {"bad-text", "bad-param", "not-toml", "not-canonical"}, value
    for argv in (["tool", "{{ words }}"], ["tool", "{% raw %}"]):
        text = (formula_bytes("gamma") or b"").decode().replace('effects = ["stand_in"]\n', "")
        step = f'\n[[steps]]\nid = "go"\nkind = "shell"\nargv = {argv}\n'
        with pytest.raises(Refused, match="bad-formula"):
            formulas.read((text + step).encode())

    def act() -> str:
        return approved(keep, keep.action("gamma", params={"place": "--force"}, target="gamma:--force"))

    def blind() -> None:
        off.patch.setattr(formulas, "_wrong", lambda param, value: None)
        off.patch.setattr(actions, "TARGET", re.compile(".*"))

    return raid(keep, act, blind)


@attack(27, "A key that the vault ignores and the formula might not", forge="allows", vault="unknown-param",
        check="unknown keys are refused at every level")  # fmt: skip
def test_attack_27_unknown_keys(keep: Keep, off: Blind) -> Seen:
    assert "unknown-key" in codes(sample_action().write().replace(b"v = 1\n", b"v = 1\nsudo = true\n"))

    def act() -> str:
        place = f"p{time.monotonic_ns()}"
        return approved(keep, keep.action("gamma", target=f"gamma:{place}", params={"place": place, "sudo": True}))

    return raid(keep, act, lambda: off.patch.setattr(formulas.VaultFormula, "check", lambda self, action: []))


@attack(31, "A secret that the formula is not given", forge="allows", vault="secret-not-allowed",
        check="secrets are those that formula and policy both name")  # fmt: skip
def test_attack_31_a_secret_that_is_not_its_own(keep: Keep, off: Blind) -> Seen:
    for name in ("*", "deploy", "DEPLOY*", "DEPLOY_KEY;X"):
        assert "bad-secrets" in codes(sample_action(secrets=(name,)).write())
    return raid(keep, lambda: approved(keep, keep.action("gamma", secrets=("DEPLOY_KEY",))),
                lambda: off.patch.setattr(verify, "check", lambda action, formula, policy: []))  # fmt: skip



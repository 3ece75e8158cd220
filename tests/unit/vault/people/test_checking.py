"""Everything that is wrong with an action file, where it is, and what tier it has."""

from __future__ import annotations

import pytest

from factory.vault.canonical import sha256
from factory.vault.people.checking import check_file
from factory.vault.people.request import draft
from tests.unit.vault.people.samples import rules, wish

GOOD = draft(wish(), rules()).text.encode()
PATH = f"vault/actions/{draft(wish(), rules()).action.id}.toml"


def problems(data: bytes, path: str = PATH) -> list[str]:
    return [str(problem).replace(path, "F") for problem in check_file(path, data, rules()).problems]


def test_a_good_file_is_told_its_tier_and_digest() -> None:
    checked = check_file(PATH, GOOD, rules())
    assert (checked.problems, checked.tier, checked.digest) == ((), "high", sha256(GOOD))
    assert checked.reasons[0] == "release@1 is at least high"


def test_a_line_and_a_hint_for_each_problem() -> None:
    data = GOOD.replace(b'blast_radius = "low"', b'blast_radius = "tiny"').replace(b'tag = "v0.2.0"', b'tag = "-v"')
    assert problems(data) == ["F:4: blast_radius: must be low, medium or high"]
    data = GOOD.replace(b'tag = "v0.2.0"', b'colour = "red"\ntag = "-v"')
    colour, tag = problems(data)
    assert colour.startswith("F:14: params.colour: release@1 takes no such parameter\n  hint: it takes draft, files,")
    assert tag.startswith("F:15: params.tag: must ")


def test_every_line_that_is_not_in_its_form_is_named() -> None:
    data = GOOD.replace(b"v = 1\n", b"v=1\n# a note\n").replace(b'requester = "role:dev"', b"requester='role:dev'")
    found = problems(data)
    assert [line.partition(" ")[0] for line in found] == ["F:1:", "F:2:", "F:11:"]


def test_other_problems_beside_such_a_line_are_told_too() -> None:
    data = GOOD.replace(b"v = 1\n", b"v=1\n").replace(b'blast_radius = "low"', b'blast_radius = "tiny"')
    assert [line.partition(" ")[0] for line in problems(data)] == ["F:1:", "F:4:"]


@pytest.mark.parametrize(
    ("data", "code"),
    [(b"", "legacy"), (b"formula='release'\n", "legacy"), (b'formula = "release"\n', "legacy"),
     (b"\xff", "not-canonical"),
     (b"a" * 20_000, "too-large")],
)  # fmt: skip
def test_what_is_no_action_at_all_is_refused_by_its_name(data: bytes, code: str) -> None:
    checked = check_file(PATH, data, rules())
    assert code in checked.codes
    assert checked.tier == ""


def test_what_was_done_lately_is_told() -> None:
    asked = draft(wish("webhook-call"), rules())
    checked = check_file(asked.action.path, asked.text.encode(), rules(), frozenset({asked.action.content}))
    assert checked.codes == ("duplicate",)
    assert checked.tier == "high"

"""Canary secrets in twelve encodings through eight channels: the generated page is what happens."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import pytest

from factory.vault.run.control import Artifact
from factory.vault.run.encodings import ENCODINGS
from factory.vault.run.gate import Gate
from factory.vault.run.redact import Redactor
from factory.vault.run.tools import EffectFailed, Work
from tests.integration.vault.run.house import CANARY, House
from tests.integration.vault.run.leaks import CHANNELS, ENCODERS, NONE, PAGE, encoded, leaky, matrix, page

pytestmark = pytest.mark.needs_bwrap


def test_the_page_is_what_happens(tmp_path: Path) -> None:
    found = matrix(tmp_path)
    assert PAGE.read_text(encoding="utf-8") == page(found), "python -m tests.integration.vault.run.leaks"
    cells = [found[encoding][channel] for encoding in ENCODINGS for channel in CHANNELS]
    assert len(cells) == 96
    assert "?" not in cells
    assert cells.count(NONE) < 60


@pytest.mark.parametrize("encoding", ENCODERS)
def test_what_the_program_writes_is_that_encoding(encoding: str) -> None:
    known = Redactor()
    known.know("CANARY", CANARY)
    assert encoding in {hit.encoding for hit in known.find(encoded(encoding))}


@pytest.mark.parametrize("encoding", ["raw", "base64", "gzip base64"])
def test_with_the_search_off_it_would_have_been_told(
    house: House, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    house.secrets["CANARY"] = CANARY
    monkeypatch.setattr(Redactor, "find", lambda self, data, rules=False: ())
    monkeypatch.setattr(Redactor, "clean", lambda self, data: data)
    order = house.order(replace(leaky(encoding, fail=False), effects=()), secrets=("CANARY",))
    outcome = house.run(order)
    known = Redactor()
    known.know("CANARY", CANARY)
    monkeypatch.undo()
    assert known.find(outcome.result["note"].encode())
    assert known.find(house.log(order).encode())


def test_a_secret_in_the_file_itself_keeps_it_from_the_forge(house: House) -> None:
    """In an archive, packed: looked into before it is given to the forge. Which secret it is, the log says."""
    order = house.order(leaky("raw", fail=False), secrets=("CANARY",))
    redactor, said = Redactor(), list[str]()
    redactor.know("CANARY", CANARY)
    work = Work(order, Gate(order, lambda one: True), redactor, said.append, house.tools(), artifacts={
        "archive": Artifact(Path("x"), 1, "0")})  # fmt: skip
    with pytest.raises(EffectFailed, match=r"^the archive: something secret stands in it$"):
        work.clear("the archive", gzip.compress(b"x" * 3_000_000 + CANARY.hex().encode() + b"y" * 99))
    assert said == ["the archive: it holds CANARY (gzip base64)"]
    work.clear("the archive", gzip.compress(b"x" * 3_000_000))

"""A few typed fields, and four words for how a step ended."""

from __future__ import annotations

import pytest

from factory.vault.canonical import trouble
from factory.vault.run.redact import Redactor
from factory.vault.run.result import MAX_TOTAL, Ending, ending, passed, said, taken


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"tag": "v1.2", "commit": "a" * 40, "size": 3, "changed": True},
         {"tag": "v1.2", "commit": "a" * 40, "size": "3", "changed": "true"}),
        ({"tag": "v 1"}, {}), ({"tag": 1}, {}), ({"size": -1}, {}), ({"size": True}, {}), ({"size": 2**60}, {}),
        ({"changed": 1}, {}), ({"note": "a\nb"}, {}), ({"note": "\u202e"}, {}), ({"note": "x" * 501}, {}),
        ({"url": "https://x.org/a"}, {"url": "https://x.org/a"}), ({"url": "javascript:1"}, {}),
        ({"path": "../x"}, {}), ({"path": "a/b.json"}, {"path": "a/b.json"}), ({"digest": "sha256:" + "0" * 64},
         {"digest": "sha256:" + "0" * 64}), ({"value": {"b": 1, "a": "é"}}, {"value": '{"a":"\\u00e9","b":1}'}),
        ({"value": "text"}, {}), ({"value": {"x": "y" * 7000}}, {}), ({"value": float("nan")}, {}), ({"evil": "x"}, {}),
        ([1], {}), (None, {}), ("x", {}),
    ],
)  # fmt: skip
def test_what_is_taken(given: object, kept: dict[str, str]) -> None:
    found, dropped = taken(given)
    assert found == kept
    assert bool(dropped) == (not isinstance(given, dict) or len(given) != len(kept))
    assert not any("evil" in words for words in dropped)
    assert all(trouble(text, MAX_TOTAL) is None for text in found.values())


def test_all_of_it_together_is_capped() -> None:
    found, dropped = taken({"value": {"x": "y" * 5900}, "note": "n" * 500, "name": "a" * 120, "url": "http://x/"})
    assert sum(map(len, found.values())) <= MAX_TOTAL
    assert dropped == ()


def test_a_secret_in_any_field_keeps_all_of_it_back() -> None:
    redactor = Redactor()
    redactor.know("TOKEN", b"canary-value-1234")
    assert passed({"tag": "v1", "note": "canary-value-1234"}, redactor)[0] == {}
    assert passed({"note": "canary-va", "name": "lue-1234"}, redactor)[0] == {}
    assert passed({"note": "AKIAIOSFODNN7ABCDEFG"}, redactor)[0] == {}
    assert passed({"note": "nothing"}, redactor) == ({"note": "nothing"}, ())


def test_words_are_cleaned_and_shown_plainly() -> None:
    redactor = Redactor()
    redactor.know("TOKEN", b"canary-value-1234")
    assert said("failed: canary-value-1234 at\nline 2\u202e", redactor) == "failed: [TOKEN] at line 2?"
    assert said("AKIAIOSFODNN7ABCDEFG", redactor) == "the words were kept back: a secret stood in them"
    assert len(said("x" * 9999, redactor)) == 500


@pytest.mark.parametrize("code", range(-5, 256))
def test_an_exit_code_says_no_more_than_yes_or_no(code: int) -> None:
    assert ending(code, stopped=False, built=True) is (Ending.DONE if code == 0 else Ending.FAILED)


def test_the_other_endings() -> None:
    assert ending(None, stopped=False, built=True) is Ending.STOPPED
    assert ending(0, stopped=True, built=True) is Ending.STOPPED
    assert ending(0, stopped=False, built=False) is Ending.NOT_BUILT
    assert len(Ending) == 4

"""Which formulas are in force, and what is told about their files."""

from __future__ import annotations

import hashlib

import pytest

from factory.config.home import packaged
from factory.errors import ConfigInvalid, UsageError
from factory.formula.catalog import load_formulas

CI = packaged("formulas")["ci"]
DIGEST = hashlib.sha256(CI).hexdigest()


def replaced(digest: str = DIGEST) -> bytes:
    return f'overrides = "{digest}"\n'.encode() + CI.replace(b"minutes = 60", b"minutes = 5")


def test_packaged_ones_are_there() -> None:
    catalog = load_formulas({})
    assert catalog.problems == ()
    assert set(catalog.formulas) >= {
        "dev",
        "fix-ci",
        "fix-base",
        "address-review",
        "resolve-conflict",
        "review-pr",
        "ci",
    }
    assert catalog.get("ci").origin == "packaged"
    assert catalog.get("ci").digest == DIGEST == catalog.files["ci"].digest


def test_the_ops_repo_shadows_whole_files_and_adds_new_ones() -> None:
    mine = CI.replace(b'name = "ci"', b'name = "mine"')
    catalog = load_formulas({"formulas/ci.toml": replaced(), "formulas/mine.toml": mine})
    assert (catalog.get("ci").limits.minutes, catalog.get("ci").origin) == (5, "ops (shadows packaged)")
    assert catalog.get("mine").origin == "ops"
    assert catalog.text("ci") == replaced()
    assert catalog.problems == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (replaced("0" * 64), "another version of the packaged file"),
        (CI, "without saying which version"),
    ],
)
def test_an_override_of_another_version_stands_and_is_told(text: bytes, words: str) -> None:
    catalog = load_formulas({"formulas/ci.toml": text})
    assert catalog.get("ci").origin == "ops (shadows packaged)"
    assert [words in p.message and DIGEST in str(p.hint) for p in catalog.problems] == [True]


def test_overriding_nothing_is_told() -> None:
    text = replaced().replace(b'name = "ci"', b'name = "mine"')
    assert "none has this name" in load_formulas({"formulas/mine.toml": text}).problems[0].message


def test_a_broken_override_never_lets_the_packaged_file_come_back() -> None:
    broken = {"formulas/ci.toml": b"schema = 1\n"}
    alone = load_formulas(broken)
    assert "ci" not in alone.formulas
    with pytest.raises(ConfigInvalid) as caught:
        alone.get("ci")
    assert caught.value.problems == alone.broken["ci"]
    good = load_formulas({"formulas/ci.toml": replaced()})
    kept = load_formulas(broken, previous=good.formulas)
    assert kept.get("ci") is good.get("ci")
    assert kept.problems


def test_an_unknown_name_says_where_it_was_looked_for() -> None:
    with pytest.raises(UsageError, match="ops repo, then among the packaged") as caught:
        load_formulas({}).get("reveiw-pr")
    assert 'did you mean "review-pr"' in str(caught.value.hint)


@pytest.mark.parametrize("digest", ["0" * 64, None])
def test_an_override_of_a_vault_formula_that_fits_no_installed_one_is_refused(digest: str | None) -> None:
    shipped = packaged("formulas")["release"]
    good = f'overrides = "{hashlib.sha256(shipped).hexdigest()}"\n'.encode() + shipped.replace(b"= 20", b"= 5", 1)
    assert load_formulas({"formulas/release.toml": good}).get("release").limits.minutes == 5
    said = b"" if digest is None else f'overrides = "{digest}"\n'.encode()
    catalog = load_formulas({"formulas/release.toml": said + shipped})
    assert "release" not in catalog.formulas
    assert len(catalog.problems) == 1
    with pytest.raises(ConfigInvalid):
        catalog.get("release")

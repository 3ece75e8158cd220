"""Which formula stands for a name, as people are shown it: as the dispatcher judges it."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory.config.home import packaged
from factory.git import objects
from factory.git.values import Signature
from factory.vault.canonical import sha256
from factory.vault.people.rules import replaces, rules_at

WHO = Signature("x", "x@x.invalid", 1_800_000_000)
SITE = packaged("formulas")["publish-site"]
OURS = SITE.replace(b"minutes = 20", b"minutes = 5")


def saying(digest: str) -> bytes:
    return f'overrides = "{digest}"\n'.encode() + OURS


@pytest.mark.parametrize(
    ("own", "shipped", "stands"),
    [
        (OURS, None, True), (SITE, SITE, True), (OURS, SITE, False), (saying(sha256(SITE)), SITE, True),
        (saying(sha256(b"older")), SITE, False), (b"# " + saying(sha256(SITE)), SITE, False),
    ],
)  # fmt: skip
def test_what_may_replace_a_packaged_formula(own: bytes, shipped: bytes | None, stands: bool) -> None:
    assert replaces(own, shipped) is stands


def test_one_that_may_not_is_no_formula_and_is_told(tmp_path: Path) -> None:
    objects.init_bare(tmp_path / "ops.git")

    def at(data: bytes) -> tuple[bool, bool]:
        files: dict[str, bytes | None] = {"formulas/publish-site.toml": data}
        commit = objects.build_commit(
            tmp_path / "ops.git", parent=None, changes=files, message="x", author=WHO, committer=WHO
        )
        rules = rules_at(tmp_path / "ops.git", commit)
        told = any("another version of the packaged one" in words for words in rules.problems)
        return rules.formula("publish-site@1") is not None, told

    assert at(saying(sha256(SITE))) == (True, False)
    assert at(saying(sha256(b"older"))) == (False, True)

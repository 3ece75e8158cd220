from __future__ import annotations

import pytest

from factory.errors import UsageError
from factory.git.refs import branch_ref, is_oid, is_ref, need_oid, need_ref

GOOD = [
    "refs/heads/main",
    "refs/heads/work/issue-12",
    "refs/factory/wip/r1",
    "refs/heads/日本",
    "refs/heads/a.b",
    "refs/heads/@x",
]
BAD = [
    "main",
    "refs/heads/",
    "refs/heads/a..b",
    "refs/heads/.a",
    "refs/heads/a.lock",
    "refs/heads/a.lock/b",
    "refs/heads/a b",
    "refs/heads/a~1",
    "refs/heads/a^",
    "refs/heads/a:b",
    "refs/heads/a?",
    "refs/heads/a*",
    "refs/heads/a[",
    "refs/heads/a\\b",
    "refs/heads/a@{1}",
    "refs/heads//a",
    "refs/heads/a.",
    "refs/heads/a\n",
    "refs/heads/\x7f",
    "refs/heads/" + "a" * 300,
    "refs/heads/a\u202eb",
]


@pytest.mark.parametrize("name", GOOD)
def test_well_formed_names_pass(name: str) -> None:
    assert need_ref(name) == name


@pytest.mark.parametrize("name", BAD)
def test_malformed_names_do_not(name: str) -> None:
    assert not is_ref(name)
    with pytest.raises(UsageError):
        need_ref(name)


def test_a_branch_never_looks_like_an_option() -> None:
    assert branch_ref("work/1") == "refs/heads/work/1"
    with pytest.raises(UsageError):
        branch_ref("--upload-pack=x")


@pytest.mark.parametrize("text", ["", "HEAD", "a" * 39, "A" * 40, "a" * 41, "a" * 40 + "\n", "-" * 40])
def test_an_object_id_is_forty_lower_case_digits(text: str) -> None:
    assert is_oid("0123456789abcdef" * 2 + "01234567")
    assert not is_oid(text)
    with pytest.raises(UsageError):
        need_oid(text)

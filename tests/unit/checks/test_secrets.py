from __future__ import annotations

import random
import string
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.checks.model import Change, FileChange, Severity
from factory.checks.secrets import entropy, find_secrets, guard, kinds, scan

Touched = Callable[..., FileChange]
Changed = Callable[..., Change]


def drawn(length: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    """Made here, so that no secret scanner finds one in this file."""
    source = random.Random(length)
    return "".join(source.choice(alphabet) for _ in range(length))


HEX = "0123456789abcdef"
UPPER = string.ascii_uppercase + string.digits
CERTAIN = [
    "-----BEGIN " + "RSA PRIVATE KEY-----",
    "-----BEGIN " + "OPENSSH PRIVATE KEY-----",
    "-----BEGIN " + "PRIVATE KEY-----",
    "AGE-SECRET-KEY-1" + drawn(58, UPPER),
    "AKIA" + drawn(16, UPPER),
    "sk-ant-api03-" + drawn(90),
    "sk-proj-" + drawn(60),
    "sk-" + drawn(48),
    "ghp_" + drawn(36),
    "github_pat_" + drawn(82),
    "glpat-" + drawn(20),
    "xoxb-123456789012-" + drawn(24),
    "sk_live_" + drawn(24),
    "AIza" + drawn(35),
    "npm_" + drawn(36),
    "pypi-AgE" + drawn(80),
    "hf_" + drawn(34),
    "SG." + drawn(22) + "." + drawn(43),
    "123456789:AA" + drawn(33),
    "dop_v1_" + drawn(64, HEX),
    "hvs." + drawn(30),
    "AccountKey=" + drawn(86) + "==",
    "eyJ" + drawn(20) + ".eyJ" + drawn(30) + "." + drawn(40),
    "https://hooks.slack.com/services/T" + drawn(8, UPPER) + "/B" + drawn(8, UPPER) + "/" + drawn(24),
]


@pytest.mark.parametrize("secret", CERTAIN, ids=lambda s: s[:12])
@pytest.mark.parametrize(
    "around", ["{}", 'KEY = "{}"', "  - token: {}  # note", "curl -H 'Authorization: Bearer {}' x", "({})"]
)
def test_known_formats_block_and_are_never_shown(secret: str, around: str, touched: Touched, changed: Changed) -> None:
    found = scan(changed(touched("src/a.py", ["x = 1", around.format(secret)])))
    assert [(f.path, f.line, f.severity) for f in found if f.severity is Severity.BLOCK] == [
        ("src/a.py", 2, Severity.BLOCK)
    ]
    for finding in found:
        assert secret not in str(finding)
        assert secret[-12:] not in str(finding)


@pytest.mark.parametrize(
    "line",
    [
        f'password = "{drawn(20)}"',
        f"API_KEY: {drawn(32)}",
        f"client-secret={drawn(40, HEX)}",
        f'"accessKey": "{drawn(24)}"',
        f"token => '{drawn(30)}'",
        f'set_token("{drawn(32)}")',
        f"postgres://app:{drawn(16)}@db.internal/shop",
    ],
)
def test_a_random_value_beside_a_telling_name_is_a_persons_to_judge(
    line: str, touched: Touched, changed: Changed
) -> None:
    (finding,) = scan(changed(touched("conf.py", [line])))
    assert finding.severity is Severity.PERSON


@pytest.mark.parametrize(
    "line",
    [
        "password = os.environ['DATABASE_PASSWORD_PRODUCTION1']",
        "token = get_token_from_the_store(user_1)",
        "password: changeme-changeme-1",
        "API_KEY=your-api-key-goes-here-1234",
        "secret = '${SECRET_FROM_VAULT_2}'",
        "access_key = AKIAIOSFODNN7" + "EXAMPLE",
        "token = secrets.token_urlsafe(32)",
        "passwords = sorted(passwords, key=len)",
        "tokens: list[Token1] = parse_tokens(text)",
        'author = "somebody-with-a-long-name"',
        "sha256 = " + drawn(64, HEX),
        "https://user:password@example.com/x",
        "postgres://app:${PASSWORD}@db/shop",
        "authorization = 'aaaaaaaaaaaaaaaaaaaaaaaaaaa1'",
        "tokenizer = BertTokenizerFast2023Version",
        "the sk-learn package",
        "const passwordInputPlaceholder1 = 'Enter your password'",
        "commit " + drawn(40, HEX),
    ],
)
def test_ordinary_lines_are_quiet(line: str, touched: Touched, changed: Changed) -> None:
    assert scan(changed(touched("src/a.py", [line]))) == ()


def test_removed_lines_and_deleted_files_are_quiet(touched: Touched, changed: Changed) -> None:
    secret = CERTAIN[4]
    assert scan(changed(touched("a", removed=[secret]), touched("b", removed=[secret], status="deleted"))) == ()


def test_a_name_can_hold_one_and_is_not_repeated(touched: Touched, changed: Changed) -> None:
    secret = "ghp_" + drawn(36)
    (finding,) = scan(changed(touched(f"notes/{secret}.txt", ["x"])))
    assert finding.severity is Severity.BLOCK
    assert secret not in str(finding)


def test_texts_can_be_asked_too() -> None:
    assert find_secrets(f"fine\n{CERTAIN[8]}\n") == ((2, "a GitHub token"),)
    assert find_secrets("password = " + drawn(30)) == (), "only what is certain"


def test_nothing_certain_is_written_to_the_ops_repo() -> None:
    secret = CERTAIN[8]
    (problem,) = guard("knowledge/x.md", f"learned\n{secret}\n".encode())
    assert (problem.path, problem.line) == ("knowledge/x.md", 2)
    assert secret not in str(problem)
    assert guard("knowledge/x.md", b"postgres://user:somepassword@host.internal/x \xff") == ()


def test_a_secret_deep_in_a_very_long_line_is_found() -> None:
    line = "x" * 50_000 + " " + CERTAIN[8] + " " + "y" * 50_000
    assert [certain for _, certain in kinds(line)] == [True]


@pytest.mark.parametrize(
    "seed", ["a", "secret_", "token=", "a://", "eyJ", "a.b-", "-----BEGIN ", "token" + " " * 9, "x:y@", "sk-"]
)
def test_long_hostile_lines_take_linear_time(seed: str) -> None:
    import time

    line = seed * (100_000 // len(seed))
    began = time.process_time()
    list(kinds(line))
    assert time.process_time() - began < 2.0


@settings(max_examples=50)
@given(st.text(max_size=400))
def test_any_text_has_an_answer(text: str) -> None:
    assert all(number >= 1 for number, _ in find_secrets(text))


def test_entropy() -> None:
    assert entropy("") == 0
    assert entropy("aaaa") == 0
    assert entropy("abab") == 1

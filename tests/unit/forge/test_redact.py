from __future__ import annotations

import pytest

from factory.forge.redact import Redactor, basic_header

TOKEN = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    "text",
    [
        f"access token does not exist [sha: {TOKEN}]",
        f"Authorization: token {TOKEN}",
        f"Bearer {TOKEN} is bad",
        f"http://user:{TOKEN}@forge/x",
        basic_header("token", TOKEN),
        TOKEN,
    ],
)
def test_no_form_of_the_token_survives(text: str) -> None:
    redact = Redactor([TOKEN, basic_header("token", TOKEN)[6:]])
    assert TOKEN not in redact(text)
    assert basic_header("token", TOKEN)[6:] not in redact(text)


@pytest.mark.parametrize(
    "text", ["access token does not exist [sha: someone-elses]", "//a:b@host/", "Basic c29tZW9uZTplbHNl"]
)
def test_tokens_of_others_are_masked_too(text: str) -> None:
    masked = Redactor([])(text)
    assert "***" in masked
    assert "someone-elses" not in masked


def test_ordinary_words_stay() -> None:
    text = "token does not have at least one of required scope(s): [write:issue]"
    assert Redactor([TOKEN])(text) == text

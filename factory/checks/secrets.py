"""Secrets in added lines: known token formats, private keys, and random-looking values beside a telling name. Pure.

A finding says where and of what kind, never the secret. Formats with a prefix of their own block; a random-looking
value is a person's to judge, because digests and test data look alike.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

from factory.checks.model import Change, Finding, Severity
from factory.errors import Problem

NAME = "secrets"

_LOGIN = "a password in an address"
"""Documentation is full of these: not certain."""

_FORMATS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("a private key", r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----"),
        ("an age secret key", r"\bAGE-SECRET-KEY-1[0-9A-Z]{58}\b"),
        ("an AWS access key", r"\b(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}\b"),
        ("an Anthropic key", r"\bsk-ant-[A-Za-z0-9_-]{24,}"),
        ("an OpenAI key", r"\bsk-(?:proj-|svcacct-|admin-)[A-Za-z0-9_-]{32,}"),
        ("a key beginning with sk-", r"\bsk-(?:or-v1-)?[A-Za-z0-9]{40,}\b"),
        ("a GitHub token", r"\b(?:gh[pousr]_[A-Za-z0-9]{36,251}|github_pat_[A-Za-z0-9_]{60,255})\b"),
        ("a GitLab token", r"\bgl(?:pat|dt|rt|cbt|ptt|ft|soat)-[A-Za-z0-9_-]{20,}"),
        ("a Slack token", r"\bxox[abeoprs]-[A-Za-z0-9-]{20,}|\bxapp-\d-[A-Za-z0-9-]{20,}"),
        ("a Slack webhook", r"https://hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9/_-]{30,}"),
        ("a Discord webhook", r"https://(?:\w+\.)?discord(?:app)?\.com/api/webhooks/\d{16,20}/[A-Za-z0-9_-]{60,}"),
        ("a Stripe key", r"\b(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{20,}\b|\bwhsec_[A-Za-z0-9+/=]{32,}"),
        ("a Google API key", r"\bAIza[0-9A-Za-z_-]{35}\b"),
        ("a Google OAuth secret", r"\bGOCSPX-[0-9A-Za-z_-]{28}"),
        ("an npm token", r"\bnpm_[A-Za-z0-9]{36}\b"),
        ("a PyPI token", r"\bpypi-AgE[A-Za-z0-9_-]{50,}"),
        ("a Hugging Face token", r"\bhf_[A-Za-z0-9]{34,}\b"),
        ("a SendGrid key", r"\bSG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}\b"),
        ("a Telegram bot token", r"\b\d{8,10}:AA[A-Za-z0-9_-]{33}\b"),
        ("a DigitalOcean token", r"\bdo[opr]_v1_[a-f0-9]{64}\b"),
        ("a Docker token", r"\bdckr_(?:pat|oat)_[A-Za-z0-9_-]{27,}"),
        ("a Databricks token", r"\bdapi[a-f0-9]{32}\b"),
        ("a Vault token", r"\bhv[sbr]\.[A-Za-z0-9_-]{24,}"),
        ("an Azure storage key", r"AccountKey=[A-Za-z0-9+/]{86}=="),
        ("a JSON web token", r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{20,}"),
        (
            _LOGIN,
            r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@'\"<>{}$]{1,64}:[^\s/:@'\"<>{}$*]{6,128}@[^\s/@]",
        ),
    )
)

_BESIDE_A_NAME = re.compile(
    r"(?i)(?:(?:secret|token|passw(?:or)?d|passphrase|api[_-]?key|private[_-]?key|access[_-]?key|"
    r"auth[_-]?key|credential|client[_-]?key|encryption[_-]?key|signing[_-]?key)(?:s|id|[\d_.-][\w.-]{0,20})?)"
    r"[\"']?\s{0,3}(?::=|=>|[:=]|\()\s{0,3}[\"'`]?(?P<value>[A-Za-z0-9+/_.=~!@#%^&*-]{16,200})"
)
_NOT_A_SECRET = re.compile(
    r"(?i)example|sample|dummy|placeholder|change[-_]?me|redacted|xxxx|0000|1234|abcd|your[-_]|my[-_]|fake|"
    r"test|\.\.\.|environ|getenv|process\.env|secrets?\.|config\.|settings\.|self\.|os\.|^sha\d|^\W*$"
)
_CODE = re.compile(r"^[A-Za-z_]+(?:[._-][A-Za-z_]+)*\(?$|^[A-Z][a-z]+(?:[A-Z][a-z]+)+$")
"""A dotted or camel-case name: an expression, not a value."""

_CHUNK = 4_000


def scan(change: Change) -> tuple[Finding, ...]:
    """One finding per added line and kind of secret; names of files count as lines too."""
    found: list[Finding] = []
    for file in change.files:
        if file.status == "deleted":
            continue
        for kind, _ in _named(file.path):
            found.append(Finding(NAME, Severity.BLOCK, "(a file's name)", None, f"holds what looks like {kind}"))
        for number, line in file.added:
            for kind, certain in kinds(line):
                severity = Severity.BLOCK if certain else Severity.PERSON
                found.append(Finding(NAME, severity, file.path, number, f"looks like {kind}"))
    return tuple(found)


def _named(path: str) -> Iterator[tuple[str, bool]]:
    return (pair for pair in kinds(path) if pair[1])


def kinds(line: str) -> Iterator[tuple[str, bool]]:
    """(kind, certain) of every secret that the line seems to hold, each kind once."""
    seen: set[str] = set()
    for text in _pieces(line):
        for kind, pattern in _FORMATS:
            match = pattern.search(text)
            if match and kind not in seen and not _documented(match.group()):
                seen.add(kind)
                yield kind, kind != _LOGIN
        for match in _BESIDE_A_NAME.finditer(text):
            kind = "a secret value beside a telling name"
            if not seen and _random(match["value"]):
                seen.add(kind)
                yield kind, False


def find_secrets(text: str) -> tuple[tuple[int, str], ...]:
    """(line number, kind) of what is certain to be a secret in a text: for the ops writer, outboxes and recordings."""
    return tuple(
        (number, kind) for number, line in enumerate(text.split("\n"), 1) for kind, certain in kinds(line) if certain
    )


def guard(path: str, data: bytes) -> tuple[Problem, ...]:
    """``ops.edit.Guard``: no certain secret is written to the ops repo, whoever asks."""
    text = data.decode("utf-8", "replace")
    hint = "take it out; if it was real, revoke it"
    return tuple(Problem(path, line, f"looks like it holds {kind}", hint) for line, kind in find_secrets(text))


def _pieces(line: str) -> Iterator[str]:
    """The line, or overlapping pieces of a very long one, so that the patterns' time stays linear."""
    if len(line) <= _CHUNK:
        yield line
        return
    for start in range(0, len(line), _CHUNK - 400):
        yield line[start : start + _CHUNK]


def _documented(text: str) -> bool:
    """Whether it is one of the values that documentation uses, or a template's hole."""
    low = text.lower()
    return "example" in low or "xxxxxx" in low or len(set(text[-12:])) <= 2 or "user:password@" in low


def _random(value: str) -> bool:
    """Whether the value looks drawn at random: no known harmless word, letters and digits mixed, high entropy."""
    value = value.rstrip(".=,;")
    if len(value) < 16 or _NOT_A_SECRET.search(value) or _CODE.match(value):
        return False
    if not (any(c.isdigit() for c in value) and any(c.isalpha() for c in value)):
        return False
    return entropy(value) >= (3.0 if re.fullmatch(r"[0-9a-fA-F-]+", value) else 3.6)


def entropy(text: str) -> float:
    """Shannon entropy in bits per character."""
    total = len(text)
    return -sum(count / total * math.log2(count / total) for count in Counter(text).values()) if total else 0.0

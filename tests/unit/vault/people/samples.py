"""A small policy and a few formulas, as bytes and as rules, in which one thing at a time is changed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from factory.vault.canonical import sha256
from factory.vault.people.request import Wish
from factory.vault.people.rules import Rules, read_rules

NOW = datetime(2026, 11, 21, 12, 0, 30, tzinfo=UTC)

RELEASE = b"""schema = 1
name = "release"
version = 1
role = "vault"
description = "Build an archive and publish it as a release."

[vault]
class = "C"
floor = "high"
lane = ["tag"]
undo = "delete the release and its tag"
effects = ["tag", "release"]

[vault.params]
tag = { type = "name" }
notes = { type = "text", required = false }
draft = { type = "flag", required = false }
keep = { type = "int", required = false, max = 9 }
files = { type = "texts", required = false }

[[steps]]
id = "build"
kind = "shell"
argv = ["git", "archive", "--output=out.tar.gz", "HEAD"]
"""

COLLECT = b"""schema = 1
name = "collect"
version = 2
role = "vault"
description = "Read a page."

[vault]
class = "A"
floor = "low"
lane = ["host"]
hosts = ["GET,HEAD policy"]
undo = "nothing to undo"
effects = ["keep"]

[vault.params]
host = { type = "host" }
"""

CALL = b"""schema = 1
name = "webhook-call"
version = 1
role = "vault"
description = "Call a hook."

[vault]
class = "B"
floor = "medium"
secrets = ["HOOK_TOKEN"]
hosts = ["POST hooks.example.org/in"]
unique = true
effects = ["call"]

[vault.params]
event = { type = "enum", choices = ["deployed", "failed"] }
"""

FILES = {"release": RELEASE, "collect": COLLECT, "webhook-call": CALL}


def policy(more: str = "", *, version: int = 3, pending: int = 5) -> bytes:
    """A policy that names the three formulas. ``more`` is appended."""
    return f"""v = 1
version = {version}
admins = [1]
approvers = [2]
pending = {pending}

[logins]
founder = 1
colleague = 2

[formulas."release@1"]
tier = "high"
digest = "{sha256(RELEASE)}"

[formulas."collect@2"]
tier = "low"
digest = "{sha256(COLLECT)}"
hosts = ["GET,HEAD,POST status.example.org"]

[formulas."webhook-call@1"]
tier = "medium"
digest = "{sha256(CALL)}"
secrets = ["HOOK_TOKEN", "OTHER"]
[formulas."webhook-call@1".inject."hooks.example.org"]
secret = "HOOK_TOKEN"
header = "Authorization"
prefix = "Bearer "
{more}""".encode()


def rules(data: bytes | None = None) -> Rules:
    return read_rules(data or policy(), FILES, commit="c" * 40)


def wish(formula: str = "release", **changes: Any) -> Wish:
    parameters = {"release": {"tag": "v0.2.0"}, "collect": {"host": "status.example.org"},
                  "webhook-call": {"event": "deployed"}}.get(formula, {})  # fmt: skip
    values: dict[str, Any] = {"parameters": parameters, "requester": "role:dev", "key": "run 1", "at": NOW,
                              "reason": "version 0.2.0 is ready", "unblocks": ("acme/tally#3",)} | changes  # fmt: skip
    return Wish(formula, **values)

"""Examples of a policy and of actions, made from the packaged formulas: they are valid as they stand.

Written below ``vault/examples`` by ``python -m factory.vault.people.editors``; a test holds them current.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from factory.config.home import packaged
from factory.vault.canonical import sha256
from factory.vault.people.request import Wish, draft
from factory.vault.people.rules import read_rules

FOLDER = "vault/examples/"
AT = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
_POLICY = """#:schema ../policy.schema.json
# Who approves what, and what each formula of the vault may do.
# It counts once an admin of the version before approved it.
v = 1
version = 4
admins = [1]
approvers = [2]
cooling_hours = 24
require_signature = ["high"]

[per_day]
low = 50
medium = 20
high = 5

[logins]
founder = 1
colleague = 2

# A tag and a release of the project, by an admin's approval and signature.
[formulas."release@1"]
tier = "high"
digest = "{release}"

# Read-only requests to one host, without anybody.
[formulas."collect@1"]
tier = "low"
digest = "{collect}"
hosts = ["GET,HEAD status.example.org/api/"]
per_day = 24

# One POST to a hook; the run never sees the token, the egress proxy sets it.
[formulas."webhook-call@1"]
tier = "medium"
digest = "{webhook-call}"
secrets = ["DEPLOY_TOKEN"]
hosts = ["POST hooks.example.org/deploy"]
[formulas."webhook-call@1".inject."hooks.example.org"]
secret = "DEPLOY_TOKEN"
header = "Authorization"
prefix = "Bearer "

# Something that only a person can do; filing it is harmless.
[formulas."rent-a-human@1"]
tier = "low"
digest = "{rent-a-human}"
"""
_NAMES = ("release", "collect", "webhook-call", "rent-a-human")
_WISHES = (
    ("release", {"tag": "v1.8.2", "commit": "9f1c" * 10}, "role:dev", "version 1.8.2 is merged", ("acme/site#12",)),
    ("collect", {"kind": "status", "host": "status.example.org", "path": "/api/today"}, "role:predictor", "", ()),
    ("webhook-call", {"host": "hooks.example.org", "path": "/deploy", "body": '{"version": "1.8.2"}'},
     "person:colleague", "deploy what was released", ()),
    ("rent-a-human", {"what": "Buy site.example for a year", "why": "The site needs a name.", "steps": "Log in,Pay"},
     "role:planner", "", ("acme/site#7",)),
)  # fmt: skip


def policy() -> str:
    """The example policy, with the digests of the packaged formulas."""
    files, text = packaged("formulas"), _POLICY
    for name in _NAMES:
        text = text.replace("{" + name + "}", sha256(files[name]))
    return text


def documents() -> Mapping[str, str]:
    """Path in the checkout -> text of every example."""
    rules = read_rules(policy().encode(), packaged("formulas"))
    found = {f"{FOLDER}policy.toml": policy()}
    for formula, parameters, requester, reason, unblocks in _WISHES:
        wish = Wish(formula, parameters, requester, "example", AT, reason, unblocks)
        made = draft(wish, rules)
        found[f"{FOLDER}{made.action.id}.toml"] = made.text
    return found

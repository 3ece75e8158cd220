"""Whether the signatures that the vault will ask for stand on a pull request yet. Pure.

Merged without them it would be refused, and a change of the policy would stand on main without counting. Only their
form is looked at here: whether they are good is the dispatcher's question.
"""

from __future__ import annotations

import re
from collections.abc import Set

from factory.plan.model import Obstacle, PullFacts

_FORM = re.compile(r"factory-signature: 1\r?\napprover: ([1-9][0-9]{0,15})\r?\nnonce: [0-9a-f]{32}\r?\n")


def awaited(facts: PullFacts, signers: Set[int], need: int, name: str) -> Obstacle | None:
    """Who is waited for, if anybody. ``signers``: account ids; ``name``: as `vault sign` takes it."""
    texts = [comment.body for comment in facts.comments] + [review.body for review in facts.reviews]
    there = {int(number) for text in texts for number in _FORM.findall(text)} & signers
    if len(there) >= need:
        return None
    more = f" ({len(there)} of {need} so far)" if need > 1 else ""
    return Obstacle(
        "signature", f"the policy asks for an admin's signature on it{more}", f"an admin: `factory vault sign {name}`",
        facts.pull.created_at,
    )  # fmt: skip

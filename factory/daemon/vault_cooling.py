"""Until when a proposed change of the policy waits that an admin approved: merged before, it could not be objected to.

The dispatcher asks the same for itself, of what was merged (``authority.due``).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from factory.forge.values import Pull, Review
from factory.plan.reviews import approvals, latest
from factory.vault.authority import due
from factory.vault.ledger import Ledger
from factory.vault.policy import Policy


def until(pull: Pull, reviews: Sequence[Review], ledger: Ledger, policy: Policy) -> datetime | None:
    """From when on the change counts; None: no admin of the policy in force has approved its head yet."""
    newest = latest(reviews)
    approved = [newest[login] for login in approvals(reviews, pull.head_sha, pull.author.login)]
    given = [review.submitted_at for review in approved if review.author.id in policy.admins]
    if not given or not ledger.trust:
        return None
    return due(min(given), ledger.trust[0].at, policy)

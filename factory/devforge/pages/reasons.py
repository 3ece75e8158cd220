"""The forge's short words for "no", with what they mean and what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_PLAIN = (
    ("Does not have enough approvals",
     "Somebody whose approval counts for this branch must approve it as it is now."),
    ("Not all required status checks successful",
     "A required check has not passed yet; the list of checks shows which."),
    ("There are requested changes",
     "A reviewer asked for changes. They must approve, or an admin must dismiss that review."),
    ("There are official review requests",
     "A review was asked for and not given yet."),
    ("The head branch is behind the base branch",
     "The target has newer commits. Update the branch first."),
    ("Changed protected files",
     "It changes files that the branch's rule protects from everybody."),
    ("Work in progress PRs cannot be merged",
     "Its title says that it is not finished. Take the WIP off the title first."),
    ("User not allowed to merge PR",
     "The branch's rule names who may merge, and this account is not among them."),
    ("Please try again later",
     "It conflicts with the target branch, or has nothing to merge. Resolve that in the branch."),
    ("is blocked by an open dependency",
     "It depends on an issue that is still open."),
    ("head out of date",
     "Somebody pushed to it since you opened the page. Look at the new version, then decide again."),
    ("merge push out of date",
     "The target branch moved at this very moment. Try again."),
    ("won't sign",
     "The branch wants signed commits, and this forge has no key to sign with."),
    ("is not an allowed merge style",
     "This repository does not allow that way of merging."),
    ("approve your own pull is not allowed",
     "Somebody else must approve it: nobody judges their own change."),
    ("reject your own pull is not allowed",
     "Close it instead, or push what is missing."),
    ("requires a body",
     "Write a few words: the author must know what you mean."),
    ("already merged",
     "Somebody was faster."),
    ("PushRejected",
     "The branch's rule refused the merged result."),
    ("cannot close this",
     "It depends on an issue that is still open."),
    ("CONFLICT",
     "Both sides changed the same lines. Resolve it in the branch, then merge."),
)  # fmt: skip


def plain(words: str) -> str:
    """What the forge's words mean, '' for words that need no explanation."""
    return next((meaning for sign, meaning in _PLAIN if sign in words), "")


def of_conflict(detail: Mapping[str, Any]) -> str:
    """git's words about a failed merge, from the API's answer."""
    return str(detail.get("StdOut") or detail.get("StdErr") or "").strip()[:2000]

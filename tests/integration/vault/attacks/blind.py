"""Single checks switched off: the one fact that a check looks at is made to look right, and nothing else is touched.

A dispatcher is a process of its own: what stands in a check's place is carried over to it, after the fork and before
its program begins. Its code knows no switch. Here in the test the same is in place, for what a test asks directly.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pytest

from factory.vault import approval, authority, gather, verify
from factory.vault.approval import Bench, Review
from factory.vault.verify import Case, Verified
from tests.integration.vault.attacks.inside import Off

switched: list[Off] = []
"""What is off now."""


@dataclass(frozen=True)
class Patch:
    """A monkeypatch that the processes of the keeps share; what is put in must be able to travel (``carry``)."""

    here: pytest.MonkeyPatch

    def setattr(self, where: Any, name: str, value: Any) -> None:
        self.here.setattr(where, name, value)
        switched.append(Off(where, name, value))

    def setenv(self, name: str, value: str) -> None:
        self.here.setenv(name, value)
        switched.append(Off(None, name, value))


class Blind:
    """What a vault does not see any more, until the test ends."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(sys.modules[__name__], "switched", [])
        self.patch = Patch(patch)

    def review(self, *facts: str) -> None:
        """Of an approval: ``commit``, ``dismissed``, ``stale``, ``official``, ``at``, ``listed``, ``barred``."""
        real = approval._fault

        def fault(review: Review, head: str, pushed: datetime, bench: Bench) -> tuple[int, str, str] | None:
            fine: dict[str, object] = {"commit": head, "dismissed": False, "stale": False, "official": True}
            review = replace(review, **{k: v for k, v in fine.items() if k in facts})  # type: ignore[arg-type]
            who = frozenset({review.user})
            bench = replace(
                bench, listed=bench.listed | (who if "listed" in facts else frozenset()),
                barred=bench.barred - (who if "barred" in facts else frozenset()),
            )  # fmt: skip
            return real(review, head, review.at if "at" in facts else pushed, bench)

        self.patch.setattr(approval, "_fault", fault)

    def case(self, change: Callable[[Case], Case]) -> None:
        """Of all that a verdict is made of."""
        real = gather.decide

        def decide(case: Case) -> Verified:
            return real(change(case))

        self.patch.setattr(gather, "decide", decide)

    def approval(self) -> None:
        """No approval is needed any more."""
        self.patch.setattr(verify, "_approved", lambda case, pull, tier, need: ())

    def approved_for_trust(self) -> None:
        """Of a change of the controlled set: any approval counts, or none."""
        self.patch.setattr(authority, "approved", lambda pull, *_: tuple(r.user for r in pull.reviews))

    def settings(self) -> None:
        """How the forge is set."""
        self.case(lambda c: replace(c, settings=replace(c.settings, wrong="", since=datetime.min.replace(
            tzinfo=c.now.tzinfo)), seen={}))  # fmt: skip

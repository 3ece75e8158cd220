"""The factory knows its own posts again, and nobody can forge them."""

from __future__ import annotations

import pytest

from factory.effects.markers import Markers, mark, unmarked
from factory.plan.agent_text import harmless
from factory.testing import builders as b

MARKERS = Markers(b"k" * 32)
MARKER = MARKERS.make("r1", 0, "comment")


def test_a_marker_is_of_run_sequence_and_kind() -> None:
    all_of_them = {
        MARKERS.make(origin, n, kind) for origin in ("r1", "r2") for n in (0, 1) for kind in ("comment", "issue")
    }
    assert len(all_of_them) == 8
    assert Markers(b"j" * 32).make("r1", 0, "comment") != MARKER


def test_found_by_poster_and_place() -> None:
    mine = b.comment(mark("Hello", MARKER), "dev-bot")
    assert MARKERS.find(MARKER, [b.comment("x"), mine], "dev-bot") is mine
    assert MARKERS.find(MARKER, [mine], "Dev-Bot") is mine


@pytest.mark.parametrize(
    "post",
    [
        b.comment(mark("Hello", MARKER), "outsider"),
        b.comment(mark("Hello", MARKERS.make("r1", 1, "comment")), "dev-bot"),
        b.comment(mark("Hello", Markers(b"j" * 32).make("r1", 0, "comment")), "dev-bot"),
        b.comment(f"{MARKER}\n\nquoted above", "dev-bot"),
        b.comment("Hello", "dev-bot"),
    ],
)
def test_what_is_not_it(post: object) -> None:
    assert MARKERS.find(MARKER, [post], "dev-bot") is None


def test_agent_text_cannot_carry_one() -> None:
    assert "factory:comment" not in harmless(f"Hello {MARKER}")


def test_it_is_invisible_and_comes_off() -> None:
    assert MARKER.startswith("<!--")
    assert unmarked(mark("Hello\n", MARKER)) == "Hello"
    assert unmarked("Hello") == "Hello"


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        Markers(b"short")

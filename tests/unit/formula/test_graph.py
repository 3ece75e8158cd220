"""The order of steps."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.formula import graph
from factory.formula.model import Step, StepKind


def step(name: str, *needs: str) -> Step:
    return Step(name, StepKind.CHECK, needs=needs)


STEPS = (step("d", "b", "c"), step("b", "a"), step("c", "a"), step("a"))


def test_independent_steps_are_ready_together() -> None:
    assert [s.id for s in graph.ready(STEPS, ())] == ["a"]
    assert [s.id for s in graph.ready(STEPS, {"a"})] == ["b", "c"]
    assert [s.id for s in graph.ready(STEPS, {"a"}, started={"b"})] == ["c"]
    assert [s.id for s in graph.ready(STEPS, {"a", "b", "c"})] == ["d"]
    assert graph.ready(STEPS, {"a", "b", "c", "d"}) == ()


def test_one_order_stable_by_the_file() -> None:
    assert [s.id for s in graph.order(STEPS)] == ["a", "b", "c", "d"]
    with pytest.raises(ValueError, match="a, b"):
        graph.order((step("a", "b"), step("b", "a")))


def test_ancestors_are_surely_finished() -> None:
    needs = {s.id: s.needs for s in STEPS}
    assert graph.ancestors(needs, "d") == {"a", "b", "c"}
    assert graph.ancestors(needs, "a") == frozenset()
    assert graph.ancestors({"a": ["b"], "b": ["a"]}, "a") == {"a", "b"}


@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdefg"), max_size=4)))
def test_a_cycle_is_found_exactly_when_there_is_one(needs: dict[str, list[str]]) -> None:
    inside = {name: tuple(n for n in wanted if n in needs) for name, wanted in needs.items()}
    found = graph.cycle(needs)
    try:
        graph.order([step(name, *wanted) for name, wanted in inside.items()])
        assert found is None
    except ValueError:
        assert found is not None
        assert found[0] == found[-1]
        assert all(after in needs[before] for before, after in pairwise(found))


def test_a_chain_longer_than_the_stack() -> None:
    needs = {str(n): [str(n + 1)] for n in range(5000)}
    assert graph.cycle(needs) is None
    assert graph.cycle({**needs, "5000": ["0"]}) is not None

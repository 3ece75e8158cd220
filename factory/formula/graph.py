"""The order of a formula's steps. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from factory.formula.model import Step


def cycle(needs: Mapping[str, Collection[str]]) -> tuple[str, ...] | None:
    """One cycle among the steps (``("a", "b", "a")``), or None. Names that are no steps are ignored."""
    done: set[str] = set()
    for start in needs:
        trail: list[str] = []
        # Depth first without recursion: a hostile formula may chain more steps than Python has frames.
        stack: list[tuple[str, bool]] = [(start, False)]
        while stack:
            name, leaving = stack.pop()
            if leaving:
                trail.pop()
                done.add(name)
            elif name in trail:
                return (*trail[trail.index(name) :], name)
            elif name not in done and name in needs:
                trail.append(name)
                stack.append((name, True))
                stack += [(need, False) for need in sorted(needs[name], reverse=True)]
    return None


def ancestors(needs: Mapping[str, Collection[str]], step: str) -> frozenset[str]:
    """All steps that are surely finished before ``step`` starts."""
    found: set[str] = set()
    todo = list(needs.get(step, ()))
    while todo:
        name = todo.pop()
        if name not in found and name in needs:
            found.add(name)
            todo += needs[name]
    return frozenset(found)


def ready(steps: Sequence[Step], done: Collection[str], started: Collection[str] = ()) -> tuple[Step, ...]:
    """Steps that may start now, in the file's order: not done, not started, all they need done."""
    return tuple(s for s in steps if s.id not in done and s.id not in started and all(n in done for n in s.needs))


def order(steps: Sequence[Step]) -> tuple[Step, ...]:
    """One valid order, stable by the file's order. Raises ValueError on a cycle (which ``load`` refuses before)."""
    done: list[Step] = []
    while len(done) < len(steps):
        names = [s.id for s in done]
        possible = ready(steps, names)
        if not possible:
            raise ValueError(f"steps wait for each other: {', '.join(s.id for s in steps if s.id not in names)}")
        done.append(possible[0])
    return tuple(done)

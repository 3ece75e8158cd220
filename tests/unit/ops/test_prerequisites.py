from __future__ import annotations

from factory.ops.prerequisites import Objective, objectives

TREE = """# Prerequisite Tree
<!-- Last updated: 2026-04-20
## Objective: in a comment
-->
## Objective: MVP — first user (#1)
- [x] Login (#2, closed 2026-04-15)
- [ ] Domain blocked-on-vault (vault/pending/domain.md)
  - [ ] nested (#3)
Status: BLOCKED — no domain

## --- MVP MILESTONE: IN PROGRESS ---
- [ ] not of an objective

## Objective: Second
```
- [ ] code
```
- [X] done
Status: DONE
"""


def test_objectives_are_counted() -> None:
    assert objectives(TREE) == (
        Objective("MVP — first user (#1)", 1, 3, "BLOCKED — no domain"),
        Objective("Second", 1, 1, "DONE"),
    )
    assert objectives(TREE)[0].blocked


def test_an_unfinished_comment_hides_the_rest() -> None:
    assert objectives("<!-- \n## Objective: x\n") == ()

"""Pages lead somewhere, are found, stay short and promise nothing that cannot be tested."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from urllib.parse import unquote

import pytest

from factory.plan.required_checks import Light
from tests.unit.docs.pages import PAGES, ROOT, Page, slug

BY_PATH = {page.path: page for page in PAGES}
IDS = [page.path for page in PAGES]
LONGEST = 220
"""Lines of a page that a person wrote."""
GENERATED = frozenset({"docs/reference/cli.md", "docs/reference/configuration.md", "docs/reference/vault-attacks.md"})
EMPTY_WORDS = re.compile(
    r"\b(powerful|seamless(ly)?|robust|blazing|elegant|effortless(ly)?|cutting-edge|state-of-the-art|world-class|"
    r"revolutionary|delightful|magic(al(ly)?)?|simply|easily|best-in-class|enterprise-grade|game-chang\w+|leverag\w+)\b",
    re.IGNORECASE,
)
"""Words that say nothing a test could show."""


def broken(page: Page) -> list[str]:
    """Links of a page that lead nowhere in this checkout."""
    found = []
    for link in page.links():
        if re.match(r"[a-z][a-z0-9+.-]*:", link) or link.startswith("//"):
            continue
        path, _, anchor = link.partition("#")
        here = PurePosixPath(page.path).parent
        target = (ROOT / here / unquote(path)).resolve() if path else ROOT / page.path
        if not target.exists() or not target.is_relative_to(ROOT):
            found.append(link)
        elif anchor:
            there = BY_PATH.get(target.relative_to(ROOT).as_posix())
            if there is None or anchor not in there.anchors():
                found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_somewhere(page: Page) -> None:
    assert broken(page) == []


def test_the_check_sees_a_broken_link() -> None:
    page = Page("docs/x.md", "[a](nowhere.md) [b](../README.md#no-such-heading) [c](../../../etc/passwd) ![d](no.png)")
    assert len(broken(page)) == 4
    assert broken(Page("docs/x.md", "[a](../README.md) [b](https://example.com/x) [c](../README.md#see-it)")) == []
    assert slug("The `emit` command, twice") == "the-emit-command-twice"


def test_every_page_can_be_reached_from_the_index() -> None:
    seen: set[str] = set()
    todo = ["README.md"]
    while todo:
        page = BY_PATH.get(path := todo.pop())
        if page is None or path in seen:
            continue
        seen.add(path)
        for link in page.links():
            target = (ROOT / PurePosixPath(path).parent / unquote(link.partition("#")[0])).resolve()
            if target.is_relative_to(ROOT) and link.partition("#")[0]:
                todo.append(target.relative_to(ROOT).as_posix())
    assert {path for path in IDS if path.startswith("docs/")} - seen == set()


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_pages_are_short_and_begin_with_their_title(page: Page) -> None:
    assert page.text.startswith("# ")
    assert page.path in GENERATED or page.path == "CHANGELOG.md" or len(page.text.splitlines()) <= LONGEST


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_nothing_is_praised(page: Page) -> None:
    assert EMPTY_WORDS.findall(page.text) == []


def test_decisions_are_numbered_and_have_their_parts() -> None:
    decisions = [page for page in PAGES if re.match(r"docs/adr/\d", page.path)]
    assert [int(PurePosixPath(p.path).name[:4]) for p in decisions] == list(range(1, len(decisions) + 1))
    for page in decisions:
        assert {"context", "decision", "consequences"} <= page.anchors(), page.path
        assert re.search(r"^Status: (accepted|proposed|superseded by \[)", page.text, re.MULTILINE), page.path


def test_words_have_one_meaning_each() -> None:
    terms = re.findall(r"^\*\*([^*]+)\*\*", BY_PATH["docs/glossary.md"].text, re.MULTILINE)
    assert len(terms) > 20
    assert len({term.lower() for term in terms}) == len(terms)
    assert [term.lower() for term in terms] == sorted(term.lower() for term in terms)


def test_every_rule_that_can_be_in_the_way_is_explained() -> None:
    """The table of find-out-why-nothing-happens.md holds exactly the rules that plan/ and roles/ name."""
    named: set[str] = set()
    for file in [*(ROOT / "factory" / "plan").glob("*.py"), *(ROOT / "factory" / "roles").glob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Obstacle" and node.args:
                named |= set(_rules(node.args[0]))
    table = [
        line for line in BY_PATH["docs/how-to/find-out-why-nothing-happens.md"].text.splitlines() if line[:3] == "| `"
    ]
    told = {rule for line in table for rule in re.findall(r"`([a-z-]+)`", line.split("|")[1])}
    assert named - told == set()
    assert told - named == set()


def _rules(node: ast.expr) -> Iterator[str]:
    """The texts an expression for a rule may be: one, either of two, or ``check-`` with a light."""
    if isinstance(node, ast.Constant):
        yield str(node.value)
    elif isinstance(node, ast.IfExp):
        yield from (*_rules(node.body), *_rules(node.orelse))
    elif isinstance(node, ast.JoinedStr):
        assert isinstance(node.values[0], ast.Constant)
        yield from (f"{node.values[0].value}{light.value}" for light in Light if light is not Light.GREEN)

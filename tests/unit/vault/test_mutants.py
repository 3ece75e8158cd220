"""The mutator changes what it should and nothing else; the page says that enough are killed, and why others live."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.mutants.mutate import keys, mutants
from tests.mutants.page import PAGE, cell, fingerprint, reasons, share
from tests.mutants.run import FILES, LEAST, ROOT, source

CHANGES: dict[str, list[str]] = {
    "a == b": ["a != b"],
    "a < b": ["a <= b"],
    "a >= b": ["a > b"],
    "a in b": ["a not in b"],
    "a is b": ["a is not b"],
    "a < b < c": ["a <= b < c", "a < b <= c"],
    "a and b": ["a or b", "b", "a"],
    "a or b": ["a and b", "b", "a"],
    "not a": ["bool(a)"],
    "x = 5": ["x = 6"],
    "x = True": ["x = False"],
    "x = a + b": ["x = a - b"],
    "x += a": ["x -= a"],
    "x = 'code'": ["x = 'Xcode'"],
    "x = 'words for a person'": [],
    "x = f'code {y}'": [],
    "x = 'a{0,5}b'": ["x = 'Xa{0,5}b'", "x = 'a{0,6}b'"],
    "def f():\n    return a": ["def f():\n    return None"],
    "def f():\n    return None": [],
    "def f():\n    raise E": ["def f():\n    pass"],
    "f(x)": ["pass"],
    "x = a if b else c": ["x = a if not b else c"],
    "if a:\n    b = c": ["if not a:\n    b = c"],
    "x = [a for a in b if c]": ["x = [a for a in b]"],
    "x = {a: b, c: d}": ["x = {c: d}", "x = {a: b}"],
    "x = [a, b]": ["x = [b]", "x = [a]"],
    "x = min(a)": ["x = max(a)"],
    "x = a.startswith(b)": ["x = a.endswith(b)"],
    "x: Literal[1] = a": [],
    "@d(1)\ndef f():\n    pass": [],
    "import a": [],
    "'''docs'''\nx = a": [],
    "for a in b:\n    continue": ["for a in b:\n    break"],
}


@pytest.mark.parametrize("text", CHANGES)
def test_what_becomes_of_it(text: str) -> None:
    assert [ast.unparse(mutant.tree) for mutant in mutants(text)] == CHANGES[text]


@pytest.mark.parametrize("module", FILES)
def test_every_mutant_has_a_key_of_its_own_and_is_another_module_that_compiles(module: str) -> None:
    text = source(module)
    base, found = ast.dump(ast.parse(text)), keys(text)
    assert len(set(found)) == len(found) > 50
    some = set(found[::40])
    for mutant in mutants(text, some):
        some.remove(mutant.key)
        compile(mutant.tree, module, "exec")
        assert ast.dump(mutant.tree) != base
    assert not some


def test_the_page_is_of_the_code_as_it_is_and_every_survivor_has_its_reason() -> None:
    text, why = PAGE.read_text(encoding="utf-8"), reasons()
    total = survivors = 0
    for module in FILES:
        found = keys(source(module))
        mine = [key for key in found if f"{module}: {key}" in why]
        killed = len(found) - len(mine)
        row = f"| `vault/{module}.py` | {share(killed, len(found))} | {fingerprint(module)} |"
        assert row in text, f"{PAGE.name} is of an older {module}.py: run `make mutants`"
        assert 100 * killed >= LEAST * len(found)
        for key in mine:
            assert f"| {module} | {cell(key)} | {why[f'{module}: {key}']} |" in text
        total, survivors = total + len(found), survivors + len(mine)
    assert survivors == len(why), "a reason is of no mutant that there is"
    assert f"| all | {share(total - survivors, total)} | |" in text
    assert "no reason is given" not in text
    assert all(len(words) > 20 for words in why.values())


def test_what_is_said_to_die_does() -> None:
    """One of each module, in processes of their own: here the modules are loaded already."""
    argv = [sys.executable, "-m", "tests.mutants", "--sample", "1"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count("killed")) == (0, len(FILES)), done.stdout + done.stderr

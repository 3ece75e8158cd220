"""``make mutants``: run what is not known yet, write the page, fail where too many survive or one has no reason.

    .venv/bin/python -m tests.mutants [--seconds N] [--sample N] [MODULE...]

What was found is kept in ``.mutants/`` by the content of module and tests, so a long run can be made in parts. A sample
is run anew, of mutants that must die, and nothing is written.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.mutants.mutate import keys
from tests.mutants.page import PAGE, page, reasons
from tests.mutants.run import FILES, LEAST, ROOT, TESTS, run, source

KEPT = ROOT / ".mutants"


def digest(module: str) -> str:
    """Of everything that a result depends on: harness, tests, and whatever these import of product and tests."""
    waiting = [ROOT / TESTS / name for name in FILES[module]]
    waiting += [ROOT / "tests" / "mutants" / name for name in ("mutate.py", "run.py")]
    files: set[Path] = set()
    while waiting:
        file = waiting.pop()
        if file not in files:
            files.add(file)
            waiting += _imported(file)
    made = hashlib.sha256()
    for file in sorted(files | {ROOT / TESTS / "approval_table.txt"}):
        made.update(hashlib.sha256(file.read_bytes()).digest())
    return made.hexdigest()


def _imported(file: Path) -> Iterator[Path]:
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module:
            above = ROOT / node.module.replace(".", "/")
            yield from filter(Path.is_file, [above.with_suffix(".py"), *(above / f"{a.name}.py" for a in node.names)])


def results(module: str, end: float) -> dict[str, bool]:
    """Key -> killed: what is known of this very content, and what is found until the monotonic time ``end``."""
    file = KEPT / f"{module}-{digest(module)[:16]}.json"
    found = dict[str, bool](json.loads(file.read_bytes())) if file.exists() else {}
    everything = keys(source(module))
    KEPT.mkdir(exist_ok=True)
    for result in run(module, [key for key in everything if key not in found], until=end):
        found[result.key] = result.killed
        file.write_text(json.dumps(found), encoding="utf-8")
        if not result.killed:
            print(f"SURVIVES {module}: {result.key}", file=sys.stderr, flush=True)
    print(f"{module}: {len(found)} of {len(everything)} run, {sum(found.values())} killed", file=sys.stderr)
    return {key: found[key] for key in everything if key in found}


def sample(modules: Sequence[str], count: int) -> int:
    """The exit code: 0 when of each module so many mutants, spread over it, die, and the last one lives as it is."""
    why, alive = reasons(), 0
    for module in modules:
        able = [key for key in keys(source(module)) if f"{module}: {key}" not in why]
        some = able[len(able) // (2 * count) :: len(able) // count][:count]
        for result in run(module, some, base=module == modules[-1]):
            alive += not result.killed
            print(f"{'killed' if result.killed else 'SURVIVES'} {module}: {result.key}", flush=True)
    return int(alive > 0)


def judged(found: Mapping[str, Mapping[str, bool]], why: Mapping[str, str]) -> int:
    """The exit code: 0 when of every module enough were killed and every survivor has its reason."""
    alive = {f"{module}: {key}" for module, of in found.items() for key, killed in of.items() if not killed}
    for key in sorted(alive - set(why)):
        print(f"survives without a reason: {key}", file=sys.stderr)
    for key in sorted(set(why) - alive):
        print(f"has a reason and does not survive: {key}", file=sys.stderr)
    few = [module for module, of in found.items() if 100 * sum(of.values()) < LEAST * len(of)]
    for module in few:
        print(f"of {module} less than {LEAST} % are killed", file=sys.stderr)
    return int(alive != set(why) or bool(few))


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.mutants")
    parser.add_argument("modules", nargs="*", default=list(FILES))
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--sample", type=int, default=0)
    given = parser.parse_args()
    if unknown := set(given.modules) - set(FILES):
        parser.error(f"no such module: {', '.join(sorted(unknown))}; there are {', '.join(FILES)}")
    if os.environ.get("PYTHONHASHSEED") != "0":  # else the order of a set could kill a mutant today and not tomorrow
        argv = [sys.executable, "-m", "tests.mutants", *sys.argv[1:]]
        os.execve(sys.executable, argv, {**os.environ, "PYTHONHASHSEED": "0"})
    if given.sample:
        return sample(given.modules, given.sample)
    end = time.monotonic() + given.seconds
    found = {module: results(module, end) for module in given.modules}
    if any(len(of) < len(keys(source(module))) for module, of in found.items()):
        print("time is up; run it again to go on", file=sys.stderr)
        return 3
    if set(found) != set(FILES):
        return 0
    PAGE.write_text(page(found, reasons()), encoding="utf-8")
    return judged(found, reasons())


if __name__ == "__main__":
    sys.exit(main())

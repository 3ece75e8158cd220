"""The example project and its issues: what ``factory demo`` starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROJECT = "tally"
CI_COMMAND = "python3 -m unittest -q"
RELEASE = "v0.2.0"
"""The tag that the last issue's session asks the vault for."""
SCRIPT = Path(__file__).with_name("script.toml")


@dataclass(frozen=True)
class ExampleIssue:
    """An issue of the demo."""

    title: str
    body: str
    depends_on: int | None = None
    """Index in ISSUES of the issue it waits for."""


ISSUES = (
    ExampleIssue(
        "Add the median",
        "`python3 -m tally` prints mean and spread. Add the median: the middle value, and with an even count the mean "
        "of the two in the middle.\n\nIt belongs into `STATISTICS`, so that the command prints it.\n",
    ),
    ExampleIssue(
        "Accept numbers separated by commas",
        "Spreadsheets give `1, 2, 3`. Commas should separate like white space does.\n",
    ),
    ExampleIssue(
        "Print a one-line summary",
        "`python3 -m tally --summary` should print one line: the count, then every statistic, like\n\n"
        "    n=4 mean=3.0 spread=5.0 median=2.5\n\nIt needs the median.\n\nWhat is on the default branch when you "
        "begin is worth a release: ask for v0.2.0 of it.\n",
        depends_on=0,
    ),
)


def project_files() -> Mapping[str, bytes]:
    """Path -> content of the example project. Stored as ``*.txt`` so that no tool here takes them for our own code."""
    root = Path(__file__).with_name("project")
    named = {}
    for file in sorted(root.rglob("*.txt")):
        path = file.relative_to(root).as_posix().removesuffix(".txt")
        named[".gitignore" if path == "gitignore" else path] = file.read_bytes()
    return named

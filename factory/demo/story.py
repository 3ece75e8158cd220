"""The demo's live view: what the journal says happened, told as it happens. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from factory.runs.model import RunRecord, RunState, Usage

WIDTH = 100


@dataclass
class Story:
    """Tells each thing once. ``titles``: issue number -> title."""

    titles: Mapping[int, str]
    _told: set[tuple[str, bool]] = field(default_factory=set)

    def news(self, records: Iterable[RunRecord]) -> list[str]:
        """The lines that these records add to what was told already, in order."""
        lines = []
        for record in records:
            for ended in (False, True):
                if (record.run, ended) in self._told or (ended and not record.state.is_terminal):
                    continue
                self._told.add((record.run, ended))
                if ended:
                    asked = (record.fact("vault") or "").split()
                    lines += [f"{_place(record):9} asks the vault for {id}" for id in asked]
                line = self._ended(record) if ended else self._began(record)
                if line:
                    lines.append(line[:WIDTH])
        return lines

    def _began(self, run: RunRecord) -> str:
        match run.formula:
            case "dev":
                return f"{_place(run):9} {run.account} implements it: {self.titles.get(run.issue or 0, '')}"
            case "fix-ci":
                return f"{_place(run):9} {run.account} mends what the tests found"
            case "address-review":
                return f"{_place(run):9} {run.account} addresses the review"
            case "review-pr":
                return f"{_place(run):9} {run.account} reads the change at {(run.head or '')[:8]}"
        return ""

    def _ended(self, run: RunRecord) -> str:
        place = f"{_place(run):9}"
        if run.state is not RunState.SUCCEEDED:
            return f"{place} {run.formula}: {run.state.value} ({run.cause.value if run.cause else ''}) {run.detail}"
        match run.formula:
            case "dev":
                return f"{place} opened pull request #{run.fact('pull')}{_spent(run.usage)}"
            case "fix-ci" | "address-review":
                return f"{place} pushed a new head {(run.head or '')[:8]}{_spent(run.usage)}"
            case "review-pr":
                asks = run.fact("verdict") == "request_changes"
                return f"{place} {run.account} {'ASKS FOR CHANGES' if asks else 'approves'}{_spent(run.usage)}"
            case "ci":
                red = run.fact("ci") != "success"
                return f"{place} tests of {run.subject.id[:8]} are {'RED' if red else 'green'}"
        return ""


def merged(line: str) -> str:
    """What a daemon's log line says of a merge; empty for any other line."""
    _, found, rest = line.partition(" merge pull ")
    number = rest.partition(":")[0]
    return f"{f'#{number}':9} MERGED" if found and number.isdigit() else ""


def _place(run: RunRecord) -> str:
    if run.subject.kind == "issue":
        return f"issue #{run.subject.id}"
    if run.subject.kind == "pull":
        return f"#{run.subject.id}"
    on = run.fact("on") or ""
    return "main" if on == "base" else f"#{on.removeprefix('pull/')}"


def _spent(usage: Usage) -> str:
    kind = ", scripted" if usage.scripted else ""
    return f"   ({usage.requests} model calls, ${usage.cost_usd:.2f}{kind})"

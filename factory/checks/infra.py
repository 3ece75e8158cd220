"""Whether merging the change may act outside the repository. Pure."""

from __future__ import annotations

from factory.checks.model import Change, Finding, Severity
from factory.checks.paths import is_infrastructure

NAME = "infra"


def scan(change: Change) -> tuple[Finding, ...]:
    """One finding per file of containers, migrations, deployment or services; a rename counts by both its names."""
    found: list[Finding] = []
    for file in change.files:
        for path in dict.fromkeys(filter(None, (file.path, file.old_path))):
            if is_infrastructure(path):
                text = "acts outside the repository (containers, migrations, deployment, services, environment)"
                found.append(Finding(NAME, Severity.PERSON, path, None, text))
    return tuple(found)

"""Checks in code: what can be decided about a change without a model. Formulas name them as data; the registry."""

from __future__ import annotations

from collections.abc import Mapping

from factory.checks import diff_scan, evaluator, infra, scope, secrets
from factory.checks.model import Check

CHECKS: Mapping[str, Check] = {
    diff_scan.NAME: diff_scan.scan,
    secrets.NAME: secrets.scan,
    scope.NAME: scope.scan,
    infra.NAME: infra.scan,
    evaluator.NAME: evaluator.scan,
}
"""Name in a formula's ``uses`` -> the check."""

"""Attacks that tests of other folders carry out: importing them, or naming them here, declares their rows."""

from __future__ import annotations

from tests.integration.loop import test_rules as in_the_daemon
from tests.integration.vault.attacks.register import elsewhere
from tests.integration.vault.run import test_attacks, test_attacks_git
from tests.integration.vault.run import test_rules as of_runs
from tests.integration.vault.watch import test_attacks as watch
from tests.integration.vault.watch import test_rules as on_main
from tests.integration.vault.watch import test_rules_anew as anew

MODULES = (test_attacks, test_attacks_git, watch, of_runs, on_main, in_the_daemon, anew)
CRASHES = "tests/integration/vault/test_crash_points.py"

elsewhere(48, "A dispatcher dies at any point between a claim and its result", f"{CRASHES}::test_one_row_of_the_matrix",
          vault="it happens once, or a person is asked", off="it happens twice",
          check="what started is never started again before a fence and a probe")  # fmt: skip
elsewhere(52, "A dispatcher that slept goes on after somebody else took over",
          f"{CRASHES}::test_without_the_fence_the_effect_comes_twice", vault="nothing is done", off="it happens twice",
          check="an effect asks the ledger first; a start that comes too late is void")  # fmt: skip
elsewhere(65, "Entries that do not follow, evidence that is not true, signatures by other keys",
          "tests/integration/vault/test_audit.py::test_attack_65_the_evidence_is_not_true",
          vault="the audit names the entry", off="cannot: a second reader of its own finds the same",
          check="the whole ledger is read again, with all it names")  # fmt: skip

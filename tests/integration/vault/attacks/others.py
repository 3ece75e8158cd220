"""Attacks that tests of other folders carry out: importing them declares their rows."""

from __future__ import annotations

from tests.integration.vault.run import test_attacks, test_attacks_git

MODULES = (test_attacks, test_attacks_git)

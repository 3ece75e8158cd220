"""Mutation testing of what decides in the vault: every small change of it must make a unit test fail."""

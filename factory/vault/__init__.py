"""The vault: risky actions start only when the exact content was approved, and never twice.

The modules of this folder itself are the *trusted part*: what decides and what starts. They use the standard library
and each other, nothing else. The folders below it are not trusted: they ask, run, watch, show and check.
"""

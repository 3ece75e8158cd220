"""What holds for every test: hypothesis without wall-clock deadlines (two cores are shared) and without a database."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("factory", deadline=None, database=None)
settings.load_profile("factory")

"""What every part of the bench gives back."""

from __future__ import annotations

Row = tuple[str, str]
"""What was measured, and the figure as text."""

"""The working copy of a run: the project's view brought up to date, and a clone that borrows its objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from factory.git.transport import Remote
from factory.git.view import session_clone, update_view
from factory.process.lock import hold
from factory.runs.spec import SessionSpec

OBJECTS_INSIDE = "/run/factory/objects"
"""Where the view's objects are bound in the sandbox; the clone's alternates file names this path."""

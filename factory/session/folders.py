"""Where one run keeps what: ``state/runs/<run>`` is durable until settled, ``cache/runs/<run>`` disposable."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunFolders:
    """Paths of one run below ``$FACTORY_HOME``.

    ``state/runs/<run>/`` (0700): ``spec.json`` written before the start; ``lock`` held by the session process and, by
    inheritance, its sandbox, so that taking it proves the run dead; ``pid``; ``result.json`` written last;
    ``quarantine.git`` with the commits to push; ``cancel`` when somebody asked to stop.
    """

    home: Path
    run: str

    @property
    def state(self) -> Path:
        return self.home / "state" / "runs" / self.run

    @property
    def spec(self) -> Path:
        return self.state / "spec.json"

    @property
    def lock(self) -> Path:
        return self.state / "lock"

    @property
    def process(self) -> Path:
        return self.state / "process.json"

    @property
    def result(self) -> Path:
        return self.state / "result.json"

    @property
    def cancel(self) -> Path:
        return self.state / "cancel"

    @property
    def quarantine(self) -> Path:
        return self.state / "quarantine.git"

    @property
    def log(self) -> Path:
        return self.home / "cache" / "logs" / f"{self.run}.log"

    @property
    def cache(self) -> Path:
        return self.home / "cache" / "runs" / self.run

    def round(self, step: str, attempt: int) -> Path:
        """The sandbox folders of one start of one step."""
        return self.cache / f"{step}.{attempt}"

"""One run, from its order to its outcome: prepare, sandbox, effects of the host, and what may be said of it.

``done`` and ``clean`` are only said when they are known. Clean means: nothing was let through that could change
anything outside, and what ran had no other way out. All else is ``unclear``, and the probe or a person decides.
"""

from __future__ import annotations

import shutil
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from factory.errors import FactoryError
from factory.process.spawn import Child
from factory.sandbox.protocol import Bind, Sandbox
from factory.vault.canonical import stamp
from factory.vault.policy import hosts
from factory.vault.ports import Order, Outcome
from factory.vault.run import chamber
from factory.vault.run.broker import Broker
from factory.vault.run.control import Artifact, Control
from factory.vault.run.effects import EFFECTS
from factory.vault.run.gate import Gate, Shut
from factory.vault.run.redact import Redactor
from factory.vault.run.result import KEPT_BACK, Ending, Note, ending, passed, said, taken
from factory.vault.run.runlog import RunLog
from factory.vault.run.tools import EffectFailed, Tools, Work

SETTLE_S = 10.0
"""How long the rest of what a run sent is waited for after its end."""


class Failed(Exception):
    """The run did not do what it was for; in words."""


@dataclass
class Attempt:
    """One order being carried out. ``lock_fd`` is the run's lock, which its process tree inherits."""

    order: Order
    tools: Tools
    pyz: Path
    proved: Callable[[], Sandbox]
    """Gives the sandbox after its walls were tried; raises SandboxUnavailable."""
    lock_fd: int
    started: Callable[[Child], None]
    """Told the sandbox's process."""

    def __post_init__(self) -> None:
        self.redactor = Redactor()
        self.gate = Gate(self.order, self.tools.fence, self.tools.monotonic)
        self.stopped = threading.Event()
        self._began = time.monotonic()
        self._loose = False
        """Whether something ran that could change things without asking the gate."""
        self._holds = False
        """Whether something ran that was given a secret itself."""

    def stop(self, why: str) -> None:
        """Let nothing more through, and end what runs."""
        self.gate.shut(why)
        self.stopped.set()

    def outcome(self) -> Outcome:
        """Carry it out. Never raises: whatever goes wrong is an outcome."""
        try:
            name, log = self._log()
        except FileExistsError:
            return Outcome("unclear", "this run was begun before: it has a log already")
        except OSError as error:
            return Outcome(self._failed(), f"its log cannot be written: {error.strerror}")
        folder = self.tools.state / "runs" / name
        state, words, fields = "", "", {}  # type: tuple[str, str, dict[str, str]]
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True, mode=0o711)
            state, words, fields = self._carried_out(folder, log)
        except (Failed, EffectFailed, Shut) as failed:
            words = str(failed)
        except FactoryError as error:
            words = error.message
        except Exception as error:
            # A bug in one effect must not end the dispatcher, and must not pass for knowledge.
            log.line(traceback.format_exc().replace("\n", " | "))
            words = f"a bug in the runner, see its log: {type(error).__name__}"
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        state = state or self._failed()
        log.line(f"{state}: {words}")
        for what in self.gate.tried:
            log.line(f"let through: {what}")
        for hit in log.hits:
            log.line(f"printed and cut out: {hit}")
        words = said(words, self.redactor)
        outcome = Outcome(state, words, fields, log.end())
        if self._holds and self.tools.ends_s:
            # It could spell the secret out by when it ends; what the host did meanwhile is asked for by the gate.
            self.stopped.wait(-(time.monotonic() - self._began) % self.tools.ends_s)
        return outcome

    def _log(self) -> tuple[str, RunLog]:
        """The run's name on this disk and its log. A probe may look several times, a run begins once."""
        logs, order = self.tools.state / "logs", self.order
        for turn in range(1, 100):
            name = f"{order.run}-look{order.epoch}-{turn}" if order.probe else order.run
            try:
                return name, RunLog(logs / f"{name}.log", self.redactor)
            except FileExistsError:
                if not order.probe:
                    raise
        raise FileExistsError(17, "too many logs of one probe")

    def _failed(self) -> str:
        return "unclear" if self.order.probe or self.gate.tried or self._loose else "clean"

    def _carried_out(self, folder: Path, log: RunLog) -> tuple[str, str, dict[str, str]]:
        order = self.order
        log.line(f"{order.formula.key} {order.id} epoch {order.epoch} run {order.run}{' (only looking)' * order.probe}")
        unknown = [name for name in order.formula.effects if name not in EFFECTS]
        if unknown:
            raise Failed(f"{order.formula.key} names the effect {unknown[0]}, which there is not")
        self.gate.begin()
        work = Work(order, self.gate, self.redactor, log.line, self.tools)
        commit = order.action.params.get("commit")
        if isinstance(commit, str) and "commit" in order.formula.params:
            work = self._with_tree(work, commit, folder)
        steps = bool(order.formula.steps) and not (order.probe and not self._silent())
        told, artifacts = self._steps(work, folder, log) if steps else ({}, {})
        work = replace(work, artifacts=artifacts)
        if order.probe:
            return self._looked(work)
        fields: dict[str, object] = dict(told)
        for name in order.formula.effects:
            log.line(f"effect {name}")
            fields |= EFFECTS[name].do(work)
        return "done", *self._result(fields, log)

    def _result(self, fields: Mapping[str, object], log: RunLog) -> tuple[str, dict[str, str]]:
        found, dropped = taken(fields)
        for words in dropped:
            log.line(f"result: {words}: left out")
        shown, hits = passed(found, self.redactor)
        if hits:
            log.line(f"result: kept back: it held {', '.join(map(str, hits))}")
            return f"done; {KEPT_BACK}", {}
        return "done", shown

    def _looked(self, work: Work) -> tuple[str, str, dict[str, str]]:
        """Of a probe: whether all effects are there. Each not there is enough for ``absent``."""
        if not self.order.formula.effects:
            raise Failed(f"{self.order.formula.key} has nothing that can be looked for")
        missing = [name for name in self.order.formula.effects if not EFFECTS[name].done(work)]
        if missing:
            return "absent", f"not there: {', '.join(missing)}", {}
        return "applied", "found as it was approved", {}

    # ---- the sandbox -----------------------------------------------------------------------------------------------

    def _silent(self) -> bool:
        """Whether its steps can do nothing but compute: no way out, no secret, nothing of the host to write to."""
        order = self.order
        return not (hosts(order.formula, order.policy) or self._folders() or order.action.secrets)

    def _folders(self) -> tuple[Bind, ...]:
        """Folders of the host that the policy gives to this formula, or to the command that is asked for."""
        settings, name = self.order.rule.settings, self.order.action.params.get("name")
        commands = settings.get("commands")
        command = commands.get(name) if isinstance(commands, Mapping) else None
        given = {**_table(settings.get("folders")), **_table(_table(command).get("folders"))}
        wrong = [path for path, how in given.items() if how not in ("read", "write") or not path.startswith("/")]
        if wrong:
            raise Failed(f'the policy\'s folder {wrong[0]} must be an absolute path with "read" or "write"')
        return tuple(Bind(Path(path), path, writable=how == "write") for path, how in sorted(given.items()))

    def _with_tree(self, work: Work, commit: str, folder: Path) -> Work:
        settings = self.order.rule.settings
        branches = [one for one in settings.get("branches", ()) if isinstance(one, str)]
        # Whoever serves a site follows links; whoever unpacks an archive sees them first.
        links = "publish_site" not in self.order.formula.effects
        tree = folder / "tree"
        when = self.tools.project.tree(commit, tree, folder=work.text("folder"), branches=branches, links=links)
        return replace(work, tree=tree, committed=when)

    def _steps(self, work: Work, folder: Path, log: RunLog) -> tuple[dict[str, object], dict[str, Artifact]]:
        """What the steps gave back. Raises Failed."""
        order, folders = self.order, self._folders()
        allowed = hosts(order.formula, order.policy)
        brokered = {how.secret for how in order.rule.inject.values()}
        secrets = {name: self._secret(name) for name in order.action.secrets if name not in brokered}
        sandbox: Sandbox = self.proved()
        broker: Broker | None = None
        if allowed:
            broker = Broker(
                folder / "broker.sock", order, allowed, self.gate, self._secret, self.redactor, log.line,
                never=self.tools.never, connector=self.tools.connect,
            )  # fmt: skip
        control = Control(
            folder / "control.sock", folder, given=self._given(work), steps=order.formula.steps, secrets=secrets,
            broker="" if broker is None else broker.token,
        )  # fmt: skip
        out: AbstractContextManager[object] = nullcontext() if broker is None else broker
        confined = chamber.confinement(
            sandbox.python(), self.pyz, control=folder / "control.sock",
            broker=None if broker is None else folder / "broker.sock", tree=work.tree, folders=folders,
        )  # fmt: skip
        if order.formula.effect_class == "D":
            self.gate.begin()  # nothing asks for what it does inside: so at least nothing begins late
        with control, out:
            self._holds = bool(secrets)
            self._loose = order.formula.effect_class == "D" or any(bind.writable for bind in folders)
            ended = chamber.run(
                sandbox, confined, log, seconds=self._left(), lock_fd=self.lock_fd, started=self.started,
                stop=lambda: "it was told to stop" if self.stopped.is_set() else "",
            )  # fmt: skip
            told = control.settle(SETTLE_S)
            self._loose = self._loose and control.taken
        how = ending(next((c for c in told.codes if c), 0) if told.whole else None,
                     stopped=bool(ended.why), built=control.taken)  # fmt: skip
        log.line(f"steps: {how} {told.codes} {ended.why}{told.trouble}")
        if how is not Ending.DONE or len(told.codes) != len(order.formula.steps):
            raise Failed(self._why(how, ended.why, Note.NONE if broker is None else broker.noted.note))
        result = told.result if isinstance(told.result, dict) else {}
        return result, told.artifacts

    def _why(self, how: Ending, starter: str, note: Note) -> str:
        """In words of ours. ``starter``: what built the sandbox said; once the run has begun, it could have said it."""
        if how is Ending.NOT_BUILT:
            return f"the sandbox did not start: {starter}"
        if how is Ending.FAILED:
            more = self.gate.closed or note
            return f"its step failed; {more}" if more else "its step failed"
        return f"it was stopped; {self.gate.closed or 'a run has bounds: time, memory, output'}"

    def _left(self) -> float:
        return max(0.1, self.order.formula.minutes * self.tools.minute_s - (time.monotonic() - self._began))

    def _secret(self, name: str) -> bytes:
        value = self.tools.secret(name, self.order)
        self.redactor.know(name, value)
        return value

    def _given(self, work: Work) -> dict[str, Any]:
        """What every step reads on descriptor 3: the typed parameters, and facts of ours."""
        order = self.order
        params = {key: list(value) if isinstance(value, tuple) else value for key, value in order.action.params.items()}
        return {
            "params": params, "id": order.id, "run": order.run, "idem_key": order.idem_key, "committed": work.committed,
            "settings": _plain(order.rule.settings), "project": str(self.tools.project.name),
            "now": stamp(self.tools.clock()),
        }  # fmt: skip


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _plain(value: object) -> object:
    """Settings as JSON: what TOML knows beyond it (dates) becomes text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool) else str(value)

"""Binding one session: its sandbox, its gateway access, its backend, its git identity. Then running it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from factory.app.deployment import Deployment
from factory.app.places import control_socket as control_socket
from factory.app.places import mirror_path as mirror_path
from factory.backends import backend as backend_of
from factory.backends import found_on_host
from factory.errors import ConfigInvalid, UsageError
from factory.formula.load import load_formula
from factory.gateway.control import GatewayControl
from factory.gateway.values import FactKind, RunGrant
from factory.process.lock import try_hold
from factory.runs.codec import loads
from factory.runs.model import Cause, Usage
from factory.runs.spec import SessionResult, SessionSpec
from factory.sandbox.protocol import Bind
from factory.sandbox.select import select
from factory.session.execute import execute
from factory.session.folders import RunFolders
from factory.session.inside_pyz import build
from factory.session.ports import GatewayUse, SessionPorts
from factory.session.stopped import Stopped

CAUSES: dict[FactKind, Cause] = {
    FactKind.QUOTA: Cause.QUOTA,
    FactKind.BUDGET: Cause.BUDGET,
    FactKind.TURNS: Cause.MAX_TURNS,
    FactKind.MISMATCH: Cause.BACKEND,
    FactKind.UPSTREAM: Cause.BACKEND,
}


class Gateway:
    """The gateway's control client in the words of a session."""

    def __init__(self, control: GatewayControl) -> None:
        self._control = control

    def register(
        self, *, run: str, agent: str, model: str, formula: str, step: str, alias: str, round: int,
        max_cost_usd: float, max_turns: int,
    ) -> GatewayUse:  # fmt: skip
        made = self._control.register(
            RunGrant(
                run=run,
                backend=agent,
                model=model,
                formula=formula,
                step=step,
                alias=alias,
                round=round,
                max_cost_usd=max_cost_usd,
                max_turns=max_turns,
            )
        )
        return GatewayUse(made.token, made.socket)

    def usage(self, run: str, *, at_once: bool = False) -> Usage:
        seen = self._for(at_once).usage(run)
        return Usage(
            seen.requests, seen.input_tokens, seen.cached_tokens, seen.output_tokens, seen.cost_usd, seen.scripted
        )

    def trouble(self, run: str) -> tuple[Cause, str] | None:
        for fact in reversed(self._control.usage(run).facts):
            if fact.kind in CAUSES and not fact.passed:
                return CAUSES[fact.kind], f"{fact.kind.value}: {fact.detail}"
        return None

    def answer(self, run: str) -> str | None:
        return self._control.answer(run)

    def correct(self, run: str, answer: int) -> None:
        self._control.correct(run, answer)

    def revoke(self, run: str, *, at_once: bool = False) -> None:
        self._for(at_once).revoke(run)

    def _for(self, at_once: bool) -> GatewayControl:
        return self._control.hurried() if at_once else self._control


def exec_session(run: str, deployment: Deployment) -> SessionResult:
    """Execute a run that was planned for this host. Raises UsageError when it is unknown, lives or has ended."""
    folders = RunFolders(deployment.home, run)
    try:
        spec = loads(SessionSpec, folders.spec.read_bytes())
    except FileNotFoundError as error:
        raise UsageError(f"executing {run}: this host was not told of such a run") from error
    if folders.result.exists():
        raise UsageError(f"executing {run}: it has ended; its result is kept")
    lock = try_hold(folders.lock)
    if lock is None:
        raise UsageError(f"executing {run}: its session still lives")
    with lock, Stopped().listening(sweeps=True) as stopped:
        if folders.cancel.exists():
            stopped.flag = True
        text = spec.formula_text.encode()
        if hashlib.sha256(text).hexdigest() != spec.formula_digest:
            raise ConfigInvalid(f"executing {run}: the formula's text is not the one that was planned")
        formula = load_formula(text, f"formulas/{spec.formula}.toml")
        return execute(spec, formula, ports(spec, deployment), stopped=stopped, lock_fd=lock.fileno())


def ports(spec: SessionSpec, deployment: Deployment) -> SessionPorts:
    """The adapters of one session."""
    host = deployment.host
    chosen = backend_of(spec.backend) if spec.backend else None
    entry = host.backends.get(spec.agent)
    probed = found_on_host(spec.backend, entry.path if entry is not None else None) if chosen is not None else None
    mirror = mirror_path(deployment.home, spec.ops)
    return SessionPorts(
        home=host.home,
        sandbox=select(host.sandbox),
        project_remote=deployment.remote(spec.account, spec.project),
        gateway=Gateway(GatewayControl(control_socket(host.state))),
        backend=chosen,
        tool_paths=probed.tool_paths if probed is not None else {},
        pyz=build(host.cache / "inside"),
        mirror=mirror if mirror.exists() else None,
        tool_mounts=tuple(Bind(Path(path), path) for path in host.tool_mounts),
        known_secrets=deployment.tokens,
    )

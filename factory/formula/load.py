"""Formula files, read strictly: every problem at once, with file, line and hint (DESIGN section 8)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from factory.config.described import descriptions
from factory.config.model import RoleDefinition
from factory.config.shape import Findings, meant, refused, shaped, table, tables, texts
from factory.config.source import Document, read
from factory.errors import Problem
from factory.formula import graph, vault
from factory.formula.model import (
    Allowance,
    Context,
    Formula,
    Grants,
    Input,
    InputType,
    Limits,
    Step,
    StepKind,
)
from factory.formula.schemas import SCHEMAS
from factory.formula.shape import FormulaShape, GrantsShape, StepShape
from factory.formula.template import Scope, examine

DUTIES: Mapping[str, frozenset[str]] = {"ci": frozenset({"statuses"}), vault.ROLE: frozenset()}
"""What formulas run for without a role definition of its own: no agent is hired for it; and what it may be granted."""
_OF_KIND: Mapping[str, tuple[str, frozenset[str]]] = {
    # kind: (key it must have, keys it may have)
    "check": ("uses", frozenset({"uses"})),
    "agent": ("prompt", frozenset({"prompt", "output", "writes"})),
    "shell": ("argv", frozenset({"argv"})),
    "call": ("formula", frozenset({"formula", "with"})),
    "human": ("question", frozenset({"question"})),
    "vault": ("formula", frozenset({"formula", "with"})),
}
_EVERY_KIND = frozenset({"id", "kind", "needs"})


def load_formula(
    text: bytes,
    path: str,
    *,
    origin: str = "packaged",
    roles: Mapping[str, RoleDefinition] | None = None,
    checks: frozenset[str] | None = None,
) -> Formula:
    """Read a formula; raises ConfigInvalid with all problems.

    ``roles`` and ``checks`` are what there is to name; None leaves names of that sort unjudged (a run reading the
    text it was planned with needs no second judgement).
    """
    document = read(text, path)
    shape, problems = shaped(document, FormulaShape, lambda d: _judged(d, roles, checks))
    if shape is not None and shape.vault is not None and len(text) > vault.MAX_BYTES:
        shape, problems = None, [Problem(path, 1, f"a formula of the vault has at most {vault.MAX_BYTES:,} bytes")]
    if shape is None:
        raise refused(path, problems)
    return _valid(shape, origin, hashlib.sha256(text).hexdigest())


def _judged(
    document: Document, roles: Mapping[str, RoleDefinition] | None, checks: frozenset[str] | None
) -> list[Problem]:
    found = Findings(document)
    data = document.data or {}
    stem = document.path.rsplit("/", 1)[-1].removesuffix(".toml")
    name = data.get("name")
    if isinstance(name, str) and name != stem:
        found.add(("name",), f'name is "{name[:60]}" but the file is {stem}.toml', "give both the same name")
    for key, declared in table(data, "inputs").items():
        if isinstance(declared, dict):
            has = bool(declared.get("choices"))
            if (declared.get("type") == "enum") != has:
                message = (
                    f"inputs.{key} has choices but is no enum" if has else f"inputs.{key} is an enum without choices"
                )
                found.add(("inputs", key), message, 'write type = "enum" and choices = ["...", "..."]')
    _judge_grants(found, data, roles)
    if isinstance(data.get("vault"), dict):
        vault.judge(found, data)
    else:
        if data.get("role") == vault.ROLE:
            found.add(("role",), f'the duty "{vault.ROLE}" only runs formulas with [vault]', "add [vault]")
        if data.get("steps") in (None, []):
            found.add(("steps",), f"steps is {'empty' if 'steps' in data else 'missing'}", "at least one [[steps]]")
    _judge_steps(found, data, checks)
    return found.problems


def _judge_grants(found: Findings, data: Mapping[str, Any], roles: Mapping[str, RoleDefinition] | None) -> None:
    role = data.get("role")
    if roles is None or not isinstance(role, str):
        return
    if role not in roles and role not in DUTIES:
        found.add(("role",), f'role "{role[:60]}" has no definition', meant(role, {*roles, *DUTIES}, "roles"))
        return
    allowed = roles[role].grants if role in roles else DUTIES[role]
    for name, value in table(data, "grants").items():
        if value and name in GrantsShape.model_fields and name not in allowed:
            hint = f"the role may be granted: {', '.join(sorted(allowed)) or 'nothing'}"
            found.add(("grants", name), f'grants.{name} is more than the role "{role}" may have', hint)


def _judge_steps(found: Findings, data: Mapping[str, Any], checks: frozenset[str] | None) -> None:
    steps = tables(data, "steps")
    needs: dict[str, list[str]] = {}
    uses: dict[str, list[str]] = {}
    for index, step in steps:
        name = step.get("id")
        if not isinstance(name, str):
            continue
        if name in needs:
            found.add(("steps", index, "id"), f'steps[{index}].id "{name[:60]}" is the id of an earlier step')
            continue
        needs[name] = [need for _, need in texts(step, "needs")]
        uses[name] = [check for _, check in texts(step, "uses")]
    types = {
        key: str(declared.get("type", "text")) if isinstance(declared, dict) else "text"
        for key, declared in table(data, "inputs").items()
    }
    for index, step in steps:
        for at, need in texts(step, "needs"):
            if need not in needs:
                message = f'steps[{index}].needs names "{need[:60]}", which is not a step'
                found.add(("steps", index, "needs", at), message, meant(need, needs, "steps here"))
        _judge_kind(found, index, step)
        _judge_names(found, index, step, data, checks)
        name = step.get("id")
        before = graph.ancestors(needs, name) if isinstance(name, str) else frozenset()
        _judge_templates(found, index, step, Scope(types, before, frozenset(c for s in before for c in uses[s])))
    circle = graph.cycle(needs)
    if circle is not None:
        index = next(i for i, s in steps if s.get("id") == circle[0])
        message = f"steps wait for each other: {' -> '.join(circle)}"
        found.add(("steps", index, "needs"), message, "take one of these out of needs")


def _judge_kind(found: Findings, index: int, step: Mapping[str, Any]) -> None:
    kind = step.get("kind")
    if not isinstance(kind, str) or kind not in _OF_KIND:
        return
    must, may = _OF_KIND[kind]
    place = ("steps", index)
    if not step.get(must):
        found.add(place, f"steps[{index}] is of kind {kind} and needs {must}", descriptions(StepShape).get(must))
    for key in step:
        known = key in StepShape.model_fields or key == "with"
        if known and key not in may and key not in _EVERY_KIND:
            owners = ", ".join(sorted(k for k, (_, keys) in _OF_KIND.items() if key in keys))
            found.add(
                (*place, key),
                f"steps[{index}].{key} has no meaning in a step of kind {kind}",
                f"it belongs to: {owners}",
            )


def _judge_names(
    found: Findings, index: int, step: Mapping[str, Any], data: Mapping[str, Any], checks: frozenset[str] | None
) -> None:
    """Names of checks and answer schemas, whatever the step's kind was meant to be."""
    place = ("steps", index)
    for at, check in texts(step, "uses"):
        if checks is not None and check not in checks:
            message = f'steps[{index}].uses names "{check[:60]}", which is not a check'
            found.add((*place, "uses", at), message, meant(check, checks, "checks"))
    output = step.get("output")
    if not isinstance(output, str):
        return
    if output not in SCHEMAS:
        message = f'steps[{index}].output is "{output[:60]}", which is not a schema'
        found.add((*place, "output"), message, meant(output, SCHEMAS, "schemas"))
    elif output == "verdict":
        if step.get("writes") is not False:
            message = f"steps[{index}] gives a verdict and must not write: a review executes nothing of what it judges"
            found.add(place, message, "add writes = false")
        if table(data, "grants").get("review") is not True:
            found.add(
                (*place, "output"),
                f"steps[{index}] gives a verdict that may not be posted",
                "add review = true to [grants]",
            )


def _judge_templates(found: Findings, index: int, step: Mapping[str, Any], scope: Scope) -> None:
    sources: list[tuple[tuple[str | int, ...], str]] = []
    for key in ("prompt", "question"):
        if isinstance(step.get(key), str):
            sources.append((("steps", index, key), step[key]))
    sources += [(("steps", index, "argv", at), argument) for at, argument in texts(step, "argv")]
    sources += [(("steps", index, "with", k), v) for k, v in table(step, "with").items() if isinstance(v, str)]
    for place, source in sources:
        for fault in examine(source, scope):
            line = found.document.lines.within(place, fault.line)
            found.add(place, f"steps[{index}].{place[2]}: {fault.message}", fault.hint, line=line)
    argv = [argument for _, argument in texts(step, "argv")]
    for at, argument in enumerate(argv):
        if "quoted" in argument and "{" in argument:
            message = f"steps[{index}].argv[{at}] holds text of others"
            found.add(("steps", index, "argv", at), message, "give it to an agent's prompt, or decide it in a check")
        elif (
            at and argv[at - 1] in ("-c", "-lc", "-ec") and "{{" in argument and argument.strip() != "{{ ci.command }}"
        ):
            message = f"steps[{index}].argv[{at}] builds a shell program from variables"
            found.add(
                ("steps", index, "argv", at),
                message,
                'pass the value as a further argument and write "$1" in the program',
            )


def _valid(shape: FormulaShape, origin: str, digest: str) -> Formula:
    grants, limits, context = shape.grants, shape.limits, shape.context
    return Formula(
        name=shape.name,
        version=shape.version,
        role=shape.role,
        description=shape.description,
        steps=tuple(
            Step(
                id=s.id,
                kind=StepKind(s.kind),
                needs=tuple(s.needs),
                uses=tuple(s.uses),
                prompt=s.prompt or "",
                output=s.output,
                argv=tuple(s.argv),
                writes=s.writes,
                question=s.question or "",
                formula=s.formula or "",
                with_=dict(s.with_),
            )
            for s in shape.steps
        ),
        inputs=tuple(Input(n, InputType(i.type), tuple(i.choices), i.required) for n, i in shape.inputs.items()),
        context=Context(tuple(context.files), tuple(context.ops), context.graph, context.max_bytes),
        limits=Limits(limits.minutes, limits.idle_seconds, limits.turns, limits.cost_usd, limits.output_bytes),
        grants=Grants(
            commits=grants.commits,
            pull_request=grants.pull_request,
            review=grants.review,
            refuse=grants.refuse,
            statuses=tuple(grants.statuses),
            labels=tuple(grants.labels),
            issues=Allowance(grants.issues.max, tuple(grants.issues.labels)) if grants.issues else None,
            comments=Allowance(grants.comments.max) if grants.comments else None,
            vault=tuple(grants.vault),
        ),
        vault=None if shape.vault is None else vault.value(shape.vault),
        origin=origin,
        digest=digest,
    )

"""Templates as code to be judged: which variables they use, whether text of others could leave its quotes. Pure.

Jinja2, sandboxed, strict undefined, without loader: a template reaches nothing but its variables.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from jinja2 import Environment, StrictUndefined, TemplateSyntaxError, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

ROOTS: Mapping[str, str] = {
    "inputs": "the formula's declared inputs",
    "context": "context.files: path -> text of the project's files at the base commit",
    "facts": "check name -> lines it found",
    "steps": "step id -> ok, detail, answer of an earlier step",
    "project": "owner/name of the project",
    "run": "the run's id",
    "trusted": "whether the subject's author is trusted",
    "ci": "ci.command: shell line that decides whether a commit is green",
    "branch": "branch of the working copy",
    "base_ref": "branch it is to be merged into",
    "base": "commit that branch is at",
    "head": "commit under judgement",
    "diff": "change under judgement, as a unified diff (may be cut)",
}
"""Every top-level variable of a template."""
FIELDS: Mapping[str, frozenset[str]] = {
    "context": frozenset({"files", "ops", "cut"}),
    "ci": frozenset({"command"}),
}
STEP_FIELDS = frozenset({"ok", "detail", "answer"})
METHODS = frozenset({"items", "keys", "values", "get"})
OTHERS_WORDS = frozenset({"inputs", "context", "facts", "steps", "diff"})
"""Variables that hold text of others: they may only be printed through ``quoted`` or ``quoted_line``."""
QUOTES = frozenset({"quoted", "quoted_line", "length", "count"})


@dataclass(frozen=True)
class Fault:
    """What is wrong in a template; ``line`` counts from 1 within it."""

    line: int
    message: str
    hint: str | None = None


@dataclass(frozen=True)
class Scope:
    """What a template may name."""

    inputs: Mapping[str, str] = field(default_factory=dict)
    """Input -> its type."""
    steps: Collection[str] = ()
    """Steps surely finished before."""
    facts: Collection[str] = ()
    """Checks those steps used."""


def environment() -> ImmutableSandboxedEnvironment:
    """The one way templates are compiled (``render`` adds the filters' bodies)."""
    made = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    made.filters["quoted"] = made.filters["quoted_line"] = _unbound
    made.globals.clear()
    return made


def _unbound(text: object) -> str:
    raise RuntimeError("quoted is bound by render")


def examine(source: str, scope: Scope) -> tuple[Fault, ...]:
    """Everything wrong with a template, by line: syntax, unknown names, unquoted text of others."""
    made = environment()
    try:
        tree = made.parse(source)
        faults = {
            *_imports(tree),
            *_filters(tree, made),
            *_names(tree, scope),
            *_fields(tree, scope),
            *_unquoted(tree, scope),
        }
        if not faults:
            made.compile(source)  # what only the compiler finds: a block given twice, say
    except TemplateSyntaxError as error:
        return (Fault(error.lineno, f"template: {_lower(error.message)}"),)
    except RecursionError:
        return (Fault(1, "template: nested too deeply"),)
    return tuple(sorted(faults, key=lambda f: (f.line, f.message)))


def _lower(message: str | None) -> str:
    text = message or "cannot be read"
    return text[:1].lower() + text[1:]


def _imports(tree: nodes.Template) -> Iterator[Fault]:
    for node in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        yield Fault(node.lineno, "template: a prompt includes no other file", "give the text in the formula itself")


def _filters(tree: nodes.Template, made: Environment) -> Iterator[Fault]:
    known = environment()
    for node in tree.find_all((nodes.Filter, nodes.Test)):
        what, names = ("filter", known.filters) if isinstance(node, nodes.Filter) else ("test", known.tests)
        if node.name not in names:
            guess = _near(node.name, names)
            yield Fault(
                node.lineno, f"template: there is no {what} {node.name}", f'did you mean "{guess}"?' if guess else None
            )
            # Known from here on to the tree's own environment, or jinja's own analysis would stop at it.
            (made.filters if what == "filter" else made.tests)[node.name] = _unbound


def _names(tree: nodes.Template, scope: Scope) -> Iterator[Fault]:
    unknown = meta.find_undeclared_variables(tree) - set(ROOTS)
    for node in tree.find_all(nodes.Name):
        if node.ctx == "load" and node.name in unknown:
            where = f'"{node.name}" is an input: write inputs.{node.name}' if node.name in scope.inputs else None
            yield Fault(node.lineno, f"template: {node.name} is not defined", where or _known(node.name, ROOTS))


def _known(name: str, known: Collection[str]) -> str:
    guess = _near(name, known)
    listed = f"known: {', '.join(sorted(known)) or 'none'}"
    return f'did you mean "{guess}"? {listed}' if guess else listed


def _near(name: str, known: Collection[str]) -> str | None:
    return next(iter(get_close_matches(name, known, 1)), None)


def _member(node: nodes.Node) -> tuple[nodes.Node, str] | None:
    """``(x, "y")`` for ``x.y`` and ``x["y"]``."""
    if isinstance(node, nodes.Getattr):
        return node.node, node.attr
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
        return node.node, node.arg.value
    return None


def _fields(tree: nodes.Template, scope: Scope) -> Iterator[Fault]:
    for node in tree.find_all((nodes.Getattr, nodes.Getitem)):
        pair = _member(node)
        if pair is None:
            continue
        of, name = pair
        if isinstance(of, nodes.Name) and of.ctx == "load":
            known: Collection[str] | None = {
                "inputs": scope.inputs, "facts": scope.facts, "steps": scope.steps, **FIELDS
            }.get(of.name)  # fmt: skip
            if known is not None and name not in known and name not in METHODS:
                why = "is not declared" if of.name == "inputs" else "is not defined"
                if of.name in ("steps", "facts"):
                    why = "is not known to be finished here"
                yield Fault(node.lineno, f"template: {of.name}.{name} {why}", _known(name, known))
        outer = _member(of)
        if outer and isinstance(outer[0], nodes.Name) and outer[0].name == "steps" and name not in STEP_FIELDS:
            text = f"template: steps.{outer[1]}.{name} is not defined"
            yield Fault(node.lineno, text, _known(name, STEP_FIELDS))


def _unquoted(tree: nodes.Template, scope: Scope) -> Iterator[Fault]:
    """Text of others printed as if it were ours: an instruction in an issue would read like one of the formula."""
    tainted = set(OTHERS_WORDS)
    while True:  # a loop over text of others, or a variable set from it, holds text of others
        before = len(tainted)
        for loop in tree.find_all(nodes.For):
            if _holds(loop.iter, tainted, scope):
                tainted |= {n.name for n in loop.target.find_all(nodes.Name)} | (
                    {loop.target.name} if isinstance(loop.target, nodes.Name) else set()
                )
        for put in tree.find_all(nodes.Assign):
            if _holds(put.node, tainted, scope):
                tainted |= {put.target.name} if isinstance(put.target, nodes.Name) else set()
        if len(tainted) == before:
            break
    for output in tree.find_all(nodes.Output):
        for part in output.nodes:
            name = _holds(part, tainted, scope)
            if name:
                hint = f'write {{{{ {name} | quoted("what it is") }}}} or {{{{ {name} | quoted_line }}}}'
                yield Fault(part.lineno, f"template: {name} is text of others and stands outside quotes", hint)


def _holds(node: nodes.Node, tainted: Collection[str], scope: Scope) -> str | None:
    """How the tainted part of an expression is written, or None when there is none outside quotes."""
    if isinstance(node, nodes.Filter) and node.name in QUOTES:
        return None
    if isinstance(node, nodes.Test | nodes.Compare | nodes.TemplateData | nodes.Const):
        return None
    if isinstance(node, nodes.CondExpr):
        return _holds(node.expr1, tainted, scope) or (
            _holds(node.expr2, tainted, scope) if node.expr2 is not None else None
        )
    pair = _member(node)
    if pair is not None:
        of, name = pair
        if isinstance(of, nodes.Name) and of.name == "inputs" and scope.inputs.get(name) != "text":
            return None  # a number, a commit, a path: checked before it is printed (or not declared: said elsewhere)
        if name == "ok" and _member(of):
            return None
        inner = _holds(of, tainted, scope)
        return f"{inner}.{name}" if inner else None
    if isinstance(node, nodes.Name):
        return node.name if node.name in tainted else None
    for child in node.iter_child_nodes():
        found = _holds(child, tainted, scope)
        if found:
            return found
    return None

"""Scripts and recordings: a conversation in TOML, found by its key (docs/reference/recording.md)."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from factory.errors import ConfigInvalid, Problem
from factory.gateway.dialogue import Answer, Asked, Call, Refused, ScriptedError, Tokens
from factory.gateway.toml_lines import Lines
from factory.gateway.values import FactKind


class Key(NamedTuple):
    """Where a turn stands: what was asked for it to be the answer."""

    formula: str
    step: str
    alias: str
    round: int
    answer: int
    turn: int

    def __str__(self) -> str:
        return " ".join(f"{name}={value!r}" for name, value in self._asdict().items())


@dataclass(frozen=True)
class Turn:
    """One answer of a script."""

    key: Key
    expect: tuple[str, ...]
    answer: Answer | ScriptedError
    line: int


@dataclass(frozen=True)
class Script:
    """A file of turns, loaded and found valid."""

    path: Path
    kind: Literal["scripted", "recorded"]
    turns: dict[Key, Turn]

    def find(self, key: Key, asked: Asked) -> Turn:
        """The turn that answers ``asked``. Raises ``Refused`` (mismatch), naming the key and what was expected."""
        turn = self.turns.get(key)
        if turn is None:
            raise Refused(
                f"no {self.kind} turn for {key}; {self._near(key)} ({self.path.name})", kind=FactKind.MISMATCH
            )
        where = f"{self.path.name}:{turn.line}, {key}"
        missing = [text for text in turn.expect if text not in asked.heard]
        if missing:
            place = "the prompt" if key.turn == 0 else "the last tool result"
            raise Refused(
                f"the {self.kind} turn at {where} expects {missing[0]!r} in {place}; seen: {_tail(asked.heard)!r}",
                kind=FactKind.MISMATCH,
            )
        if isinstance(turn.answer, Answer):
            unknown = sorted({call.tool for call in turn.answer.calls} - asked.tools)
            if unknown:
                raise Refused(
                    f"the {self.kind} turn at {where} calls {unknown[0]!r}, which this request does not offer "
                    f"(offered: {', '.join(sorted(asked.tools)) or 'none'})",
                    kind=FactKind.MISMATCH,
                )
        return turn

    def _near(self, key: Key) -> str:
        turns = sorted(other.turn for other in self.turns if other[:5] == key[:5])
        if turns:
            return f"the script has turns {turns[0]} to {turns[-1]} there"
        best = max(self.turns, key=lambda other: sum(a == b for a, b in zip(other, key, strict=True)), default=None)
        return f"nearest key: {best}" if best else "the script is empty"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", defer_build=True)


class _Call(_Strict):
    tool: str = Field(min_length=1)
    input: dict[str, Any] = {}


class _Usage(_Strict):
    input: int = Field(default=0, ge=0)
    output: int = Field(default=0, ge=0)
    cached: int = Field(default=0, ge=0)


class _Error(_Strict):
    status: int = Field(ge=400, le=599)
    message: str = "scripted failure"
    retry_after: float | None = Field(default=None, ge=0)


class _Turn(_Strict):
    formula: str = Field(min_length=1)
    step: str = Field(min_length=1)
    alias: str = ""
    round: int = Field(default=1, ge=1)
    answer: int = Field(default=0, ge=0)
    turn: int = Field(ge=0)
    expect: list[str] = []
    text: str = ""
    call: list[_Call] = []
    usage: _Usage = _Usage()
    delay_s: float = Field(default=0, ge=0, le=120)
    error: _Error | None = None

    @field_validator("expect", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _says_something(self) -> _Turn:
        if self.error is None and not self.text and not self.call:
            raise ValueError("a turn needs `text`, a `call` or an `error`")
        if self.error is not None and (self.text or self.call):
            raise ValueError("a turn with `error` has no `text` and no `call`")
        return self

    def key(self) -> Key:
        return Key(self.formula, self.step, self.alias, self.round, self.answer, self.turn)

    def value(self) -> Answer | ScriptedError:
        if self.error is not None:
            return ScriptedError(self.error.status, self.error.message, self.error.retry_after)
        calls = tuple(Call(call.tool, call.input) for call in self.call)
        tokens = Tokens(input=self.usage.input, cached=self.usage.cached, output=self.usage.output)
        return Answer(self.text, calls, tokens, "tools" if calls else "end", self.delay_s)


class _Head(_Strict):
    schema_: Literal[1] = Field(alias="schema")
    kind: Literal["scripted", "recorded"]
    turn: list[dict[str, Any]] = []


def load_script(path: Path) -> Script:
    """The script in ``path``. Raises ``ConfigInvalid`` with every problem and its line."""
    doing = f"reading the script {path}"
    try:
        source = path.read_text(encoding="utf-8")
        raw = tomllib.loads(source)
    except (OSError, ValueError) as error:
        raise ConfigInvalid(f"{doing}: {error}", (Problem(str(path), None, str(error)),)) from error
    lines = Lines(source)
    problems: list[Problem] = []

    def note(error: ValidationError, *base: str | int) -> None:
        for item in error.errors():
            place = (*base, *item["loc"])
            name = ".".join(str(part) for part in place) or "file"
            message = item["msg"].removeprefix("Value error, ")
            problems.append(Problem(str(path), lines.of(place), f"{name}: {message}"))

    head: _Head | None = None
    try:
        head = _Head.model_validate(raw)
    except ValidationError as error:
        note(error)
    turns: dict[Key, Turn] = {}
    for n, item in _tables(raw.get("turn")):
        line = lines.of(("turn", n)) or 1
        try:
            turn = _Turn.model_validate(item)
        except ValidationError as error:
            note(error, "turn", n)
            continue
        if (first := turns.get(turn.key())) is not None:
            problems.append(Problem(str(path), line, f"turn.{n}: {turn.key()} is already at line {first.line}"))
            continue
        turns[turn.key()] = Turn(turn.key(), tuple(turn.expect), turn.value(), line)
    if problems or head is None:
        problems.sort(key=lambda problem: problem.line or 0)
        raise ConfigInvalid(f"{doing}: {len(problems)} problem(s), first: {problems[0].message}", tuple(problems))
    return Script(path, head.kind, turns)


def _tables(value: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    return ((n, item) for n, item in enumerate(value if isinstance(value, list) else ()) if isinstance(item, dict))


def _tail(text: str, size: int = 400) -> str:
    return text if len(text) <= size else "…" + text[-size:]

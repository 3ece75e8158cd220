"""The gateway's configuration file: JSON that the app writes (0600), read at start and on reload."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from factory.errors import ConfigInvalid, Problem
from factory.gateway.values import Api, Price


@dataclass(frozen=True)
class BackendConfig:
    """One place answers come from: a provider's endpoint, or a script."""

    name: str
    api: Api
    """The front (and, with ``url``, the upstream) this backend speaks. A script answers on either front."""
    url: str | None
    """Base URL as the provider documents it for its own SDK: without ``/v1`` for Anthropic, with ``/v1`` for OpenAI."""
    key_file: Path | None
    slots: int
    price: Price | None
    replay: Path | None
    models: tuple[str, ...] | None
    """Models a grant may name; None: any."""
    stall_s: float
    """Longest silence of the upstream, before headers and between two pieces of a stream."""


@dataclass(frozen=True)
class GatewayConfig:
    """The gateway's configuration file as a value."""

    home: Path
    control_socket: Path
    backends: tuple[BackendConfig, ...]

    def backend(self, name: str) -> BackendConfig | None:
        return next((backend for backend in self.backends if backend.name == name), None)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", defer_build=True)


class _Price(_Strict):
    input_per_mtok: float = Field(ge=0)
    output_per_mtok: float = Field(ge=0)
    cached_input_per_mtok: float | None = Field(default=None, ge=0)


class _Backend(_Strict):
    name: str = Field(min_length=1, max_length=100)
    api: Literal["anthropic", "openai"]
    url: str | None = Field(default=None, pattern=r"^https?://[^\s?#@]+$")
    key_file: Path | None = None
    slots: int = Field(default=1, ge=1, le=1000)
    price: _Price | None = None
    replay: Path | None = None
    models: list[str] | None = None
    stall_s: float = Field(default=240, gt=0, le=3600)

    @model_validator(mode="after")
    def _one_source(self) -> _Backend:
        if (self.url is None) == (self.replay is None):
            raise ValueError("a backend has either `url` or `replay`")
        return self


class _File(_Strict):
    home: Path
    control_socket: Path
    backends: list[_Backend] = []

    @model_validator(mode="after")
    def _names_once(self) -> _File:
        names = [backend.name for backend in self.backends]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"backends named more than once: {', '.join(twice)}")
        return self


def load_config(path: Path) -> GatewayConfig:
    """The configuration in ``path``. Raises ``ConfigInvalid`` with every problem found."""
    try:
        raw = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigInvalid(f"reading the gateway's configuration {path}: {error}") from error
    try:
        file = _File.model_validate(raw)
    except ValidationError as error:
        problems = tuple(
            Problem(str(path), None, f"{'.'.join(str(part) for part in item['loc']) or 'file'}: {item['msg']}")
            for item in error.errors()
        )
        raise ConfigInvalid(f"reading the gateway's configuration {path}: {problems[0].message}", problems) from error
    return GatewayConfig(
        home=file.home,
        control_socket=file.control_socket,
        backends=tuple(
            BackendConfig(
                name=item.name,
                api=item.api,
                url=item.url.rstrip("/") if item.url else None,
                key_file=item.key_file,
                slots=item.slots,
                price=Price(**item.price.model_dump()) if item.price else None,
                replay=item.replay,
                models=tuple(item.models) if item.models is not None else None,
                stall_s=item.stall_s,
            )
            for item in file.backends
        ),
    )

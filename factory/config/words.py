"""What a name, a line, a place or an amount in one of our files may look like."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

Login = Annotated[str, Field(pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,38}[A-Za-z0-9])?$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$")]
Line = Annotated[str, Field(min_length=1, max_length=4000, pattern=r"^[^\x00]*\S[^\x00]*$")]


def _inside(value: str) -> str:
    if value.startswith("/") or ".." in value.split("/"):
        raise ValueError("the path must stay inside the checkout: relative, without ..")
    return value


Place = Annotated[str, Field(pattern=r"^[^\x00-\x1f\\]{1,300}$"), AfterValidator(_inside)]
StatusContext = Annotated[str, Field(pattern=r"^[^\x00-\x1f]{1,100}$")]
Usd = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]

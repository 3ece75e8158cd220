"""One run at the gateway: its grant, its token, and its money, kept so that kill -9 loses none of it.

``home/runs/<run>/grant.json`` is replaced whole; ``usage.jsonl`` only grows, one fsynced line per event. A call is
*reserved* before it is sent to a provider and *settled* after: a reservation without its settlement (the gateway was
killed, the stream was cut) counts in full, because the provider may have billed it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from factory.gateway.dialogue import Answer, Json, Refused, Tokens
from factory.gateway.redact import Redactor
from factory.gateway.values import Fact, FactKind, Price, RunGrant, RunUsage

RUN_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,90}$")
PASSING = (FactKind.QUOTA, FactKind.UPSTREAM)
MAX_FACTS = 200
MAX_DETAIL = 2_000
LEAST_OUTPUT = 256
"""Output tokens below which a call is not worth its input."""
BYTES_PER_TOKEN = 3
"""Low on purpose: a reservation should not be smaller than the bill."""


@dataclass(frozen=True)
class Reservation:
    """Money set aside for one request before it is sent."""

    n: int
    usd: float
    max_tokens: int
    """What the request may ask for, lowered to what the money still covers."""


class Account:
    """The mutable state of one registered run. Not thread-safe: the gateway is one event loop."""

    def __init__(self, folder: Path, now: Callable[[], datetime]) -> None:
        self.folder = folder
        self._now = now
        self.grant: RunGrant
        self.correction = 0
        self.revoked = False
        self.answer: str | None = None
        self._token_sha = ""
        self._usage = RunUsage()
        self._settled_usd = 0.0
        self._open: dict[int, float] = {}
        self._n = 0
        self._facts: list[Fact] = []
        self._log: int | None = None

    @classmethod
    def open(cls, folder: Path, grant: RunGrant, now: Callable[[], datetime]) -> tuple[Account, str]:
        """Creates or re-opens the run's account under ``grant``; returns it with a fresh token."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        account = cls(folder, now)
        account._replay_log()
        account.answer = None
        return account, account.regrant(grant)

    @classmethod
    def load(cls, folder: Path, now: Callable[[], datetime]) -> Account:
        """The account as it was left. Raises ``OSError`` or ``ValueError`` when it cannot be read."""
        account = cls(folder, now)
        saved = json.loads((folder / "grant.json").read_bytes())
        tools = saved["grant"].pop("tools")
        account.grant = RunGrant(**saved["grant"], tools=None if tools is None else tuple(tools))
        account._token_sha, account.revoked = saved["token_sha256"], saved["revoked"]
        account.correction = saved["correction"]
        account._replay_log()
        return account

    def regrant(self, grant: RunGrant) -> str:
        """Puts ``grant`` in force and returns its token; the one before dies."""
        token = f"fgw-{secrets.token_urlsafe(32)}"
        self.grant, self._token_sha, self.correction, self.revoked = grant, _sha(token), 0, False
        self.forget_answer()
        self._save()
        return token

    def correct(self, n: int) -> None:
        """A corrected question was sent: replay answers with ``answer = n`` from now on."""
        self.correction = n
        self.forget_answer()
        self._save()

    def forget_answer(self) -> None:
        self.answer = None
        self._append({"k": "asked"})

    def revoke(self) -> None:
        self._token_sha, self.revoked = "", True
        self._save()
        if self._log is not None:
            os.close(self._log)
            self._log = None

    def accepts(self, token: str) -> bool:
        return not self.revoked and hmac.compare_digest(_sha(token), self._token_sha)

    def usage(self) -> RunUsage:
        return RunUsage(
            self._usage.requests,
            self._usage.input_tokens,
            self._usage.output_tokens,
            self._usage.cached_tokens,
            round(self._settled_usd + sum(self._open.values()), 9),
            self._usage.scripted,
            self._usage.first_request_at,
            tuple(self._facts),
        )

    def admit(self, size: int, max_tokens: int, price: Price | None) -> Reservation:
        """Takes a turn and its worst price out of what is left. Raises ``Refused`` (turns or budget).

        ``size``: bytes of the request. With a price, ``max_tokens`` is lowered to what the money still covers, so
        the run's cost ends at most one input estimate over its limit.
        """
        if self._usage.requests >= self.grant.max_turns:
            raise Refused(f"this run used all its {self.grant.max_turns} turns", kind=FactKind.TURNS)
        usd = 0.0
        if price is not None:
            read = Tokens(written=size // BYTES_PER_TOKEN + 1).cost(price)
            limit = self.grant.max_cost_usd
            if limit is not None:
                left = limit - self.usage().cost_usd
                if price.output_per_mtok > 0:
                    covered = int((left - read) / price.output_per_mtok * 1_000_000)
                    max_tokens = min(max_tokens, covered)
                if left - read < 0 or max_tokens < LEAST_OUTPUT:
                    raise Refused(
                        f"this run's budget of {limit:.4f} USD has {max(left, 0):.4f} USD left, "
                        f"which does not cover another call",
                        kind=FactKind.BUDGET,
                    )
            usd = read + Tokens(output=max_tokens).cost(price)
        self._n += 1
        return Reservation(self._n, usd, max_tokens)

    def reserve(self, held: Reservation, *, durable: bool) -> None:
        """Counts the call from now on. ``durable``: written down, because a provider may bill it even if we die."""
        line = {"k": "reserve", "n": held.n, "usd": held.usd, "at": self._stamp()}
        if durable:
            self._append(line)
        else:
            self._apply(line)

    def settle(self, held: Reservation, answer: Answer, price: Price | None, *, scripted: bool) -> None:
        """The answer came (``tokens`` None: its usage did not, so the reservation stands)."""
        tokens = answer.tokens
        self._append(
            {
                "k": "settle",
                "n": held.n,
                "at": self._stamp(),
                # A scripted call's reservation is not in the log: a restarted gateway learns its time from here.
                "first": self._usage.first_request_at,
                "usd": held.usd if tokens is None else tokens.cost(price),
                "in": 0 if tokens is None else tokens.input + tokens.written,
                "cached": 0 if tokens is None else tokens.cached,
                "out": 0 if tokens is None else tokens.output,
                "scripted": scripted,
                "whole": answer.stop != "cut",
                "answer": answer.text if answer.stop == "end" and not answer.calls and answer.text else None,
            }
        )

    def release(self, held: Reservation) -> None:
        """The request was refused or never sent: nothing was billed and no turn was used."""
        self._append({"k": "release", "n": held.n})

    def note(self, kind: FactKind, detail: str, retry_after_s: float | None = None) -> None:
        """Writes a fact down, up to a bound that keeps a hostile session from filling the disk."""
        if len(self._facts) < MAX_FACTS:
            detail = Redactor()(detail[: 4 * MAX_DETAIL])  # it may quote what the session sent
            fact = {
                "kind": kind.value,
                "detail": detail[:MAX_DETAIL],
                "at": self._stamp(),
                "retry_after_s": retry_after_s,
            }
            self._append({"k": "fact", **fact})

    def _apply(self, line: Json) -> None:
        used = self._usage
        match line["k"]:
            case "reserve":
                self._open[line["n"]] = line["usd"]
                self._n = max(self._n, line["n"])
                self._count(used.requests + 1, line["at"])
            case "settle":
                reserved = self._open.pop(line["n"], None) is not None
                self._n = max(self._n, line["n"])
                self._settled_usd += line["usd"]
                self._count(used.requests + (not reserved), line.get("first") or line["at"], line)
                self.answer = self.answer if line["answer"] is None else line["answer"]
                if line["whole"]:
                    self._facts = [replace(fact, passed=fact.kind in PASSING or fact.passed) for fact in self._facts]
            case "release":
                if self._open.pop(line["n"], None) is not None:
                    self._count(used.requests - 1, None)
            case "fact":
                self._facts.append(Fact(FactKind(line["kind"]), line["detail"], line["at"], line["retry_after_s"]))
            case "asked":
                self.answer = None

    def _count(self, requests: int, at: str | None, line: Json | None = None) -> None:
        used, line = self._usage, line or {}
        self._usage = RunUsage(
            requests,
            used.input_tokens + line.get("in", 0),
            used.output_tokens + line.get("out", 0),
            used.cached_tokens + line.get("cached", 0),
            scripted=used.scripted or line.get("scripted", False),
            first_request_at=used.first_request_at or at,
        )

    def _append(self, line: Json) -> None:
        if self._log is None:
            self._log = os.open(
                self.folder / "usage.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
            )
        os.write(self._log, json.dumps(line, separators=(",", ":")).encode() + b"\n")
        os.fsync(self._log)
        self._apply(line)

    def _replay_log(self) -> None:
        path = self.folder / "usage.jsonl"
        if not path.exists():
            return
        raw = path.read_bytes()
        if (whole := raw.rfind(b"\n") + 1) < len(raw):
            os.truncate(path, whole)  # a line torn by kill -9 was never acted on: answers follow their line
        for line in raw[:whole].splitlines():
            self._apply(json.loads(line))

    def _save(self) -> None:
        saved: dict[str, Any] = {
            "grant": asdict(self.grant),
            "token_sha256": self._token_sha,
            "correction": self.correction,
            "revoked": self.revoked,
        }
        write_durably(self.folder / "grant.json", json.dumps(saved).encode())

    def _stamp(self) -> str:
        return self._now().astimezone(UTC).isoformat(timespec="milliseconds")


def write_durably(path: Path, content: bytes) -> None:
    """Replaces ``path`` (0600) so that a crash leaves the old or the new content."""
    draft = path.with_suffix(".new")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, content)
        os.fsync(fd)
    finally:
        os.close(fd)
    draft.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _sha(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()

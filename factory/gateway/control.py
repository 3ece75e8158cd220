"""The gateway's control socket, for the processes of this host."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from factory.gateway.values import Fact, FactKind, GatewayRefused, GatewayUnavailable, Registration, RunGrant, RunUsage

CALL_S = 20.0
HURRIED_S = 0.25


class GatewayControl:
    """One call per connection, by path: a gateway that was restarted in between is not noticed.

    Every call may be repeated without harm, so a gateway that is just coming up again is waited for, at most
    ``patience_s`` seconds, and one that took a call at most ``call_s`` for its answer. Raises ``GatewayUnavailable``
    then, and ``GatewayRefused`` when it says no.
    """

    def __init__(self, socket: Path, *, patience_s: float = 15.0, call_s: float = CALL_S) -> None:
        self._socket = socket
        self._patience_s = patience_s
        self._call_s = call_s

    def hurried(self) -> GatewayControl:
        """The same for who has no time: one try, and an answer now or never."""
        return GatewayControl(self._socket, patience_s=0.0, call_s=min(self._call_s, HURRIED_S))

    def register(self, grant: RunGrant) -> Registration:
        """The run's socket and a fresh token. Again for the same run: the new grant and token replace the old."""
        said = self._call("register", asdict(grant))
        return Registration(said["token"], Path(said["socket"]))

    def usage(self, run: str) -> RunUsage:
        """Of a live or finished run."""
        said = self._call("usage", {"run": run})
        facts = tuple(Fact(FactKind(item.pop("kind")), **item) for item in said.pop("facts"))
        return RunUsage(**said, facts=facts)

    def answer(self, run: str) -> str | None:
        """The last complete assistant text without tool calls since the last ``register`` or ``correct``, as the
        gateway itself saw it."""
        answer: str | None = self._call("answer", {"run": run})["answer"]
        return answer

    def correct(self, run: str, n: int) -> None:
        """A corrected question follows: the answer so far is void, and replay matches ``answer = n`` from now on."""
        self._call("correct", {"run": run, "n": n})

    def revoke(self, run: str) -> None:
        """Ends the run's token and socket at once; an unknown run is no error."""
        self._call("revoke", {"run": run})

    def recording(self, run: str) -> str:
        """The run's turns in the replay format, if it was registered with ``record``. Refused on a secret hit."""
        text: str = self._call("recording", {"run": run})["toml"]
        return text

    def totals(self) -> dict[str, int]:
        """``model_calls`` ever made by this home's gateways, ``live_runs``."""
        totals: dict[str, int] = self._call("totals", {})
        return totals

    def health(self) -> dict[str, Any]:
        return self._call("health", {})

    def reload(self) -> None:
        """Reads configuration and scripts again; on a problem the old ones stay in force and this is refused."""
        self._call("reload", {})

    def _call(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        deadline = time.monotonic() + self._patience_s
        pause = 0.05
        while True:
            try:
                status, raw = self._post(name, json.dumps(body).encode())
                break
            except (OSError, http.client.HTTPException) as error:
                if time.monotonic() + pause > deadline:
                    raise GatewayUnavailable(
                        f"asking the gateway at {self._socket} to {name}: {error}", hint="start it with: factory up"
                    ) from error
                time.sleep(pause)
                pause = min(pause * 2, 1.0)
        said: dict[str, Any] = json.loads(raw)
        if status != 200:
            problems = "".join(f"\n  {line}" for line in said.get("problems", ()))
            raise GatewayRefused(f"{said.get('error', status)}{problems}")
        return said

    def _post(self, name: str, body: bytes) -> tuple[int, bytes]:
        with contextlib.closing(SocketConnection(self._socket, self._call_s)) as connection:
            connection.request("POST", f"/{name}", body, {"content-type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()


class SocketConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket. Not httpx: importing it costs a session a tenth of a second before its first word, and
    it leaks the socket of a connection that was refused, which here is the ordinary sign of a restart."""

    def __init__(self, path: Path, timeout: float = CALL_S) -> None:
        super().__init__("gateway", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the Unix socket instead of a host. Raises OSError."""
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        sock.settimeout(self.timeout)
        try:
            # Through the descriptor: the path itself may be too long for a socket address.
            sock.connect(f"/proc/self/fd/{folder}/{self._path.name}")
        except OSError:
            sock.close()
            raise
        finally:
            os.close(folder)
        self.sock = sock

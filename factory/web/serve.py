"""Serving the pages from a thread of the daemon's process."""

from __future__ import annotations

import socket
import threading
from types import TracebackType

import uvicorn
from starlette.applications import Starlette

from factory.errors import UsageError


class WebServer:
    """A context manager: listening while inside, stopped after. Port 0 takes any free one."""

    def __init__(self, app: Starlette, *, host: str, port: int) -> None:
        # Named, because asyncio switches Nagle's algorithm off only for sockets that say they are TCP.
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._listener.bind((host, port))
            # Now, and not when the thread gets to it: whoever connects meanwhile waits instead of being refused.
            self._listener.listen(128)
        except OSError as error:
            self._listener.close()
            raise UsageError(
                f"serving run logs and webhooks on {host}:{port}: {error.strerror}",
                hint="another program has the port; set another `web_port` in host.toml",
            ) from error
        self.url = f"http://{host}:{self._listener.getsockname()[1]}"
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)

    def _run(self) -> None:
        self._server.run(sockets=[self._listener])

    def __enter__(self) -> WebServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(5)
        self._listener.close()

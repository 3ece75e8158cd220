"""A server on loopback that takes what channels are sent and answers what it is told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Post:
    path: str
    headers: Mapping[str, str]
    body: Any

    @property
    def text(self) -> str:
        """All that stands in it, as one string."""
        return json.dumps(self.body, ensure_ascii=False)


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b"ok"
    headers: Mapping[str, str] = field(default_factory=dict)


class Chat:
    """ntfy, Slack, Mattermost or Telegram, as far as a sender sees them."""

    def __init__(self) -> None:
        self.got: list[Post] = []
        self.answer: Callable[[Post], Answer | None] = lambda post: Answer()
        """None: the connection is cut without a word."""
        self._more = threading.Condition()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                post = Post(self.path, dict(self.headers), json.loads(body))
                with outer._more:
                    outer.got.append(post)
                    outer._more.notify_all()
                answer = outer.answer(post)
                if answer is None:
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def wait(self, count: int, timeout_s: float = 20) -> list[Post]:
        """Until so many came."""
        with self._more:
            assert self._more.wait_for(lambda: len(self.got) >= count, timeout=timeout_s), len(self.got)
            return list(self.got)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

"""A headless Chromium for tests, driven over its debugging pipe: no port, no further package.

What a page does must be seen from outside: ``evaluate`` runs in the page through the debugger, which no content policy
stops; a script of the page itself would have to get past its policy.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

PATIENCE_S = 30.0
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--disable-extensions", "--hide-scrollbars", "--mute-audio",
    "--no-default-browser-check", "--remote-debugging-pipe", "--proxy-server=direct://",
)  # fmt: skip


def chromium() -> str | None:
    """The program, None when there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """One browser with one page. Leaving it as a context ends it."""

    def __init__(self) -> None:
        program = chromium()
        if program is None:
            raise RuntimeError("no Chromium here: apt-get install chromium")
        self._profile = tempfile.mkdtemp(prefix="chromium-")
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        argv = [program, *_FLAGS, f"--user-data-dir={self._profile}", "about:blank"]
        # The browser reads commands on descriptor 3 and answers on 4; a shell puts them there.
        script = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", script, "chromium", *argv], pass_fds=(theirs_in, theirs_out), start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self._send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._send(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._in)
        os.close(self._out)
        shutil.rmtree(self._profile, ignore_errors=True)

    # ------------------------------------------------------------ pages

    def go(self, url: str) -> None:
        """Open an address and wait until it is there."""
        self._load(lambda: self._send("Page.navigate", url=url))

    def click(self, selector: str, text: str = "") -> None:
        """Click the first element of that kind (with that text), and wait for the page it leads to."""
        self._load(lambda: self.evaluate(_FIND % (json.dumps(selector), json.dumps(text)) + ".click()"))

    def press(self, selector: str, text: str = "") -> None:
        """Click something that stays on the page: a box to tick, a part to open."""
        self.evaluate(_FIND % (json.dumps(selector), json.dumps(text)) + ".click()")

    def fill(self, selector: str, value: str) -> None:
        self.evaluate(f"{_FIND % (json.dumps(selector), json.dumps(''))}.value = {json.dumps(value)}")

    def evaluate(self, script: str) -> Any:
        """Run JavaScript in the page as the debugger; its JSON value."""
        done = self._send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in done:
            told = done["exceptionDetails"]
            raise AssertionError(f"{script[:200]}: {told.get('exception', {}).get('description', told)}")
        return done["result"].get("value")

    @property
    def text(self) -> str:
        """What a reader sees."""
        return str(self.evaluate("document.body.innerText"))

    @property
    def path(self) -> str:
        return str(self.evaluate("location.pathname"))

    def size(self, width: int, height: int, scale: float = 1) -> None:
        """Of the window; a narrow one behaves like a phone's."""
        mobile = width < 600
        self._send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=mobile
        )

    def scheme(self, *, dark: bool) -> None:
        """What the person prefers: light or dark."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self._send("Emulation.setEmulatedMedia", features=features)

    def bypass_policy(self, bypass: bool) -> None:
        """Whether pages opened from now on are shown as if they had no content policy."""
        self._send("Page.setBypassCSP", enabled=bypass)

    def screenshot(
        self,
        file: Path,
        width: int = 1200,
        height: int = 900,
        *,
        dark: bool = False,
        whole: bool = False,
        scale: float = 1,
    ) -> None:
        """A PNG of the page."""
        self.scheme(dark=dark)
        self.size(width, height, scale)
        shot = self._send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(shot["data"]))

    # ------------------------------------------------------------ the pipe

    def _load(self, act: Any) -> None:
        self.events.clear()
        act()
        deadline = time.monotonic() + PATIENCE_S
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._read(deadline)

    def _send(self, method: str, **params: Any) -> Any:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE_S
        while True:
            answer = self._read(deadline)
            if answer is not None and answer.get("id") == self._number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer["result"]

    def _read(self, deadline: float) -> dict[str, Any] | None:
        """The next answer; None for an event, which is kept."""
        while b"\0" not in self._buffer:
            if time.monotonic() > deadline:
                raise AssertionError("the browser did not answer in time")
            piece = os.read(self._in, 1 << 16)
            if not piece:
                raise AssertionError("the browser ended")
            self._buffer += piece
        raw, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(raw)
        if "method" in message:
            self.events.append(message)
            return None
        return message


_FIND = (
    "(() => { const found = [...document.querySelectorAll(%s)].find(e => e.innerText === undefined"
    " || e.innerText.includes(%s));"
    " if (!found) throw new Error('nothing like this on ' + location.href); return found })()"
)

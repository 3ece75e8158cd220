"""How fast the embedded forge answers, and what it holds when idle."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil

from factory.forge.client import ForgejoClient
from factory.testing.forge_process import ForgeProcess
from tests.bench.table import Row

CLIENTS = 4
ISSUES = 400
MERGES = 60
SCOPES = ("write:repository", "write:issue", "write:user")


def measure(root: Path) -> list[Row]:
    """Requests per second by one client and by four at once, megabytes resident before and after."""
    with ForgeProcess.start(root / "forge") as process:
        fresh = memory(process)
        with ForgejoClient(process.url, uds=process.admin_socket) as admin:
            admin.create_user("ann", email="ann@example.invalid", password="correct-horse-1")
            token = admin.create_token("ann", name="bench", scopes=SCOPES)
        with httpx.Client(
            base_url=f"{process.url}/api/v1", headers={"Authorization": f"token {token}"}, trust_env=False, timeout=30
        ) as http:
            done(http.post("/user/repos", json={"name": "r", "auto_init": True}))
            rows = [
                rate("issue create", ISSUES, lambda n: done(http.post("/repos/ann/r/issues", json={"title": f"t{n}"}))),
                rate("issue list (50 of 400)", ISSUES, lambda _n: done(http.get("/repos/ann/r/issues?limit=50"))),
            ]
            heads = [proposed(http, n) for n in range(MERGES)]
            rows.append(rate("pull merge", MERGES, lambda n: merge(http, *heads[n])))
        worked = memory(process)
    rows.append(("forge: MB resident, started / after this", f"{fresh:.0f} / {worked:.0f}"))
    return rows


def rate(what: str, count: int, action: Callable[[int], object]) -> Row:
    """One half of the actions by one client, the other half by four."""
    half = count // 2
    began = time.perf_counter()
    for number in range(half):
        action(number)
    alone = half / (time.perf_counter() - began)
    with ThreadPoolExecutor(CLIENTS) as pool:
        began = time.perf_counter()
        list(pool.map(action, range(half, count)))
        together = (count - half) / (time.perf_counter() - began)
    return f"forge: {what}, requests per second by 1 / {CLIENTS} clients", f"{alone:.0f} / {together:.0f}"


def proposed(http: httpx.Client, number: int) -> tuple[int, str]:
    """A pull request that adds one file: (number, head)."""
    name = f"b{number}"
    file = {"content": b64encode(name.encode()).decode(), "new_branch": name, "message": name}
    sha: str = done(http.post(f"/repos/ann/r/contents/{name}.txt", json=file)).json()["commit"]["sha"]
    made = done(http.post("/repos/ann/r/pulls", json={"head": name, "base": "main", "title": name}))
    return made.json()["number"], sha


def merge(http: httpx.Client, number: int, head: str) -> None:
    done(http.post(f"/repos/ann/r/pulls/{number}/merge", json={"Do": "merge", "head_commit_id": head}))


def done(answer: httpx.Response) -> httpx.Response:
    if answer.status_code >= 300:
        raise RuntimeError(f"{answer.request.method} {answer.url}: {answer.status_code} {answer.text}")
    return answer


def memory(process: ForgeProcess) -> float:
    return float(psutil.Process(process.pid).memory_info().rss) / 1e6

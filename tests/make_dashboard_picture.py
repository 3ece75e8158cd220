"""Make docs/images/dashboard.png: the front page of an ops repo on the embedded forge, with a day of a small shop.

Run from the checkout: ``python tests/make_dashboard_picture.py [FILE]``. Needs Chromium and, for the signs, a font with
emoji (Debian: chromium, fonts-noto-color-emoji); a pngquant on the PATH makes the file smaller.
"""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parent))

from browser import Browser

from factory.ops import dashboard
from factory.ops.dashboard import Budget, DashboardFacts, Health, Idle, Merged, NeedsYou, Running, Waiting
from factory.ops.prerequisites import Objective
from factory.testing.forge_process import start_forge

TARGET = Path(__file__).parents[1] / "docs" / "images" / "dashboard.png"
PASSWORD = "a-picture-only-1"
MAX_BYTES = 150_000


def facts(url: str, now: datetime) -> DashboardFacts:
    """A plausible day."""
    project = f"{url}/ann/shop"

    def ago(**time: float) -> datetime:
        return now - timedelta(**time)

    merged = (
        Merged(41, "Return None for the mean of nothing", f"{project}/pulls/41", ago(hours=1.2), 540, 0.31, 3,
               issue=38, issue_url=f"{project}/issues/38"),
        Merged(40, "Round prices to whole cents", f"{project}/pulls/40", ago(hours=4), 1260, 0.58, 5, issue=35,
               issue_url=f"{project}/issues/35"),
        Merged(37, "Show the basket's total on every page", f"{project}/pulls/37", ago(hours=9), 880, 0.44, 3, issue=31,
               issue_url=f"{project}/issues/31"),
    )  # fmt: skip
    return DashboardFacts(
        project="ann/shop",
        project_url=project,
        mode="merge",
        needs=(
            NeedsYou("answer", "Which currencies do orders use?", f"{project}/issues/29", ago(hours=26),
                     "frees #33 and #34"),
            NeedsYou("approve", "Delete orders after ten years", f"{project}/pulls/42", ago(hours=3), "frees #36"),
        ),
        running=(
            Running("r1", "dev", "cc-1", "Baskets survive a restart", f"{project}/issues/39", ago(minutes=7), url),
            Running("r2", "review-pr", "cc-2", "Ask before emptying a basket", f"{project}/pulls/43", ago(minutes=2),
                    url),
        ),
        waiting=(Waiting("Send a receipt by mail", f"{project}/issues/36", "waits for #29", ago(days=1)),),
        merged=merged,
        prerequisites=(
            Objective("Sell one thing", 4, 4, "DONE"),
            Objective("Take a payment", 3, 5, "IN PROGRESS"),
            Objective("Ship it", 0, 3, "BLOCKED, waits for a contract"),
        ),
        budgets=(Budget("day", 3.84, 10.0), Budget("month", 41.2, 150.0)),
        cost_per_merge_usd=0.43,
        merged_count=27,
        health=(
            Health("forge", True, "answers in 4 ms"),
            Health("sandbox", True, "bubblewrap, every wall holds"),
            Health("backup", True, "made 6 hours ago"),
        ),
        idle=Idle(24, 2880, 0, 8640, 0, 41),
    )  # fmt: skip


def main(target: Path) -> int:
    """Write the picture; returns the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        with start_forge(Path(folder) / "forge") as forge, Browser() as browser:
            _fill(forge.admin_socket, facts(forge.url, datetime.now(UTC).replace(second=0, microsecond=0)))
            browser.go(f"{forge.url}/user/login")
            browser.fill("[name=login]", "ann")
            browser.fill("[name=password]", PASSWORD)
            browser.click("main button")
            browser.size(1120, 1180)
            browser.go(f"{forge.url}/ann/shop-ops")
            shot = Path(folder) / "dashboard.png"
            browser.screenshot(shot, 1120, 1180)
        small = Path(folder) / "small.png"
        if shutil.which("pngquant"):
            subprocess.run(["pngquant", "--speed", "1", "--output", str(small), "64", str(shot)], check=True)
        picture = (small if small.exists() else shot).read_bytes()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(picture)
    print(f"{target.name}: {len(picture):,} bytes")
    return 0 if len(picture) < MAX_BYTES else 1


def _fill(admin_socket: Path, shown: DashboardFacts) -> None:
    transport = httpx.HTTPTransport(uds=str(admin_socket))
    with httpx.Client(transport=transport, base_url="http://forge/api/v1") as client:

        def call(method: str, path: str, body: dict[str, Any], sudo: str = "") -> None:
            client.request(method, path, json=body, headers={"sudo": sudo} if sudo else {}).raise_for_status()

        person = {"username": "ann", "email": "ann@shop.example", "password": PASSWORD, "must_change_password": False}
        call("POST", "/admin/users", person)
        about = "What the factory knows and decides about ann/shop"
        call("POST", "/user/repos", {"name": "shop-ops", "private": True, "description": about}, "ann")
        readme = f"{dashboard.BEGIN}\n{dashboard.render(shown, datetime.now(UTC))}{dashboard.END}\n"
        tree = ("factory.toml", "prerequisites.md", "VISION.md", "RESOURCES.md", "portfolio.md", "vault/policy.toml",
                "knowledge/dev/memory.md", "predictions/first.toml", "incidents/first.md", "evidence/health/first.json",
                "diary/first.md", "formulas/README.md", "pauses/README.md")  # fmt: skip
        files = {"README.md": readme, **dict.fromkeys(tree, "x\n")}
        changes = [
            {"operation": "create", "path": path, "content": base64.b64encode(text.encode()).decode()}
            for path, text in files.items()
        ]
        body = {"message": "Dashboard: 2 things need you", "files": changes}
        call("POST", "/repos/ann/shop-ops/contents", body, "ann")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET))

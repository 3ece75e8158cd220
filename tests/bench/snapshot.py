"""Forge requests of one look of the snapshot, by how many issues and pull requests are open."""

from __future__ import annotations

import time
from base64 import b64encode
from contextlib import ExitStack
from pathlib import Path

import httpx

from factory.forge.client import ForgejoClient
from factory.forge.snapshot import Snapshot
from factory.forge.values import RepoName
from factory.testing.forge_process import ForgeProcess
from tests.bench.table import Row

SCOPES = ("write:repository", "write:issue", "write:user")
SIZES = (("issues", 10), ("issues", 100), ("issues", 1000), ("pull requests", 10), ("pull requests", 100))
PATIENCE_S = 150.0


def measure(root: Path) -> list[Row]:
    """With nothing changed and with one comment. Every size has an owner of its own, so that one look shows one size,
    and all settle together: for a minute after a change the snapshot still looks back over it."""
    with ForgeProcess.start(root / "forge") as process, ExitStack() as open_now:
        with ForgejoClient(process.url, uds=process.admin_socket) as admin:
            projects = []
            for what, size in SIZES:
                owner = f"{what[0]}{size}"
                admin.create_user(owner, email=f"{owner}@example.invalid", password="correct-horse-1")
                token = admin.create_token(owner, name="bench", scopes=SCOPES)
                client = open_now.enter_context(ForgejoClient(process.url, token))
                projects.append(filled(client, process.url, token, owner, what, size))
        looks = [
            Snapshot(client, project, RepoName(project.owner, "ops"), root / f"{project.owner}.json")
            for client, project in projects
        ]
        settle(looks)
        rows: list[Row] = []
        for (what, size), (client, project), look in zip(SIZES, projects, looks, strict=True):
            quiet = look.refresh().requests
            client.comment(project, 1, "One change.")
            changed = look.refresh().requests
            rows.append((f"snapshot at {size} open {what}: requests quiet / one change", f"{quiet} / {changed}"))
        return rows


def filled(
    client: ForgejoClient, url: str, token: str, owner: str, what: str, size: int
) -> tuple[ForgejoClient, RepoName]:
    """A project with so many open issues or pull requests, and its ops repo."""
    project = RepoName(owner, "project")
    with httpx.Client(
        base_url=f"{url}/api/v1", headers={"Authorization": f"token {token}"}, trust_env=False, timeout=30
    ) as http:
        for repo in ("project", "ops"):
            http.post("/user/repos", json={"name": repo, "auto_init": True}).raise_for_status()
        for number in range(1, size + 1):
            if what == "issues":
                client.create_issue(project, title=f"Issue {number}", body="A body of a few words.")
            else:
                propose(client, http, project, f"b{number}")
    return client, project


def propose(client: ForgejoClient, http: httpx.Client, repo: RepoName, name: str) -> None:
    file = {"content": b64encode(name.encode()).decode(), "new_branch": name, "message": name}
    http.post(f"/repos/{repo}/contents/{name}.txt", json=file).raise_for_status()
    client.create_pull(repo, head=name, base="main", title=name, body="")


def settle(looks: list[Snapshot]) -> None:
    """Look until nothing is read again."""
    until = time.monotonic() + PATIENCE_S
    left = list(looks)
    while left and time.monotonic() < until:
        left = [look for look in left if look.refresh().requests > 3 or not look.settled]
        if left:
            time.sleep(2)

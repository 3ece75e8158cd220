"""Looking from outside: what the forge and git tell a person who has a browser and a git client, and nothing else."""

from __future__ import annotations

import base64
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

PATH = "/usr/local/bin:/usr/bin:/bin"


def git(folder: Path, *words: str, check: bool = True, home: str | None = None) -> str:
    """The git program, with nobody's configuration."""
    env = {"PATH": PATH, "HOME": home or str(folder), "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    for who in ("AUTHOR", "COMMITTER"):
        env |= {f"GIT_{who}_NAME": "Founder", f"GIT_{who}_EMAIL": "founder@example.test"}
    done = subprocess.run(["git", *words], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"git {words}: {done.stderr}"
    return done.stdout.strip()


@dataclass
class Looker:
    """A person with a browser and a git client: what the forge tells them."""

    url: str
    login: str
    password: str
    project: str
    ops: str
    folder: Path
    _client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        asked = {"name": f"looker-{time.time_ns()}", "scopes": ["write:repository", "write:issue", "write:user"]}
        address = f"{self.url}/api/v1/users/{self.login}/tokens"
        made = httpx.post(address, json=asked, auth=(self.login, self.password)).raise_for_status().json()
        self._client = httpx.Client(
            base_url=f"{self.url}/api/v1", headers={"Authorization": f"token {made['sha1']}"}, timeout=30
        )

    def close(self) -> None:
        self._client.close()

    def get(self, path: str, **params: Any) -> Any:
        return self._client.get(path, params=params).raise_for_status().json()

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._client.post(path, json=body).raise_for_status().json()

    def every(self, path: str, **params: Any) -> list[dict[str, Any]]:
        """All pages of a list."""
        found: list[dict[str, Any]] = []
        for page in range(1, 100):
            rows = self.get(path, page=page, limit=50, **params)
            found += rows
            if len(rows) < 50:
                return found
        raise AssertionError("a hundred pages")

    def pulls(self, repo: str | None = None) -> list[dict[str, Any]]:
        """Oldest first."""
        return sorted(self.every(f"/repos/{repo or self.project}/pulls", state="all"), key=lambda p: int(p["number"]))

    def issues(self) -> list[dict[str, Any]]:
        rows = self.every(f"/repos/{self.project}/issues", state="all", type="issues")
        return sorted(rows, key=lambda i: int(i["number"]))

    def reviews(self, number: int) -> list[dict[str, Any]]:
        """Oldest first."""
        rows = self.every(f"/repos/{self.project}/pulls/{number}/reviews")
        return sorted((r for r in rows if r["state"] != "PENDING"), key=lambda r: int(r["id"]))

    def states(self, sha: str) -> list[str]:
        """Every state that ``factory/ci`` ever had at a commit, oldest first."""
        rows = self.every(f"/repos/{self.project}/commits/{sha}/statuses")
        return [r["status"] for r in sorted(rows, key=lambda r: int(r["id"])) if r["context"] == "factory/ci"]

    def comments(self, number: int) -> list[dict[str, Any]]:
        return self.every(f"/repos/{self.project}/issues/{number}/comments")

    def clone(self, repo: str, *, mirror: bool = False) -> Path:
        """A fresh copy by git over HTTP, with the password."""
        target = self.folder / f"{repo.replace('/', '.')}-{time.time_ns()}"
        told = base64.b64encode(f"{self.login}:{self.password}".encode()).decode()
        header = f"http.extraHeader=Authorization: Basic {told}"
        kind = ["--mirror"] if mirror else []
        self.folder.mkdir(parents=True, exist_ok=True)
        git(self.folder, "-c", header, "clone", "-q", *kind, f"{self.url}/{repo}.git", str(target))
        git(target, "config", *header.split("=", 1))
        return target

    def duplicates(self) -> list[str]:
        """Pull requests, comments, reviews, issues and merges that are there twice."""
        found: list[str] = []

        def twice(what: str, keys: list[Any]) -> None:
            found.extend(f"{what} {key!r} {n}x" for key, n in Counter(keys).items() if n > 1)

        twice("issue", [i["title"] for i in self.issues()])
        pulls = self.pulls()
        twice("pull request", [p["title"] for p in pulls])
        for item in [*self.issues(), *pulls]:
            number = item["number"]
            twice(f"comment on #{number}", [(c["user"]["login"], c["body"]) for c in self.comments(number)])
            factory = [c for c in self.comments(number) if c["user"]["login"] == "factory-bot"]
            if len(factory) > 1:
                found.append(f"{len(factory)} status comments on #{number}")
        for pull in pulls:
            verdicts = [(r["user"]["login"], r["commit_id"], r["state"]) for r in self.reviews(pull["number"])]
            twice(f"review of #{pull['number']}", verdicts)
        main = self.clone(self.project)
        merges = git(main, "log", "--merges", "--format=%P", "origin/main").splitlines()
        twice("merge of head", [line.split()[1] for line in merges])
        return found


def wait_for(what: str, look: Callable[[], Any], seconds: float = 60, every: float = 0.3) -> Any:
    """What ``look`` returns as soon as it is true. AssertionError after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"after {seconds} s still not: {what}"
        time.sleep(every)

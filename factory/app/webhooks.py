"""Webhooks of a forge to this host: a hint to look now. Each is tried once; without them polling decides the same."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from factory.app.deployment import Deployment, is_free
from factory.config.home import write_private
from factory.errors import ForgeError
from factory.forge.client import ForgejoClient
from factory.forge.values import Hook, RepoName
from factory.forge.webhook import hint
from factory.web.pages import build
from factory.web.serve import WebServer

PATH = "/hooks/forge"
EVENTS = ("push", "issues", "issue_comment", "pull_request", "pull_request_comment", "pull_request_review")
WAIT_S = 8.0
"""How long a test delivery may take: Forgejo hands it to a queue of its own."""


def heard_file(state: Path, repo: RepoName) -> Path:
    """Its time is that of the last delivery from this repo that carried our signature."""
    return state / "heard" / f"{repo.owner}.{repo.name}".lower().replace("/", "_")


def received(deployment: Deployment, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether a delivery is the forge's; notes that its repo was heard."""
    told = hint(headers, body, deployment.secret("webhook"))
    if told is not None:
        write_private(heard_file(deployment.state, told.repo), b"")
    return told is not None


def wanted_url(deployment: Deployment, asked: str | None) -> str | None:
    """Where the forge shall deliver to; None when it cannot reach this host as far as we know."""
    if asked is not None:
        return asked
    host = urlsplit(deployment.host.forge_url).hostname or ""
    return f"{deployment.web_url}{PATH}" if deployment.host.embedded or _is_loopback(host) else None


def missing(forge: ForgejoClient, repo: RepoName, url: str | None) -> bool:
    """Whether the repo has no webhook to this host."""
    return url is not None and not any(hook.url == url for hook in forge.hooks(repo))


def ensure(
    forge: ForgejoClient,
    deployment: Deployment,
    repos: tuple[RepoName, ...],
    asked: str | None,
    said: Callable[[str], None],
    *,
    wait_s: float = WAIT_S,
) -> list[str]:
    """A webhook per repo, each tried by one delivery. Returns what a person should know of those that do not arrive.

    ``forge`` must be an admin of the repos. Running it again tries only those never heard from. Raises ForgeError.
    """
    url = wanted_url(deployment, asked)
    if url is None:
        if any(hook.url.endswith(PATH) for repo in repos for hook in forge.hooks(repo)):
            return []
        return [
            f"no webhook: this host listens on {deployment.web_url} only, which {deployment.host.forge_url} cannot "
            f"reach; polling does without. With a proxy in front of it: --hook-url https://PROXY{PATH}"
        ]
    silent: list[RepoName] = []
    for repo in repos:
        hook = next((hook for hook in forge.hooks(repo) if hook.url == url), None)
        if hook is not None and heard_file(deployment.state, repo).exists():
            continue
        if hook is None:
            hook = _create(forge, deployment, repo, url)
            said(f"add the webhook of {repo} to {url}")
        outcome = _tried(forge, deployment, repo, hook, wait_s)
        if outcome == "foreign":
            # Its secret cannot be changed: an earlier home of this machine made it.
            forge.delete_hook(repo, hook.id)
            hook = _create(forge, deployment, repo, url)
            said(f"replace the webhook of {repo}, which signs with another secret")
            outcome = _tried(forge, deployment, repo, hook, wait_s)
        if outcome == "heard":
            said(f"test delivery of {repo}: it arrived")
        else:
            silent.append(repo)
    return [_advice(silent, url, wait_s)] if silent else []


def _create(forge: ForgejoClient, deployment: Deployment, repo: RepoName, url: str) -> Hook:
    return forge.create_hook(repo, url=url, secret=deployment.secret("webhook").decode(), events=EVENTS)


def _tried(forge: ForgejoClient, deployment: Deployment, repo: RepoName, hook: Hook, wait_s: float) -> str:
    """``heard``, ``foreign`` (something arrived that is not signed by our secret) or ``silent``."""
    file = heard_file(deployment.state, repo)
    before = file.stat().st_mtime_ns if file.exists() else 0
    seen = _Seen()

    def arrived() -> bool:
        return file.exists() and file.stat().st_mtime_ns != before

    with _listening(deployment, seen):
        try:
            forge.send("POST", f"/repos/{repo}/hooks/{hook.id}/tests", doing=f"trying the webhook of {repo}")
        except ForgeError:
            return "silent"
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline and not arrived() and not seen.foreign:
            # Where a daemon of ours has the port, its process takes the delivery and only the file tells.
            seen.something.wait(0.05)
            seen.something.clear()
    return "heard" if arrived() else "foreign" if seen.foreign else "silent"


@dataclass
class _Seen:
    something: threading.Event = field(default_factory=threading.Event)
    foreign: bool = False


@contextmanager
def _listening(deployment: Deployment, seen: _Seen) -> Iterator[None]:
    """Take deliveries for as long as the body lasts; where the factory runs, its daemon takes them."""
    if not is_free(deployment.host.web_port):
        yield
        return

    def on_hook(headers: Mapping[str, str], body: bytes) -> bool:
        ours = received(deployment, headers, body)
        seen.foreign = seen.foreign or not ours
        seen.something.set()
        return ours

    app = build(log_of=lambda _: None, runs=tuple, health=dict, on_hook=on_hook, hosts=("127.0.0.1", "localhost"))
    with WebServer(app, host="127.0.0.1", port=deployment.host.web_port):
        yield


def _advice(repos: list[RepoName], url: str, waited_s: float) -> str:
    return (
        f"the forge's test delivery to {url} did not arrive within {waited_s:g} s ({', '.join(map(str, repos))}). A "
        f"Forgejo delivers only where its app.ini lets it:\n"
        f"    [webhook]\n    ALLOWED_HOST_LIST = {allowed(url)}\n"
        "Polling does without. Once that is set, the same init again tries it again"
    )


def allowed(url: str) -> str:
    """The value of Forgejo's ``ALLOWED_HOST_LIST`` that lets it deliver there besides to what it may already."""
    host = urlsplit(url).hostname or ""
    if _is_loopback(host):
        return "external, loopback"
    try:
        return "external, private" if ip_address(host).is_private else "external"
    except ValueError:
        return f"external, {host}"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")

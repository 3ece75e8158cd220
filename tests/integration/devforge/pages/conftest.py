"""People at the pages: with cookies and forms as a browser sends them, and one with a real browser."""

from __future__ import annotations

import base64
import importlib.util
import re
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

World = Any
PASSWORD = "correct-horse-1"


class Person:
    """Somebody at a browser without script: looks at pages, sends the forms that are on them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = httpx.Client(base_url=url, timeout=20, trust_env=False, follow_redirects=True)
        self.client.headers["Accept"] = "text/html"

    def get(self, path: str) -> httpx.Response:
        return self.client.get(path)

    def see(self, path: str) -> str:
        """The page's HTML; it must be there."""
        done = self.get(path)
        assert done.status_code == 200, f"{path}: {done.status_code} {done.text[-400:]}"
        return done.text

    def send(self, page: str, action: str = "", *, expect: int = 200, **fields: Any) -> httpx.Response:
        """Open ``page`` and send its form (to ``action``, default the page) with these fields, as a browser would:
        hidden fields come from the page. Redirects are followed."""
        action = action or page
        html = self.see(page)
        forms = re.findall(r'<form method="post".*?</form>', html, re.S)
        form = next((one for one in forms if f'action="{action}"' in one), None)
        assert form is not None, f"{page} has no form to {action}"
        found = re.findall(r'type="hidden" name="([^"]*)" value="([^"]*)"', form)
        hidden = {unescape(name): unescape(value) for name, value in found}
        done = self.post(action, {**hidden, **fields})
        assert done.status_code == expect, f"{action}: {done.status_code} {words(done.text)[:600]}"
        return done

    def post(self, path: str, fields: dict[str, Any], **headers: str) -> httpx.Response:
        own = {"Origin": self.url, "Sec-Fetch-Site": "same-origin"}
        return self.client.post(path, data=fields, headers=own | headers)

    def sign_in(self, login: str, password: str = PASSWORD) -> Person:
        self.send("/user/login", login=login, password=password)
        return self


def words(html: str) -> str:
    """What a reader sees, roughly."""
    body = re.sub(r"<head>.*?</head>", "", html, flags=re.S)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", body))).strip()


@pytest.fixture(scope="session")
def read() -> Any:
    """``read(html)``: the words on a page."""
    return words


@pytest.fixture
def visitor(world: World) -> Iterator[Any]:
    """``visitor(login)``: a person signed in; without a name a stranger."""
    made: list[Person] = []

    def make(login: str = "") -> Person:
        person = Person(world.url)
        made.append(person)
        if login:
            world.token(login)
            person.sign_in(login)
        return person

    yield make
    for person in made:
        person.client.close()


def b64(text: str | bytes) -> str:
    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


@pytest.fixture(scope="session")
def stage() -> Any:
    """``stage(world)``: a repo with files, a rule on main, labels, and a pull request of bob that fixes an issue."""

    def make(world: World, *, approvals: int = 1, contexts: tuple[str, ...] = ()) -> tuple[str, int]:
        repo = world.repo(bob="write", eve="read", rita="write")
        files = {"README.md": "# Shop\n\nSee [guide](docs/guide.md).\n", "docs/guide.md": "Guide\n", "a.py": "one\n"}
        changes = [
            {"operation": "create", "path": path, "content": b64(text)}
            for path, text in files.items()
            if path != "README.md"
        ]
        sha = world.ok("ann", "GET", f"/repos/{repo}/contents/README.md")["sha"]
        changes.append({"operation": "update", "path": "README.md", "content": b64(files["README.md"]), "sha": sha})
        world.ok("ann", "POST", f"/repos/{repo}/contents", {"message": "Start", "files": changes})
        for name, color in (("backlog", "#0e8a16"), ("priority", "#d93f0b")):
            world.ok("ann", "POST", f"/repos/{repo}/labels", {"name": name, "color": color})
        world.ok("ann", "POST", f"/repos/{repo}/issues", {"title": "It is wrong", "body": "Please."})
        rule = {
            "rule_name": "mai[n]", "required_approvals": approvals, "enable_push": False,
            "enable_status_check": bool(contexts), "status_check_contexts": list(contexts),
            "block_on_rejected_reviews": True, "apply_to_admins": True,
        }  # fmt: skip
        world.ok("ann", "POST", f"/repos/{repo}/branch_protections", rule)
        sha = world.ok("bob", "GET", f"/repos/{repo}/contents/a.py")["sha"]
        body = {"content": b64("two\n"), "sha": sha, "message": "Say two", "new_branch": "fix/issue-1"}
        world.ok("bob", "PUT", f"/repos/{repo}/contents/a.py", body)
        made = {"head": "fix/issue-1", "base": "main", "title": "Say two", "body": "Fixes #1."}
        return repo, world.ok("bob", "POST", f"/repos/{repo}/pulls", made)["number"]

    return make


def _browser_module() -> ModuleType:
    path = Path(__file__).parents[3] / "browser.py"
    spec = importlib.util.spec_from_file_location("tests_browser", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault("tests_browser", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    module = _browser_module()
    if module.chromium() is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with module.Browser() as made:
        yield made

"""The forge's own description, and requests made at random from it: no 500 but those it lists."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import random
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest

from factory.devforge import agreement
from factory.devforge.api import describe
from factory.devforge.api.router import ROUTER
from factory.testing.forge_process import start_forge
from tests.soak_report import counts, record, seed_of_part
from tests.swagger import Swagger

FULL = 50_000
SEED = 4711
PER_SCENE = 500
"""Requests until a new set of repos is made: most of an old one is closed, protected or gone by then."""
SWAGGER = os.environ.get("FACTORY_TEST_SWAGGER", "")
"""Forgejo's own document, against which answers are held where it is at hand."""
PATHS = describe.description()["paths"]


def test_the_description_is_that_of_the_route_table(world: Any) -> None:
    for path in ("/api/swagger.v1.json", "/swagger.v1.json"):
        told = httpx.get(world.url + path, trust_env=False).json()
        assert (told["swagger"], told["basePath"]) == ("2.0", "/api/v1")
        operations = [(method.upper(), path) for path, by_method in told["paths"].items() for method in by_method]
        assert sorted(operations) == sorted((r.method, r.pattern.replace("...}", "}")) for r in ROUTER.routes)
    issue = told["paths"]["/repos/{owner}/{repo}/issues"]["post"]
    assert set(body_of(issue)) >= {"title", "body", "labels", "assignees", "milestone", "closed"}
    assert body_of(issue)["labels"] == {"type": "array", "items": {"type": "integer"}}
    rule = told["paths"]["/repos/{owner}/{repo}/branch_protections"]["post"]
    assert set(body_of(rule)) >= {"apply_to_admins", "push_whitelist_usernames", "status_check_contexts"}
    assert set(body_of(told["paths"]["/repos/{owner}/{repo}/labels/{id}"]["patch"])) >= {"name", "color"}
    listed = told["paths"]["/repos/{owner}/{repo}/issues"]["get"]["parameters"]
    assert {one["name"] for one in listed if one["in"] == "query"} >= {"state", "labels", "since", "page", "limit"}
    assert describe.DELIBERATE.keys() <= {(r.method, r.pattern) for r in ROUTER.routes}
    assert "Forgejo's own" in told["paths"]["/orgs/{org}/teams"]["post"]["responses"]["500"]["description"]


def body_of(operation: dict[str, Any]) -> dict[str, Any]:
    for one in operation["parameters"]:
        if one["in"] == "body":
            found: dict[str, Any] = one["schema"]["properties"]
            return found
    return {}


# ---------------------------------------------------------------- requests at random

ODD_TEXT = (
    "", " ", "\x00", "a\x00b", "\ud800", "é" * 300, "x" * 70_000, "../../etc/passwd", "..", "a..b", "-x", ".lock",
    "@{-1}", "²", "٣", "HEAD", "refs/heads/main", "main~1", ":/m", "%", "%s", "'", '"; DROP TABLE users', "\r\nX: y",
    "a/b", "\u202e", "null", "0", "-1", "1e9", "[", "**", "{a,b", "\\", "main..fix", "main...fix", "ann:fix", "2" * 40,
)  # fmt: skip
ODD_NUMBERS = (0, -1, 1, 2, 2**31, 2**63, -(2**63) - 1, 10**30, 1.5, float("nan"), True, None, "1", [], {})
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 2**70, 1.5, "", "x", [], {}, [None], [[]], [{}], ["\x00"], [2**70], {"a": {"b": [1]}},
)  # fmt: skip
TIMES = ("2026-01-01T00:00:00Z", "1970-01-01T00:00:00+00:00", "2026-01-01", "now", "0001-01-01T00:00:00Z",
         "9999-12-31T23:59:59+00:00", "0001-01-01T00:00:00+14:00", "2026-01-01T00:00:00 02:00")  # fmt: skip


@dataclass
class Scene:
    """Repos, items and accounts that requests are about; made anew from time to time."""

    world: Any
    number: int
    repos: list[str] = field(default_factory=list)
    shas: list[str] = field(default_factory=list)
    ids: dict[str, list[int]] = field(default_factory=dict)
    """What an ``{id}`` may be, by the word before it in the path."""
    tokens: list[str] = field(default_factory=list)
    merged: int = 0

    @property
    def victim(self) -> str:
        """An account that may be changed and deleted."""
        return f"victim{self.number}"

    def __post_init__(self) -> None:
        world, name = self.world, f"s{self.number}"
        for who in ("ann", "dev", "rev", "stranger", self.victim):
            world.token(who)
        for repo, more in ((name, {"auto_init": True}), (f"{name}-e", {}), (f"{name}-x", {"auto_init": True})):
            world.ok("ann", "POST", "/user/repos", {"name": repo, **more})
            self.repos.append(repo)
        base = f"/repos/ann/{name}"
        for who in ("dev", "rev"):
            world.ok("ann", "PUT", f"{base}/collaborators/{who}", {"permission": "write"})
        for label in ("backlog", "scope/a", "scope/b"):
            body = {"name": label, "color": "#fff000", "exclusive": "/" in label}
            self.keep("labels", world.ok("ann", "POST", f"{base}/labels", body))
        self.keep("milestones", world.ok("ann", "POST", f"{base}/milestones", {"title": "m"}))
        for n in range(3):
            world.ok("ann", "POST", f"{base}/issues", {"title": f"i{n}", "body": "#1"})
        for n in range(3):
            file = {"content": b64encode(b"x").decode(), "new_branch": f"fix{n}", "message": "m"}
            made = world.ok("dev", "POST", f"{base}/contents/d/f{n}.txt", file)
            self.shas += [made["commit"]["sha"], made["content"]["sha"], made["commit"]["tree"]["sha"]]
            pull = world.ok("dev", "POST", f"{base}/pulls", {"head": f"fix{n}", "base": "main", "title": "p"})
            reviews = f"{base}/pulls/{pull['number']}/reviews"
            for event in ("APPROVED", "PENDING"):
                self.keep("reviews", world.ok("rev", "POST", reviews, {"event": event, "body": "b"}))
        self.keep("comments", world.ok("ann", "POST", f"{base}/issues/1/comments", {"body": "c"}))
        world.ok("ann", "POST", f"{base}/branches", {"new_branch_name": "side", "old_ref_name": "main"})
        world.ok("ann", "POST", f"{base}/tags", {"tag_name": "v1", "target": "main", "message": "m"})
        world.ok("ann", "POST", f"{base}/branch_protections", {"rule_name": "prot*", "required_approvals": 1})
        hook = {"type": "forgejo", "config": {"url": "http://127.0.0.1:9/", "content_type": "json"}}
        self.keep("hooks", world.ok("ann", "POST", f"{base}/hooks", {**hook, "active": False}))
        world.ok("ann", "POST", "/orgs", {"username": f"guild{self.number}"})
        self.keep("orgs hooks", world.ok("ann", "POST", f"/orgs/guild{self.number}/hooks", {**hook, "active": False}))
        self.keep("user hooks", world.ok("ann", "POST", "/user/hooks", {**hook, "active": False}))
        made = world.admin("POST", "/api/v1/admin/hooks", {**hook, "active": False})
        self.keep("admin hooks", made.json())
        for n in range(3):
            release = world.ok("ann", "POST", f"{base}/releases", {"tag_name": f"r{n}", "target_commitish": "main"})
            self.keep("releases", release)
            rule = {"name_pattern": f"p{n}*", "whitelist_usernames": ["ann"]}
            self.keep("tag_protections", world.ok("ann", "POST", f"{base}/tag_protections", rule))
        self.keep("attachments", self.attached(base, release["id"]))
        first = {"owner": "ann", "repo": name, "index": 2}
        world.ok("ann", "POST", f"{base}/issues/1/dependencies", first)
        file = {"content": b64encode(b"x").decode(), "new_branch": "done", "message": "m"}
        world.ok("dev", "POST", f"{base}/contents/d/done.txt", file)
        pull = world.ok("dev", "POST", f"{base}/pulls", {"head": "done", "base": "main", "title": "p"})
        world.ok("ann", "POST", f"{base}/pulls/{pull['number']}/merge", {"Do": "merge"})
        self.merged = int(pull["number"])
        self.shas.append(world.ok("ann", "GET", f"{base}/pulls/{self.merged}")["merge_commit_sha"])
        team = {"name": "t", "permission": "write", "units": ["repo.code"]}
        self.keep("teams", world.ok("ann", "POST", f"/orgs/guild{self.number}/teams", team))
        world.ok("ann", "POST", f"/orgs/guild{self.number}/repos", {"name": name, "auto_init": True})
        self.tokens = [f"token {world.token(who)}" for who in ("ann",) * 6 + ("dev", "rev", "stranger")]
        self.tokens += [
            f"token {world.token('dev', 'read:repository', 'read:issue')}",
            f"token {'0' * 40}",
            "",
            "Basic x",
        ]
        world.token("boss")
        assert world.admin("PATCH", "/api/v1/admin/users/boss", {"admin": True}).status_code == 200
        self.tokens += [f"token {world.token('boss', 'all')}"] * 2
        for login in ("ann:correct-horse-1", "boss:correct-horse-1"):
            self.tokens.append("Basic " + b64encode(login.encode()).decode())

    def attached(self, base: str, release: int) -> Any:
        return httpx.post(
            f"{self.world.url}/api/v1{base}/releases/{release}/assets?name=a.txt", content=b"x", trust_env=False,
            headers={"Authorization": f"token {self.world.token('ann')}", "Content-Type": "application/octet-stream"},
        ).raise_for_status().json()  # fmt: skip

    def keep(self, kind: str, made: Any) -> None:
        self.ids.setdefault(kind, []).append(made["id"])


class Maker:
    """Requests from the description: mostly of the right shape and about things that exist, often not."""

    def __init__(self, rng: random.Random, scene: Scene) -> None:
        self.rng, self.scene = rng, scene
        self.operations = [(path, method) for path, by_method in sorted(PATHS.items()) for method in sorted(by_method)]

    def endless(self) -> Iterator[tuple[str, str]]:
        """Every operation once in random order, then again."""
        while True:
            self.rng.shuffle(self.operations)
            yield from self.operations

    def placed(self, name: str, path: str) -> Any:
        """A part of the path that is likely to exist just there."""
        kind = path.partition("{id}")[0].strip("/").rpartition("/")[2]
        if kind == "hooks" and not path.startswith("/repos/"):
            kind = f"{path.split('/')[1]} hooks"
        if name == "attachment_id":
            return self.scene.ids["attachments"][0]
        if name == "id" and path.endswith("{attachment_id}"):
            return self.scene.ids["releases"][-1]
        if name == "id" and kind in self.scene.ids:
            return self.rng.choice(self.scene.ids[kind])
        if name == "index" and "/pulls/" in path:
            return self.rng.choice((4, 5, 6, 4, 5, 6, self.scene.merged))
        if name == "index" and path.endswith(("/dependencies", "/blocks")):
            return self.rng.choice((1, 2))
        if name == "ref" and path.endswith("/pull"):
            return self.scene.shas[-1]
        if (name, path) == ("head", "/repos/{owner}/{repo}/pulls/{index}/{head}"):
            return "fix0"
        if name == "path" and "/contents/" in path:
            return self.rng.choice(("d/f0.txt", "new.txt", "d"))
        if "/{org}/{repo}" in path or path.startswith("/orgs"):
            return {"org": f"guild{self.scene.number}", "repo": self.scene.repos[0]}.get(name)
        return None

    def recipe(self, path: str, method: str) -> dict[str, Any]:
        """A body with which the request may well succeed, where fields at random rarely do."""
        blob = self.scene.shas[1]
        some = f"x{self.rng.randrange(10**6)}"
        hook = {"type": "forgejo", "config": {"url": "http://127.0.0.1:9/", "content_type": "json"}, "active": False}
        recipes: dict[str, dict[str, Any]] = {
            "put /contents/{path}": {
                "branch": "fix0", "new_branch": some, "sha": blob, "content": "eQ==", "message": "", "from_path": "",
                "author": {}, "committer": {}, "dates": {},
            },
            "post /tag_protections": {"name_pattern": some, "whitelist_usernames": ["ann"], "whitelist_teams": []},
            "patch /tag_protections/{id}": {"name_pattern": some, "whitelist_usernames": [], "whitelist_teams": []},
            "patch /releases/{id}": {"name": some, "tag_name": "", "target_commitish": ""},
            "patch /assets/{attachment_id}": {"name": some, "browser_download_url": ""},
            "delete /contents/{path}": {"branch": "fix0", "new_branch": some, "sha": blob},
            "post /contents": {"branch": "main", "new_branch": some, "files": [{"operation": "create", "path": some}]},
            "post /pulls": {"head": "fix0", "base": "side", "title": "t", "assignees": [], "assignee": ""},
            "post /reviews": {"event": "COMMENT", "body": "b", "commit_id": "", "comments": []},
            "post /reviews/{id}": {"event": "COMMENT", "body": "b"}, "post /hooks": hook, "patch /hooks/{id}": hook,
            "post /branch_protections": {"rule_name": some, "branch_name": ""}, "post /orgs": {"username": some},
            "post /users": {"username": some, "password": "correct-horse-1", "email": f"{some}@example.test"},
            "post /tokens": {"name": some, "scopes": ["read:issue"], "repositories": []},
            "post /dependencies": {"owner": "ann", "repo": self.scene.repos[0], "index": 3},
            "delete /dependencies": {"owner": "ann", "repo": self.scene.repos[0], "index": 2},
            "delete /blocks": {"owner": "ann", "repo": self.scene.repos[0], "index": 1},
            "post /merge": {"Do": "merge", "head_commit_id": "", "merge_when_checks_succeed": False},
        }  # fmt: skip
        return next((body for end, body in recipes.items() if f"{method} {path}".endswith(end[end.index("/") :])
                     and end.startswith(method)), {})  # fmt: skip

    def known(self, name: str) -> Any:
        """A value that a parameter of this name may well have."""
        pick, scene = self.rng.choice, self.scene
        values: Mapping[str, Sequence[Any]] = {
            "owner": ["ann"] * 15 + [f"guild{scene.number}", "dev", "nobody"],
            "org": [f"guild{scene.number}", "ann", "nobody"],
            "repo": [scene.repos[0]] * 15 + scene.repos, "index": [1, 2, 3, 4, 5, 6, 7, 99],
            "name": ["prot*", "n1", "n2"], "id": [1, 2, 3, scene.number + 1, 3 * scene.number + 1],
            "username": ["ann", "dev", "rev", "nobody", f"guild{scene.number}"], "sha": [*scene.shas, "main", "v1"],
            "ref": [*scene.shas, "main", "v1"], "branch": ["main", "fix0", "fix1", "n1"],
            "head": ["fix0", "fix1", "main", "ann:fix2"], "base": ["main", "fix0"], "tag": ["v1", "v2"],
            "path": ["README.md", "d/f0.txt", "d", "new.txt"], "prefix": ["heads", "heads/main", "tags"],
            "basehead": ["main...fix0", "fix0..main"], "label": ["backlog", "1"], "token": ["t1", "1"],
            "labels": [[1], ["backlog"], [1, 2]], "milestone": [1, 0], "assignees": [["dev"], []],
            "state": ["open", "closed", "all", "success", "pending"],
            "Do": ["merge", "squash", "rebase", "rebase-merge", "fast-forward-only", "manually-merged"],
            "event": ["APPROVED", "COMMENT", "REQUEST_CHANGES", "PENDING"], "permission": ["read", "write", "admin"],
            "content": [b64encode(b"y").decode()], "since": TIMES, "before": TIMES, "due_date": TIMES,
            "due_on": TIMES, "head_commit_id": [*scene.shas, ""], "commit_id": scene.shas,
            "scopes": [["read:issue"], ["all"], ["write:repository"]], "reviewers": [["rev"], ["dev", "nobody"]],
            "type": ["forgejo", "gitea", "issues", "pulls"], "color": ["#00aabb", "00aabb"],
            "style": ["merge", "rebase"],
            "config": [{"url": "http://127.0.0.1:9/", "content_type": "json", "secret": "s"}],
            "events": [["push"], ["issues"]],
            "files": [[{"operation": "create", "path": "n0", "content": "eA=="}], [{}], [{"path": 1}]],
            "old_ref_name": ["main", "fix0", "v1", ""], "new_branch_name": ["n1", "n2"], "new_branch": ["n1", "n3"],
            "comments": [[{"path": "d/f0.txt", "body": "b", "new_position": 1}], [{}], [{"path": 1}]],
            "units_map": [{"repo.code": "write"}], "units": [["repo.code"]],
            "repositories": [[{"owner": "ann", "name": scene.repos[0]}], [{}]], "rule_name": ["r*", "mai[n]", "fix0"],
            "email": ["e@example.test"], "password": ["correct-horse-1", "x"],
            "dates": [{"author": "2026-01-01T00:00:00Z"}, {"author": "x"}],
            "author": [{"name": "N", "email": "e@example.test"}, {}], "content_type": ["json"],
            "tag_name": ["v2", "v1"], "target": ["main", "fix0"], "context": ["ci", "c"], "page": ["1", "2", "99"],
            "limit": ["1", "50", "999"], "q": ["i1", "%"], "shas": [",".join(scene.shas)],
            "sort": ["oldest", "recentupdate", "x"],
        }  # fmt: skip
        return pick(values[name]) if name in values else None

    def text(self, name: str, oddness: float) -> str:
        if self.rng.random() < oddness:
            return self.rng.choice(ODD_TEXT)
        found = self.known(name)
        return str(found) if found is not None else f"{name}{self.rng.randrange(4)}"

    def value(self, name: str, schema: dict[str, Any], oddness: float) -> Any:
        if self.rng.random() < oddness:
            return self.rng.choice(ODD_VALUES if self.rng.random() < 0.5 else ODD_TEXT)
        kind = schema.get("type")
        found = self.known(name)
        if found is not None and (kind in (None, "array") or not isinstance(found, list | tuple)):
            return int(found) if kind == "integer" and str(found).lstrip("-").isdigit() else found
        if kind == "array":
            inner = schema["items"]["type"]
            return [self.value("", {"type": inner}, oddness) for _ in range(self.rng.randrange(3))]
        if kind == "boolean":
            return self.rng.random() < 0.5
        if kind == "integer":
            return self.rng.choice(ODD_NUMBERS) if self.rng.random() < oddness else self.rng.randrange(4)
        return f"{name}{self.rng.randrange(4)}"

    def request(self, path: str, method: str) -> tuple[str, str, bytes | None, dict[str, str]]:
        """(method, target, body, headers)."""
        rng, operation = self.rng, PATHS[path][method]
        oddness = rng.choice((0.0, 0.0, 0.0, 0.1, 0.4))
        query: list[tuple[str, str]] = []
        target = path
        for one in operation["parameters"]:
            name = one["name"]
            if one["in"] == "path":
                there = self.placed(name, path)
                sure = there is not None and rng.random() > oddness / 2
                text = str(there) if sure else self.text(name, oddness)
                if name == "username" and path.startswith(("/admin/", "/users/{username}/tokens")) and method != "get":
                    text = self.scene.victim  # the accounts of the scene stay
                if name == "repo" and path == "/repos/{owner}/{repo}" and method != "get":
                    text = rng.choice(self.scene.repos[1:])  # and its main repo
                safe = "/" if one["x-rest-of-path"] else ""
                text = text[:2000]
                target = target.replace(f"{{{name}}}", quote(text.encode("utf-8", "surrogatepass"), safe=safe) or "%00")
            elif one["in"] == "query" and rng.random() < 0.4:
                query.append((name, self.text(name, oddness)[:2000]))
        if rng.random() < 0.03:
            query.append(("sudo", self.text("username", 0.3)))
        body: bytes | None = None
        headers = {"Content-Type": "application/json"}
        fields = body_of(operation)
        if path.endswith("/reviews/{id}/comments"):
            fields = {"path": {}, "body": {"type": "string"}, "new_position": {"type": "integer"}}
        if method != "get":
            share = rng.choice((0.2, 0.7, 1.0, 1.0))
            given = {name: self.value(name, schema, oddness) for name, schema in fields.items() if rng.random() < share}
            if "content" in given and "reactions" in path:
                given["content"] = rng.choice(("+1", "heart", "eyes", given["content"]))
            if rng.random() < 0.4:
                given |= self.recipe(path, method)
            body = json.dumps(given).encode()
            if rng.random() < oddness / 4:
                body = rng.choice((b"", b"null", b"[]", b"{", b"\xff", b"[" * 5000, b'{"title": 1e999}', b"1" * 5000))
            if rng.random() < oddness / 8:
                headers.pop("Content-Type")
        token = rng.choice(self.scene.tokens)
        if token:
            headers["Authorization"] = token
        encoded = urlencode(query, errors="surrogatepass")
        return method.upper(), f"/api/v1{target}" + (f"?{encoded}" if encoded else ""), body, headers


class Wire:
    """One kept connection that sends exactly what it is told."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(url.partition("://")[2], timeout=30)

    def send(self, method: str, target: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes, str]:
        self._connection.request(method, target, body, headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read(), answer.headers.get("Content-Type", "")

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def forge(world: Any, tmp_path: Path) -> Iterator[Any]:
    """A forge of its own, whose log nobody else writes."""
    made = type(world)(tmp_path / "forge", start_forge(tmp_path / "forge"))
    yield made
    made.close()


@pytest.mark.parametrize("requests", counts(1000, FULL))
def test_no_request_is_answered_500_but_those_listed(forge: Any, requests: int) -> None:
    rng = random.Random(seed_of_part(SEED))
    swagger = Swagger.load(SWAGGER) if SWAGGER else None
    wire, seen, faults, untrue = Wire(forge.url), Counter[int](), list[str](), Counter[str]()
    fine: set[tuple[str, str]] = set()
    scenes = itertools.count()
    maker = Maker(rng, Scene(forge, next(scenes)))
    operations = maker.endless()
    for number in range(requests):
        if number and number % PER_SCENE == 0:
            maker.scene = Scene(forge, next(scenes))
        path, method = next(operations)
        sent = maker.request(path, method)
        status, body, kind = wire.send(*sent)
        seen[status] += 1
        if status >= 500 and status != 501 and "500" not in PATHS[path][method]["responses"]:
            faults.append(f"{status} {sent}"[:400])
        if body and kind.startswith("application/json"):
            value = json.loads(body)
            if swagger is not None and status < 500:
                untrue.update(swagger.against(path, method, status, value))
        if status < 300:
            fine.add((path, method))
    wire.close()
    log = (forge.home / "forge.log").read_text()
    assert forge.process.stop() == 0
    broken = re.findall(r"ERROR factory\.devforge (.*)\n(?:.*\n)*?(\w[\w.]*(?:Error|Exception).*)", log)
    assert not broken, broken[:5]
    assert not faults, faults[:5]
    assert agreement.findings(forge.home) == []
    assert not untrue, untrue.most_common(20)
    taken = sum(count for status, count in seen.items() if status < 300)
    assert taken > 0.15 * requests, seen
    never = sorted({*maker.operations} - fine)
    assert len(never) < len(maker.operations) * (0.5 if requests < 5000 else 0.15), " ".join(map(" ".join, never))
    record(
        "random requests from the embedded forge's own description", done=requests, full=FULL, seed=SEED,
        tally={"taken": taken, "fine": [" ".join(one) for one in fine]},
        result="no 500 but those listed, no traceback in the log; {taken:,} answered 2xx, {fine} of "
        f"{len(maker.operations)} operations with success" + (", held against Forgejo's document" if swagger else ""),
    )  # fmt: skip

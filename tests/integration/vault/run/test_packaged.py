"""The other packaged formulas, each with what stands on its other side."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from factory.vault.policy import Inject
from factory.vault.ports import Order
from factory.vault.run import human
from tests.integration.vault.run.house import NOW, House, Seen, probe, shipped, token

pytestmark = pytest.mark.needs_bwrap


# ---- publish-site ----------------------------------------------------------------------------------------------------


class Site:
    """A project with a folder of pages, and a place for them."""

    def __init__(self, house: House) -> None:
        self.house, self.repo = house, house.root / "work"
        self.git("init", "-q", "-b", "main", str(self.repo), cwd=house.root)
        self.place = house.root / "srv" / "docs"
        self.place.parent.mkdir()
        house.project.repo = self.repo / ".git"

    def git(self, *argv: str, cwd: Path | None = None) -> str:
        who = {f"GIT_{who}_{what}": "a@x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        env = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **who}
        done = subprocess.run(["git", *argv], cwd=cwd or self.repo, capture_output=True, text=True, check=True, env=env)
        return done.stdout.strip()

    def commit(self, text: str) -> str:
        (self.repo / "docs").mkdir(exist_ok=True)
        (self.repo / "docs/index.html").write_text(text)
        (self.repo / "secret.txt").write_text("not for the site")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "x")
        return self.git("rev-parse", "HEAD")

    def order(self, commit: str, key: str, **settings: object) -> Order:
        places = {"docs": {"path": str(self.place), **settings}}
        made = self.house.order(shipped("publish-site"), place="docs", commit=commit, folder="docs",
                                settings={"places": places}, id=f"2026-11-28-site-{key}")  # fmt: skip
        return replace(made, idem_key=key * 32)


@pytest.fixture
def site(house: House) -> Site:
    return Site(house)


def test_a_site_is_switched_at_once_and_old_versions_go(site: Site) -> None:
    seen = []
    for number in range(4):
        order = site.order(site.commit(f"page {number}"), f"{number}a", keep=2)
        outcome = site.house.run(order)
        assert (outcome.state, outcome.result["changed"]) == ("done", "true"), site.house.log(order)
        assert (site.place / "index.html").read_text() == f"page {number}"
        assert sorted(path.name for path in site.place.iterdir()) == ["index.html"]
        assert site.place.is_symlink()
        seen.append(outcome.result["version"])
        assert site.house.run(probe(order)).state == "applied"
    assert outcome.result["previous"] == seen[2]
    versions = site.place.with_name("docs.versions")
    assert sorted(path.name for path in versions.iterdir() if path.is_dir()) == sorted(seen[2:])
    assert json.loads((versions / f"{seen[3]}.json").read_text())["key"] == order.idem_key


def test_the_same_once_more_changes_nothing(site: Site) -> None:
    order = site.order(site.commit("page"), "aa")
    assert site.house.run(order).result["changed"] == "true"
    before = os.lstat(site.place).st_ino
    assert site.house.run(replace(order, run=token())).result["changed"] == "false"
    assert os.lstat(site.place).st_ino == before


def test_a_run_that_was_fenced_does_not_switch(site: Site) -> None:
    assert site.house.run(site.order(site.commit("good"), "aa")).state == "done"
    count = len(site.house.asked)
    site.house.live = lambda order: len(site.house.asked) <= count + 2
    outcome = site.house.run(site.order(site.commit("late"), "bb"))
    assert (outcome.state, "no longer says" in outcome.words) == ("clean", True)
    assert (site.place / "index.html").read_text() == "good"


@pytest.mark.parametrize("there", ["folder", "file", "foreign link"])
def test_what_is_not_ours_is_left_alone(site: Site, there: str) -> None:
    if there == "folder":
        site.place.mkdir()
    elif there == "file":
        site.place.write_text("x")
    else:
        site.place.symlink_to("/etc")
    outcome = site.house.run(site.order(site.commit("page"), "aa"))
    assert outcome.state == "clean"
    assert str(site.place) in outcome.words


def test_links_in_a_site_are_refused(site: Site) -> None:
    (site.repo / "docs").mkdir()
    (site.repo / "docs/passwd").symlink_to("/etc/passwd")
    outcome = site.house.run(site.order(site.commit("page"), "aa"))
    assert (outcome.state, "symbolic link" in outcome.words) == ("clean", True)
    assert not site.place.exists()


@pytest.mark.parametrize("path", ["", "relative", "/srv/../etc", "/nowhere/at/all", "/"])
def test_a_place_that_the_policy_does_not_describe(site: Site, path: str) -> None:
    order = site.order(site.commit("page"), "aa")
    rule = replace(order.rule, settings={"places": {"docs": {"path": path}} if path else {}})
    assert site.house.run(replace(order, rule=rule)).state == "clean"


# ---- promote ---------------------------------------------------------------------------------------------------------


def files_order(house: House, name: str, digest: str) -> Order:
    places = {"live": {"kind": "files", "from": str(house.root / "staging"), "to": str(house.root / "production")}}
    return house.order(shipped("promote"), place="live", name=name, digest=digest, settings={"places": places})


def test_a_file_of_the_approved_digest_is_promoted(house: House) -> None:
    for folder in ("staging", "production"):
        (house.root / folder).mkdir()
    (house.root / "staging/app.bin").write_bytes(b"version 2")
    (house.root / "production/app.bin").write_bytes(b"version 1")
    digest = "sha256:" + hashlib.sha256(b"version 2").hexdigest()
    order = files_order(house, "app.bin", digest)
    assert house.run(probe(order)).state == "absent"
    assert house.run(order).result == {"place": "live", "name": "app.bin", "digest": digest, "changed": "true"}
    assert (house.root / "production/app.bin").read_bytes() == b"version 2"
    assert house.run(probe(order)).state == "applied"
    assert house.run(replace(order, run=token())).result["changed"] == "false"
    assert [path.name for path in (house.root / "production").iterdir()] == ["app.bin"]


@pytest.mark.parametrize("wrong", ["other bytes", "link", "missing"])
def test_nothing_else_is_promoted(house: House, wrong: str) -> None:
    for folder in ("staging", "production"):
        (house.root / folder).mkdir()
    (house.root / "production/app.bin").write_bytes(b"version 1")
    source = house.root / "staging/app.bin"
    if wrong == "other bytes":
        source.write_bytes(b"swapped after approval")
    elif wrong == "link":
        source.symlink_to("/etc/passwd")
    outcome = house.run(files_order(house, "app.bin", "sha256:" + hashlib.sha256(b"version 2").hexdigest()))
    assert outcome.state == "clean"
    assert (house.root / "production/app.bin").read_bytes() == b"version 1"
    assert [path.name for path in (house.root / "production").iterdir()] == ["app.bin"]


@dataclass
class Registry:
    """As much of the distribution API (v2) as pushing and pulling by digest needs."""

    manifests: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    blobs: set[tuple[str, str]] = field(default_factory=set)
    mounts: bool = True
    puts: list[str] = field(default_factory=list)

    def put(self, repo: str, name: str, kind: str, body: bytes) -> str:
        digest = "sha256:" + hashlib.sha256(body).hexdigest()
        self.manifests[repo, digest] = self.manifests[repo, name] = (kind, body)
        return digest

    def answer(self, seen: Seen) -> tuple[int, Mapping[str, str], bytes]:
        path, _, query = seen.path.removeprefix("/v2/").partition("?")
        if seen.headers.get("authorization") != "Basic c2VjcmV0LXJlZ2lzdHJ5":
            return 401, {}, b""
        if "/manifests/" in path:
            repo, _, name = path.partition("/manifests/")
            if seen.method == "PUT":
                self.puts.append(f"{repo}:{name}")
                self.put(repo, name, seen.headers["content-type"], seen.body)
                return 201, {}, b""
            if (repo, name) not in self.manifests:
                return 404, {}, b""
            kind, body = self.manifests[repo, name]
            told = {"Content-Type": kind, "Docker-Content-Digest": "sha256:" + hashlib.sha256(body).hexdigest(),
                    "Content-Length": str(len(body))}  # fmt: skip
            return 200, told, b"" if seen.method == "HEAD" else body
        if path.endswith("/blobs/uploads/"):
            given = dict(part.split("=") for part in query.split("&"))
            repo = path.removesuffix("/blobs/uploads/")
            if not self.mounts or (given["from"], given["mount"]) not in self.blobs:
                return 202, {}, b""
            self.blobs.add((repo, given["mount"]))
            return 201, {}, b""
        repo, _, digest = path.partition("/blobs/")
        return (200 if (repo, digest) in self.blobs else 404), {}, b""


INDEX, IMAGE = "application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture
def registry(house: House) -> Registry:
    made = Registry()
    house.outside.answer = made.answer
    house.secrets["REGISTRY"] = b"c2VjcmV0LXJlZ2lzdHJ5"
    return made


def image_order(house: House, digest: str, target: str = "team/app") -> Order:
    places = {"live": {"kind": "image", "host": "registry.test", "from": "team/app-staging", "to": target}}
    return house.order(
        shipped("promote"), place="live", name="stable", digest=digest, settings={"places": places},
        hosts=("GET,HEAD,POST,PUT registry.test/v2/team/",), secrets=("REGISTRY",),
        inject={"registry.test": Inject("REGISTRY", "Authorization", "Basic ")},
    )  # fmt: skip


def image(registry: Registry, text: str, repo: str = "team/app-staging") -> tuple[str, bytes]:
    blobs = ["sha256:" + hashlib.sha256(f"{text}{part}".encode()).hexdigest() for part in ("config", "layer")]
    registry.blobs |= {(repo, blob) for blob in blobs}
    config, layers = {"digest": blobs[0]}, [{"digest": blobs[1]}]
    document = {"schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": layers}
    body = json.dumps(document).encode()
    return registry.put(repo, text, IMAGE, body), body


def test_an_image_of_several_platforms_is_promoted_by_digest(house: House, registry: Registry) -> None:
    children = [image(registry, name) for name in ("amd64", "arm64")]
    manifests = [{"digest": digest, "mediaType": IMAGE} for digest, _ in children]
    body = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).encode()
    digest = registry.put("team/app-staging", "1.2", INDEX, body)
    order = image_order(house, digest)
    outcome = house.run(order)
    assert outcome.result == {"place": "live", "name": "stable", "digest": digest, "changed": "true"}, house.log(order)
    assert registry.manifests["team/app", "stable"] == (INDEX, body)
    assert registry.puts == [f"team/app:{one}" for one, _ in children] + ["team/app:stable"]
    assert {blob for repo, blob in registry.blobs if repo == "team/app"} == {
        blob for repo, blob in registry.blobs if repo == "team/app-staging"
    }
    assert "c2VjcmV0" not in house.log(order)
    again = house.run(replace(order, run=token()))
    assert (again.state, again.result["changed"], len(registry.puts)) == ("done", "false", 3)


def test_a_digest_that_staging_does_not_have(house: House, registry: Registry) -> None:
    outcome = house.run(image_order(house, "sha256:" + "0" * 64))
    assert (outcome.state, registry.puts) == ("clean", [])


def test_a_registry_that_does_not_mount_leaves_production_as_it_was(house: House, registry: Registry) -> None:
    registry.mounts = False
    digest, _ = image(registry, "amd64")
    outcome = house.run(image_order(house, digest))
    assert (outcome.state, registry.puts) == ("unclear", [])


def test_another_repository_than_the_policy_allows(house: House, registry: Registry) -> None:
    digest, _ = image(registry, "amd64")
    order = image_order(house, digest, "other/app")
    outcome = house.run(order)
    assert (outcome.state, outcome.words) == ("clean", "its step failed; a request of it was refused")
    assert "not among what formula and policy allow" in house.log(order)


# ---- webhook-call ----------------------------------------------------------------------------------------------------


def webhook_order(house: House, **params: str) -> Order:
    given = {"host": "hooks.test", "path": "/deploy", "body": '{"ref": "main", "n": 1}', **params}
    house.secrets["HOOK"] = b"hook-s3cr3t-value"
    return house.order(shipped("webhook-call"), hosts=("POST hooks.test/deploy",), secrets=("HOOK",),
                       inject={"hooks.test": Inject("HOOK", "X-Token")}, **given)  # fmt: skip


def test_a_webhook_is_called_with_the_actions_key(house: House) -> None:
    order = webhook_order(house)
    outcome = house.run(order)
    assert (outcome.state, outcome.result["status"]) == ("done", "200")
    (seen,) = house.outside.seen
    assert (seen.method, seen.path, seen.body) == ("POST", "/deploy", b'{"ref":"main","n":1}')
    assert seen.headers["idempotency-key"] == order.idem_key
    assert (seen.headers["x-token"], seen.headers["content-type"]) == ("hook-s3cr3t-value", "application/json")
    retry = replace(order, run=token(), epoch=3)
    house.run(retry)
    assert house.outside.seen[1].headers["idempotency-key"] == order.idem_key
    assert house.run(probe(order)).state == "unclear"


@pytest.mark.parametrize(("status", "state"), [(422, "clean"), (403, "clean"), (500, "unclear"), (409, "unclear")])
def test_what_the_other_side_says_decides_what_is_known(house: House, status: int, state: str) -> None:
    house.outside.answer = lambda seen: (status, {}, b"no")
    assert house.run(webhook_order(house)).state == state


@pytest.mark.parametrize(
    "params", [{"host": "evil.test"}, {"path": "/deploy/../admin"}, {"path": "/other"}, {"body": "{"}]
)
def test_a_webhook_elsewhere_is_not_called(house: House, params: dict[str, str]) -> None:
    assert house.run(webhook_order(house, **params)).state == "clean"
    assert house.outside.seen == []


# ---- collect ---------------------------------------------------------------------------------------------------------


def collect_order(house: House, **params: object) -> Order:
    return house.order(shipped("collect"), hosts=("GET,HEAD,POST status.test/api/",), kind="uptime", host="status.test",
                       path="/api/health", **params)  # fmt: skip


def test_what_was_read_comes_back_as_a_days_evidence(house: House) -> None:
    house.outside.answer = lambda seen: (200, {}, b'{"up": true, "hosts": [{"name": "a", "ms": 12}], "junk": "x"}')
    order = collect_order(house, fields=("up", "hosts.0.ms", "nothing.here"))
    outcome = house.run(order)
    assert outcome.state == "done", house.log(order)
    assert (outcome.result["path"], outcome.result["status"]) == ("evidence/uptime/2026-11-28.json", "200")
    value = json.loads(outcome.result["value"])
    assert value["json"] == {"up": True, "hosts.0.ms": 12, "nothing.here": None}
    assert (value["run"], value["taint"], value["at"]) == (order.run, "outside", "2026-11-28T12:00:00Z")
    assert [seen.method for seen in house.outside.seen] == ["GET"]


def test_it_can_only_read(house: House) -> None:
    """The policy names POST, the formula does not: what both allow counts."""
    order = collect_order(house)
    code = "import urllib.request as u\nu.urlopen(u.Request('http://status.test/api/x', data=b'1'))"
    posting = replace(order, formula=replace(order.formula, steps=(("python3", "-I", "-c", code),)))
    outcome = house.run(posting)
    assert (outcome.state, house.outside.seen) == ("clean", [])
    assert outcome.words == "its step failed; a request of it was refused"
    assert "not among what formula and policy allow" in house.log(posting)


def test_a_long_answer_is_not_cut_into_something_else(house: House) -> None:
    house.outside.answer = lambda seen: (200, {}, json.dumps({"x": "y" * 20_000}).encode())
    value = json.loads(house.run(collect_order(house)).result["value"])
    assert "json" not in value
    assert value["bytes"] > 20_000


# ---- run-command -----------------------------------------------------------------------------------------------------


def command_order(house: House, argv: list[str], name: str = "backup", **more: object) -> Order:
    settings = {"commands": {"backup": {"argv": argv, **more}}}
    return house.order(shipped("run-command"), name=name, settings=settings)


def test_an_admins_command_runs_as_it_stands_in_the_policy(house: House) -> None:
    folder = house.root / "data"
    folder.mkdir()
    folder.chmod(0o777)
    argv = ["sh", "-c", f'echo "$0 $#" > {folder}/out; exit 0', "as-written"]
    outcome = house.run(command_order(house, argv, folders={str(folder): "write"}))
    assert outcome.state == "done"
    assert (folder / "out").read_text() == "as-written 0\n"


def test_a_command_that_fails_is_for_a_person_to_judge(house: House) -> None:
    assert house.run(command_order(house, ["sh", "-c", "exit 3"])).state == "unclear"
    assert house.run(probe(command_order(house, ["true"]))).state == "unclear"


@pytest.mark.parametrize("name", ["other", "argv"])
def test_a_command_that_the_policy_does_not_name(house: House, name: str) -> None:
    order = command_order(house, ["sh", "-c", "echo ran"], name=name)
    assert house.run(order).state == "unclear"
    assert "\nran\n" not in house.log(order)


def test_a_start_that_comes_too_late_does_not_begin(house: House) -> None:
    order = replace(command_order(house, ["true"]), deadline=0.0)
    outcome = house.run(order)
    assert (outcome.state, "too late" in outcome.words) == ("clean", True)
    assert house.asked == []


# ---- rent-a-human ----------------------------------------------------------------------------------------------------


def test_something_for_a_person_is_filed(house: House) -> None:
    order = house.order(shipped("rent-a-human"), what="Renew the domain", why="Only you have the login.",
                        steps=("Open the registrar.", "Pay."), choices=("one year", "two years"), verify="dig ns x",
                        deadline="2026-12-24")  # fmt: skip
    assert house.run(order).result == {"path": "vault/pending/2026-11-28-test-7f3a.md", "name": "2026-11-28-test-7f3a"}
    assert house.outside.seen == []
    text = human.write(human.of(order.action, NOW))
    assert "1. Open the registrar." in text
    assert "- **B.** two years" in text

"""Tags, releases, their files, and the rules that keep tags from other hands. Read in Forgejo 15's source."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from factory.errors import ForgeRefused
from factory.forge.values import RepoName
from tests.contract.conftest import Site

MARK = "Factory-Idempotency: " + "ab" * 32


@pytest.fixture
def repo(site: Site) -> RepoName:
    return site.repo(labels=())


def tip(site: Site, repo: RepoName) -> str:
    sha: str = site.call("GET", f"/repos/{repo}/branches/main").json()["commit"]["id"]
    return sha


def test_a_tag_with_a_message_is_an_object_of_its_own(site: Site, repo: RepoName) -> None:
    client, commit = site.client("dev"), tip(site, repo)
    made = client.create_tag(repo, "v1", commit=commit, message=f"release v1\n\n{MARK}")
    assert made == client.tag(repo, "v1")
    assert (made.commit, made.oid == commit) == (commit, False)
    assert MARK in made.message
    assert client.tag(repo, "v2") is None


def test_a_tag_of_a_taken_name_is_a_conflict(site: Site, repo: RepoName) -> None:
    client, commit = site.client("dev"), tip(site, repo)
    client.create_tag(repo, "v1", commit=commit, message="one")
    with pytest.raises(ForgeRefused) as refused:
        client.create_tag(repo, "v1", commit=commit, message="two")
    assert refused.value.status == 409
    assert site.call("POST", f"/repos/{repo}/tags", {"tag_name": "v3", "target": "f" * 40}).status_code == 404
    assert site.call("POST", f"/repos/{repo}/tags", {"tag_name": "v3"}, who="reader").status_code == 403


def test_a_release_takes_over_the_tag_that_is_there(site: Site, repo: RepoName) -> None:
    client, commit = site.client("dev"), tip(site, repo)
    tag = client.create_tag(repo, "v1", commit=commit, message="one")
    assert client.release_of(repo, "v1") is None
    made = client.create_release(repo, "v1", title="First", notes=f"Good.\n\n{MARK}", target=commit)
    assert made == client.release_of(repo, "v1")
    assert (made.title, made.author.login, made.draft, made.assets) == ("First", site.login("dev"), False, ())
    assert client.tag(repo, "v1") == tag
    with pytest.raises(ForgeRefused) as refused:
        client.create_release(repo, "v1", title="Again", notes="", target=commit)
    assert refused.value.status == 409


def test_a_release_without_a_tag_makes_a_light_one(site: Site, repo: RepoName) -> None:
    made = site.call("POST", f"/repos/{repo}/releases", {"tag_name": "v5"}, who="dev")
    assert made.status_code == 201
    assert (made.json()["name"], made.json()["draft"]) == ("v5", False)
    tag = site.client("dev").tag(repo, "v5")
    assert tag is not None
    assert tag.oid == tag.commit == tip(site, repo)
    missing = site.call("POST", f"/repos/{repo}/releases", {"tag_name": "v6", "target_commitish": "nowhere"}, who="dev")
    assert missing.status_code == 404
    assert site.call("POST", f"/repos/{repo}/releases", {}, who="dev").status_code == 422
    assert site.call("POST", f"/repos/{repo}/releases", {"tag_name": "v7"}, who="reader").status_code == 403


def test_drafts_are_for_writers(site: Site, repo: RepoName) -> None:
    draft = site.call("POST", f"/repos/{repo}/releases", {"tag_name": "v1", "draft": True}, who="dev").json()
    assert site.client("dev").tag(repo, "v1") is None
    path = f"/repos/{repo}/releases/{draft['id']}"
    assert [site.call("GET", path, who=who).status_code for who in ("dev", "reader")] == [200, 404]
    assert [len(site.call("GET", f"/repos/{repo}/releases", who=who).json()) for who in ("dev", "reader")] == [1, 0]
    assert site.call("GET", f"/repos/{repo}/releases/latest", who="dev").status_code == 404
    done = site.call("PATCH", path, {"draft": False, "body": "out"}, who="dev")
    assert (done.status_code, done.json()["draft"], done.json()["body"]) == (200, False, "out")
    assert site.client("dev").tag(repo, "v1") is not None
    assert site.call("GET", f"/repos/{repo}/releases/latest", who="reader").json()["tag_name"] == "v1"


def test_files_come_back_as_they_were_put(site: Site, repo: RepoName) -> None:
    client, data = site.client("dev"), bytes(range(256)) * 300
    client.create_tag(repo, "v1", commit=tip(site, repo), message="one")
    release = client.create_release(repo, "v1", title="", notes="", target="")
    made = client.add_asset(repo, release, "tool-v1.tar.gz", data)
    again = client.release_of(repo, "v1")
    assert again is not None
    assert [(a.id, a.name, a.size, a.key) for a in again.assets] == [(made.id, "tool-v1.tar.gz", len(data), made.key)]
    assert client.asset_sha256(repo, made) == hashlib.sha256(data).hexdigest()
    client.add_asset(repo, release, "tool-v1.tar.gz", b"second of that name")
    again = client.release_of(repo, "v1")
    assert again is not None
    assert [a.size for a in again.assets] == [len(data), 19]


def test_files_are_private_where_the_repo_is(site: Site, repo: RepoName) -> None:
    client = site.client("dev")
    site.account("outsider")
    client.create_tag(repo, "v1", commit=tip(site, repo), message="one")
    asset = client.add_asset(repo, client.create_release(repo, "v1", title="", notes="", target=""), "a.bin", b"\0data")
    shown = site.call("GET", f"/repos/{repo}/releases/tags/v1", who="reader").json()["assets"][0]
    assert shown["browser_download_url"].endswith(f"/{repo}/releases/download/v1/a.bin")
    for path in (f"/attachments/{asset.key}", f"/{repo}/releases/download/v1/a.bin"):
        got = {
            who: site.http.get(site.url + path, headers={"Authorization": f"token {site.tokens[site.login(who)]}"})
            for who in ("reader", "outsider")
        }
        assert (got["reader"].status_code, got["reader"].content) == (200, b"\0data")
        assert got["reader"].headers["x-content-type-options"] == "nosniff"
        assert got["outsider"].status_code == 404
        assert site.http.get(site.url + path).status_code in (303, 401, 404)


def test_a_form_carries_a_file_too(site: Site, repo: RepoName) -> None:
    release = site.call("POST", f"/repos/{repo}/releases", {"tag_name": "v1"}, who="dev").json()
    url = f"{site.url}/api/v1/repos/{repo}/releases/{release['id']}/assets"
    auth = {"Authorization": f"token {site.tokens[site.account('dev')]}"}
    sent = site.http.post(url, headers=auth, files={"attachment": ("notes.txt", b"line\r\n\r\nend\n")})
    assert (sent.status_code, sent.json()["name"], sent.json()["size"]) == (201, "notes.txt", 12)
    sent = site.http.post(url, headers=auth, files={"external_url": (None, "https://example.org/x.zip")})
    assert (sent.status_code, sent.json()["name"], sent.json()["type"]) == (201, "x.zip", "external")
    sent = site.http.post(url, headers=auth, files={"other": (None, "x")})
    assert sent.status_code == 400
    octets = {"Content-Type": "application/octet-stream"}
    assert site.http.post(url, headers=auth | octets, content=b"x").status_code == 400
    path = f"/repos/{repo}/releases/{release['id']}/assets"
    first = site.call("GET", path).json()[0]
    renamed = site.call("PATCH", f"{path}/{first['id']}", {"name": "n.txt"}, who="dev")
    assert (renamed.status_code, renamed.json()["name"]) == (201, "n.txt")
    assert site.call("DELETE", f"{path}/{first['id']}", who="dev").status_code == 204
    assert site.call("GET", f"{path}/{first['id']}").status_code == 404
    assert len(site.call("GET", path).json()) == 1


def test_a_released_tag_goes_only_with_its_release(site: Site, repo: RepoName) -> None:
    client = site.client("dev")
    client.create_tag(repo, "v1", commit=tip(site, repo), message="one")
    release = client.create_release(repo, "v1", title="", notes="", target="")
    assert site.call("DELETE", f"/repos/{repo}/tags/v1", who="dev").status_code == 409
    assert site.call("DELETE", f"/repos/{repo}/releases/{release.id}", who="dev").status_code == 204
    assert client.release_of(repo, "v1") is None
    assert client.tag(repo, "v1") is not None
    assert site.call("DELETE", f"/repos/{repo}/tags/v1", who="dev").status_code == 204


def test_a_rule_keeps_tags_for_those_it_names(site: Site, repo: RepoName) -> None:
    founder, commit = site.client("founder"), tip(site, repo)
    founder.set_tag_rule(repo, "v*", [site.account("rev")])
    assert [(r.pattern, r.users) for r in founder.tag_rules(repo)] == [("v*", (site.login("rev"),))]
    dev = site.client("dev")
    with pytest.raises(ForgeRefused) as refused:
        dev.create_tag(repo, "v1", commit=commit, message="x")
    assert refused.value.status == 422
    assert site.call("POST", f"/repos/{repo}/releases", {"tag_name": "v1"}, who="dev").status_code == 422
    assert dev.create_tag(repo, "free", commit=commit, message="x").commit == commit
    site.client("rev").create_tag(repo, "v1", commit=commit, message="x")
    assert site.call("DELETE", f"/repos/{repo}/tags/v1", who="dev").status_code == 422
    founder.set_tag_rule(repo, "v*", [site.login("rev"), site.login("dev")])
    assert site.call("DELETE", f"/repos/{repo}/tags/v1", who="dev").status_code == 204


def test_the_rule_holds_on_push(site: Site, repo: RepoName, tmp_path: Path) -> None:
    site.client("founder").set_tag_rule(repo, "v*", [site.account("rev")])
    login = site.account("dev")
    url = site.url.replace("://", f"://{login}:{site.tokens[login]}@") + f"/{repo}.git"

    def git(*argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", *argv], cwd=tmp_path, capture_output=True, text=True)

    assert git("clone", "-q", url, ".").returncode == 0
    git("tag", "v1")
    refused = git("push", "-q", "origin", "v1")
    assert refused.returncode != 0
    assert "Tag v1 is protected" in refused.stderr
    git("tag", "other")
    assert git("push", "-q", "origin", "other").returncode == 0


def test_tag_rules_need_an_admin_and_somebody_to_name(site: Site, repo: RepoName) -> None:
    path = f"/repos/{repo}/tag_protections"
    body = {"name_pattern": "v*", "whitelist_usernames": [site.login("rev")]}
    site.account("rev")
    assert site.call("POST", path, body, who="dev").status_code == 403
    assert site.call("POST", path, {**body, "whitelist_usernames": []}).status_code == 400
    assert site.call("POST", path, {**body, "name_pattern": " "}).status_code == 400
    assert site.call("POST", path, {**body, "whitelist_usernames": ["nobody-of-that-name"]}).status_code == 422
    made = site.call("POST", path, body)
    assert made.status_code == 201
    assert site.call("POST", path, body).status_code == 403
    one = f"{path}/{made.json()['id']}"
    assert site.call("GET", one).json()["name_pattern"] == "v*"
    assert site.call("PATCH", one, {"name_pattern": "/^r[0-9]+$/"}).json()["name_pattern"] == "/^r[0-9]+$/"
    assert site.call("POST", f"/repos/{repo}/tags", {"tag_name": "r12"}, who="dev").status_code == 422
    assert site.call("POST", f"/repos/{repo}/tags", {"tag_name": "xr12"}, who="dev").status_code == 201
    assert site.call("DELETE", one).status_code == 204
    assert site.call("GET", one).status_code == 404

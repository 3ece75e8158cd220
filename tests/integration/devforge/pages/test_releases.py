"""Releases as a person sees them: what is new, and files that are saved and never shown."""

from __future__ import annotations

from typing import Any

World = Any


def test_a_release_its_notes_and_its_file(world: World, visitor: Any, read: Any) -> None:
    repo = str(world.repo(eve="read"))
    body = {"tag_name": "v1", "name": "First <b>", "body": "**Good** <script>alert(1)</script>"}
    made = world.ok("ann", "POST", f"/repos/{repo}/releases", body)
    world.ok("ann", "POST", f"/repos/{repo}/releases", {"tag_name": "v2", "draft": True})
    asset = world.ok("ann", "POST", f"/repos/{repo}/releases/{made['id']}/assets?name=x.html", {"a": 1})
    eve, ann = visitor("eve"), visitor("ann")
    html = eve.see(f"/{repo}/releases")
    assert "First &lt;b&gt;" in html
    assert "<strong>Good</strong>" in html
    assert "<script" not in html
    assert "v2" not in read(html)
    assert "draft" in read(ann.see(f"/{repo}/releases"))
    assert f'href="/{repo}/releases"' in eve.see(f"/{repo}")
    assert "x.html" in eve.see(f"/{repo}/releases/tag/v1")
    assert eve.get(f"/{repo}/releases/tag/v2").status_code == 404
    for path in (f"/{repo}/releases/download/v1/x.html", f"/attachments/{asset['uuid']}"):
        got = eve.get(path)
        assert (got.status_code, got.json()) == (200, {"a": 1})
        assert got.headers["content-disposition"].startswith("attachment;")
        assert got.headers["content-type"] == "application/octet-stream"
        assert "sandbox" in got.headers["content-security-policy"]
    assert eve.get(f"/{repo}/releases/download/v1/y.html").status_code == 404
    assert "Nothing was released" in read(ann.see(f"/{world.repo()}/releases"))

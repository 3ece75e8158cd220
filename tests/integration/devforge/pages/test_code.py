"""Reading a repo: folders, files, raw content, commits, branches; and names that git allows but pages must survive."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

World = Any
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg"><script>document.title="owned"</script><rect width="9" height="9"/></svg>'
)


@pytest.fixture
def repo(world: World) -> str:
    return str(world.repo(eve="read"))


def put(world: World, repo: str, path: str, content: bytes | str, **more: str) -> str:
    data = content if isinstance(content, bytes) else content.encode()
    body = {"content": base64.b64encode(data).decode(), "message": f"Add {path}", **more}
    return str(world.ok("ann", "POST", f"/repos/{repo}/contents/{quote(path)}", body)["commit"]["sha"])


def test_the_front_page_renders_the_readme(world: World, visitor: Any, repo: str, read: Any) -> None:
    put(world, repo, "docs/README.md", "# Docs\n\n[up](../README.md) ![p](a.png)\n")
    eve = visitor("eve")
    html = eve.see(f"/{repo}")
    assert f'href="/{repo}/src/branch/main/docs"' in html
    assert f"git clone {world.url}/{repo}.git" in read(html)
    inner = eve.see(f"/{repo}/src/branch/main/docs")
    assert f'href="/{repo}/src/branch/main/README.md"' in inner
    assert f'src="/{repo}/raw/branch/main/docs/a.png"' in inner
    assert 'id="text-docs"' in inner
    assert eve.get(f"/{repo}/src/branch").url.path == f"/{repo}"


def test_a_file_its_lines_and_its_source(world: World, visitor: Any, repo: str, read: Any) -> None:
    sha = put(world, repo, "a.py", "x = '<b>'\n\ny = 2\u202e\n")
    eve = visitor("eve")
    for where in ("branch/main", f"commit/{sha}", f"branch/{sha}"):
        html = eve.see(f"/{repo}/src/{where}/a.py")
        assert 'id="L3"' in html
        assert 'id="L4"' not in html
        assert "x = &#39;&lt;b&gt;&#39;" in html
        assert '<span class="hid" title="invisible character">⟦U+202E⟧</span>' in html
    assert "<h1" in eve.see(f"/{repo}/src/branch/main/README.md").split("<main")[1]
    assert "# " in read(eve.see(f"/{repo}/src/branch/main/README.md?source=1"))


RAW_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"


@pytest.mark.parametrize(
    ("path", "content", "kind"),
    [
        ("a.svg", SVG, "image/svg+xml"),
        ("a.png", b"\x89PNG\r\n\x1a\n\0\0", "image/png"),
        ("a.html", "<script>document.title='owned'</script>", "text/plain; charset=utf-8"),
        ("a.xhtml", "<script>1</script>", "text/plain; charset=utf-8"),
        ("a.js", "alert(1)", "text/plain; charset=utf-8"),
        ("a.css", "*{}", "text/plain; charset=utf-8"),
        ("a.pdf", b"%PDF\0", "application/octet-stream"),
        ("no-ending", b"\0\1", "application/octet-stream"),
    ],
)
def test_raw_files_can_only_be_looked_at(
    world: World, visitor: Any, repo: str, path: str, content: bytes | str, kind: str
) -> None:
    put(world, repo, path, content)
    done = visitor("eve").get(f"/{repo}/raw/branch/main/{path}")
    assert done.status_code == 200
    assert done.headers["content-type"] == kind
    assert done.headers["content-security-policy"] == RAW_POLICY
    assert done.headers["x-content-type-options"] == "nosniff"
    assert done.content == (content if isinstance(content, bytes) else content.encode())
    if kind == "application/octet-stream":
        assert done.headers["content-disposition"].startswith("attachment; filename*=UTF-8''")


def test_pictures_and_other_content_have_pages(world: World, visitor: Any, repo: str, read: Any) -> None:
    put(world, repo, "a.svg", SVG)
    put(world, repo, "b.bin", b"\0\1\2")
    put(world, repo, "large.txt", "x" * 1_100_000)
    eve = visitor("eve")
    assert f'<img src="/{repo}/raw/branch/main/a.svg"' in eve.see(f"/{repo}/src/branch/main/a.svg")
    assert "This is no text." in read(eve.see(f"/{repo}/src/branch/main/b.bin"))
    large = eve.see(f"/{repo}/src/branch/main/large.txt")
    assert "Too large to show here." in read(large)
    assert len(large) < 20_000


@pytest.mark.parametrize(
    "path",
    ["../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd", ".git/config", "docs/%2e%2e/README.md", "nothing", "README.md/x",
     "%00", "%ff%fe", "a" * 3000],
)  # fmt: skip
def test_paths_that_are_not_there(visitor: Any, repo: str, path: str) -> None:
    eve = visitor("eve")
    for kind in ("src", "raw"):
        assert eve.client.get(f"/{repo}/{kind}/branch/main/{path}").status_code == 404


@pytest.mark.parametrize("ref", ["main~1", "main^", "HEAD", "@", "refs/heads/main", "main@{0}", ":/Add", "--all", "-x"])
def test_only_names_are_refs(world: World, visitor: Any, repo: str, ref: str) -> None:
    put(world, repo, "a", "1")
    eve = visitor("eve")
    for page in (f"src/branch/{quote(ref)}/a", f"commits/branch/{quote(ref)}", f"src/commit/{quote(ref)}",
                 f"commit/{quote(ref)}",
                 f"src/tag/{quote(ref)}", "src/nonsense/main/a"):  # fmt: skip
        assert eve.get(f"/{repo}/{page}").status_code == 404


def test_commits_have_pages_and_authors(world: World, visitor: Any, repo: str, read: Any) -> None:
    world.ok("ann", "PATCH", f"/repos/{repo}", {"description": "What it is"})
    for number in range(42):
        put(world, repo, f"f{number}", "x")
    eve = visitor("eve")
    first, second = eve.see(f"/{repo}/commits/branch/main"), eve.see(f"/{repo}/commits/branch/main?page=2")
    assert "Add f41" in first
    assert "Add f1 " not in read(first)
    assert "Add f1" in second
    assert "Initial commit" in second
    assert "?page=3" not in second
    root = second.split("/commit/")[-1][:40]
    assert "added README.md" in read(eve.see(f"/{repo}/commit/{root}"))
    assert eve.get(f"/{repo}/commit/{root[:7]}").status_code == 200
    assert eve.get(f"/{repo}/commit/{'0' * 40}").status_code == 404
    assert eve.get(f"/{repo}/commit/{root[:3]}").status_code == 404
    assert "What it is" in read(eve.see(f"/{repo}"))


def test_branches_with_slashes(world: World, visitor: Any, repo: str, read: Any) -> None:
    put(world, repo, "d/x.txt", "on a branch", new_branch="feature/deep/one")
    eve = visitor("eve")
    assert "on a branch" in eve.see(f"/{repo}/src/branch/feature/deep/one/d/x.txt")
    assert f'href="/{repo}/src/branch/feature/deep/one/d"' in eve.see(f"/{repo}/src/branch/feature/deep/one")
    text = read(eve.see(f"/{repo}/branches"))
    assert "main default" in text
    assert "1 ahead, 0 behind" in text


def test_a_renamed_repo_is_found(world: World, visitor: Any, repo: str) -> None:
    new = f"{repo}-new"
    world.ok("ann", "PATCH", f"/repos/{repo}", {"name": new.split("/")[1]})
    assert visitor("eve").get(f"/{repo}/issues").url.path == f"/{new}/issues"


def test_an_empty_repo_says_how_to_begin(world: World, visitor: Any, read: Any) -> None:
    repo = world.repo(init=False)
    ann = visitor("ann")
    assert f"git clone {world.url}/{repo}.git" in read(ann.see(f"/{repo}"))
    for page in ("src/branch/main", "commits/branch/main", "pulls/1"):
        assert ann.get(f"/{repo}/{page}").status_code == 404
    assert ann.get(f"/{repo}/branches").status_code == 200
    assert ann.get(f"/{repo}/compare").status_code == 200


HOSTILE_NAME = '"><img src=x onerror=document.title=1>&lt;'


def test_names_that_git_allows(world: World, visitor: Any, clone: Any, git_at: Any, tmp_path: Path) -> None:
    """Quotes, tags, percent signs, spaces, bytes that are no UTF-8: escaped, linked, opened."""
    name = world.repo(eve="read")
    git = clone(name)
    files = [
        HOSTILE_NAME.encode(),
        b"50%25.txt",
        b"sp ace",
        b"\xff\xfe.txt",
        "ü\u202ex".encode(),
        b"a#b?c",
        b"-x",
        b"'",
    ]
    for file in files:
        (git.folder / file.decode("utf-8", "surrogateescape")).write_text("content here\n")
    git("add", "-A")
    git("commit", "-q", "-m", "<script>document.title='owned'</script>\n\n\x1b[31mred")
    git("push", "-q", "origin", "HEAD:main")
    git("push", "-q", "origin", "HEAD:refs/heads/x\"'><svg/onload=1>")
    sha = git("rev-parse", "HEAD").stdout.strip()
    eve = visitor("eve")
    html = eve.see(f"/{name}")
    for page in (f"/{name}", f"/{name}/commit/{sha}", f"/{name}/branches", f"/{name}/commits/branch/main"):
        text = eve.see(page)
        assert "<img src=x" not in text
        assert "<script" not in text
        assert "<svg/" not in text
    for file in files:
        path = f"/{name}/src/branch/main/{quote(file)}"
        assert f'href="{path}"' in html, file
        assert "content here" in eve.see(path), file
        raw = eve.get(f"/{name}/raw/branch/main/{quote(file)}")
        assert raw.content == b"content here\n"
    branch = quote("x\"'><svg/onload=1>")
    assert eve.get(f"/{name}/src/branch/{branch}").status_code == 200


def test_links_inside_and_submodules_do_nothing(world: World, visitor: Any, clone: Any) -> None:
    name = world.repo(eve="read")
    git = clone(name)
    (git.folder / "passwd").symlink_to("/etc/passwd")
    (git.folder / "README.md").unlink()
    (git.folder / "README.md").symlink_to("/etc/hostname")
    git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub")
    git("add", "passwd", "README.md")
    git("commit", "-q", "-m", "links")
    git("push", "-q", "origin", "HEAD:main")
    eve = visitor("eve")
    assert "/etc/hostname" in eve.see(f"/{name}")
    assert "/etc/passwd" in eve.see(f"/{name}/src/branch/main/passwd")
    assert eve.get(f"/{name}/raw/branch/main/passwd").text == "/etc/passwd"
    assert eve.get(f"/{name}/raw/branch/main/sub").status_code == 404
    assert eve.get(f"/{name}/src/branch/main/sub").status_code == 200


def test_a_large_diff_is_cut(world: World, visitor: Any, repo: str, read: Any) -> None:
    lines = "".join(f"line {n}\n" for n in range(70_000))
    sha = put(world, repo, "large.txt", lines)
    html = visitor("eve").see(f"/{repo}/commit/{sha}")
    assert "The rest is left out: the whole diff is too large." in read(html)


def test_avatars_are_pictures(world: World, visitor: Any) -> None:
    user = world.ok("ann", "GET", "/user")
    done = visitor().get(user["avatar_url"].removeprefix(world.url))
    assert done.headers["content-type"] == "image/svg+xml"
    assert "sandbox" in done.headers["content-security-policy"]
    assert visitor().get("/avatars/999999").status_code == 404
    assert visitor().get("/avatars/x").status_code == 404

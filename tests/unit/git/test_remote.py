from __future__ import annotations

import pytest

from factory.errors import UsageError
from factory.git.plumbing import environment, redacted, version_of
from factory.git.transport import RefUpdate, Remote, push


@pytest.mark.parametrize(
    ("url", "scheme"),
    [
        ("http://127.0.0.1:3000/o/r.git", "http"),
        ("https://forge.example/o/r.git", "https"),
        ("ssh://git@forge.example:2222/o/r.git", "ssh"),
        ("git@forge.example:o/r.git", "ssh"),
        ("file:///srv/r.git", "file"),
        ("/srv/r.git", "file"),
    ],
)
def test_the_transports_we_speak(url: str, scheme: str) -> None:
    assert Remote(url).scheme == scheme


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c id",
        "--upload-pack=id",
        "git://forge/x",
        "r.git",
        "../r.git",
        "",
        "fd::17",
        "-oProxyCommand=id:x",
        "ftp://h/x",
        "http://h/x\n--upload-pack=id",
        "git@h::x",
    ],
)
def test_anything_else_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        Remote(url)


def test_a_login_in_the_address_is_taken_out_and_never_shown() -> None:
    with pytest.raises(UsageError) as caught:
        Remote("https://me:s3cret@forge.example/r.git")
    assert "s3cret" not in str(caught.value)
    remote = Remote.parse("https://me:s3%40cret@forge.example:8443/r.git")
    assert (remote.url, remote.username, remote.token) == ("https://forge.example:8443/r.git", "me", "s3@cret")
    assert remote.origin == "https://forge.example:8443"
    assert "s3@cret" not in repr(remote)
    assert Remote.parse("git@h:o/r").url == "git@h:o/r"


@pytest.mark.parametrize("token", ["a\nurl=http://thief", "a\0b", "a\rb"])
def test_a_token_cannot_carry_a_second_line(token: str) -> None:
    with pytest.raises(UsageError):
        Remote("https://forge.example/r.git", "u", token)


def test_secrets_and_logins_are_cut_out_of_what_git_says() -> None:
    said = b"fatal: 'https://u:pw@h/x' and t0ken; http://plain/x; mail a@b"
    assert redacted(said, ("t0ken", "")) == "fatal: 'https://[redacted]@h/x' and [redacted]; http://plain/x; mail a@b"


def test_the_environment_is_ours_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/elsewhere")
    monkeypatch.setenv("HOME", "/root")
    env = environment(config=[("a.b", "c")], protocols=("https",), extra={"X": "1"})
    assert "GIT_DIR" not in env
    assert env["HOME"] == "/nonexistent"
    assert env["GIT_ALLOW_PROTOCOL"] == "https"
    assert env["X"] == "1"
    count = int(env["GIT_CONFIG_COUNT"])
    pairs = {env[f"GIT_CONFIG_KEY_{number}"]: env[f"GIT_CONFIG_VALUE_{number}"] for number in range(count)}
    assert pairs["core.hooksPath"] == "/dev/null"
    assert pairs["core.fsmonitor"] == "false"
    assert pairs["a.b"] == "c"
    assert f"GIT_CONFIG_KEY_{count}" not in env
    assert environment()["GIT_ALLOW_PROTOCOL"] == "none"


@pytest.mark.parametrize(
    ("said", "version"),
    [("git version 2.39.5", (2, 39)), ("git version 2.50.1 (Apple Git-155)", (2, 50)), ("nonsense", None)],
)
def test_gits_version_is_read(said: str, version: tuple[int, int] | None) -> None:
    assert version_of(said) == version


def test_a_ref_update_is_checked_before_git_sees_it() -> None:
    with pytest.raises(UsageError):
        RefUpdate("main", None, None)
    with pytest.raises(UsageError):
        RefUpdate("refs/heads/x", "HEAD", None)
    with pytest.raises(UsageError):
        RefUpdate("refs/heads/x", None, "+x")


def test_a_push_of_nothing_asks_nobody_and_one_ref_comes_once(tmp_path: object) -> None:
    nowhere = Remote("http://127.0.0.1:1/x.git")
    push(tmp_path, nowhere, [])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="twice"):
        push(tmp_path, nowhere, [RefUpdate("refs/heads/x", "a" * 40, None)] * 2)  # type: ignore[arg-type]

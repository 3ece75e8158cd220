"""host.toml: read, written back, comments kept, private."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from factory.config.home import create_home
from factory.config.host import host_path, is_address, load_host, write_host
from factory.config.model import BackendHost, ChannelHost, HostConfig, LedgerMirror
from factory.errors import ConfigInvalid


def host(home: Path) -> HostConfig:
    return HostConfig(
        home=home,
        host="box",
        forge_url="http://127.0.0.1:3000",
        embedded=True,
        forge_port=3000,
        web_port=3080,
        ops_repos=("a/b-ops",),
        backends={
            "cc-1": BackendHost(
                "claude-code",
                model="opus",
                roles=frozenset({"dev"}),
                url="https://api.example.com",
                key_file=home / "state" / "keys" / "cc-1",
                slots=2,
            ),
            "demo": BackendHost("native", replay=Path("/somewhere/script.toml"), price_input=3, price_output=15.0),
        },
        tool_mounts=("/opt/node",),
    )


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    create_home(tmp_path / "h")
    write_host(host(tmp_path / "h"))
    assert load_host(tmp_path / "h") == host(tmp_path / "h")
    assert stat.S_IMODE(host_path(tmp_path / "h").stat().st_mode) == 0o600
    assert 'key_file = "keys/cc-1"' in host_path(tmp_path / "h").read_text()


def test_a_change_keeps_comments_and_order(tmp_path: Path) -> None:
    create_home(tmp_path)
    write_host(host(tmp_path))
    path = host_path(tmp_path)
    noted = path.read_text().replace('host = "box"', 'host = "box" # under the desk')
    path.write_text(noted)
    write_host(host(tmp_path))
    assert path.read_text() == noted
    write_host(
        replace(host(tmp_path), slots=9, backends={"n": BackendHost("native", url="http://x:1")}, tool_mounts=())
    )
    again = load_host(tmp_path)
    assert (again.slots, set(again.backends), again.tool_mounts) == (9, {"n"}, ())
    assert "# under the desk" in path.read_text()


def test_nothing_is_overwritten_that_cannot_be_read(tmp_path: Path) -> None:
    create_home(tmp_path)
    host_path(tmp_path).write_text("host = \n")
    with pytest.raises(ConfigInvalid) as caught:
        write_host(host(tmp_path))
    assert caught.value.problems[0].line == 1
    assert host_path(tmp_path).read_text() == "host = \n"


def test_no_factory_here_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="there is no factory here") as caught:
        load_host(tmp_path)
    assert "factory init" in str(caught.value.hint)


def test_all_problems_at_once(tmp_path: Path) -> None:
    create_home(tmp_path)
    host_path(tmp_path).write_text(
        'host = "My Box"\nsandbox = "bwrap"\nops_repos = ["a/b", "a/b", "c"]\nslots = 0\n'
        '[forge]\nurl = "http://user:pw@x/"\nembedded = true\n'
        '[backends.x]\nkind = "native"\nauth = "login"\nkey = "sk-1"\n'
    )
    with pytest.raises(ConfigInvalid) as caught:
        load_host(tmp_path)
    assert [p.line for p in caught.value.problems] == [1, 2, 3, 3, 4, 5, 6, 10, 11]


def test_the_ledgers_mirror_is_read_back_and_goes_whole(tmp_path: Path) -> None:
    create_home(tmp_path)
    mirror = LedgerMirror("https://forge.test/me/l.git", "me", tmp_path / "state" / "vault" / "mirror.token")
    for wanted in (mirror, LedgerMirror("me@box:ledger.git"), None):
        write_host(replace(host(tmp_path), ledger_mirror=wanted))
        assert load_host(tmp_path).ledger_mirror == wanted
    assert "[vault]" not in host_path(tmp_path).read_text()
    write_host(replace(host(tmp_path), ledger_mirror=LedgerMirror("me@box:l.git", token_file=mirror.token_file)))
    with pytest.raises(ConfigInvalid, match="1 problem") as no:
        load_host(tmp_path)
    assert "mirror_token_file is for a mirror over http(s)" in str(no.value.problems[0])


def test_channels_are_read_back_and_go_whole(tmp_path: Path) -> None:
    create_home(tmp_path)
    kept = tmp_path / "state" / "notify"
    phone = ChannelHost("ntfy", kept / "phone.secret")
    bot = ChannelHost("telegram", Path("/run/keys/bot"), "-100123", "http://127.0.0.1:8081")
    for channels in ({"phone": phone}, {"phone": phone, "ops-chat": bot}, {"ops-chat": bot}, {}):
        write_host(replace(host(tmp_path), channels=channels))
        assert load_host(tmp_path).channels == channels
        assert load_host(tmp_path).backends == host(tmp_path).backends
    assert "notify" not in host_path(tmp_path).read_text()
    write_host(replace(host(tmp_path), channels={"phone": phone}))
    assert 'secret_file = "notify/phone.secret"' in host_path(tmp_path).read_text()


def test_wrong_channels_are_told_with_their_place(tmp_path: Path) -> None:
    create_home(tmp_path)
    write_host(host(tmp_path))
    path = host_path(tmp_path)
    path.write_text(path.read_text() + (
        '[notify.a]\nkind = "telegram"\nsecret_file = "x"\n'
        '[notify.b]\nkind = "slack"\nsecret_file = "x"\nchat = "1"\n'
        '[notify.c]\nkind = "email"\n'
        '[notify.d]\nkind = "telegram"\nsecret_file = "x"\nchat = "me"\napi = "ftp://x"\n'
        '[notify.e]\nkind = "ntfy"\nsecret_file = "x"\ntopic = "t"\n'
    ))  # fmt: skip
    with pytest.raises(ConfigInvalid) as caught:
        load_host(tmp_path)
    said = [str(problem).partition("\n")[0].partition(": ")[2] for problem in caught.value.problems]
    assert said[0] == "notify.a.chat is missing; a bot has to know whom to write to"
    assert said[1] == "notify.b.chat is for Telegram only"
    assert [line.split()[0] for line in said[2:]] == [
        "notify.c.secret_file", "notify.c.kind", "notify.d.chat", "notify.d.api", "notify.e.topic",
    ]  # fmt: skip


@pytest.mark.parametrize(("address", "good"), [
    ("ssh://git@box.test:22/srv/l.git", True), ("box:l.git", True), ("git@box:/srv/l.git", True), ("/mnt/l.git", True),
    ("https://box/a/l.git", True), ("https://box", False), ("https://me@box/l.git", False),
    ("ssh://me:secret@box/l.git", False), ("me:secret@box:l.git", False), ("https://box/l.git?t=secret", False),
    ("ext::sh -c true", False), ("file:///srv/l.git", False), ("l.git", False), ("/srv/l\n.git", False),
    ("-oProxyCommand=x:l.git", False), ("", False),
])  # fmt: skip
def test_addresses_of_a_mirror(address: str, good: bool) -> None:
    assert is_address(address) is good


@pytest.mark.parametrize("runs", ["daemon", "vault", "nothing"])
def test_what_the_home_runs_is_read_back_and_all_is_said_by_nothing(tmp_path: Path, runs: str) -> None:
    create_home(tmp_path)
    write_host(host(tmp_path))
    assert "runs" not in host_path(tmp_path).read_text(encoding="utf-8")
    assert load_host(tmp_path).has_vault
    write_host(replace(host(tmp_path), runs=runs))
    assert load_host(tmp_path) == replace(host(tmp_path), runs=runs)
    assert load_host(tmp_path).has_vault == (runs == "vault")
    write_host(host(tmp_path))
    assert load_host(tmp_path) == host(tmp_path)
    path = host_path(tmp_path)
    path.write_text(f'runs = "both"\n{path.read_text(encoding="utf-8")}', encoding="utf-8")
    with pytest.raises(ConfigInvalid) as refused:
        load_host(tmp_path)
    assert "runs" in str(refused.value.problems[0])

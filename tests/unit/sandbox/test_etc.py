"""The /etc inside: what is written, and what may be taken from the host."""

from __future__ import annotations

from pathlib import Path

from factory.sandbox import etc


def test_generated_files_name_one_user_and_no_resolver() -> None:
    files = etc.files()
    assert files["/etc/passwd"].startswith(b"agent:x:1000:1000:agent:/home/agent:/bin/sh\n")
    assert b"root" not in files["/etc/passwd"]
    assert files["/etc/resolv.conf"] == b""
    assert b"files dns" not in files["/etc/nsswitch.conf"]


def test_only_what_everybody_may_read_is_shown(tmp_path: Path) -> None:
    (tmp_path / "ssl/certs").mkdir(parents=True)
    (tmp_path / "ssl/private").mkdir()
    for name, mode in (("ld.so.cache", 0o644), ("mime.types", 0o600), ("shadow", 0o644), ("passwd", 0o644)):
        (tmp_path / name).write_text("x")
        (tmp_path / name).chmod(mode)
    (tmp_path / "localtime").symlink_to("nowhere")
    (tmp_path / "java-17-openjdk").mkdir()
    shown = [inside for _host, inside in etc.from_host(tmp_path)]
    assert shown == ["/etc/ld.so.cache", "/etc/ssl/certs", "/etc/java-17-openjdk"]

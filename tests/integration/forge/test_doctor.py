"""What ``factory doctor`` says of the forge it finds, by its version alone."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from factory.app.deployment import Deployment
from factory.app.doctor import forge
from factory.config.model import HostConfig


@pytest.mark.parametrize(
    ("said", "states", "words"),
    [
        ("16.0.1+gitea-1.22.0", ["ok"], []),
        ("11.0.15+gitea-1.22.0", ["ok", "note"], ["tokens cannot be limited to repos"]),
        ("1.25.1", ["ok", "note", "note", "note"], ["gitea is not tested", "apply_to_admins", "limited to repos"]),
        ("10.0.3+gitea-1.22.0", ["problem"], ["supported are Forgejo 11 to 16"]),
    ],
)
def test_what_is_missing_is_said(
    httpserver: HTTPServer, tmp_path: Path, said: str, states: list[str], words: list[str]
) -> None:
    httpserver.expect_request("/api/v1/version").respond_with_json({"version": said})
    host = HostConfig(tmp_path, "here", httpserver.url_for("/").rstrip("/"), False, None, 1, ())
    with closing(Deployment(host)) as deployment:
        found = list(forge.answers(deployment))
    assert [one.state.value for one in found] == states
    for word, one in zip(words, found[-len(words) :] if words else [], strict=True):
        assert word in one.detail

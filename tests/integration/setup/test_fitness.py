"""A repo that cannot get a factory is refused with the ways on, before anything is written.

The embedded forge makes no mirrors and the answer about one is all there is to them here: a scripted server gives it.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from pytest_httpserver import HTTPServer

from factory.app.fitness import refuse_unfit
from factory.errors import PolicyDenied
from factory.forge.client import ForgejoClient
from factory.forge.values import Repo, RepoName

NAME = RepoName("founder", "tally")
REPO = Repo(7, NAME, "main", private=False, empty=False, archived=False, mirror=False, has_actions=False)


def refused(server: HTTPServer, repo: Repo) -> PolicyDenied:
    with ForgejoClient(server.url_for("/").rstrip("/"), "0" * 40) as forge, pytest.raises(PolicyDenied) as caught:
        refuse_unfit(forge, "http://forge.test", NAME, repo, None, str(NAME))
    return caught.value


@pytest.mark.parametrize(("told", "origin"), [("https://other.test/a/tally.git", "https://other.test/a/tally.git"),
                                              ("", "URL")])  # fmt: skip
def test_a_repo_that_is_pulled_from_elsewhere_says_the_two_ways_on(
    httpserver: HTTPServer, told: str, origin: str
) -> None:
    answer = {"mirror": True, "original_url": told, "full_name": str(NAME)}
    httpserver.expect_oneshot_request("/api/v1/repos/founder/tally", method="GET").respond_with_json(answer)
    error = refused(httpserver, replace(REPO, mirror=True))
    assert f"this repo is pulled from elsewhere ({origin})" in str(error)
    assert error.hint is not None
    assert "convert to a regular repository" in error.hint
    assert error.hint.endswith(f"factory init {origin} --name founder/tally-factory")
    assert [request.method for request, _ in httpserver.log] == ["GET"], "nothing was written"


def test_an_archived_repo_is_to_be_taken_out_of_the_archive(httpserver: HTTPServer) -> None:
    error = refused(httpserver, replace(REPO, archived=True))
    assert "it is archived" in str(error)
    assert error.hint is not None
    assert "take it out of the archive" in error.hint
    assert httpserver.log == []

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.forge import decode
from factory.forge.values import CheckState, Issue, ItemState, Pull, RepoName, ReviewState, User

T = datetime(2026, 6, 10, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "is_"),
    [
        ("2026-06-10T10:00:00Z", T),
        ("2026-06-10T12:00:00+02:00", T),
        ("2026-06-10T10:00:00", T),
        ("0001-01-01T00:00:00Z", None),
        ("1970-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("", None),
        (None, None),
        ("yesterday", None),
        (12, None),
    ],
)
def test_times(said: object, is_: datetime | None) -> None:
    assert decode.moment(said) == is_


@pytest.mark.parametrize("value", [None, [], {}, "x", 3, [None, 1, "x", {}]])
def test_null_and_odd_lists(value: object) -> None:
    assert all(isinstance(row, dict) for row in decode.records(value))
    assert decode.label_names(value) <= {""}
    assert all(isinstance(name, str) for name in decode.names(value))


def test_an_issue_with_null_lists_and_unset_times() -> None:
    issue = decode.issue(
        {
            "number": 3,
            "title": "t",
            "body": None,
            "user": None,
            "state": "open",
            "labels": None,
            "closed_at": None,
            "x": 1,
        }
    )
    assert issue.author == User(0, "")
    assert issue.labels == frozenset()
    assert issue.closed_at is None
    assert issue.body == ""
    assert issue.created_at == decode.UNSET


@pytest.mark.parametrize(("body", "added"), [("1", True), ("", False), (None, False)])
def test_label_events_say_set_or_taken_off(body: str | None, added: bool) -> None:
    event = decode.timeline_event({"type": "label", "body": body, "label": {"name": "backlog"}, "user": {"login": "f"}})
    assert (event.label, event.added, event.author.login) == ("backlog", added, "f")


def test_a_label_event_of_a_deleted_label_has_no_name() -> None:
    assert decode.timeline_event({"type": "label", "body": "1", "label": None}).label is None


def test_a_comment_event_is_not_a_label_event() -> None:
    event = decode.timeline_event({"type": "comment", "body": "1", "label": {"name": "backlog"}})
    assert (event.label, event.added, event.detail) == (None, None, "1")


@pytest.mark.parametrize(
    ("said", "is_"),
    [
        ("success", CheckState.SUCCESS),
        ("warning", CheckState.WARNING),
        ("skipped", CheckState.PENDING),
        ("", CheckState.PENDING),
    ],
)
def test_an_unknown_check_state_never_passes(said: str, is_: CheckState) -> None:
    assert decode.status({"status": said, "context": "ci"}).state is is_


@pytest.mark.parametrize(
    ("said", "is_"),
    [
        ("APPROVED", ReviewState.APPROVED),
        ("approved", ReviewState.COMMENT),
        ("APPROVE", ReviewState.COMMENT),
        ("", ReviewState.COMMENT),
    ],
)
def test_an_unknown_review_state_never_approves(said: str, is_: ReviewState) -> None:
    assert decode.review({"state": said, "official": True}).state is is_


@pytest.mark.parametrize("field", ["official", "stale", "dismissed"])
@pytest.mark.parametrize("value", ["true", 1, None, [True]])
def test_only_true_is_true(field: str, value: object) -> None:
    assert getattr(decode.review({"state": "APPROVED", field: value}), field) is False


def test_search_results_tell_issues_from_pulls() -> None:
    issue = decode.found({"number": 1, "pull_request": None})
    pull = decode.found({"number": 2, "pull_request": {"merged": True, "draft": False}, "state": "closed"})
    assert isinstance(issue, Issue)
    assert isinstance(pull, Pull)
    assert (pull.merged, pull.state, pull.head_sha) == (True, ItemState.CLOSED, "")


@pytest.mark.parametrize(
    ("said", "product", "major"),
    [("15.0.3+gitea-1.22.0", "forgejo", 15), ("11.0.15+gitea-1.22.0", "forgejo", 11),
     ("1.23.4", "gitea", 1), ("", "gitea", 0),
     ("16.0.0-dev-1-gabc+gitea-1.22.0", "forgejo", 16)],
)  # fmt: skip
def test_versions(said: str, product: str, major: int) -> None:
    version = decode.version({"version": said})
    assert (version.product, version.major) == (product, major)


@pytest.mark.parametrize(
    ("data", "is_"),
    [
        ({"full_name": "o/r"}, RepoName("o", "r")),
        ({"owner": "o", "name": "r"}, RepoName("o", "r")),
        ({"owner": {"login": "o"}, "name": "r"}, RepoName("o", "r")),
        ({"full_name": "o/r/x"}, None),
        (None, None),
        ({}, None),
    ],
)
def test_repo_names(data: Any, is_: RepoName | None) -> None:
    assert decode.repo_name(data) == is_


@pytest.mark.parametrize(
    ("said", "is_"), [("changed", "modified"), ("removed", "deleted"), ("added", "added"), ("renamed", "renamed")]
)
def test_file_states(said: str, is_: str) -> None:
    assert decode.changed_file({"filename": "a", "status": said}).status == is_


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "number",
                    "user",
                    "labels",
                    "head",
                    "base",
                    "repo",
                    "state",
                    "created_at",
                    "pull_request",
                    "config",
                    "label",
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_no_json_makes_decoding_raise(value: Any) -> None:
    data = decode.record(value)
    for name in ("issue", "pull", "found", "review", "status", "comment", "repo", "timeline_event", "changed_file",
                 "protection", "label", "hook", "version"):  # fmt: skip
        getattr(decode, name)(data)
    decode.dependency(data, RepoName("o", "r"))
    json.dumps(value)

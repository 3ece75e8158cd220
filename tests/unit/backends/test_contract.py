"""What every backend of the registry promises, whichever CLI it drives."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.backends import BACKENDS, backend
from factory.backends.protocol import Backend, Done, LaunchRequest, Noise, Text
from factory.errors import UsageError
from factory.runs.model import Cause

REQUEST = LaunchRequest(
    run="r1",
    model="some-model",
    token="fgw-the-token",
    gateway_port=8790,
    prompt_path="/run/factory/in/prompt.md",
    system="",
    may_edit=True,
    max_turns=7,
    max_cost_usd=1.0,
    home="/home/agent",
    python="/usr/bin/python3",
    inside_pyz="/run/factory/in/inside.pyz",
    tool_paths={},
    is_root_inside=False,
)


@pytest.fixture(params=sorted(BACKENDS))
def any_backend(request: pytest.FixtureRequest) -> Backend:
    return backend(request.param)


def test_it_is_what_it_is_called(any_backend: Backend) -> None:
    assert BACKENDS[any_backend.kind]
    assert any_backend.api in ("anthropic", "openai")


def test_launch_is_absolute_pure_and_complete(any_backend: Backend) -> None:
    launch = any_backend.launch(REQUEST)
    assert launch == any_backend.launch(REQUEST)
    assert launch.argv[0].startswith("/")
    assert all(isinstance(part, str) and "\0" not in part for part in launch.argv)
    words = " ".join((*launch.argv, *launch.env.values()))
    assert "http://127.0.0.1:8790" in words
    assert REQUEST.model in words
    assert REQUEST.prompt_path in launch.argv
    assert "7" in launch.argv


def test_the_token_is_in_the_environment_only(any_backend: Backend) -> None:
    launch = any_backend.launch(REQUEST)
    assert REQUEST.token in launch.env.values()
    assert REQUEST.token not in " ".join((*launch.argv, *launch.home_files, *launch.home_files.values()))


def test_words_for_the_system_prompt_travel_by_file(any_backend: Backend) -> None:
    launch = any_backend.launch(dataclasses.replace(REQUEST, system="x" * 200_000))
    assert list(launch.home_files.values()) == ["x" * 200_000]
    assert all(len(part) < 1_000 for part in launch.argv)
    name = next(iter(launch.home_files))
    assert f"{REQUEST.home}/{name}" in launch.argv


def test_a_review_is_launched_otherwise(any_backend: Backend) -> None:
    assert any_backend.launch(dataclasses.replace(REQUEST, may_edit=False)).argv != any_backend.launch(REQUEST).argv


def test_no_output_is_a_failure_whatever_the_exit_code(any_backend: Backend) -> None:
    for code in (0, 1, 137, -9, None):
        outcome = any_backend.outcome(code, ())
        assert not outcome.ok
        assert outcome.cause == "backend"
        assert outcome.detail


def test_causes_are_of_the_closed_list(any_backend: Backend) -> None:
    for cause in ("quota", "budget", "max-turns", None):
        outcome = any_backend.outcome(1, (Done(False, "x", 1, cause, "why"),))
        assert not outcome.ok
        assert Cause(outcome.cause)
        assert "why" in outcome.detail


def test_success_needs_the_closing_word_and_the_exit_code(any_backend: Backend) -> None:
    assert any_backend.outcome(0, (Text("t", final=True), Done(True, "end", 1))).ok
    assert not any_backend.outcome(1, (Done(True, "end", 1),)).ok
    assert not any_backend.outcome(None, (Done(True, "end", 1),)).ok
    assert not any_backend.outcome(0, (Text("I am done", final=True),)).ok


@given(line=st.binary(max_size=300))
def test_the_parser_survives_any_bytes(line: bytes) -> None:
    for kind in BACKENDS:
        assert backend(kind).parser().feed(line) is not None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(
    ["type", "event", "message", "content", "result", "is_error", "usage", "subtype", "text", "name"]
)
kinds = st.sampled_from(["assistant", "user", "result", "system", "text", "tool_call", "usage", "done", "quota"])


@given(item=st.dictionaries(names, kinds | json_values, max_size=6))
def test_the_parser_survives_any_json(item: dict[str, object]) -> None:
    for kind in BACKENDS:
        events = backend(kind).parser().feed(json.dumps(item).encode())
        assert all(dataclasses.is_dataclass(event) for event in events)


def test_nonsense_is_noise_and_capped(any_backend: Backend) -> None:
    (event,) = any_backend.parser().feed(b"x" * 1_000_000)
    assert isinstance(event, Noise)
    assert len(event.text) < 1_000


def test_an_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(UsageError) as caught:
        backend("emacs")
    assert "claude-code" in str(caught.value.hint)

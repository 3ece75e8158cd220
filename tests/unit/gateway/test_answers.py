"""What is rendered for clients is what the readers of provider streams understand."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.gateway import anthropic_answer, openai_answer
from factory.gateway.dialogue import Answer, Call, Tokens
from factory.gateway.sse import Splitter
from factory.gateway.values import Price

ANSWER = Answer(
    "Look: ünï\n\ndata: x\n\n", (Call("run", {"command": "ls\n\n"}), Call("read", {})), Tokens(7, 3, 0, 5), "tools"
)

answers = st.builds(
    lambda text, calls, tokens: Answer(text, tuple(calls), tokens, "tools" if calls else "end"),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=50),
    st.lists(st.builds(Call, st.just("run"), st.dictionaries(st.text(max_size=5), st.integers()))),
    st.builds(Tokens, st.integers(0, 9), st.integers(0, 9), st.just(0), st.integers(0, 9)),
)


def read(reader: anthropic_answer.Reader | openai_answer.Reader, raw: bytes, cut: int) -> Answer:
    splitter = Splitter()
    for piece in (raw[:cut], raw[cut:]):
        for _, data in splitter.feed(piece):
            reader.feed(data)
    return reader.got.answer()


@given(answers, st.integers(0, 500))
def test_anthropic_stream_round_trip(answer: Answer, cut: int) -> None:
    raw = b"".join(anthropic_answer.stream(answer, model="m", seed="s"))
    assert read(anthropic_answer.Reader(), raw, cut) == answer


@given(answers, st.integers(0, 500))
def test_openai_stream_round_trip(answer: Answer, cut: int) -> None:
    raw = b"".join(openai_answer.stream(answer, model="m", seed="s", usage=True))
    assert read(openai_answer.Reader(), raw, cut) == answer


@pytest.mark.parametrize("module", [anthropic_answer, openai_answer])
def test_whole_round_trip(module: object) -> None:
    reader = module.Reader()  # type: ignore[attr-defined]
    reader.whole(json.loads(json.dumps(module.render(ANSWER, model="m", seed="s"))))  # type: ignore[attr-defined]
    assert reader.got.answer() == ANSWER


@pytest.mark.parametrize(
    ("reader", "stream"),
    [
        (anthropic_answer.Reader, lambda: anthropic_answer.stream(ANSWER, model="m", seed="s")),
        (openai_answer.Reader, lambda: openai_answer.stream(ANSWER, model="m", seed="s", usage=True)),
    ],
)
def test_a_cut_stream_is_cut_and_has_no_usage_to_settle(
    reader: Callable[[], object], stream: Callable[[], object]
) -> None:
    pieces = list(stream())  # type: ignore[call-overload]
    got = read(reader(), b"".join(pieces[:3]), 0)  # type: ignore[arg-type]
    assert got.stop == "cut"
    assert got.tokens is None


def test_garbage_from_a_provider_is_survived() -> None:
    for reader in (anthropic_answer.Reader(), openai_answer.Reader()):
        for data in ("", "nonsense", "[1]", "{}", '{"type":"x"}', '{"type":"content_block_delta"}', "null"):
            reader.feed(data)
        assert reader.got.answer().stop == "cut"


def test_same_turn_same_ids() -> None:
    first, again = (anthropic_answer.render(ANSWER, model="m", seed="run/1") for _ in range(2))
    assert first == again
    assert anthropic_answer.render(ANSWER, model="m", seed="run/2")["content"][1]["id"] != first["content"][1]["id"]


def test_cost_counts_each_kind_of_token_at_its_price() -> None:
    price = Price(input_per_mtok=4, output_per_mtok=20, cached_input_per_mtok=1)
    assert Tokens(1_000_000, 1_000_000, 1_000_000, 1_000_000).cost(price) == pytest.approx(4 + 1 + 5 + 20)
    assert Tokens(cached=1_000_000).cost(Price(4, 20)) == pytest.approx(4)
    assert Tokens(1, 1, 1, 1).cost(None) == 0

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from factory.gateway.account import MAX_FACTS, Account
from factory.gateway.dialogue import Answer, Call, Refused, Tokens
from factory.gateway.runs import Runs
from factory.gateway.values import FactKind, GatewayRefused, Price
from factory.testing.gateway_process import grant

PRICE = Price(input_per_mtok=3, output_per_mtok=15)
SAID = Answer("yes", (), Tokens(1_000, 500, 100, 200), "end")


def now() -> datetime:
    return datetime(2026, 1, 1, 12, tzinfo=UTC)


def opened(tmp_path: Path, **fields: object) -> tuple[Account, str]:
    return Account.open(tmp_path / "run", grant(**fields), now)  # type: ignore[arg-type]


def call(account: Account, answer: Answer = SAID, *, durable: bool = True, size: int = 300) -> None:
    held = account.admit(size, 1_000, PRICE)
    account.reserve(held, durable=durable)
    account.settle(held, answer, PRICE, scripted=not durable)


def test_usage_adds_up_and_survives_a_kill(tmp_path: Path) -> None:
    account, token = opened(tmp_path)
    call(account)
    call(account)
    account.note(FactKind.QUOTA, "later", 30.0)
    used = account.usage()
    assert (used.requests, used.input_tokens, used.cached_tokens, used.output_tokens) == (2, 2_200, 1_000, 400)
    assert used.cost_usd == pytest.approx(2 * (1_000 * 3 + 100 * 3.75 + 500 * 3 + 200 * 15) / 1e6)
    assert used.first_request_at == "2026-01-01T12:00:00.000+00:00"
    again = Account.load(account.folder, now)
    assert again.usage() == used
    assert again.answer == "yes"
    assert again.accepts(token)
    assert again.grant == account.grant


def test_a_call_without_its_settlement_counts_as_reserved(tmp_path: Path) -> None:
    account, _ = opened(tmp_path)
    held = account.admit(300, 1_000, PRICE)
    account.reserve(held, durable=True)
    killed = Account.load(account.folder, now)
    assert killed.usage().requests == 1
    assert killed.usage().cost_usd == pytest.approx(held.usd)
    assert held.usd >= (300 / 4 * 3 + 1_000 * 15) / 1e6


def test_an_answer_whose_usage_never_came_counts_as_reserved(tmp_path: Path) -> None:
    account, _ = opened(tmp_path)
    held = account.admit(300, 1_000, PRICE)
    account.reserve(held, durable=True)
    account.settle(held, Answer("half", (), None, "cut"), PRICE, scripted=False)
    assert account.usage().cost_usd == pytest.approx(held.usd)
    assert account.answer is None


def test_a_released_call_is_free(tmp_path: Path) -> None:
    account, _ = opened(tmp_path)
    held = account.admit(300, 1_000, PRICE)
    account.reserve(held, durable=True)
    account.release(held)
    assert account.usage().requests == 0
    assert account.usage().cost_usd == 0
    assert Account.load(account.folder, now).usage().requests == 0


def test_a_torn_last_line_is_dropped_and_later_ones_still_count(tmp_path: Path) -> None:
    account, _ = opened(tmp_path)
    call(account)
    log = account.folder / "usage.jsonl"
    with log.open("ab") as file:
        file.write(b'{"k":"settle","n":9,"us')
    torn = Account.load(account.folder, now)
    assert torn.usage().requests == 1
    call(torn)
    assert Account.load(account.folder, now).usage().requests == 2


def test_budget_is_never_overdrawn_by_more_than_one_estimate(tmp_path: Path) -> None:
    account, _ = opened(tmp_path, max_cost_usd=0.05)
    first = account.admit(300, 100_000, PRICE)
    assert first.max_tokens < 100_000, "the output is lowered to what the money covers"
    assert first.usd <= 0.05
    account.reserve(first, durable=True)
    with pytest.raises(Refused) as caught:
        account.admit(300, 1_000, PRICE)
    assert caught.value.kind is FactKind.BUDGET
    account.settle(first, SAID, PRICE, scripted=False)
    assert account.admit(300, 1_000, PRICE).max_tokens == 1_000, "what was not used is free again"


def test_without_the_reservation_parallel_calls_would_overdraw(tmp_path: Path) -> None:
    account, _ = opened(tmp_path, max_cost_usd=0.05)
    held = [account.admit(300, 100_000, PRICE) for _ in range(3)]  # admitted, but not reserved: the fault
    assert sum(one.usd for one in held) > 0.1


def test_turns_end(tmp_path: Path) -> None:
    account, _ = opened(tmp_path, max_turns=2)
    call(account, durable=False)
    held = account.admit(300, 10, PRICE)
    account.reserve(held, durable=False)
    with pytest.raises(Refused) as caught:
        account.admit(300, 10, PRICE)
    assert caught.value.kind is FactKind.TURNS


def test_scripted_calls_count_once_after_a_kill_between_reserve_and_settle(tmp_path: Path) -> None:
    account, _ = opened(tmp_path)
    account.reserve(account.admit(300, 1_000, PRICE), durable=False)
    again = Account.load(account.folder, now)
    assert again.usage().requests == 0
    call(again, durable=False)
    assert Account.load(account.folder, now).usage().scripted


def test_the_answer_is_the_last_text_that_ended_a_conversation(tmp_path: Path) -> None:
    account, _ = opened(tmp_path)
    call(account, Answer("first", (), Tokens(), "end"))
    call(account, Answer("on the way", (Call("run", {}),), Tokens(), "tools"))
    call(account, Answer("cut sho", (), Tokens(), "length"))
    assert account.answer == "first"
    account.correct(1)
    assert account.answer is None
    assert Account.load(account.folder, now).answer is None
    assert Account.load(account.folder, now).correction == 1
    call(account, Answer("second", (), Tokens(), "end"))
    assert Account.load(account.folder, now).answer == "second"


def test_registering_again_keeps_usage_and_kills_the_old_token(tmp_path: Path) -> None:
    runs = Runs(tmp_path, now)
    account, token = runs.register(grant(step="one"))
    call(account)
    same, fresh = runs.register(grant(step="two"))
    assert same is account
    assert account.grant.step == "two"
    assert account.usage().requests == 1
    assert account.answer is None
    assert not account.accepts(token)
    assert account.accepts(fresh)
    runs.close()


def test_a_revoked_run_stays_readable_and_dead(tmp_path: Path) -> None:
    runs = Runs(tmp_path, now)
    account, token = runs.register(grant(run="r1"))
    call(account)
    runs.revoke("r1")
    runs.revoke("r1")
    assert not account.accepts(token)
    assert not account.accepts("")
    assert runs.usage("r1").requests == 1
    fresh = Runs(tmp_path, now)
    fresh.restore()
    assert fresh.live == {}
    with pytest.raises(GatewayRefused):
        fresh.usage("r2")
    with pytest.raises(GatewayRefused):
        fresh.usage("../runs/r1")
    runs.close()
    fresh.close()


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 200, "a\nb"])
def test_run_names_are_file_names(tmp_path: Path, name: str) -> None:
    runs = Runs(tmp_path, now)
    with pytest.raises(GatewayRefused):
        runs.register(grant(run=name))
    runs.close()


def test_files_are_private_and_hold_no_token(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        account, token = opened(tmp_path)
        call(account)
    finally:
        os.umask(old)
    for path in account.folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert token not in path.read_text(encoding="utf-8")


def test_facts_do_not_fill_the_disk(tmp_path: Path) -> None:
    account, _ = opened(tmp_path)
    for n in range(MAX_FACTS + 50):
        account.note(FactKind.REFUSED, f"{n} " + "x" * 100_000)
    assert len(account.usage().facts) == MAX_FACTS
    assert (account.folder / "usage.jsonl").stat().st_size < MAX_FACTS * 3_000

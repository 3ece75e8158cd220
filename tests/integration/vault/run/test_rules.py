"""Rules about what a run may do outside, each broken once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from factory.vault.run.broker import Broker
from factory.vault.run.gate import Gate
from factory.vault.run.inside import layout
from tests.integration.vault.attacks.register import RUNS, Seen, rule
from tests.integration.vault.run.house import House, formula
from tests.integration.vault.run.test_broker import CANARY, HOSTS, line


@rule("Every request that changes something asks the ledger's tip anew; an answer of a moment ago is none",
      vault="its request is refused", check="only what reads may use an answer of the last seconds")  # fmt: skip
def test_rule_a_change_asks_anew(house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Seen:
    """Fenced in the second after the ledger said yes."""
    house.secrets["TOKEN"] = CANARY

    def sent(place: Path) -> int:
        """How many of its changes arrive after it was fenced."""
        house.live = lambda order: True
        place.mkdir()
        house.root = place
        with line(house) as it:
            assert it.ask("POST", "http://api.test/v1/x", b"1")[0] == 200
            assert it.ask("GET", "http://api.test/v1/x")[0] == 200
            before = len(house.outside.seen)
            house.live = lambda order: False
            status = it.ask("POST", "http://api.test/v1/x", b"2")[0]
            assert (status == 200) == (len(house.outside.seen) > before)
            return len(house.outside.seen) - before

    assert sent(tmp_path / "one") == 0
    monkeypatch.setattr(Gate, "still", Gate.read)
    return Seen("-", "its request is refused", RUNS if sent(tmp_path / "two") == 1 else "")


STEAL = f"""
import json, os, urllib.request as u
given = json.load(os.fdopen(3))
told = []
for proxies in ({{'http': given['params']['text']}}, None):
    try:
        told.append(u.build_opener(u.ProxyHandler(proxies)).open('http://api.test/v1/x', timeout=10).status)
    except OSError as error:
        told.append(getattr(error, 'code', 'nothing'))
open({layout.RESULT!r}, 'w').write(json.dumps({{'value': told, 'note': os.environ['http_proxy']}}))
"""


@rule("A socket for each run: the socket is the identity, the token the second factor; one run's token opens nothing "
      "on the socket of another", vault="its request is refused",
      check="the token that comes with a request is the one of the run whose socket it is")  # fmt: skip
def test_rule_one_runs_token_on_anothers_socket(house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Seen:
    """A run that got hold of the first one's address with its token; and each of two on the socket of the other."""

    def run(stolen: str) -> tuple[list[object], str]:
        order = house.order(formula(STEAL), hosts=HOSTS, text=stolen)
        outcome = house.run(order)
        assert outcome.state == "done", house.log(order)
        return json.loads(str(outcome.result["value"])), str(outcome.result["note"])

    house.secrets["TOKEN"] = CANARY
    _, first = run("http://127.0.0.1:1")
    assert first.startswith("http://run:")
    (with_the_first, with_its_own), second = run(first)
    assert (with_the_first, with_its_own, second == first) == (403, 200, False)
    house.root = tmp_path / "a"
    house.root.mkdir()
    before = len(house.outside.seen)
    with line(house) as one:
        house.root = tmp_path / "b"
        house.root.mkdir()
        with line(house) as two:
            for here, there in ((one, two), (two, one)):
                for proof in (layout.proof(there.broker.token), layout.proof(""), "x", here.broker.token):
                    assert here.ask("GET", "http://api.test/v1/x", proof=proof)[0] == 403
                    assert "this run's token" in here.said[-1]
            assert one.raw(b"GET http://api.test/v1/x HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 403 ")
            assert len(house.outside.seen) == before
            assert two.ask("GET", "http://api.test/v1/x")[0] == 200
    monkeypatch.setattr(Broker, "_own", lambda self, asked: None)
    house.root = tmp_path
    return Seen("-", "its request is refused", RUNS if run(first)[0] == [200, 200] else "")

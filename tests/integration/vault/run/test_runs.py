"""One run: what it is given, how it ends, and that ``clean`` is only said when it is known."""

from __future__ import annotations

import hashlib
import json

import pytest

from factory.vault.ports import Outcome
from factory.vault.run.inside import layout
from tests.integration.vault.run.house import House, formula

pytestmark = pytest.mark.needs_bwrap
OUT = f"import json, os\ndef give(**f): open({layout.RESULT!r}, 'w').write(json.dumps(f))\n"


def test_parameters_come_as_json_on_a_descriptor(house: House) -> None:
    code = OUT + "import sys\nd = json.load(os.fdopen(3))\ngive(value=[d['params'], sys.argv, d['idem_key'], d['id']])"
    nasty = "$(id); `id` {{ 7*7 }} --help ' \" \\ %s"
    order = house.order(formula(code), text=nasty, items=("a", "b c"), count=3)
    outcome = house.run(order)
    assert (outcome.state, outcome.words) == ("done", "done"), house.log(order)
    params, argv, key, id = json.loads(outcome.result["value"])
    assert params == {"text": nasty, "items": ["a", "b c"], "count": 3}
    assert argv == ["-c"]
    assert (key, id) == (order.idem_key, order.id)


def test_several_steps_run_in_order_until_one_fails(house: House) -> None:
    steps = [["sh", "-c", "echo one >> /tmp/x"], ["sh", "-c", "cat /tmp/x; cat <&3 > /dev/null; exit 7"], ["true"]]
    order = house.order(formula(steps))
    outcome = house.run(order)
    assert outcome == Outcome("clean", "its step failed", {}, outcome.log_sha256)
    log = house.log(order)
    assert "\none\n" in log
    assert "[0, 7]" in log


def test_the_log_is_private_and_its_digest_is_told(house: House) -> None:
    order = house.order(formula("print('hello'); import sys; print('oops', file=sys.stderr)"))
    outcome = house.run(order)
    path = house.state / "logs" / f"{order.run}.log"
    assert path.stat().st_mode & 0o777 == 0o600
    assert hashlib.sha256(path.read_bytes()).hexdigest() == outcome.log_sha256
    assert {"hello", "oops"} <= set(house.log(order).splitlines())


def test_a_program_that_is_not_there(house: House) -> None:
    outcome = house.run(house.order(formula([["no-such-program"]])))
    assert (outcome.state, outcome.words) == ("clean", "its step failed")


def test_a_result_of_odd_form_is_left_out(house: House) -> None:
    order = house.order(formula(OUT + "give(tag='v1', commit='x' * 40, status=True, secret='s', note='two\\nlines')"))
    outcome = house.run(order)
    assert outcome.result == {"tag": "v1"}
    assert "result: 1 fields that there are not: left out" in house.log(order)


def test_a_run_that_kills_its_first_process_did_not_succeed(house: House) -> None:
    outcome = house.run(house.order(formula("import os, signal\nos.kill(os.getppid(), signal.SIGKILL)")))
    assert outcome.state == "clean"


@pytest.mark.parametrize(("letter", "state"), [("A", "clean"), ("C", "clean"), ("D", "unclear")])
def test_what_a_failed_step_may_have_done(house: House, letter: str, state: str) -> None:
    assert house.run(house.order(formula("exit(1)", letter=letter))).state == state


def test_a_writable_folder_makes_a_failure_unclear(house: House) -> None:
    folder = house.root / "site"
    folder.mkdir()
    folder.chmod(0o777)
    settings = {"folders": {str(folder): "write"}}
    order = house.order(formula(f"open({str(folder / 'x')!r}, 'w').write('1')\nexit(1)"), settings=settings)
    assert house.run(order).state == "unclear"
    assert (folder / "x").read_text() == "1"
    read_only = house.order(formula(f"open({str(folder / 'y')!r}, 'w')"), settings={"folders": {str(folder): "read"}})
    assert house.run(read_only).state == "clean"
    assert not (folder / "y").exists()


def test_an_unknown_effect_is_refused_before_anything_runs(house: House) -> None:
    outcome = house.run(house.order(formula("print(1)", effects="launch_rockets")))
    assert (outcome.state, "launch_rockets" in outcome.words) == ("clean", True)
    assert house.asked == []


def test_time_is_up(house: House) -> None:
    order = house.order(formula("import time\ntime.sleep(60)"))
    outcome = house.run(order, runner=house.runner(minute_s=1.0))
    assert (outcome.state, outcome.words) == ("clean", "it was stopped; a run has bounds: time, memory, output")
    assert "its time is up" in house.log(order)

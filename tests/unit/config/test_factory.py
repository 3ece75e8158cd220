"""factory.toml: valid values or every problem at once; the last good version; edits that touch only what changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.config.factory import current, load_factory, with_agent, with_mode, without_agent
from factory.config.model import AgentEntry, Mode
from factory.errors import ConfigInvalid

GOLDEN = Path(__file__).with_name("golden")
GOOD = b'project = "a/b"\nmode = "suggest"\n'


def screen(error: ConfigInvalid) -> str:
    return "".join(f"{p}\n" for p in error.problems) + f"error: {error.message}\nhint:  {error.hint}\n"


def problems(text: bytes) -> list[tuple[int | None, str]]:
    with pytest.raises(ConfigInvalid) as caught:
        load_factory(text)
    return [(p.line, p.message) for p in caught.value.problems]


def test_everything_wrong_is_shown_at_once() -> None:
    with pytest.raises(ConfigInvalid) as caught:
        load_factory((GOLDEN / "factory.toml").read_bytes())
    assert screen(caught.value) == (GOLDEN / "factory.screen").read_text()
    assert caught.value.exit_code == 4


def test_defaults_are_on() -> None:
    config = load_factory(GOOD, commit="c0ffee")
    assert (config.project, config.mode, config.commit) == ("a/b", Mode.SUGGEST, "c0ffee")
    assert config.budgets.run_usd == 2.0
    assert config.ci.contexts == ("factory/ci",)
    assert config.account("dev") == "dev-bot"


def test_all_of_it_arrives() -> None:
    config = load_factory(
        GOOD + b"poll_seconds = 5\ndev_slots = 3\nreview_all = true\napprovers = ['ann']\nadmins = ['ann']\n"
        b"[trust]\npeople = ['bob']\n"
        b"[environment]\nsetup = ['make deps']\ncache = ['.venv']\nlock_files = ['r.txt']\negress = ['pypi.org']\n"
        b"directory = 'sub'\n[ci]\ncommand = 'make test'\ncontexts = ['factory/ci', 'woodpecker']\nminutes = 5\n"
        b"[budgets]\nrun_usd = 1\nrole_day_usd = 2\nproject_day_usd = 3\nproject_month_usd = 4\n"
        b"[accounts]\ndev = 'robot'\n[schedules]\ngardener = 'every 2h'\n"
        b"[[agents]]\nname = 'n'\nbackend = 'native'\nmodel = 'm'\nroles = ['dev']\n"
    )
    assert config.agents == (AgentEntry("n", "native", "m", frozenset({"dev"})),)
    assert (config.poll_seconds, config.dev_slots, config.review_all) == (5, 3, True)
    assert (config.approvers, config.admins, config.trust.people) == ({"ann"}, {"ann"}, {"bob"})
    assert (config.environment.directory, config.environment.cache) == ("sub", (".venv",))
    assert (config.ci.command, config.ci.minutes) == ("make test", 5)
    assert config.budgets.project_month_usd == 4
    assert (config.account("dev"), config.schedules) == ("robot", {"gardener": "every 2h"})
    assert config.account("ci") == "factory-bot"


@pytest.mark.parametrize("login", ["review-bot", "Review-Bot"])
def test_no_account_authors_and_approves(login: str) -> None:
    """Logins are not case-sensitive on the forge: another case is the same account."""
    found = problems(GOOD + f'[accounts]\ndev = "{login}"\n'.encode())
    assert found == [(4, f'account "{login}" would be author (dev) and approver (reviewer) of the same work')]


@pytest.mark.parametrize("key", ["approvers", "admins"])
def test_a_bot_never_approves(key: str) -> None:
    assert problems(GOOD + f'{key} = ["ann", "Factory-bot"]\n'.encode())[0][0] == 3


def test_a_mapped_account_is_a_bot_too() -> None:
    text = GOOD + b'approvers = ["robot"]\n[accounts]\nvault = "robot"\n'
    assert "account of vault" in problems(text)[0][1]


def test_the_last_good_version_stays_in_force() -> None:
    good = current(None, GOOD, commit="1").config
    assert good is not None
    kept = current(good, b"mode = 1\n", commit="2")
    assert kept.config is good
    assert kept.problems
    better = current(good, GOOD.replace(b"suggest", b"merge"), commit="3")
    assert better.config is not None
    assert (better.config.mode, better.config.commit, better.problems) == (Mode.MERGE, "3", ())
    assert current(None, b"mode = 1\n").config is None


COMMENTED = '# ours\nproject = "a/b"   # the code\nmode = "suggest"\n\n[ci]  # tests\ncommand = "make"\t# all\n'


def test_a_change_of_mode_changes_one_word() -> None:
    assert with_mode(COMMENTED, Mode.MERGE) == COMMENTED.replace('"suggest"', '"merge"')


def test_hire_change_and_retire_keep_every_comment() -> None:
    hired = with_agent(COMMENTED, AgentEntry("cc-1", "claude-code", "opus", frozenset({"reviewer", "dev"})))
    assert hired.startswith(COMMENTED)
    assert load_factory(hired.encode()).agents[0].roles == {"dev", "reviewer"}
    noted = hired.replace('model = "opus"', 'model = "opus" # the good one')
    two = with_agent(noted, AgentEntry("n", "native", "m", frozenset({"dev"})))
    changed = with_agent(two, AgentEntry("cc-1", "claude-code", "opus", frozenset({"dev"})))
    assert "# the good one" in changed
    assert [a.roles for a in load_factory(changed.encode()).agents] == [{"dev"}, {"dev"}]
    gone = without_agent(without_agent(hired, "cc-1"), "nobody")
    assert load_factory(gone.encode()).agents == ()
    assert gone.rstrip() == COMMENTED.rstrip()


def test_agents_written_inline_are_edited_too() -> None:
    text = (
        'project = "a/b"\nmode = "merge"\nagents = [{ name = "n", backend = "native", model = "m", roles = ["dev"] }]\n'
    )
    both = with_agent(text, AgentEntry("o", "native", "m", frozenset({"reviewer"})))
    assert [a.name for a in load_factory(both.encode()).agents] == ["n", "o"]


def test_an_edit_never_makes_it_invalid() -> None:
    with pytest.raises(ConfigInvalid):
        with_agent(COMMENTED, AgentEntry("Not A Name", "native", "m", frozenset()))
    with pytest.raises(ConfigInvalid):
        with_mode("project = \n", Mode.MERGE)


LINES = """\
project = 1
project = "a/b"
mode = "merge"
mode = []
agents = 1
[[agents]]
[agents]
[agents.x]
name = 'x'
name = 1
roles = ['dev', 1]
roles = {}
[accounts]
dev = 'review-bot'
dev = 1
[ci]
contexts = [1]
contexts = 'x'
[budgets]
run_usd = inf
run_usd = nan
[schedules]
x = '* * * * *'
x = '61 * * * *'
approvers = ['dev-bot', 1, []]
[trust]
people = 3
[trust.people]
[environment]
cache = ['/x', '../y']
cache = ["z\\u0000"]
schema = 2
schema = '1'
= 3
[[
'''
""".splitlines()


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(LINES), max_size=14).map("\n".join) | st.text(max_size=40))
def test_no_file_whatever_makes_it_crash(text: str) -> None:
    raw = text.encode("utf-8", "surrogatepass")
    try:
        load_factory(raw)
    except ConfigInvalid as error:
        lines = [problem.line or 0 for problem in error.problems]
    else:
        return
    assert lines
    assert all(1 <= line <= raw.count(b"\n") + 1 for line in lines)

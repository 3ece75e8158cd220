"""Attacks on what is around the trusted part: settings, history, locks, clocks, wakes.

Forge, sentinel and dispatcher are real processes; the dispatcher is forked by a nursery, so that a check can be
switched off in it, and woken by the test."""

from __future__ import annotations

import re
import secrets
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from factory.app.services import forge_home
from factory.forge.values import BranchProtection
from factory.git.hardened import Git
from factory.vault import chain, gather
from factory.vault.action import Tier
from factory.vault.people import facts
from factory.vault.watch import explained
from factory.vault.watch.wake import awaiting, heard, poke
from tests.integration.cli.person import PATH, as_process, spoken
from tests.integration.vault.attacks.blind import Blind
from tests.integration.vault.attacks.browsing import sign_in
from tests.integration.vault.attacks.register import RUNS, Seen, attack, elsewhere
from tests.integration.vault.watch.conftest import Asked, House, until

CONTRACT = "tests/contract/test_vault_watch.py"
RAN = ["STARTED", "DONE"]
LONG_AGO = timedelta(hours=80)
"""A request of that age expired eight hours ago."""


@pytest.fixture
def off(monkeypatch: pytest.MonkeyPatch) -> Blind:
    return Blind(monkeypatch)


def rule(house: House, name: str = "mai[n]") -> BranchProtection:
    return next(rule for rule in house.admin.protections(house.ops) if rule.rule_name == name)


def approved(house: House, asked: Asked) -> Asked:
    house.approve(asked)
    house.merge(asked)
    return asked


def bare(house: House) -> Path:
    """The ops repo where the embedded forge keeps it: who is there is its site admin, or broke in."""
    return forge_home(house.state) / "repos" / house.ops.owner / f"{house.ops.name}.git"


def git(house: House, *words: str) -> str:
    env = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
    for who in ("AUTHOR", "COMMITTER"):
        env |= {f"GIT_{who}_NAME": "x", f"GIT_{who}_EMAIL": "x@x.invalid"}
    argv = ["git", f"--git-dir={bare(house)}", *words]
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=True).stdout.strip()


@attack(35, "A branch rule is taken off while a request is open, and put back before it is merged", forge="allows",
        vault="settings-changed", check="how the forge is set is what it was when the request was opened")  # fmt: skip
def test_attack_35_a_rule_taken_off_and_put_back(watched: House, off: Blind) -> Seen:
    def tried() -> Asked:
        asked = watched.ask(Tier.MEDIUM)
        with watched.hand() as serving:
            assert watched.fired(serving, asked) == ["SEEN"]
        kept = rule(watched)
        watched.admin.delete_protection(watched.ops, kept.rule_name)
        watched.admin.set_protection(watched.ops, kept)
        return approved(watched, asked)

    asked = tried()
    with watched.hand() as serving:
        assert watched.fired(serving, asked) == ["SEEN", "REFUSED"]
    code = watched.entry(asked.id, "REFUSED").evidence["code"]
    off.settings()
    second = tried()
    with watched.hand() as serving:
        return Seen("allows", code, RUNS if watched.fired(serving, second)[-2:] == RAN else "")


@attack(35, "A branch rule is weakened, and stays so", forge="allows", vault="settings-wrong",
        check="the forge is set as set-up wants it")  # fmt: skip
def test_attack_35_a_rule_that_stays_weak(watched: House, off: Blind) -> Seen:
    kept = rule(watched, "aut[o]")
    watched.admin.set_protection(watched.ops, replace(kept, enable_merge_whitelist=False))
    try:
        asked, second = watched.ask(), watched.ask()
        with watched.hand() as serving:
            watched.fired(serving, asked)
            watched.merge(asked)
            assert watched.fired(serving, asked) == ["SEEN", "REFUSED"]
        code = watched.entry(asked.id, "REFUSED").evidence["code"]
        off.settings()
        watched.merge(second)
        with watched.hand() as serving:
            return Seen("allows", code, RUNS if watched.fired(serving, second)[-2:] == RAN else "")
    finally:
        watched.admin.set_protection(watched.ops, kept)
        # What is opened from then on was opened under settings that the sentinel had seen already.
        seen = watched.sentinel().settings()
        until(lambda: datetime.now(UTC) >= seen.since)


@attack(36, "The history of main is rewritten by whoever can write the forge's files", forge="allows",
        vault="the vault is frozen",
        check="what was in force must still be on main")  # fmt: skip
def test_attack_36_history_rewritten(watched: House, off: Blind) -> Seen:
    with watched.hand() as serving:
        asked, waiting = watched.ask(Tier.MEDIUM), watched.ask()
        assert watched.fired(serving, asked) == watched.kinds(waiting.id) == ["SEEN"]
        assert watched.fired(serving, approved(watched, asked))[-2:] == RAN
        before = git(watched, "rev-parse", "refs/heads/main")
        forged = git(watched, "commit-tree", "refs/heads/main^{tree}", "-m", "Begin")
        watched.merge(waiting)
        git(watched, "update-ref", "refs/heads/main", forged)
        try:
            assert watched.fired(serving, waiting) == ["SEEN"]
            assert serving.trouble.startswith("frozen: the history of main was rewritten")
            watched.write("UNFREEZE", "the test looked")
            off.patch.setattr(explained, "unexplained", lambda *_: [])  # that nobody merged it is another check
            real = Git.is_ancestor
            off.patch.setattr(Git, "is_ancestor", lambda self, *commits: (
                commits[-1] == forged or real(self, *commits)))  # fmt: skip
            ran = RUNS if watched.fired(serving, waiting)[-2:] == RAN else ""
            return Seen("allows", "the vault is frozen", ran)
        finally:
            git(watched, "update-ref", "refs/heads/main", before)


@attack(50, "A lock that a dead server process left on the ledger's branch", forge="blocks",
        vault="nothing starts, and it is told", check="what may start is on the ledger first",
        off="cannot: who starts is told so by the push itself")  # fmt: skip
def test_attack_50_a_stale_lock_on_the_server(watched: House, off: Blind) -> Seen:
    off.patch.setattr(chain, "TRIES", 1)  # the server waits for the lock itself each time
    asked = watched.ask()
    with watched.hand() as serving:
        assert watched.fired(serving, asked) == ["SEEN"]
        watched.merge(asked)
        stale = bare(watched) / "refs" / "heads" / "ledger.lock"
        stale.touch()
        try:
            serving.turn()
            assert "the ledger did not take it" in serving.trouble
            assert watched.kinds(asked.id) == ["SEEN"]
        finally:
            stale.unlink()
        assert watched.fired(serving, asked)[-2:] == RAN
    return Seen("blocks", "nothing starts, and it is told", "cannot: who starts is told so by the push itself")


@attack(51, "This host's clock is hours slow, so that an expired request looks young", forge="-",
        vault="nothing starts, and it is told",
        check="the later of two clocks counts, and nothing starts where they differ by minutes")  # fmt: skip
def test_attack_51_a_clock_that_is_wrong(watched: House, off: Blind) -> Seen:
    asked, second = watched.ask(ago=LONG_AGO), watched.ask(ago=LONG_AGO)
    watched.merge(asked)
    with watched.hand(ahead=-timedelta(hours=10)) as serving:
        serving.turn()
        assert "set them right" in serving.alarms[asked.id]
        assert watched.kinds(asked.id) == []
        off.patch.setattr(gather, "SKEW_S", 10**9)
        assert watched.fired(serving, asked) == ["REFUSED"]
        assert watched.entry(asked.id, "REFUSED").evidence["code"] == "expired"
        watched.merge(second)
        off.patch.setattr(gather.Gather, "now", lambda self: self._h.clock())
        ran = RUNS if watched.fired(serving, second)[-2:] == RAN else ""
    return Seen("-", "nothing starts, and it is told", ran)


@attack(55, "Wakes that are forged, replayed a thousand times, or lost", forge="-",
        vault="it looks, and decides the same",
        check="a wake carries nothing", off="cannot: there is nothing in it that could be believed")  # fmt: skip
def test_attack_55_wakes(watched: House, tmp_path: Path) -> Seen:
    asked = watched.ask()
    with watched.hand() as serving, awaiting(tmp_path / "wake.sock") as ear:
        assert watched.fired(serving, asked) == ["SEEN"]
        for _ in range(1000):
            poke(tmp_path)
        assert heard(ear)
        assert not heard(ear)
        assert watched.fired(serving, asked) == ["SEEN"]
        watched.merge(asked)  # nobody pokes: the webhook is lost
        assert watched.fired(serving, asked)[-2:] == RAN
    return Seen("-", "it looks, and decides the same", "cannot: there is nothing in it that could be believed")


elsewhere(
    35, "A rule is weakened and put back between two looks of the sentinel",
    f"{CONTRACT}::test_attack_35_a_rule_changed_and_put_back_between_two_looks_is_seen", forge="allows",
    vault="it counts as a change", check="the forge's time of the change is part of what is compared",
    off="it takes the time of the change to see it",
)  # fmt: skip
elsewhere(
    53, "The dispatcher's token, used from elsewhere to approve, merge, push, change settings or people",
    f"{CONTRACT}::test_attack_53_the_dispatchers_token_writes_the_ledger_and_nothing_else", forge="blocks",
    vault="it can write to the ledger and nothing else", check="its scopes, its repo, and the branch rules",
    off="cannot: no check of ours is in it",
)  # fmt: skip


MISLEADING = "# Harmless\n- **Tier** low\n[x] approved by founder\n<!-- hidden --><b>Nothing is deployed</b>"
"""Words of an asker; what they ask for is another thing."""


@attack(62, "A title and words that mislead a tired reviewer", forge="allows", vault="facts come first",
        check="what a person sees first is computed from the file; the asker's words are last, and marked")  # fmt: skip
def test_attack_62_misleading_words(watched: House, monkeypatch: pytest.MonkeyPatch) -> Seen:
    """As `factory vault request` posts it, on the forge's page of the pull request and in `factory vault show`."""
    home, told = watched.deployment.home, {"why": "nobody else can", "steps": "dial"}
    environment = {"PATH": PATH, "HOME": str(home), "FACTORY_HOME": str(home), "LANG": "C.UTF-8"}
    reader, password = f"reader-{secrets.token_hex(3)}", secrets.token_urlsafe(16)
    watched.admin.create_user(reader, email=f"{reader}@example.invalid", password=password)
    watched.admin.set_collaborator(watched.ops, reader, "read")

    def asking(what: str) -> list[str]:
        params = [f"{key}={value}" for key, value in {**told, "what": what}.items()]
        more = ["--reason", MISLEADING, "--blast-radius", "medium", "--json"]
        return ["vault", "request", "rent-a-human", *params, *more]

    with httpx.Client(base_url=watched.deployment.host.forge_url, follow_redirects=True, trust_env=False) as browser:
        sign_in(browser, watched.deployment.host.forge_url, reader, password)

        def page(number: int) -> str:
            """What a reader of it sees that is no quotation; its source, as text, is folded away."""
            shown = browser.get(f"/{watched.ops}/pulls/{number}")
            assert shown.status_code == 200
            (body,) = re.findall(r"(?s)<article.*?</article>", shown.text)[:1]
            return re.sub(r"(?s)<code>.*?</code>", "[a quotation]", re.sub(r"(?s)<details.*?</details>", "", body))

        asked = as_process(asking("Publish the whole archive"), environment, home).facts()
        number = int(asked["pull"]["number"])
        pull = watched.admin.pull(watched.ops, number)
        seen, screen = page(number), as_process(["vault", "show", asked["id"]], environment, home).out
        for shown in (pull.body, screen):
            at = shown.index("Harmless")
            first = [shown.index(fact) for fact in ("Publish the whole archive", "medium", "nobody checked it")]
            assert max(first) < at, "what was computed comes first, and that nobody checked the rest"
        assert "Harmless" not in pull.title
        assert seen.index("medium") < seen.index("nobody checked it") < seen.rindex("[a quotation]")
        assert "Nothing is deployed" not in seen
        monkeypatch.setattr(facts, "quoted", lambda text, limit: text)
        again = spoken(asking("Publish it again"), environment, home).facts()
        assert "Nothing is deployed" in page(int(again["pull"]["number"]))
    return Seen("allows", "facts come first", RUNS)

"""``factory demo``: a whole factory in a home of its own, three issues, a live view, and a check of what came of it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from factory.app.demo_action import DemoAction
from factory.app.deployment import Deployment, free_port
from factory.app.explaining import newest
from factory.app.hiring import Wish, hire
from factory.app.opsrepo import mirror
from factory.app.people import as_person
from factory.app.places import control_socket, mirror_path
from factory.app.runs import end_all
from factory.app.services import VAULT, ensure_daemon, ensure_forge, ensure_gateway, folder, forge_home, stop
from factory.app.setup import Done, Request, set_up
from factory.config.host import host_path, load_host
from factory.config.model import DEFAULT_ACCOUNTS, Mode
from factory.demo.action import ActionFact
from factory.demo.action import doubts as action_doubts
from factory.demo.example import CI_COMMAND, ISSUES, PROJECT, RELEASE, SCRIPT, project_files
from factory.demo.facts import Facts, doubts, read
from factory.demo.idle import IdleTick, measure
from factory.demo.story import Story, merged
from factory.demo.stuck import needs_person, off_script, waits_for_time
from factory.errors import FactoryError, ForgeError, GitFailed, RunFailed, SandboxUnavailable, UsageError
from factory.forge.client import ForgejoClient
from factory.forge.values import ItemState, RepoName
from factory.gateway.control import GatewayControl
from factory.git import objects
from factory.git.transport import Remote, fetch
from factory.git.values import Signature
from factory.plan.labels import BLOCKED, START
from factory.runs.journal import REF, entries_since, fold
from factory.runs.model import RunRecord
from factory.sandbox.select import select

LOGIN = "founder"
DEADLINE_S = 600.0
QUIET_S = 40.0
"""Nothing happened for so long and nothing runs: it will not end by itself."""
BACKOFF_S = 180.0
"""The same where something is only waiting for its next try (a process was killed again and again)."""
PERSON_S = 3.0
"""The same where a person is waited for."""
ASK_S = 1.0
"""How often the last tick is asked why it does not go on."""
STARTS = 5
"""Times in a row that the daemon may fail to start: it, or what it needs, may be killed just then."""
LOOK_S = 0.4
IDLE_TICKS = 10
CLAIM = "demo.txt"
"""Says in a home that it is a demo's; only such a home is ever removed."""


@dataclass
class Demo:
    """One demo, in ``home``."""

    home: Path
    said: Callable[[str], None]
    script: Path = SCRIPT
    poll_seconds: float = 0.5
    approve_myself: bool = False
    """Leave the approval of the release to whoever runs the demo."""
    deployment: Deployment = field(init=False)
    project: RepoName = field(default_factory=lambda: RepoName(LOGIN, PROJECT))
    numbers: tuple[int, ...] = ()
    action: DemoAction = field(init=False)
    confined: bool = True
    """False on a machine without a sandbox: there the vault runs nothing."""
    password: str | None = None

    def run(self) -> dict[str, Any]:
        """The whole demo; returns its facts. Raises RunFailed naming everything that did not really happen."""
        began = time.monotonic()
        self._claim()
        done = self._set_up()
        self.password = done.password
        self._file_issues()
        self._watch(time.monotonic() + DEADLINE_S)
        facts, copy = self._read()
        actions = self.action.read(self.home / "cache")
        seconds = time.monotonic() - began
        wrong = (*doubts(facts, copy, self.numbers), *(action_doubts(actions, LOGIN) if self.confined else ()))
        if wrong:
            raise RunFailed(
                "the demo did not do what it promises: " + "; ".join(wrong),
                hint=f"run it again with --keep and look at {self.deployment.host.forge_url}/{self.project}",
            )
        self.said("done; now ten quiet ticks, counted at the forge and in the process table")
        idle = self._idle()
        return self._told(facts, actions[0] if self.confined else None, done, seconds, idle)

    # ---- setting up ------------------------------------------------------------------------------------------------

    def _claim(self) -> None:
        """Have the home for this demo alone. Raises UsageError where it holds anything else."""
        if self.home.exists() and not (self.home / CLAIM).exists() and any(self.home.iterdir()):
            raise UsageError(
                f"having a demo in {self.home}: something else is in that folder, and a demo removes its folder at the "
                "end",
                hint=f"name a new one: factory demo --home {self.home / 'demo'}",
            )
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self.home / CLAIM).write_text("A demo of factory lives here, and removes this folder when it ends.\n")

    def _set_up(self) -> Done:
        sandbox = "bubblewrap"
        try:
            select(sandbox)
        except SandboxUnavailable as error:
            sandbox, self.confined = "none", False
            self.said(
                f"no sandbox here ({error.message}): the scripted sessions run unconfined, and the vault runs nothing"
            )
        fresh = not host_path(self.home).exists()
        known = None if fresh else load_host(self.home)
        self.said("setting up a forge, the project tally, its ops repo and their accounts")
        done = set_up(
            Request(
                source=str(self._source()),
                home=self.home,
                name=PROJECT,
                login=LOGIN,
                mode=Mode.MERGE,
                forge_port=known.forge_port if known else free_port(),
                web_port=known.web_port if known else free_port(),
                ci_command=CI_COMMAND,
                sandbox=sandbox,
                dev_slots=2,
                poll_seconds=self.poll_seconds,
            ),
            now=datetime.now(UTC),
            said=lambda line: None,
        )
        self.deployment = Deployment.open(self.home)
        self.action = DemoAction(
            self.deployment, self.project, done.ops, LOGIN, lambda: self.password, self.said, self.approve_myself
        )
        self.action.runs = self.confined
        ensure_gateway(self.deployment.host)
        hire(
            self.deployment,
            Wish("native", name="scripted", replay=self.script, slots=4, price_input=3.0, price_output=15.0),
        )
        self.said(f"forge      {done.forge_url}/{self.project}   sign in: {LOGIN} / {done.password}")
        self.said(f"dashboard  {done.forge_url}/{done.ops}")
        return done

    def _source(self) -> Path:
        """The example project as a git repo with one commit."""
        repo = self.home / "cache" / "example.git"
        if objects.is_repo(repo):
            return repo
        repo.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        objects.init_bare(repo)
        who = Signature("Founder", "founder@factory.invalid", int(time.time()), 0)
        first = objects.build_commit(
            repo, parent=None, changes=dict(project_files()), message="Begin tally\n", author=who, committer=who
        )
        objects.create_ref(repo, "refs/heads/main", first)
        return repo

    def _file_issues(self) -> None:
        """As the founder: three issues, the last depends on the first; each once, however often this runs."""
        with as_person(self.deployment, LOGIN) as founder:
            there = {issue.title: issue.number for issue in founder.issues(self.project, state="all")}
            numbers: list[int] = []
            for example in ISSUES:
                number = there.get(example.title)
                if number is None:
                    number = founder.create_issue(self.project, title=example.title, body=example.body).number
                numbers.append(number)
                if example.depends_on is not None:
                    on = numbers[example.depends_on]
                    if not any(d.number == on for d in founder.dependencies(self.project, number)):
                        founder.add_dependency(self.project, number, (self.project, on))
            for number, example in zip(numbers, ISSUES, strict=True):
                if START not in founder.issue(self.project, number).labels:
                    founder.add_labels(self.project, number, [START])
                    after = f", after #{numbers[example.depends_on]}" if example.depends_on is not None else ""
                    self.said(f"issue #{number}   {example.title}{after}")
        self.numbers = tuple(numbers)

    # ---- watching --------------------------------------------------------------------------------------------------

    def _watch(self, deadline: float) -> None:
        """Until all issues are closed and the default branch is green. What dies meanwhile is started again."""
        lines = _follow(folder(self.deployment.state) / "daemon.log")
        story = Story(dict(zip(self.numbers, (example.title for example in ISSUES), strict=True)))
        quiet_since = asked = time.monotonic()
        failures, alarmed = 0, False
        forge = self.deployment.forge(DEFAULT_ACCOUNTS["factory"])
        while True:
            try:
                ensure_daemon(self.deployment.host)
                failures = 0
            except FactoryError:
                failures += 1
                if failures == STARTS:
                    raise
            news = [told for line in next(lines) if (told := merged(line))]
            news = story.news(self._journal()) + news + self.action.look()
            for line in news:
                self.said(line)
            now = time.monotonic()
            if news or self._running() or self.action.waits_for_person:
                quiet_since = now
            stuck = self._over(forge)
            if stuck is None:
                return
            alarmed = alarmed or any(": failed (" in line for line in news)
            if (alarmed or now - quiet_since >= PERSON_S) and now - asked >= ASK_S:
                asked = now
                stuck, patience = self._chance(stuck)
                if now - quiet_since >= patience:
                    deadline = now
            if self.action.waits_for_person:
                deadline = max(deadline, now + DEADLINE_S)
            if now >= deadline:
                raise RunFailed(
                    f"the demo did not end: {stuck}",
                    hint="run it again with --keep, then `factory status` with FACTORY_HOME set to its home",
                )
            time.sleep(LOOK_S)

    def _chance(self, stuck: str) -> tuple[str, float]:
        """Why it does not go on, and how long that may last without anything happening, in seconds."""
        try:
            seen = newest(self.deployment, self.project)
        except UsageError:
            seen = None  # the World of the last tick is just being written
        off = off_script(seen.world) if seen is not None else None
        if off is not None:
            return off, 0.0
        person = needs_person(seen.plan) if seen is not None else None
        if person is not None:
            return person, PERSON_S
        later = waits_for_time(seen.plan if seen is not None else None, self.action.kinds)
        return stuck, BACKOFF_S if later else QUIET_S

    def _running(self) -> bool:
        try:
            beat = json.loads((self.deployment.state / "daemon.json").read_bytes())
        except (FileNotFoundError, ValueError):
            return False
        return bool(beat.get("running"))

    def _over(self, forge: ForgejoClient) -> str | None:
        """None when everything is merged and judged; else what is still open."""
        try:
            issues = [forge.issue(self.project, number) for number in self.numbers]
            waiting = [f"#{i.number}" for i in issues if i.state is ItemState.OPEN]
            blocked = [f"#{i.number}" for i in issues if BLOCKED in i.labels]
            if blocked:
                raise RunFailed(f"the demo did not end: the factory gave up on {', '.join(blocked)}")
            if waiting:
                return f"{', '.join(waiting)} still open"
            tip = forge.ls_refs(self.project, ("refs/heads/main",)).get("refs/heads/main", "")
            green = any(s.state.value == "success" for s in forge.statuses(self.project, tip))
            if not green or self._running():
                return "the default branch is not judged yet"
            return self.action.over()
        except ForgeError:
            return "the forge does not answer"

    # ---- reading back ----------------------------------------------------------------------------------------------

    def _read(self) -> tuple[Facts, Path]:
        """From the forge and from git, with fresh clients and a fresh copy: nothing of the run is remembered."""
        ensure_forge(self.deployment.host)
        copy = self.home / "cache" / "readback.git"
        if not objects.is_repo(copy):
            objects.init_bare(copy)
        with as_person(self.deployment, LOGIN) as founder:
            factory = DEFAULT_ACCOUNTS["factory"]
            remote = Remote(f"{founder.url}/{self.project}.git", factory, self.deployment.token(factory))
            fetch(copy, remote, ["+refs/heads/*:refs/heads/*", "+refs/pull/*:refs/pull/*"])
            return read(founder, self.project, copy, "main"), copy

    def _idle(self) -> IdleTick:
        state = self.deployment.state
        control = GatewayControl(control_socket(state))
        return measure(
            ticks=IDLE_TICKS,
            daemon=state / "daemon.json",
            access_log=forge_home(state) / "access.log",
            model_calls=lambda: control.totals()["model_calls"],
            services=folder(state),
            poll_s=self.poll_seconds,
            vault=[DEFAULT_ACCOUNTS[name] for name in VAULT],
        )

    def _told(
        self, facts: Facts, action: ActionFact | None, done: Done, seconds: float, idle: IdleTick
    ) -> dict[str, Any]:
        return {
            "seconds": round(seconds, 1),
            "pulls": [
                {
                    "number": pull.number,
                    "issue": pull.issue,
                    "title": pull.title,
                    "head": pull.head,
                    "merge": pull.merge,
                    "reviews": [{"verdict": r.verdict, "head": r.head, "by": r.author} for r in pull.reviews],
                    "statuses": [{"context": s.context, "state": s.state, "sha": s.sha} for s in pull.statuses],
                }
                for pull in facts.pulls
            ],
            "action": None if action is None else {
                "id": action.id, "tier": action.tier, "ledger": list(action.ledger), "tag": RELEASE,
                "commit": action.tag_commit, "assets": list(action.assets)},
            "forge": {"url": done.forge_url, "home": str(forge_home(self.deployment.state))},
            "home": str(self.home),
            "project": {"repo": str(self.project)},
            "ops": {"repo": str(done.ops)},
            "login": LOGIN,
            "password": self.password,
            "cost_usd_scripted": self._cost(),
            "idle_tick": idle.as_dict(),
        }  # fmt: skip

    def _journal(self) -> tuple[RunRecord, ...]:
        """The runs so far, from the daemon's own copy of the journal: no request, no process."""
        repo = mirror_path(self.home, f"{LOGIN}/{PROJECT}-ops")
        try:
            tip = objects.read_ref(repo, REF)
            return fold(entries_since(repo, None, tip).entries) if tip is not None else ()
        except GitFailed:
            return ()  # cache/ may be deleted at any moment; the daemon fetches it anew

    def _cost(self) -> float:
        """As the journal says: the scripted turns at a real model's prices."""
        mirror(self.deployment, RepoName(LOGIN, f"{PROJECT}-ops"), refresh=True)
        return round(sum(run.usage.cost_usd for run in self._journal()), 4)

    def close(self, *, keep: bool) -> None:
        """Stop everything and remove the home, unless it is to be kept. What cannot be ended or removed is said."""
        if keep or not (self.home / CLAIM).exists():
            return
        try:
            if host_path(self.home).exists():
                deployment = Deployment.open(self.home)
                stop(deployment)
                end_all(deployment, "the end of the demo")
            shutil.rmtree(self.home)
        except (FactoryError, OSError) as error:
            self.said(f"not everything of the demo is gone ({error}): look at {self.home}, end what runs, remove it")


def _follow(log: Path) -> Iterator[list[str]]:
    """The complete lines that a file got since the last look."""
    offset, rest = 0, ""
    while True:
        try:
            with log.open("rb") as file:
                file.seek(offset)
                data = file.read()
                offset += len(data)
        except FileNotFoundError:
            data = b""
        *lines, rest = (rest + data.decode("utf-8", "replace")).split("\n")
        yield lines

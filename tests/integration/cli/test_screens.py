"""What bad input gets: one screen per case, and every command that a screen names is run and does what it says."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from factory.app.daemon import loop_of
from factory.app.deployment import Deployment
from factory.app.people import as_person
from factory.app.services import ensure_forge
from factory.cli.main import main
from factory.config.home import data_dir
from factory.config.model import DEFAULT_ACCOUNTS
from factory.daemon.wake import Wake
from factory.forge.values import RepoName, ReviewState
from factory.sandbox import select
from tests.integration.cli.person import CI, Person, Ran, commands, forge_up, free_port, git


def follow(person: Person, screen: str, *, code: int = 0, **meant: str | Path) -> list[Ran]:
    """Run every command that the screen names, with what a person would put for its placeholders.

    None of them may be unknown or misspelt (2), or a bug (3): each ends with ``code``.
    """
    ran = []
    for words in commands(screen):
        more = dict(
            word.split("=", 1) for word in words if "=" in word and word.isupper() is False and word[0].isupper()
        )
        plain = [str(meant.get(word, word)) for word in words if word.split("=", 1)[0] not in more]
        assert plain[0] == "factory"
        done = person.run(*plain[1:], code=None, **more)
        assert done.code == code, f"{shlex.join(plain)} was told to a person and ended with {done.code}: {done.err}"
        ran.append(done)
    assert ran, f"the screen names no command: {screen}"
    return ran


def packaged(path: str, *changes: tuple[str, str]) -> str:
    """A packaged file with slips in it."""
    folder, _, name = path.partition("/")
    text = (data_dir(folder) / name).read_text(encoding="utf-8")
    for right, wrong in changes:
        assert right in text
        text = text.replace(right, wrong, 1)
    return text


class TestNoDeployment:
    SCREEN = """\
error: reading HOME/state/host.toml: there is no factory here
hint:  `factory demo` shows one; `factory init PATH` sets one up; FACTORY_HOME points to another
"""

    @pytest.mark.parametrize(
        "words",
        ["status", "issue list", "issue file x", "explain issue 1", "runs list", "runs cancel x", "agents", "mode",
         "login", "edit factory.toml --file README.md", "hire native", "replay-tick", "up", "down", "pause"],
    )  # fmt: skip
    def test_every_command_says_so_in_two_lines(self, person: Person, words: str) -> None:
        ran = person.run(*words.split(), code=4)
        assert (ran.out, person.shown(ran.err)) == ("", self.SCREEN)

    def test_check_tells_it_as_well(self, person: Person) -> None:
        assert "there is no factory here" in person.run("check", code=4).err

    def test_the_hints_are_real(self, person: Person) -> None:
        # `factory demo` itself is run by tests/acceptance/test_demo.py; here only that it is a command.
        assert "pull requests and a release on a forge" in person.run("demo", "--help").out
        done = person.run("init", person.project, "--port", str(free_port()), "--web-port", str(free_port()))
        assert "hello has a factory" in done.out
        for words in ("status", "issue list", "agents", "mode", "login"):
            person.run(*words.split())


class TestForgeAway:
    """Nothing answers at the forge's address: bounded retries, one clear line, exit 6."""

    DOWN = """\
error: reaching the forge at http://127.0.0.1:PORT: the embedded forge does not run
hint:  factory up --detach
"""

    @pytest.mark.parametrize("words", ["issue list", "issue show 1", "edit VISION.md --file README.md", "mode suggest"])
    def test_the_embedded_one_is_down(self, settled: Person, words: str) -> None:
        settled.run("down")
        ran = settled.run(*words.split(), code=6)
        assert (ran.out, settled.shown(ran.err)) == ("", self.DOWN)

    def test_what_needs_no_forge_answers_all_the_same(self, settled: Person) -> None:
        forge_up(settled)
        settled.run("runs", "list")  # this host has a copy of the ops repo then
        settled.run("down")
        for words in ("status", "runs list", "agents", "mode", "login", "pause dev"):
            settled.run(*words.split())

    @pytest.mark.needs_bwrap
    def test_the_hint_is_real(self, settled: Person) -> None:
        settled.run("down")
        told = settled.run("issue", "list", code=6)
        follow(settled, told.err)
        assert settled.run("issue", "list").out == "no issues\n"
        settled.run("resume", "dev")
        settled.run("down")

    def test_one_elsewhere_does_not_answer(self, settled: Person, tmp_path: Path) -> None:
        home = tmp_path / "home"
        shutil.copytree(
            settled.home / "state", home / "state", ignore=shutil.ignore_patterns("forge", "services", "*.sock")
        )
        host = home / "state" / "host.toml"
        port = free_port()
        lines = host.read_text(encoding="utf-8").splitlines()
        lines = [f'url = "http://127.0.0.1:{port}"' if line.startswith("url = ") else line for line in lines]
        lines = ["embedded = false" if line.startswith("embedded") else line for line in lines]
        host.write_text("\n".join(lines), encoding="utf-8")
        ran = settled.run("issue", "list", code=6, FACTORY_HOME=str(home))
        assert settled.shown(ran.err) == (
            "error: listing the issues of founder/hello: cannot reach the forge at http://127.0.0.1:PORT: "
            "[Errno 111] Connection refused\nhint:  is it running, and is the address right?\n"
        )
        doctor = settled.run("doctor", code=1, FACTORY_HOME=str(home))
        assert "PROBLEM  forge: reachable: " in doctor.out
        person_needed = settled.run("issue", "file", "x", code=5, FACTORY_HOME=str(home))
        assert "that takes founder's own token" in person_needed.err


class TestTakenPort:
    def test_init_names_a_free_one(self, person: Person) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            ran = person.run("init", person.project, "--port", str(port), code=2)
            assert person.shown(ran.err) == (
                "error: setting up the embedded forge on port PORT: another program has that port\n"
                "hint:  choose another one: factory init PROJECT --port PORT\n"
            )
            (done,) = follow(person, ran.err)
        assert done.out.startswith("founder/hello has a factory, in mode suggest.")


class TestExistingDeployment:
    def test_a_second_init_does_nothing_and_says_what_holds(self, settled: Person) -> None:
        again = settled.run("init", settled.project, "--ci", CI, "--mode", "observe")
        assert again.out.startswith("founder/hello has a factory, in mode merge.")
        assert again.err == (
            "  the mode stays merge, as factory.toml says; change it with: factory mode observe\n"
        )  # fmt: skip
        (changed,) = follow(settled, again.err)
        assert changed.out.startswith("factory.toml is proposed: ")
        settled.run("mode", "merge")

    def test_by_its_address_on_the_forge(self, settled: Person) -> None:
        forge = settled.run("status", "--json").facts()["addresses"]["forge"]
        assert settled.run("init", f"{forge}/founder/hello").out.startswith(
            "founder/hello has a factory, in mode merge."
        )

    def test_another_forge_needs_another_home(self, settled: Person, tmp_path: Path) -> None:
        token = tmp_path / "token"
        token.write_text("t", encoding="utf-8")
        ran = settled.run(
            "init", settled.project, "--forge", "http://127.0.0.1:1", "--admin-token-file", token, code=4
        )  # fmt: skip
        assert settled.shown(ran.err) == (
            "error: setting up in HOME: this home already belongs to the forge http://127.0.0.1:PORT\n"
            "hint:  use another home for another forge: FACTORY_HOME=... factory init ...\n"
        )

    def test_a_second_daemon_is_refused(self, settled: Person) -> None:
        """`up` where the factory runs says so and starts nothing; the hint shows what runs."""
        first = settled.run("up", "--detach", code=None)
        if first.code != 0:
            pytest.fail(first.err)
        try:
            ran = settled.run("up", code=2)
            assert settled.shown(ran.err).endswith(
                "error: starting the factory in HOME: it runs already\nhint:  factory status\n"
            )
            (status,) = follow(settled, ran.err)
            assert status.out.startswith("up since ")
            assert "the factory is up already" in settled.run("up", "--detach").err
        finally:
            settled.run("down")


class TestHalfFinishedInit:
    """Killed at any moment, the same command again completes it, and nothing is there twice."""

    @pytest.mark.parametrize("after", [1, 25, 45])
    def test_again_completes_it(self, person: Person, after: int) -> None:
        words = ["init", str(person.project), "--port", str(free_port()), "--web-port", str(free_port())]
        with subprocess.Popen(
            [sys.executable, "-m", "factory", *words], env=dict(person.environment), cwd=person.project,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        ) as going:  # fmt: skip
            assert going.stderr is not None
            lines = [line for _, line in zip(range(after), going.stderr, strict=False)]
            going.send_signal(signal.SIGKILL)
        assert len(lines) == after, "init ended before it could be killed"
        done = person.run(*words)
        assert done.out.startswith("founder/hello has a factory, in mode suggest.")
        assert "nothing: it is all there" in person.run(*words, "--dry-run").out
        git(person.project, "fetch", "-q", _address(person), "main")
        # The person's commits, and the issue forms on top, once.
        new = git(person.project, "log", "--format=%s", "HEAD..FETCH_HEAD").splitlines()
        assert (new, git(person.project, "merge-base", "HEAD", "FETCH_HEAD")) == (
            ["Add issue forms"],
            git(person.project, "rev-parse", "HEAD"),
        )

    def test_doctor_names_the_command_that_completes_it(self, person: Person) -> None:
        person.run("init", person.project, "--port", str(free_port()), "--web-port", str(free_port()))
        token = person.home / "state" / "tokens" / "review-bot"
        token.unlink()
        doctor = person.run("doctor", code=1)
        assert "PROBLEM  forge: tokens: no working token for review-bot" in doctor.out
        hint = next(line for line in doctor.out.splitlines() if "hint: factory init" in line)
        follow(person, hint)
        assert token.exists()
        bots = len(set(DEFAULT_ACCOUNTS.values()))
        assert f"all {bots} accounts' tokens work" in person.run("doctor", code=None).out


def _address(person: Person) -> str:
    facts = person.run("status", "--json").facts()
    bot = (person.home / "state" / "tokens" / "factory-bot").read_text(encoding="ascii").strip()
    url = facts["projects"][0]["url"].replace("://", f"://factory-bot:{bot}@")
    return f"{url}.git"


@pytest.fixture
def fake_bwrap() -> Iterator[Path]:
    """A bubblewrap whose kernel refuses: in a folder that the sandbox's own user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="factory-bwrap-"))
    folder.chmod(0o755)
    program = folder / "bwrap"
    program.write_text(
        "#!/bin/sh\n"
        '[ "$1" = --version ] && echo "bubblewrap 0.8.0" && exit 0\n'
        'echo "bwrap: No permissions to create new namespace, likely because the kernel does not allow it" >&2\n'
        "exit 1\n",
        encoding="utf-8",
    )
    program.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


class TestNoSandbox:
    """In this process, because which bubblewrap is found is no setting of the product."""

    @pytest.fixture
    def here(self, settled: Person, monkeypatch: pytest.MonkeyPatch) -> Person:
        monkeypatch.setenv("FACTORY_HOME", str(settled.home))
        return settled

    def ended(self, words: str) -> int | str | None:
        with pytest.raises(SystemExit) as ending:
            main(words.split())
        return ending.value.code

    def test_missing(self, here: Person, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setitem(select.select.__kwdefaults__, "search", "/nonexistent")
        assert self.ended("up --detach") == 4
        assert capsys.readouterr().err == (
            "error: choosing the sandbox: bubblewrap (bwrap) is not in /nonexistent\n"
            "hint:  install it: apt-get install bubblewrap\n"
        )
        assert self.ended("doctor") == 1
        assert (
            "PROBLEM  machine: sandbox: choosing the sandbox: bubblewrap (bwrap) is not in /nonexistent\n"
            "         hint: install it: apt-get install bubblewrap\n"
        ) in capsys.readouterr().out

    def test_blocked(
        self, here: Person, fake_bwrap: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setitem(select.select.__kwdefaults__, "search", str(fake_bwrap))
        assert self.ended("up --detach") == 4
        why = (
            "starting a sandbox: bwrap: No permissions to create new namespace, likely because the kernel does not "
            "allow it\n"
        )
        what = select.hint(why, is_root=False)  # depends on this kernel's settings; tests/unit/sandbox has them all
        assert capsys.readouterr().err == f"error: {why}hint:  {what}\n"
        assert self.ended("doctor") == 1
        assert f"PROBLEM  machine: sandbox: {why}         hint: {what}\n" in capsys.readouterr().out

    def test_by_name_it_goes_on_and_warns(self, here: Person) -> None:
        host = here.home / "state" / "host.toml"
        before = host.read_text(encoding="utf-8")
        host.write_text(before.replace('sandbox = "bubblewrap"', 'sandbox = "none"'), encoding="utf-8")
        try:
            up = here.run("up", "--detach")
            assert 'warning: host.toml says sandbox = "none": sessions run with all of your own rights' in up.err
            assert "warning: no sandbox" in here.run("status").out
            assert 'machine: sandbox: host.toml says sandbox = "none"' in here.run("doctor", code=1).out
        finally:
            here.run("down")
            host.write_text(before, encoding="utf-8")

    def test_the_package_it_names_is_the_distributions(self) -> None:
        """The hint's command, simulated: apt-get looks the package up and changes nothing."""
        words = shlex.split(select.INSTALL_HINT.removeprefix("install it: "))
        if shutil.which(words[0]) is None:
            assert not Path("/etc/debian_version").exists(), "a Debian without apt-get"
            return
        done = subprocess.run([*words, "--simulate"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "bubblewrap" in done.stdout


BROKEN = {
    "factory.toml": 'project = "founder/hello"\nmode = "bold"\npoll = 3\n[[agents]]\nname = "X y"\n',
    "agents/dev.toml": packaged("agents/dev.toml", ('"labels"', '"label"'), ("active = true", 'active = "yes"')),
    "formulas/dev.toml": packaged("formulas/dev.toml", ("turns =", "turnz ="), ("[[steps]]", "[[stepz]]")),
}
WRONG = {
    "factory.toml": """\
factory.toml:2: mode is "bold", which it may not be
  hint: one of: merge, observe, suggest
factory.toml:3: poll is not a known key
  hint: known here: accounts, admins, agents, approvers, budgets, ci, dev_slots, environment, mode, poll_seconds, \
project, review_all, schedules, schema, trust
factory.toml:4: agents[0].backend is missing
  hint: kind of backend: native, claude-code, codex, ...
factory.toml:4: agents[0].model is missing
  hint: model as the backend spells it
factory.toml:5: agents[0].name is "X y", which it may not be
  hint: lower-case letters, digits and dashes, such as "cc-1"
""",
    "agents/dev.toml": """\
agents/dev.toml:5: active must be true or false, not the text "yes"
agents/dev.toml:7: grants[4] is "label", which it may not be
  hint: did you mean "labels"? one of: comments, commits, issues, labels, pull_request, refuse, review, statuses, vault
""",
    "formulas/dev.toml": """\
formulas/dev.toml:1: steps is missing
  hint: at least one [[steps]]
formulas/dev.toml:24: limits.turnz is not a known key
  hint: did you mean "turns"? known here: cost_usd, idle_seconds, minutes, output_bytes, turns
formulas/dev.toml:34: stepz is not a known key
  hint: did you mean "steps"? known here: context, description, grants, inputs, limits, name, overrides, role, schema, \
steps, vault, version
""",
}
"""All problems of a file at once, each with its line and what would be right."""


@contextmanager
def turned(person: Person) -> Iterator[Callable[[], None]]:
    """The daemon's loop, turned by hand until it rests."""
    with closing(Deployment.open(person.home)) as deployment:
        ensure_forge(deployment.host)
        loop = loop_of(deployment, Wake(), lambda line: None)
        loop.start()

        def turn() -> None:
            while loop.turn() or loop.last_beat.running or not loop.tickers[0].observer.snapshot.settled:
                time.sleep(0.1)

        yield turn


def approved_unseen(person: Person, tmp_path: Path, files: Mapping[str, str]) -> None:
    """A pull request of the ops repo with these files, made with git, that a person approves on the forge."""
    ops = RepoName("founder", "hello-ops")
    with closing(Deployment.open(person.home)) as deployment, as_person(deployment, "founder") as founder:
        remote = deployment.remote("factory-bot", ops)
        bot = f"factory-bot:{deployment.token('factory-bot')}"
        git(tmp_path, "clone", "-q", remote.url.replace("://", f"://{bot}@"), "ops")
        for path, text in files.items():
            (tmp_path / "ops" / path).parent.mkdir(exist_ok=True)
            (tmp_path / "ops" / path).write_text(text, encoding="utf-8")
        git(tmp_path / "ops", "checkout", "-q", "-b", "edit/by-hand")
        git(tmp_path / "ops", "add", "-A")
        git(tmp_path / "ops", "commit", "-q", "-m", "By hand")
        git(tmp_path / "ops", "push", "-q", "origin", "edit/by-hand")
        proposed = {"head": "edit/by-hand", "base": "main", "title": "By hand", "body": ""}
        pull = deployment.forge("factory-bot").create_pull(ops, **proposed)
        founder.review(ops, pull.number, state=ReviewState.APPROVED, body="", commit=pull.head_sha)


class TestBrokenFiles:
    @pytest.mark.parametrize("path", BROKEN)
    def test_every_problem_at_once_and_nothing_is_written(self, settled: Person, tmp_path: Path, path: str) -> None:
        forge_up(settled)
        new = tmp_path / "new.toml"
        new.write_text(BROKEN[path], encoding="utf-8")
        ran = settled.run("edit", path, "--file", new, code=4)
        last = f"error: editing {path}: it is not valid, so nothing was changed\n"
        assert (ran.out, ran.err) == ("", WRONG[path] + last)

    @pytest.mark.needs_bwrap
    def test_on_main_all_the_same_the_last_good_version_stays_in_force(self, person: Person, tmp_path: Path) -> None:
        """A person can approve on the forge what the command would have refused."""
        ports = ("--port", str(free_port()), "--web-port", str(free_port()))
        person.run("init", person.project, *ports, "--mode", "merge", "--ci", CI)
        with turned(person) as turn:
            turn()
            approved_unseen(person, tmp_path, BROKEN)
            turn()
        status = person.run("status").out
        assert re.sub(r"[0-9a-f]{12}", "COMMIT", status).splitlines()[3:6] == [
            f"founder/hello   mode merge   {person.run('status', '--json').facts()['projects'][0]['dashboard']}",
            "  problem  factory.toml: commit COMMIT was approved, but is not valid; "
            "the version of COMMIT stays in force",
            "           all of them, and what would be right: factory check",
        ]
        (checked,) = follow(person, status.splitlines()[5], code=1)
        for path in BROKEN:
            for line in WRONG[path].splitlines():
                assert line.replace(f"{path}:", f"founder/hello-ops:{path}:") in checked.out.splitlines()
        with as_person(Deployment.open(person.home), "founder") as founder:
            number = founder.create_issue(RepoName("founder", "hello"), title="Go on", body="Please.").number
            founder.add_labels(RepoName("founder", "hello"), number, ["backlog"])
        with turned(person) as turn:
            turn()
        why = person.run("explain", "issue", str(number), "--json").facts()
        assert why["rule"] == "no-agent", "the good formula is still there: what it lacks is somebody to run it"

    def test_what_was_typed_is_kept(self, settled: Person, tmp_path: Path) -> None:
        forge_up(settled)
        editor = tmp_path / "editor"
        editor.write_text('#!/bin/sh\nsed -i "s/^mode.*/mode = 7/" "$1"\n', encoding="utf-8")
        editor.chmod(0o755)
        ran = settled.run("edit", "factory.toml", code=4, EDITOR=str(editor))
        assert "factory.toml:" in ran.err
        kept = Path(ran.err.rsplit("--file ", 1)[1].strip())
        text = kept.read_text(encoding="utf-8")
        assert "mode = 7" in text
        kept.write_text(text.replace("mode = 7", 'mode = "suggest"'), encoding="utf-8")
        (mended,) = follow(settled, ran.err.splitlines()[-1].replace("then: ", "then with: "))
        assert mended.out.startswith("factory.toml is proposed: ")
        kept.unlink()

    def test_an_editor_that_is_not_there(self, settled: Person) -> None:
        forge_up(settled)
        ran = settled.run("edit", "factory.toml", code=2, EDITOR="/nonexistent")
        assert "hint:  set EDITOR, or give the new content: factory edit factory.toml --file FILE" in ran.err

    def test_a_host_file_with_a_slip(self, settled: Person) -> None:
        host = settled.home / "state" / "host.toml"
        before = host.read_text(encoding="utf-8")
        host.write_text(before.replace("slots = ", "slotz = "), encoding="utf-8")
        try:
            ran = settled.run("status", code=4)
            assert "slotz is not a known key" in ran.err
            assert "PROBLEM  host: host.toml: " in settled.run("doctor", code=1).out
        finally:
            host.write_text(before, encoding="utf-8")

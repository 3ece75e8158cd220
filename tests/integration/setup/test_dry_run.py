"""``--dry-run`` shows the difference and changes nothing: no home, no forge, no byte of a home that is there."""

from __future__ import annotations

import hashlib
from pathlib import Path

from factory.app.services import folder, forge_home
from factory.process import service
from tests.integration.setup.somebody import Somebody


def digest(home: Path) -> dict[str, str]:
    """Every file of the state but the embedded forge's own (its log and locks are the running server's)."""
    state = home / "state"
    files = [f for f in sorted(state.rglob("*")) if f.is_file() and f.relative_to(state).parts[0] not in _SERVERS]
    return {f.relative_to(state).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


_SERVERS = ("forge", "services")


def test_where_there_is_nothing_it_says_what_would_be_made(somebody: Somebody) -> None:
    project = somebody.project(branch="trunk", **{"requirements.txt": "requests\n", "test_hello.py": "import pytest\n"})
    (project / "new.txt").write_text("not committed\n", encoding="utf-8")
    ran = somebody.run("init", project, "--dry-run", "--port", str(somebody.port), "--web-port", str(somebody.web))
    lines = somebody.shown(ran.out).splitlines()
    assert lines[:4] == [
        "factory init would, on http://127.0.0.1:PORT:",
        "  make the home TMP/home",
        "  make an embedded forge at http://127.0.0.1:PORT and start it",
        "  create the account founder (a person's, with a password)",
    ]
    assert lines[lines.index("  seed founder/hello-ops") - 1 :] == [
        "  push trunk (COMMIT) with issue forms on top to founder/hello",
        "  seed founder/hello-ops",
        "  begin the ledger of founder/hello-ops",
        "  protect trun[k] of founder/hello (new rule)",
        "  keep the tags of founder/hello for founder, release-bot",
        "  protect mai[n] of founder/hello-ops (new rule)",
        "  protect aut[o] of founder/hello-ops (new rule)",
        "  protect ledge[r] of founder/hello-ops (new rule)",
        "  protect journa[l] of founder/hello-ops (new rule)",
        "  add the webhook of founder/hello to http://127.0.0.1:PORT/hooks/forge, and try it",
        "  add the webhook of founder/hello-ops to http://127.0.0.1:PORT/hooks/forge, and try it",
        "  tests      PYTHONPATH=. .venv/bin/python -m pytest -q",
        "             (guessed: pytest, by `import pytest` in test_hello.py)",
        "  set-up     python3 -m venv .venv",
        "             .venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt",
        "             .venv/bin/python -m pip install --quiet --disable-pip-version-check pytest",
        "             (guessed from requirements.txt)",
        "             needs the network: pypi.org, files.pythonhosted.org; tests and agents run without",
        "  note: 1 file is not committed in TMP/hello: only commits are taken over",
    ]
    assert ran.err == ""
    assert sorted(path.name for path in somebody.folder.iterdir()) == ["hello"]


def test_it_promises_what_init_then_does(somebody: Somebody) -> None:
    project = somebody.project()
    promised = somebody.init(project, "--dry-run", "--json").facts()["steps"]
    done = somebody.init(project, "--json").facts()["steps"]

    def named(steps: list[str]) -> list[str]:
        shown = [somebody.shown(step).replace(" (COMMIT)", "").replace(", and try it", "") for step in steps]
        told = ("make the home", "make an embedded", "test delivery of", "serve ")
        return sorted(step for step in shown if not step.startswith(told))

    assert named(done) == named(promised)
    assert somebody.init(project, "--dry-run").out.splitlines()[:2] == [
        f"factory init would do, on {somebody.url}:", "  nothing: it is all there",
    ]  # fmt: skip


def test_a_home_that_is_there_is_left_as_it_was(settled: Somebody) -> None:
    with settled.admin() as admin:
        before = (digest(settled.home), len(list(admin.pages("/admin/users", doing="looking"))))
    new = settled.project("more")
    ran = settled.init(new, "--dry-run")
    assert "  create the private repo founder/more\n" in ran.out
    with settled.admin() as admin:
        assert (digest(settled.home), len(list(admin.pages("/admin/users", doing="looking")))) == before


def test_a_forge_that_does_not_run_does_not_run_after_it(settled: Somebody) -> None:
    settled.run("down")
    before = digest(settled.home)
    ran = settled.init(settled.folder / "hello", "--dry-run")
    assert "  nothing: it is all there\n" in ran.out
    assert service.status("forge", folder(settled.home / "state")).pid is None
    assert digest(settled.home) == before
    assert forge_home(settled.home / "state").is_dir()

"""``factory check`` and ``factory formula``: what they print, and how they end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from factory.app.session import mirror_path
from factory.cli.main import main
from factory.config.home import create_home, packaged, write_private
from factory.config.host import write_host
from factory.config.model import BackendHost, HostConfig
from factory.git import objects
from factory.git.values import Signature

FACTORY = """\
project = "a/b"
mode = "merge"
approvers = ["ann"]
admins = ["ann"]
[ci]
command = "make test"
[[agents]]
name = "n"
backend = "native"
model = "m"
roles = ["dev", "reviewer"]
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACTORY_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def deployed(home: Path, files: dict[str, str]) -> None:
    """A host whose forge is away, with the ops repo's mirror as it was last seen."""
    create_home(home)
    write_host(
        HostConfig(
            home=home,
            host="h",
            forge_url="http://127.0.0.1:1",
            embedded=False,
            forge_port=None,
            web_port=0,
            ops_repos=("a/b-ops",),
            backends={"n": BackendHost("native", url="http://127.0.0.1:2")},
        )
    )
    write_private(home / "state" / "tokens" / "factory-bot", b"token\n")
    mirror = mirror_path(home, "a/b-ops")
    mirror.parent.mkdir(parents=True)
    objects.init_bare(mirror)
    someone = Signature("a", "a@example.com", 0, 0)
    changes = {path: text.encode() for path, text in files.items()}
    commit = objects.build_commit(mirror, parent=None, changes=changes, message="x", author=someone, committer=someone)
    objects.create_ref(mirror, "refs/heads/main", commit)


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = 0
    try:
        main(list(argv))
    except SystemExit as left:
        code = int(left.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def test_files_given_by_path(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "factory.toml").write_text(FACTORY.replace('"merge"', '"merg"').replace("approvers", "aprovers"))
    (tmp_path / "mine.toml").write_text(
        packaged("formulas")["ci"].decode().replace('"ci"', '"mine"', 1).replace("pull =", "pul =")
    )
    code, out, _ = run(capsys, "check", "factory.toml", "mine.toml")
    assert code == 1
    assert out == (
        'factory.toml:2: mode is "merg", which it may not be\n'
        '  hint: did you mean "merge"? one of: merge, observe, suggest\n'
        "factory.toml:3: aprovers is not a known key\n"
        '  hint: did you mean "approvers"? known here: accounts, admins, agents, approvers, budgets, ci, dev_slots, '
        "environment, mode, poll_seconds, project, review_all, schedules, schema, trust\n"
        "2 problems in 1 file\n"
    )


def test_a_working_copy_of_an_ops_repo(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ops" / "agents").mkdir(parents=True)
    (tmp_path / "ops" / "factory.toml").write_text(FACTORY)
    assert run(capsys, "check", "ops") == (0, "all is well: ops\n", "")
    (tmp_path / "ops" / "agents" / "dev.toml").write_text("schema = 1\nactive = yes\n")
    code, out, _ = run(capsys, "check", "ops", "--json")
    assert code == 1
    facts = json.loads(out)["factory.check/v1"]
    assert facts["checked"] == ["ops"]
    assert facts["problems"][0] == {
        "path": "ops/agents/dev.toml",
        "line": 1,
        "message": "replaces the packaged file without saying which version of it",
        "hint": facts["problems"][0]["hint"],
    }
    assert ("ops/agents/dev.toml", 2, "write true or false") in [
        (p["path"], p["line"], p["hint"]) for p in facts["problems"]
    ]


def test_what_is_none_of_ours(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.toml").write_text("a = 1\n")
    (tmp_path / "broken.toml").write_text("a = \n")
    code, out, _ = run(capsys, "check", "other.toml", "broken.toml")
    assert code == 1
    assert out.splitlines()[0] == "other.toml:1: is none of the factory's files"
    assert "broken.toml:1: not valid TOML" in out
    assert run(capsys, "check", "absent.toml")[0] == 2


def test_nothing_set_up_here(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "check")
    assert (code, out) == (4, "")
    assert "there is no factory here" in err
    assert "factory init" in err


def test_the_deployment_with_its_forge_away(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deployed(home, {"factory.toml": FACTORY, "README.md": "x"})
    code, out, err = run(capsys, "check")
    assert (code, out) == (0, f"all is well: {home}/state/host.toml, a/b-ops\n")
    assert err.startswith("note: a/b-ops as this host last saw it")


def test_all_of_the_deployment_at_once(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deployed(
        home,
        {"factory.toml": FACTORY.replace("native", "nativ"), "formulas/ci.toml": "x\n", "agents/new.toml": "y = 1\n"},
    )
    host = home / "state" / "host.toml"
    host.write_text(host.read_text().replace('sandbox = "bubblewrap"', 'sandbox = "none"'))
    code, out, _ = run(capsys, "check", "--json")
    assert code == 1
    found = json.loads(out)["factory.check/v1"]["problems"]
    assert {p["path"] for p in found} == {
        str(host),
        "a/b-ops:factory.toml",
        "a/b-ops:formulas/ci.toml",
        "a/b-ops:agents/new.toml",
    }
    assert all(p["line"] for p in found)


def test_a_broken_host_toml_is_a_finding(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    create_home(home)
    (home / "state" / "host.toml").write_text("host = 1\nslots = 'x'\n")
    code, out, _ = run(capsys, "check")
    assert code == 1
    assert "3 problems in 1 file" in out


def test_formulas_listed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "formula", "list", "--json")
    assert code == 0
    listed = {f["name"]: f for f in json.loads(out)["factory.formula-list/v1"]["formulas"]}
    assert listed["dev"]["steps"] == ["implement"]
    deployed(home, {"factory.toml": FACTORY, "formulas/ci.toml": "x\n", "formulas/mine.toml": "schema = 1\n"})
    _, out, _ = run(capsys, "formula", "list")
    rows = {row.split()[0]: row for row in out.splitlines()}
    assert "packaged" in rows["dev"]
    assert "ops (shadows packaged)  not valid: factory formula check" in rows["ci"]
    assert "ops" in rows["mine"]


def test_a_formula_shown(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = packaged("formulas")["ci"].decode()
    deployed(home, {"factory.toml": FACTORY, "formulas/ci.toml": text.replace("minutes = 60", "minutes = 5 ")})
    assert "minutes = 5 " in run(capsys, "formula", "show", "ci")[1]
    assert run(capsys, "formula", "show", "ci", "--packaged")[1] == text
    code, _, err = run(capsys, "formula", "show", "cii")
    assert code == 2
    assert 'did you mean "ci"' in err


def test_formulas_checked(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "formula", "check")[0] == 0
    (tmp_path / "formulas").mkdir()
    (tmp_path / "formulas" / "x.toml").write_text(
        'schema = 1\nname = "x"\n[[steps]]\nid = "a"\nkind = "check"\nuses = ["secrts"]\n'
    )
    code, out, _ = run(capsys, "formula", "check", "formulas/x.toml")
    assert code == 1
    assert (
        'formulas/x.toml:6: steps[0].uses names "secrts", which is not a check\n  hint: did you mean "secrets"?' in out
    )
    assert out.endswith("4 problems in 1 file\n")

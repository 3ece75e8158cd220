from __future__ import annotations

import json
import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.config.factory import load_factory
from factory.config.model import Environment, Mode
from factory.demo.example import CI_COMMAND, project_files
from factory.ops.detect import detect
from factory.ops.seed import Seed, seed

PYPI = ("pypi.org", "files.pythonhosted.org")
PIP = ".venv/bin/python -m pip install --quiet --disable-pip-version-check"


def test_the_demo_project_is_understood() -> None:
    guess = detect(project_files())
    assert guess.environment == Environment()
    assert guess.ci.command == CI_COMMAND


@pytest.mark.parametrize(
    ("files", "command", "setup", "cache", "reason"),
    [
        (
            {
                "pyproject.toml": '[project]\ndependencies = ["httpx>=0.27"]\n[dependency-groups]\ndev = ["pytest>=8", '
                '{include-group = "x"}]\n',
                "src/a.py": "",
                "tests/test_a.py": "",
            },
            "PYTHONPATH=src:. .venv/bin/python -m pytest -q",
            ("python3 -m venv .venv", f"{PIP} 'httpx>=0.27' 'pytest>=8'"),
            (".venv",),
            "pytest among its test requirements",
        ),
        (
            {"app.py": "", "requirements.txt": "flask\n", "test_app.py": "import pytest\n"},
            "PYTHONPATH=. .venv/bin/python -m pytest -q",
            ("python3 -m venv .venv", f"{PIP} -r requirements.txt", f"{PIP} pytest"),
            (".venv",),
            "`import pytest` in test_app.py",
        ),
        (
            {"app.py": "", "tests/__init__.py": "", "tests/test_app.py": ""},
            "python3 -m unittest -q",
            (),
            (),
            "unittest",
        ),
        (
            {"app.py": "", "tests/test_app.py": ""},
            "python3 -m unittest discover -q -s tests -t tests",
            (),
            (),
            "unittest in tests/",
        ),
        (
            {"package.json": json.dumps({"scripts": {"test": "jest"}}), "pnpm-lock.yaml": ""},
            "pnpm test",
            ("pnpm install --frozen-lockfile",),
            ("node_modules",),
            "script `test`",
        ),
        (
            {"package.json": '{"scripts": {"test": "echo \\"Error: no test specified\\" && exit 1"}}'},
            "",
            (),
            (),
            "no test",
        ),
        ({"go.mod": "module x\n"}, "go test ./...", (), (), "go.mod"),
        (
            {"go.mod": "module x\n", "go.sum": "x\n"},
            'GOMODCACHE="$PWD/.go-modules" GOFLAGS=-mod=mod GOPROXY=off go test ./...',
            ('GOMODCACHE="$PWD/.go-modules" go mod download',),
            (".go-modules",),
            "go.mod",
        ),
        (
            {"Cargo.toml": "", "Cargo.lock": ""},
            'CARGO_HOME="$PWD/.cargo-home" cargo test --offline --locked',
            ('CARGO_HOME="$PWD/.cargo-home" cargo fetch --locked',),
            (".cargo-home",),
            "Cargo.toml",
        ),
        (
            {"pom.xml": ""},
            "mvn -B -q -o -Dmaven.repo.local=.m2 test",
            ("mvn -B -q -Dmaven.repo.local=.m2 dependency:go-offline",),
            (".m2",),
            "pom.xml",
        ),
        ({"Makefile": "test:\n\ttrue\n"}, "make test", (), (), "Makefile has a target `test`"),
        ({"Makefile": "test := x\n"}, "", (), (), "say here what decides"),
        (
            {"Makefile": "test: lint\n", "pytest.ini": "", "tests/test_a.py": ""},
            'PATH="$PWD/.venv/bin:$PATH" make test',
            ("python3 -m venv .venv", f"{PIP} pytest"),
            (".venv",),
            "Makefile",
        ),
        ({"README.md": "hello"}, "", (), (), "nothing known was found"),
        ({}, "", (), (), "nothing known was found"),
    ],
)
def test_guesses(
    files: dict[str, str], command: str, setup: tuple[str, ...], cache: tuple[str, ...], reason: str
) -> None:
    guess = detect({path: text.encode() for path, text in files.items()})
    assert guess.ci.command == command
    assert guess.environment.setup == setup
    assert guess.environment.cache == cache
    assert reason in " ".join(guess.reasons)
    assert bool(guess.environment.egress) == bool(setup)
    for line in (*guess.environment.setup, guess.ci.command):
        shlex.split(line)


NAMES = st.sampled_from(
    [
        "pyproject.toml",
        "setup.cfg",
        "package.json",
        "Makefile",
        "go.mod",
        "Cargo.toml",
        "pom.xml",
        "requirements.txt",
        "tests/test_a.py",
        "a.py",
        "build.gradle",
        "src/x.py",
        "package-lock.json",
    ],
)
CONTENTS = st.binary(max_size=60) | st.sampled_from(
    [
        b"project = 3",
        b"[project]\ndependencies = 'x'\n",
        b"[project]\noptional-dependencies = 3\n[tool]\npytest = 1\n",
        b'{"scripts": 3}',
        b'{"scripts": {"test": 3}}',
        b"[]",
        b"[" * 5000,
        b"{" * 5000,
        b"test:",
        b"[project]\ndependencies = ['--index-url=http://evil', \"a; echo 'x' $(id)\", 'b\\nc']\n",
    ],
)


@settings(max_examples=50)
@given(st.dictionaries(NAMES, CONTENTS, max_size=5))
def test_whatever_a_project_holds_the_guess_is_a_valid_setting(files: dict[str, bytes]) -> None:
    from datetime import UTC, datetime

    guess = detect(files)
    told = Seed(
        "ada/shop",
        Mode.SUGGEST,
        "ada",
        "http://127.0.0.1:3000",
        datetime(2026, 1, 1, tzinfo=UTC),
        environment=guess.environment,
        ci=guess.ci,
        environment_reasons=guess.environment_reasons,
        ci_reasons=guess.ci_reasons,
    )
    config = load_factory(seed(told)["factory.toml"])
    assert config.environment == guess.environment
    assert config.ci.command == guess.ci.command


def test_a_requirement_cannot_become_a_command() -> None:
    hostile = b"[project]\ndependencies = [\"a; python_version > '3' $(touch /tmp/x)\", '--index-url=http://evil']\n"
    (_, install) = detect({"pyproject.toml": hostile}).environment.setup
    assert shlex.split(install)[-1] == "a; python_version > '3' $(touch /tmp/x)"
    assert "evil" not in install

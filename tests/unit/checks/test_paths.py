from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.checks.paths import ci_files, fold, is_evaluator_surface, is_infrastructure, is_test


@pytest.mark.parametrize(
    "path",
    [
        ".github/workflows/ci.yml",
        ".forgejo/workflows/ci.yaml",
        ".gitea/x",
        ".woodpecker/x.yml",
        ".gitlab-ci.yml",
        "Jenkinsfile",
        ".ci/run",
        "ci/build.sh",
        "CODEOWNERS",
        "pytest.ini",
        "tox.ini",
        "pkg/conftest.py",
        "jest.config.ts",
        ".coveragerc",
        "AGENTS.md",
        "sub/dir/AGENTS.md",
        "CLAUDE.md",
        "claude.md",
        ".claude/settings.json",
        "pkg/.claude/hooks/x.sh",
        ".mcp.json",
        ".cursor/rules/a.mdc",
        ".gitattributes",
        "sub/.gitattributes",
        ".gitmodules",
        ".pre-commit-config.yaml",
        ".codex/config.toml",
        "opencode.json",
        ".pi/x",
        "sitecustomize.py",
        "./AGENTS.md",
        ".GitHub/workflows/x.yml",
        "agents.MD",
        "\uff21GENTS.md",
        ".github./workflows/x",
        ".git\u0068ub/x",
        "phpunit.xml.dist",
        "ruff.toml",
    ],
)
def test_what_judges(path: str) -> None:
    assert is_evaluator_surface(path)


@pytest.mark.parametrize(
    "path",
    [
        "src/app.py",
        "tests/test_app.py",
        "README.md",
        "docs/AGENTS-guide.md",
        "pyproject.toml",
        "package.json",
        "Makefile",
        "src/ci/client.py",
        "src/github/api.py",
        "config.py",
        "src/agents.py",
        "factory.toml",
        "Dockerfile",
    ],
)
def test_what_does_not(path: str) -> None:
    assert not is_evaluator_surface(path)


@pytest.mark.parametrize(
    ("command", "path"),
    [
        ("make test", "Makefile"),
        ("cd app && npm test", "package.json"),
        ("./scripts/check.sh --fast", "scripts/check.sh"),
        ("python3 run_tests.py", "run_tests.py"),
        ("bash -c 'tools/ci; make lint'", "tools/ci"),
        ("just test", "justfile"),
        ("env X=1 tox -q", "tox.ini"),
        ("./gradlew test", "build.gradle"),
    ],
)
def test_the_ci_command_names_its_own_judges(command: str, path: str) -> None:
    assert is_evaluator_surface(path, command)
    assert not is_evaluator_surface("src/app.py", command)


def test_a_plain_command_names_none() -> None:
    assert ci_files("python3 -m unittest -q") == frozenset()
    assert ci_files("") == frozenset()


@pytest.mark.parametrize(
    "path",
    [
        "Dockerfile",
        "docker/Dockerfile.prod",
        "app/Containerfile",
        "docker-compose.yml",
        "compose.override.yaml",
        "app/migrations/0001_x.py",
        "db/migrate/20260101.rb",
        "prisma/migrations/x/migration.sql",
        "alembic/versions/x.py",
        "main.tf",
        "infra/x.py",
        "deploy/run.sh",
        "k8s/app.yaml",
        "charts/app/values.yaml",
        "helm/x",
        "factory.service",
        "Procfile",
        ".env",
        ".env.production",
        "Caddyfile",
        "fly.toml",
        "nginx.conf",
        "src/Migrations/X.cs",
        "DOCKERFILE",
        "jobs/app.nomad",
    ],
)
def test_what_acts_outside(path: str) -> None:
    assert is_infrastructure(path)


@pytest.mark.parametrize(
    "path",
    [
        "src/app.py",
        "src/deploy/plan.py",
        "docs/migrations.md",
        "migrations",
        "README.md",
        "src/environment.py",
        "tests/x.py",
    ],
)
def test_what_stays_inside(path: str) -> None:
    assert not is_infrastructure(path)


@pytest.mark.parametrize(
    "path",
    [
        "tests/x.py",
        "test_app.py",
        "pkg/app_test.go",
        "src/app.test.ts",
        "src/app.spec.js",
        "spec/models/user_spec.rb",
        "src/test/java/AppTest.java",
        "src/__tests__/a.js",
        "tests/data/x.json",
        "src/AppTests.cs",
        "x/__snapshots__/a.snap",
    ],
)
def test_tests(path: str) -> None:
    assert is_test(path)


@pytest.mark.parametrize(
    "path", ["src/app.py", "src/contest.py", "latest.py", "src/testimony.ts", "attestation/x.py", "src/protest.js"]
)
def test_no_tests(path: str) -> None:
    assert not is_test(path)


@given(st.text())
def test_any_path_has_an_answer(path: str) -> None:
    for predicate in (is_evaluator_surface, is_infrastructure, is_test):
        assert predicate(path) in (True, False)
    assert fold(fold(path)) == fold(path)

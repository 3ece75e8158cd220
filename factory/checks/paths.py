"""Which paths decide whether work is good, or what happens to it in production. Pure, by path alone.

An *evaluator surface* is a file whoever is judged by it must not change alone: CI definitions, the test runner's
configuration, and the files that tell agents how to behave. *Infrastructure* is what a merge would do outside the
repository. Both need a person's approval (DESIGN section 10), whatever a reviewing agent says. Where a path could be
either ordinary or such a surface, these functions say yes: the cost is one click.
"""

from __future__ import annotations

import re
import unicodedata
from fnmatch import fnmatchcase

_CI = (
    ".github/**", ".forgejo/**", ".gitea/**", ".gitlab-ci.yml", ".gitlab-ci.yaml", ".gitlab/**",
    ".woodpecker/**", ".woodpecker.yml", ".woodpecker.yaml", ".drone.yml", ".circleci/**", ".travis.yml",
    ".ci/**", "ci/**", "jenkinsfile*", "azure-pipelines*.yml", "bitbucket-pipelines.yml", ".buildkite/**",
    "appveyor.yml", ".cirrus.yml", ".builds/**", ".build.yml", ".pre-commit-config.yaml",
    ".pre-commit-config.yml", "codeowners", "docs/codeowners",
)  # fmt: skip
"""From the repository's root; lower case. ``.github`` whole: actions, rulesets and CODEOWNERS live there."""

_RUNNER_NAMES = (
    "pytest.ini", ".pytest.ini", "tox.ini", "noxfile.py", "conftest.py", "sitecustomize.py", "usercustomize.py",
    ".coveragerc", "jest.config.*", "vitest.config.*", "vitest.workspace.*", "karma.conf.*", ".mocharc*",
    "playwright.config.*", "cypress.config.*", ".nycrc*", "phpunit.xml*", "codecov.yml", ".codecov.yml",
    "mypy.ini", ".mypy.ini", "ruff.toml", ".ruff.toml", ".flake8", ".eslintrc*", "eslint.config.*",
    ".eslintignore", ".golangci.y*ml", "clippy.toml", ".clippy.toml", "nextest.toml",
    "sonar-project.properties",
)  # fmt: skip
"""File names, in any folder: what decides which tests run and what counts as red."""

_AGENT_NAMES = (
    "agents.md", "agents.override.md", "claude.md", "claude.local.md", "gemini.md", "copilot-instructions.md",
    ".mcp.json", "mcp.json", ".cursorrules", ".windsurfrules", ".clinerules", ".goosehints", ".aider*",
    "opencode.json", "opencode.jsonc", "skill.md",
)  # fmt: skip
_AGENT_FOLDERS = (
    ".claude", ".codex", ".opencode", ".pi", ".cursor", ".gemini", ".agents", ".agent", ".windsurf",
    ".clinerules", ".roo", ".continue", ".aider", ".kilocode", ".factory",
)  # fmt: skip
"""In any folder: programs that look for these walk upwards from where they work."""

_GIT_NAMES = (".gitattributes", ".gitmodules", ".lfsconfig", ".mailmap")
"""``.gitattributes`` can hide a file from diffs and run filters; ``.gitmodules`` brings code of elsewhere."""

_INFRA_NAMES = (
    "dockerfile", "dockerfile.*", "*.dockerfile", "containerfile", "containerfile.*", "docker-compose*.y*ml",
    "compose.y*ml", "compose.*.y*ml", "docker-bake.*", "*.tf", "*.tfvars", "*.tf.json", "*.hcl", "*.nomad",
    "chart.yaml", "kustomization.y*ml", "skaffold.y*ml", "helmfile.y*ml", "*.service", "*.timer", "*.socket",
    "*.container", "caddyfile", "*.caddyfile", "nginx.conf", "procfile", "fly.toml", "vercel.json",
    "netlify.toml", "render.yaml", "railway.json", "app.json", "app.yaml", "serverless.y*ml", "cloudbuild.y*ml",
    "vagrantfile", "ansible.cfg", "crontab", ".env", ".env.*", "alembic.ini", "wrangler.toml", "pulumi*.y*ml",
    "cdk.json", "samconfig.toml", "dokku*", "captain-definition",
)  # fmt: skip
_INFRA_FOLDERS = (
    "migrations", "migration", "alembic", "terraform", "kubernetes", "k8s", "helm", "charts", "ansible",
    "nomad", "puppet", "salt", "flyway", "liquibase", "db/migrate", "prisma/migrations",
)  # fmt: skip
"""In any place of the path."""
_INFRA_ROOTS = ("deploy", "deployment", "deployments", "infra", "infrastructure", "ops", "etc", "systemd", "docker")
"""Only as the first folder: deeper down these are ordinary package names."""

_TOOL_FILES = {
    "make": ("makefile", "gnumakefile"),
    "npm": ("package.json",), "pnpm": ("package.json",), "yarn": ("package.json",), "npx": ("package.json",),
    "bun": ("package.json",), "just": ("justfile", ".justfile"), "task": ("taskfile.yml",), "tox": ("tox.ini",),
    "nox": ("noxfile.py",), "rake": ("rakefile",), "mvn": ("pom.xml",), "gradle": ("build.gradle",),
    "gradlew": ("build.gradle", "build.gradle.kts", "gradlew"),
}  # fmt: skip
"""First word of a CI command -> the files that say what it does."""

_TEST_FOLDERS = frozenset(
    {"test", "tests", "__tests__", "spec", "specs", "testing", "e2e", "testdata", "__snapshots__"}
)
_TEST_NAME = re.compile(
    r"(test_.*|.*_test|.*_tests|.*_spec|.*\.test|.*\.spec|tests?|.*[a-z0-9]Tests?|.*[a-z0-9]IT)\.(py|go|rs|js|jsx|mjs|cjs|ts|tsx|java|kt|"
    r"rb|php|c|cc|cpp|cs|swift|scala|ex|exs|sh|bats|lua)$"
)


def fold(path: str) -> str:
    """The path as a lenient file system or reader may see it: NFKC, lower case, ``/`` between parts, no ``.`` parts."""
    text = unicodedata.normalize("NFKC", path).casefold().replace("\\", "/")
    return "/".join(part.rstrip(". ") or part for part in text.split("/") if part not in ("", "."))


def _under(path: str, folder: str) -> bool:
    return f"/{folder}/" in f"/{path}"


def _rooted(path: str, pattern: str) -> bool:
    if pattern.endswith("/**"):
        return path.startswith(pattern[:-2])
    return path.count("/") == pattern.count("/") and fnmatchcase(path, pattern)


def is_evaluator_surface(path: str, ci_command: str = "") -> bool:
    """Whether a change of this path could change how work is judged: CI, test runner or linter configuration, agent
    instructions, git attributes. With ``ci_command`` also the files that command names (``make test`` -> Makefile)."""
    folded = fold(path)
    name = folded.rpartition("/")[2]
    return (
        any(_rooted(folded, pattern) for pattern in _CI)
        or any(fnmatchcase(name, pattern) for pattern in (*_RUNNER_NAMES, *_AGENT_NAMES, *_GIT_NAMES))
        or any(_under(folded, folder) or folded == folder for folder in _AGENT_FOLDERS)
        or folded in ci_files(ci_command)
    )


def ci_files(command: str) -> frozenset[str]:
    """Folded paths that a CI command line reads to know what to do: the script it names and its tool's own file."""
    found: set[str] = set()
    words = re.split(r"[\s;&|()]+", command)
    for word in words:
        cleaned = fold(word.strip("\"'"))
        found.update(_TOOL_FILES.get(cleaned.rpartition("/")[2], ()))
        if "/" in cleaned or re.search(r"\.(sh|py|js|ts|rb|pl|mk|yml|yaml|toml|ini)$", cleaned):
            found.add(cleaned)
    return frozenset(found)


def is_infrastructure(path: str) -> bool:
    """Whether merging a change of this path may act outside the repository: containers, compose files, database
    migrations, deployment and service definitions, environment files."""
    folded = fold(path)
    first, slash, _ = folded.partition("/")
    name = folded.rpartition("/")[2]
    return (
        any(fnmatchcase(name, pattern) for pattern in _INFRA_NAMES)
        or any(_under(folded.rpartition("/")[0] + "/", folder) for folder in _INFRA_FOLDERS)
        or (bool(slash) and first in _INFRA_ROOTS)
    )


def is_test(path: str) -> bool:
    """Whether the path is a test, its data or its snapshots, by the customs of the common languages."""
    parts = path.replace("\\", "/").split("/")
    return bool(_TEST_FOLDERS & {part.lower() for part in parts[:-1]}) or bool(_TEST_NAME.match(parts[-1]))

"""A guess at how a project sets itself up and tests itself, from its files, with the reason in words. Pure.

``init`` writes the guess into ``factory.toml`` beside its reason; a person corrects it there. Set-up may reach a
registry and leaves folders; tests then run offline, so every command here works without a network once those folders
are there. A Makefile's ``test`` wins over what a language's customs say: the project said so itself.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from factory.config.model import Ci, Environment

Read = Callable[[str], bytes | None]

_PYPI = ("pypi.org", "files.pythonhosted.org")
_PIP = ".venv/bin/python -m pip install --quiet --disable-pip-version-check"


@dataclass(frozen=True)
class Guess:
    """Set-up and tests as guessed from a project's files, with the reason for each."""

    environment: Environment
    ci: Ci
    environment_reasons: tuple[str, ...]
    ci_reasons: tuple[str, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """All of them, the environment's first."""
        return self.environment_reasons + self.ci_reasons


def detect(files: Mapping[str, bytes]) -> Guess:
    """The guess for a project with these files: path from its root -> content (empty will do for what is large or deep
    down, the paths matter most). Never raises for what a file holds."""
    names, read = frozenset(files), files.get
    for language in (_python, _node, _go, _rust, _maven, _gradle):
        guess = language(names, read)
        if guess is not None:
            return _with_makefile(guess, names, read)
    nothing = Guess(
        Environment(),
        Ci(),
        ("nothing known was found in the project's root; say what a checkout needs, or leave this empty",),
        ("nothing known was found in the project's root; say here what decides",),
    )
    return _with_makefile(nothing, names, read)


def _with_makefile(guess: Guess, names: frozenset[str], read: Read) -> Guess:
    for name in ("GNUmakefile", "makefile", "Makefile"):
        if name in names and re.search(r"(?m)^test\s*:(?!=)", _text(read, name)):
            prefix = 'PATH="$PWD/.venv/bin:$PATH" ' if ".venv" in guess.environment.cache else ""
            return Guess(
                guess.environment,
                Ci(command=f"{prefix}make test"),
                guess.environment_reasons,
                (f"guessed: {name} has a target `test`",),
            )
    return guess


def _python(names: frozenset[str], read: Read) -> Guess | None:
    manifests = ("pyproject.toml", "setup.py", "setup.cfg", "requirements.txt", "tox.ini", "pytest.ini")
    present = [name for name in manifests if name in names]
    if not present and not any(name.endswith(".py") and "/" not in name for name in names):
        return None
    project = _toml(read, "pyproject.toml") if "pyproject.toml" in names else {}
    tests = sorted(name for name in names if re.search(r"(^|/)(test_[^/]*|[^/]*_test)\.py$", name))
    needs, wanted, locks = _python_needs(names, project, read)
    pytest_signs: list[str] = [name for name in ("pytest.ini", "conftest.py", "tests/conftest.py") if name in names]
    if "pytest" in _table(project.get("tool")):
        pytest_signs.append("[tool.pytest] in pyproject.toml")
    if any(re.match(r"(?i)pytest\b", need) for need in wanted):
        pytest_signs.append("pytest among its test requirements")
    if not pytest_signs and (using := next((t for t in tests if _imports(read, t, "pytest")), None)):
        pytest_signs.append(f"`import pytest` in {using}")
    source = "src:." if any(name.startswith("src/") for name in names) else "."
    if not tests and not pytest_signs:
        command, why = "", "no test was found; say here what decides"
    elif pytest_signs:
        command, why = f"PYTHONPATH={source} .venv/bin/python -m pytest -q", f"guessed: pytest, by {pytest_signs[0]}"
    else:
        command, why = _unittest(names, tests, source, bool(needs or wanted))
    if pytest_signs and not any(re.match(r"(?i)pytest\b", need) for need in wanted):
        wanted = [*wanted, "pytest"]
    if not needs and not wanted:
        return Guess(Environment(), Ci(command=command), ("guessed: it needs nothing but Python",), (why,))
    setup = ["python3 -m venv .venv"]
    requirements = [need for need in needs if need.startswith("-r ")] + [w for w in wanted if w.startswith("-r ")]
    plain = [need for need in (*needs, *wanted) if not need.startswith("-r ")]
    setup += [f"{_PIP} {need}" for need in dict.fromkeys(requirements)]
    if plain:
        setup.append(f"{_PIP} {' '.join(_quoted(need) for need in dict.fromkeys(plain))}")
    environment = Environment(tuple(setup), (".venv",), tuple(locks), _PYPI)
    return Guess(environment, Ci(command=command), (f"guessed from {' and '.join(locks) or 'its tests'}",), (why,))


def _unittest(names: frozenset[str], tests: list[str], source: str, venv: bool) -> tuple[str, str]:
    python = ".venv/bin/python" if venv else "python3"
    prefix = f"PYTHONPATH={source} " if source != "." else ""
    folder = tests[0].partition("/")[0] if "/" in tests[0] else ""
    if folder and f"{folder}/__init__.py" not in names:
        return f"{prefix}{python} -m unittest discover -q -s {folder} -t {folder}", f"guessed: unittest in {folder}/"
    return f"{prefix}{python} -m unittest -q", f"guessed: unittest, by {tests[0]}"


def _python_needs(names: frozenset[str], project: dict[str, Any], read: Read) -> tuple[list[str], list[str], list[str]]:
    """(what it needs, what its tests need besides, files that say so)."""
    table = _table(project.get("project"))
    needs = _strings(table.get("dependencies"))
    wanted: list[str] = []
    for source in (_table(table.get("optional-dependencies")), _table(project.get("dependency-groups"))):
        for key in ("test", "tests", "testing", "dev"):
            found = _strings(source.get(key))
            if found:
                wanted += found
                break
    locks = ["pyproject.toml"] if needs or wanted else []
    for name in ("requirements.txt", "requirements-dev.txt", "requirements-test.txt", "dev-requirements.txt"):
        if name in names and re.search(r"(?m)^\s*[^#\s]", _text(read, name)):
            (needs if name == "requirements.txt" else wanted).append(f"-r {name}")
            locks.append(name)
    return needs, wanted, locks


def _node(names: frozenset[str], read: Read) -> Guess | None:
    if "package.json" not in names:
        return None
    try:
        package = json.loads(_text(read, "package.json"))
    except (ValueError, RecursionError):
        package = {}
    package = _table(package)
    script = _table(package.get("scripts")).get("test")
    tools = (
        ("pnpm-lock.yaml", "pnpm", "pnpm install --frozen-lockfile"),
        ("yarn.lock", "yarn", "yarn install --frozen-lockfile"),
        ("package-lock.json", "npm", "npm ci --no-audit --no-fund"),
        ("npm-shrinkwrap.json", "npm", "npm ci --no-audit --no-fund"),
    )
    unlocked = ("", "npm", "npm install --no-audit --no-fund")
    lock, tool, install = next((row for row in tools if row[0] in names), unlocked)
    runs = isinstance(script, str) and "no test specified" not in script
    needs = bool(lock) or any(package.get(key) for key in ("dependencies", "devDependencies"))
    locks = (lock, "package.json") if lock else ("package.json",)
    environment = Environment((install,), ("node_modules",), locks, ("registry.npmjs.org",)) if needs else Environment()
    why = f"guessed from {lock or 'package.json'}" if needs else "guessed: package.json asks for nothing"
    said = "guessed: package.json has a script `test`" if runs else "package.json has no test; say here what decides"
    return Guess(environment, Ci(command=f"{tool} test" if runs else ""), (why,), (said,))


def _go(names: frozenset[str], read: Read) -> Guess | None:
    if "go.mod" not in names:
        return None
    if "go.sum" not in names or "vendor/modules.txt" in names:
        reason = "its modules are in vendor/" if "vendor/modules.txt" in names else "go.mod asks for no module"
        return Guess(Environment(), Ci(command="go test ./..."), (f"guessed: {reason}",), ("guessed from go.mod",))
    environment = Environment(
        ('GOMODCACHE="$PWD/.go-modules" go mod download',),
        (".go-modules",),
        ("go.mod", "go.sum"),
        ("proxy.golang.org", "sum.golang.org"),
    )
    command = 'GOMODCACHE="$PWD/.go-modules" GOFLAGS=-mod=mod GOPROXY=off go test ./...'
    return Guess(environment, Ci(command=command), ("guessed from go.sum",), ("guessed from go.mod",))


def _rust(names: frozenset[str], read: Read) -> Guess | None:
    if "Cargo.toml" not in names:
        return None
    locked = " --locked" if "Cargo.lock" in names else ""
    environment = Environment(
        (f'CARGO_HOME="$PWD/.cargo-home" cargo fetch{locked}',),
        (".cargo-home",),
        tuple(name for name in ("Cargo.toml", "Cargo.lock") if name in names),
        ("index.crates.io", "static.crates.io"),
    )
    command = f'CARGO_HOME="$PWD/.cargo-home" cargo test --offline{locked}'
    return Guess(environment, Ci(command=command), ("guessed from Cargo.toml",), ("guessed from Cargo.toml",))


def _maven(names: frozenset[str], read: Read) -> Guess | None:
    if "pom.xml" not in names:
        return None
    mvn = "./mvnw" if "mvnw" in names else "mvn"
    environment = Environment(
        (f"{mvn} -B -q -Dmaven.repo.local=.m2 dependency:go-offline",),
        (".m2",),
        ("pom.xml",),
        ("repo.maven.apache.org", "repo1.maven.org"),
    )
    command = f"{mvn} -B -q -o -Dmaven.repo.local=.m2 test"
    return Guess(environment, Ci(command=command), ("guessed from pom.xml",), ("guessed from pom.xml",))


def _gradle(names: frozenset[str], read: Read) -> Guess | None:
    found = next((name for name in ("build.gradle.kts", "build.gradle") if name in names), None)
    if found is None:
        return None
    gradle = "./gradlew" if "gradlew" in names else "gradle"
    environment = Environment(
        (f'GRADLE_USER_HOME="$PWD/.gradle-home" {gradle} --no-daemon -q testClasses',),
        (".gradle-home",),
        (found,),
        ("repo.maven.apache.org", "plugins.gradle.org", "services.gradle.org", "downloads.gradle.org"),
    )
    command = f'GRADLE_USER_HOME="$PWD/.gradle-home" {gradle} --no-daemon --offline test'
    return Guess(environment, Ci(command=command), (f"guessed from {found}",), (f"guessed from {found}",))


def _text(read: Read, path: str) -> str:
    return (read(path) or b"").decode("utf-8", "replace")


def _toml(read: Read, path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(_text(read, path))
    except (tomllib.TOMLDecodeError, RecursionError):
        return {}


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _strings(value: object) -> list[str]:
    """Requirement lines of a list; references to other groups and what pip would take for an option are left out."""
    items = value if isinstance(value, list) else []
    return [item for item in items if isinstance(item, str) and re.match(r"[A-Za-z0-9]", item) and "\n" not in item]


def _imports(read: Read, path: str, module: str) -> bool:
    return re.search(rf"(?m)^\s*(import|from)\s+{module}\b", _text(read, path)) is not None


def _quoted(need: str) -> str:
    """The requirement as one word of a shell line."""
    return need if re.fullmatch(r"[A-Za-z0-9._-]+", need) else "'" + need.replace("'", "'\"'\"'") + "'"

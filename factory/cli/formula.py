"""``factory formula``: list, show and check formulas."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from factory.cli import here
from factory.cli.check import report
from factory.cli.output import emit, json_option, say, table

if TYPE_CHECKING:
    from factory.formula.catalog import Catalog


@click.group()
def formula() -> None:
    """Formulas: what agents are asked to do, as files."""


@formula.command("list")
@json_option
def list_formulas(as_json: bool) -> None:
    """All formulas in force, and where each comes from."""
    catalog = _in_force()
    facts: list[dict[str, Any]] = [
        {
            "name": f.name,
            "role": f.role,
            "version": f.version,
            "origin": f.origin,
            "steps": [s.id for s in f.steps],
            "digest": f.digest,
            "description": f.description,
            "vault": None if f.vault is None else {"class": f.vault.effect_class, "floor": f.vault.floor},
        }
        for f in catalog.formulas.values()
    ]
    broken = [{"name": name, "problems": len(problems)} for name, problems in sorted(catalog.broken.items())]

    def text(_: object) -> str:
        rows = [(f["name"], f["role"], f["origin"], f["description"]) for f in facts]
        rows += [
            (b["name"], "", catalog.files[str(b["name"])].origin, "not valid: factory formula check") for b in broken
        ]
        return table(("formula", "role", "origin", "what it does"), rows)

    emit("formula-list", {"formulas": facts, "broken": broken}, as_json=as_json, text=text)


@formula.command()
@click.argument("name")
@click.option("--packaged", "shipped", is_flag=True, help="The packaged file, also where the ops repo replaces it.")
@json_option
def show(name: str, shipped: bool, as_json: bool) -> None:
    """The text of the formula NAME, as it is in force."""
    from factory.formula.catalog import load_formulas

    catalog = load_formulas({}) if shipped else _in_force()
    if name not in catalog.files:
        catalog.get(name)  # says what there is
    file = catalog.files[name]
    facts = {
        "name": name,
        "origin": file.origin,
        "path": file.path,
        "digest": file.digest,
        "valid": name not in catalog.broken,
        "text": file.text.decode("utf-8", "replace"),
    }
    if not as_json:
        say(f"{file.path} · {file.origin} · sha256 {file.digest}")
        if not facts["valid"]:
            say("this file is not valid: `factory formula check` says why")
    emit("formula", facts, as_json=as_json, text=lambda f: str(f["text"]).rstrip("\n"))


@formula.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@json_option
def check(paths: tuple[Path, ...], as_json: bool) -> None:
    """Check the formulas in force, or the files PATHS; all problems at once. Exit code 1 when there are any."""
    from factory.app.configuration import check_paths

    if paths:
        done = check_paths(paths)
        report("formula-check", done.places, done.problems, done.notes, as_json=as_json)
        return
    catalog = _in_force()
    places = [file.path for file in catalog.files.values()]
    report("formula-check", places, catalog.problems, (), as_json=as_json)


def _in_force() -> Catalog:
    """The deployment's formulas; without a deployment, the packaged ones."""
    from factory.app.configuration import CHECK_NAMES, ops_files
    from factory.config.home import factory_home
    from factory.config.host import host_path
    from factory.config.role import load_roles
    from factory.formula.catalog import load_formulas

    files: dict[str, bytes] = {}
    if host_path(factory_home()).exists():
        deployment = here.deployment()
        for _, ops in deployment.projects()[:1]:
            files, stale = ops_files(deployment, ops)
            if stale:
                say(f"note: {stale}")
    return load_formulas(files, roles=load_roles(files).known, checks=CHECK_NAMES)

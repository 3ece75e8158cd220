"""``factory init``: set up a factory for a project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from factory.cli.output import emit, json_option, say

if TYPE_CHECKING:
    from factory.app.setup import Done


@click.command()
@click.argument("source")
@click.option("--name", help="Name of the project on the forge, or owner/name. Default: the last part of SOURCE.")
@click.option("--login", help="Your account on the forge: you approve. Default: founder, or whose admin token it is.")
@click.option("--mode", type=click.Choice(["observe", "suggest", "merge"]), help="How far it goes by itself.")
@click.option("--ci", "ci_command", help="The line that decides whether a commit is green. Default: guessed.")
@click.option("--forge", "forge_url", help="A Forgejo's address. Default: the embedded forge, on this machine.")
@click.option("--admin-token-file", type=click.Path(path_type=Path), help="An admin's token for it; not stored.")
@click.option(
    "--tokens-dir",
    type=click.Path(path_type=Path),
    help="Where you are no admin: a folder with a prepared token per account, in a file named like its login.",
)
@click.option(
    "--account",
    "accounts",
    multiple=True,
    metavar="DUTY=LOGIN",
    help="The account of a role or duty, where it is not the usual one; several may share one. Repeat it.",
)
@click.option(
    "--hook-url", help="Where a forge elsewhere reaches this machine's /hooks/forge, through a proxy of yours."
)
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the embedded forge (3000).")
@click.option("--web-port", type=click.IntRange(1, 65535), help="Port of run logs and webhooks (3080).")
@click.option("--protect", is_flag=True, help="Apply the proposed branch protection to an existing project.")
@click.option("--public", is_flag=True, help="Make the project's repo public on the forge.")
@click.option("--dry-run", is_flag=True, help="Show what would be done and do nothing but look.")
@json_option
def init(
    source: str,
    name: str | None,
    login: str | None,
    mode: str | None,
    ci_command: str | None,
    forge_url: str | None,
    admin_token_file: Path | None,
    tokens_dir: Path | None,
    accounts: tuple[str, ...],
    hook_url: str | None,
    port: int | None,
    web_port: int | None,
    protect: bool,
    public: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Set up a factory for SOURCE (a folder with a git repository, or a git URL).

    Makes the accounts, the ops repo and its rules, and pushes the code to the forge. Run again after an interruption:
    it looks first and does only what is missing. On a forge where you are no admin it lists what its admin must do.
    """
    from datetime import UTC, datetime

    from factory.app.prepared import AdminNeeded
    from factory.app.setup import Request, set_up
    from factory.config.home import factory_home
    from factory.config.model import Mode
    from factory.errors import UsageError

    token = None
    if admin_token_file is not None:
        try:
            token = admin_token_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise UsageError(f"reading the admin's token from {admin_token_file}: {error.strerror}") from error
    request = Request(
        source=source,
        home=factory_home(),
        name=name,
        login=login,
        mode=Mode(mode) if mode else None,
        forge_url=forge_url,
        admin_token=token,
        tokens_dir=tokens_dir,
        accounts=_accounts(accounts),
        hook_url=hook_url,
        forge_port=port,
        web_port=web_port,
        ci_command=ci_command,
        protect=protect,
        private=not public,
    )
    try:
        done = set_up(request, now=datetime.now(UTC), said=lambda line: say(f"  {line}"), dry_run=dry_run)
    except AdminNeeded as needed:
        left = list(needed.instructions)
        told = {"instructions": left, "dry_run": dry_run}
        emit("init", told, as_json=as_json, text=lambda _: "\n".join(f"- {line}" for line in left))
        raise
    facts = {
        "project": str(done.project),
        "ops": str(done.ops),
        "forge": done.forge_url,
        "mode": done.mode.value,
        "login": done.login,
        "password": done.password,
        "ci": done.ci.command,
        "ci_reasons": list(done.ci_reasons),
        "setup": list(done.environment.setup),
        "setup_reasons": list(done.environment_reasons),
        "egress": list(done.environment.egress) if done.environment.setup else [],
        "reasons": list(done.reasons),
        "proposals": list(done.proposals),
        "notes": list(done.notes),
        "seed": done.seed,
        "ledger": done.ledger,
        "dry_run": dry_run,
        "steps": list(done.steps),
        "up": done.up,
    }
    emit("init", facts, as_json=as_json, text=lambda _: _shown(facts, done))


def _accounts(given: tuple[str, ...]) -> dict[str, str]:
    from factory.config.model import DEFAULT_ACCOUNTS
    from factory.errors import UsageError

    found = {}
    for text in given:
        duty, equals, login = text.partition("=")
        if not equals or not login or duty not in DEFAULT_ACCOUNTS:
            raise UsageError(
                f"reading --account {text}: not DUTY=LOGIN",
                hint=f"for example dev=our-robot; duties are {', '.join(DEFAULT_ACCOUNTS)}",
            )
        found[duty] = login
    return found


def _shown(facts: dict[str, Any], done: Done) -> str:
    if facts["dry_run"]:
        if facts["steps"]:
            lines = [f"factory init would, on {facts['forge']}:", *(f"  {step}" for step in facts["steps"])]
        else:
            lines = [f"factory init would do, on {facts['forge']}:", "  nothing: it is all there"]
        return "\n".join([*lines, *_guess(facts), *_rest(facts)])
    lines = [f"{facts['project']} has a factory, in mode {facts['mode']}."]
    if not facts["steps"]:
        lines.append("  nothing to do: it is all there")
    lines += [f"  forge      {facts['forge']}/{facts['project']}", f"  dashboard  {facts['forge']}/{facts['ops']}"]
    lines += _guess(facts)
    if facts["password"]:
        lines.append(f"  sign in    {facts['login']} / {facts['password']}")
    if facts["ledger"]:
        lines.append(f"  ledger     begins with {facts['ledger']}: keep that number somewhere else")
    lines += _rest(facts)
    if facts["up"] and facts["steps"]:
        lines.append("next: factory down, then factory up --detach: what runs does not serve it yet")
    elif not facts["up"]:
        lines += ["then: factory up"] if done.agents else ["next: factory hire claude-code", "then: factory up"]
    return "\n".join(lines)


def _guess(facts: dict[str, Any]) -> list[str]:
    """How it is set up and tested, with why, and what needs the network."""
    command = facts["ci"] or "none found: set [ci] command with `factory edit factory.toml`"
    lines = [f"  tests      {command}", *(f"             ({reason})" for reason in facts["ci_reasons"])]
    for number, line in enumerate(facts["setup"]):
        lines.append(f"  {'set-up' if number == 0 else '':<9}  {line}")
    if facts["setup"]:
        lines += [f"             ({reason})" for reason in facts["setup_reasons"]]
    if facts["egress"]:
        lines.append(f"             needs the network: {', '.join(facts['egress'])}; tests and agents run without")
    return lines


def _rest(facts: dict[str, Any]) -> list[str]:
    notes = [line for note in facts["notes"] for line in f"note: {note}".split("\n")]
    return [*(f"  {proposal}" for proposal in facts["proposals"]), *(f"  {line}" for line in notes)]

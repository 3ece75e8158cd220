"""``factory init``: set up a factory for a project."""

from __future__ import annotations

from pathlib import Path

import click

from factory.cli.output import emit, json_option, say


@click.command()
@click.argument("source")
@click.option("--name", help="Name of the project on the forge, or owner/name. Default: the last part of SOURCE.")
@click.option("--login", default="founder", show_default=True, help="Your account on the forge: you approve.")
@click.option("--mode", type=click.Choice(["observe", "suggest", "merge"]), help="How far it goes by itself.")
@click.option("--ci", "ci_command", help="The line that decides whether a commit is green. Default: guessed.")
@click.option("--forge", "forge_url", help="A Forgejo's address. Default: the embedded forge, on this machine.")
@click.option("--admin-token-file", type=click.Path(path_type=Path), help="An admin's token for it; not stored.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the embedded forge (3000).")
@click.option("--web-port", type=click.IntRange(1, 65535), help="Port of run logs and webhooks (3080).")
@click.option("--protect", is_flag=True, help="Apply the proposed branch protection to an existing project.")
@click.option("--public", is_flag=True, help="Make the project's repo public on the forge.")
@click.option("--dry-run", is_flag=True, help="Show what would be done and do nothing but look.")
@json_option
def init(
    source: str,
    name: str | None,
    login: str,
    mode: str | None,
    ci_command: str | None,
    forge_url: str | None,
    admin_token_file: Path | None,
    port: int | None,
    web_port: int | None,
    protect: bool,
    public: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Set up a factory for SOURCE (a folder with a git repository, or a git URL).

    Makes the accounts, the ops repo and its rules, and pushes the code to the forge. Run again after an interruption:
    it looks first and does only what is missing.
    """
    from datetime import UTC, datetime

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
        forge_port=port,
        web_port=web_port,
        ci_command=ci_command,
        protect=protect,
        private=not public,
    )
    done = set_up(request, now=datetime.now(UTC), said=lambda line: say(f"  {line}"), dry_run=dry_run)
    facts = {
        "project": str(done.project),
        "ops": str(done.ops),
        "forge": done.forge_url,
        "mode": done.mode.value,
        "login": done.login,
        "password": done.password,
        "ci": done.ci.command,
        "setup": list(done.environment.setup),
        "reasons": list(done.reasons),
        "proposals": list(done.proposals),
        "seed": done.seed,
        "dry_run": dry_run,
        "steps": list(done.steps),
    }

    def text(_: object) -> str:
        if dry_run:
            body = "\n".join(f"  {step}" for step in done.steps) or "  nothing: it is all there"
            return f"factory init would, on {done.forge_url}:\n{body}"
        lines = [
            f"{done.project} has a factory, in mode {done.mode.value}.",
            f"  forge      {done.forge_url}/{done.project}",
            f"  dashboard  {done.forge_url}/{done.ops}",
            f"  tests      {done.ci.command or 'none found: set [ci] command with `factory edit factory.toml`'}",
        ]
        if done.password:
            lines.append(f"  sign in    {done.login} / {done.password}")
        lines += [f"  {proposal}" for proposal in done.proposals]
        lines += ["next: factory hire claude-code", "then: factory up"]
        return "\n".join(lines)

    emit("init", facts, as_json=as_json, text=text)

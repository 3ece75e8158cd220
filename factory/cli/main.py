"""``factory``: the command line. One file per command, loaded only when it is asked for."""

from __future__ import annotations

import importlib
import sys
from difflib import get_close_matches

import click

from factory import __version__

COMMANDS: dict[str, tuple[str, str]] = {
    # name: (module:attribute, one-line help shown without importing it)
    "demo": ("factory.cli.demo:demo", "The whole loop on an example project, in about a minute."),
    "init": ("factory.cli.init:init", "Set up a factory for a project (a path or a git URL)."),
    "up": ("factory.cli.up:up", "Start the factory."),
    "down": ("factory.cli.down:down", "Stop it."),
    "status": ("factory.cli.status:status", "What runs, what waits, what it costs."),
    "doctor": ("factory.cli.doctor:doctor", "Prove that this machine and this deployment are sound."),
    "check": ("factory.cli.check:check", "Check every file of the configuration; all problems at once."),
    "mode": ("factory.cli.mode:mode", "Show or propose what the factory may do: observe, suggest, merge."),
    "login": ("factory.cli.login:login", "Your own account's token, for what only a person may do."),
    "edit": ("factory.cli.edit:edit", "Change a file of the ops repo; a pull request where one is needed."),
    "vault": ("factory.cli.vault:vault", "Risky actions: what waits, approving, asking, the ledger."),
    "secret": ("factory.cli.secret:secret", "Keep what vault actions may use and nobody else may read."),
    "notify": ("factory.cli.notify:notify", "Tell people outside the forge what needs them."),
    "hire": ("factory.cli.hire:hire", "Add an agent and bind it to roles."),
    "agents": ("factory.cli.agents:agents", "Who works here, with what, and how it is going."),
    "pause": ("factory.cli.pause:pause", "Stop all, the project or a role at once."),
    "resume": ("factory.cli.pause:resume", "Go on after a pause."),
    "issue": ("factory.cli.issue:issue", "File, list and show issues."),
    "runs": ("factory.cli.runs:runs", "List, show, read and cancel runs."),
    "formula": ("factory.cli.formula:formula", "List, show and check formulas."),
    "explain": ("factory.cli.explain:explain", "What is in the way of an issue, pull request, action."),
    "replay-tick": ("factory.cli.replay_tick:replay_tick", "Recompute the plan of a recorded tick."),
    "session": ("factory.cli.session:session", "Execute one run's session (what the daemon starts)."),
}
HIDDEN = frozenset({"session"})


class LazyGroup(click.Group):
    """A group that knows its commands' names and one-liners without importing any of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in COMMANDS if name not in HIDDEN]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name][0].split(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = get_close_matches(args[0], self.list_commands(ctx), 1)
            meant = f" Did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"{args[0]!r} is not a command.{meant} `factory --help` lists them.", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="factory")
def cli() -> None:
    """A self-hosted software factory whose only database is git."""


def main(argv: list[str] | None = None) -> None:
    """Entry point: run a command, map every ending to its exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments == ["--version"]:
        click.echo(f"factory, version {__version__}")
        return
    from factory.cli.endings import ended

    with ended(arguments):
        # Without its standalone mode click returns the code of an Exit instead of leaving with it.
        code = cli.main(args=arguments, prog_name="factory", standalone_mode=False)
        if isinstance(code, int) and code:
            sys.exit(code)

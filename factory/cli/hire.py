"""``factory hire``: add an agent and bind it to roles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from factory.cli import here
from factory.cli.output import emit, json_option, say


@click.command()
@click.argument("backend")
@click.option("--name", help="Its name. Default: made from BACKEND.")
@click.option("--roles", help="Roles, with commas between. Default: all that no other agent fills.")
@click.option("--model", help="The model it asks for.")
@click.option("--url", help="Where the model answers.")
@click.option("--key-file", type=click.Path(path_type=Path), help="File with the key; kept by the gateway alone.")
@click.option("--replay", type=click.Path(path_type=Path), help="Play this recording instead of asking a model.")
@click.option("--slots", type=click.IntRange(1, 200), help="Sessions at the same time.")
@click.option("--price-input", type=click.FloatRange(min=0), help="USD per million input tokens.")
@click.option("--price-output", type=click.FloatRange(min=0), help="USD per million output tokens.")
@click.option("--no-test", is_flag=True, help="Hire it without asking the model a first question.")
@json_option
def hire(
    backend: str,
    name: str | None,
    roles: str | None,
    model: str | None,
    url: str | None,
    key_file: Path | None,
    replay: Path | None,
    slots: int | None,
    price_input: float | None,
    price_output: float | None,
    no_test: bool,
    as_json: bool,
) -> None:
    """Hire BACKEND: claude-code, anthropic, openai, llama, native, native-openai; or the name of an agent to change it.

    It works on this host at once. The pull request that this opens shares it with the project's other hosts.
    """
    from factory.app.hiring import Wish, hired

    wish = Wish(
        backend,
        name=name,
        roles=tuple(role.strip() for role in (roles or "").split(",") if role.strip()),
        model=model,
        url=url,
        key_file=key_file,
        replay=replay,
        slots=slots,
        price_input=price_input,
        price_output=price_output,
    )
    facts = hired(here.deployment(), wish, test=not no_test)
    for told in facts["shared"]:
        if told["number"]:
            say(f"approve it to share it: {told['url']}")
    if facts["waits_for_approval"]:
        say("its roles and model change when that is approved; address, key, slots and prices are in force now")
    if facts["unshared"]:
        say(
            f"note: it works here, but is not shared yet ({facts['unshared']}); "
            f"`factory hire {facts['name']}` tries again"
        )
    if not facts["priced"] and not facts["replay"]:
        say("note: without --price-input and --price-output its calls count as $0, and budgets cannot hold it")

    def text(f: Any) -> str:
        verb = "changed" if f["changed"] else "hired"
        smoke = f["smoke_test"]
        tested = (
            f"smoke test {smoke['seconds']:.0f} s" if smoke else "plays a recording" if f["replay"] else "not tested"
        )
        return (
            f"{verb} {f['name']} ({f['backend']}, {f['model']}) for {', '.join(f['roles'])} · {tested} · "
            f"change with `factory hire {f['name']} --roles ...`"
        )

    emit("hire", facts, as_json=as_json, text=text)

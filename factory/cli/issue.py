"""``factory issue``: file, list and show issues."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from factory.cli import here
from factory.cli.output import emit, json_option, project_option, say, table


@click.group()
def issue() -> None:
    """Issues: what you want done."""


@issue.command("file")
@click.argument("title")
@click.option("--body", "-b", default="", help="Its text, Markdown.")
@click.option(
    "--body-file", type=click.Path(path_type=Path, allow_dash=True), help="Its text, from a file; - is stdin."
)
@click.option("--label", "-l", "labels", multiple=True, help="A label; repeat for more.")
@click.option("--depends-on", "-d", multiple=True, type=click.IntRange(min=1), help="Issue that must be done before.")
@click.option("--start", is_flag=True, help="Set `backlog`: the factory may work on it.")
@click.option("--token-file", type=click.Path(path_type=Path), help="File as this token's owner; not stored.")
@project_option
@json_option
def file_(
    title: str,
    body: str,
    body_file: Path | None,
    labels: tuple[str, ...],
    depends_on: tuple[int, ...],
    start: bool,
    token_file: Path | None,
    project: str | None,
    as_json: bool,
) -> None:
    """File an issue titled TITLE.

    On the embedded forge it is filed as the founder, with a token that lives only for this command. On a forge
    elsewhere pass your own with --token-file.
    """
    import sys

    from factory.app.issues import file_issue, token_from
    from factory.errors import UsageError

    if body_file is not None:
        if body:
            raise UsageError("filing an issue: --body and --body-file both give its text", hint="give one of them")
        try:
            body = sys.stdin.read() if str(body_file) == "-" else body_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"reading the text from {body_file}: {error}") from error
    facts = file_issue(
        here.deployment(),
        title,
        body,
        project=project,
        labels=labels,
        depends_on=depends_on,
        start=start,
        token=token_from(token_file),
    )

    def text(f: Any) -> str:
        after = f", after {', '.join(f'#{n}' for n in f['depends_on'])}" if f["depends_on"] else ""
        told = f"issue #{f['number']} filed by {f['by']}{after}: {f['title']}\n  {f['url']}"
        if "backlog" not in f["labels"]:
            told += "\n  the factory starts it when somebody trusted sets the label `backlog` (here: --start)"
        return told

    emit("issue", facts, as_json=as_json, text=text)
    if "backlog" in facts["labels"] and not facts["up"]:
        say("note: the factory is down; it begins with: factory up --detach")


@issue.command("list")
@click.option("--all", "everything", is_flag=True, help="Closed ones too.")
@project_option
@json_option
def list_(everything: bool, project: str | None, as_json: bool) -> None:
    """Open issues, and where each stands."""
    from factory.app.issues import list_issues

    facts = list_issues(here.deployment(), project=project, state="all" if everything else "open")

    def text(f: Any) -> str:
        rows = [
            (f"#{i['number']}", i["state"], i["title"], ", ".join(i["labels"]), _standing(i)) for i in f["issues"]
        ]  # fmt: skip
        return table(("issue", "state", "title", "labels", "standing"), rows) if rows else "no issues"

    emit("issue-list", facts, as_json=as_json, text=text)


def _standing(issue: Any) -> str:
    if issue["standing"] is None:
        return ""
    said = issue["way"] if issue["standing"] in ("waits", "not started") else ""
    return f"{issue['standing']}: {said}" if said else str(issue["standing"])


@issue.command()
@click.argument("number", type=click.IntRange(min=1))
@project_option
@json_option
def show(number: int, project: str | None, as_json: bool) -> None:
    """Issue NUMBER: its text, what it depends on, and what stands in its way."""
    from factory.app.issues import show_issue
    from factory.cli.explain import told

    facts = show_issue(here.deployment(), number, project=project)

    def text(f: Any) -> str:
        lines = [f"#{f['number']} {f['title']}", f"  {f['url']}", f"  {f['state']}, by {f['author']}"]
        if f["labels"]:
            lines.append(f"  labels: {', '.join(f['labels'])}")
        lines += [f"  depends on #{d['number']} ({d['state']}): {d['title']}" for d in f["depends_on"]]
        if f["body"].strip():
            lines += ["", f["body"].strip()]
        for comment in f["comments"]:
            lines += ["", f"{comment['by']} wrote at {comment['at']}:", comment["body"].strip()]
        if f["explanation"] is not None:
            lines += ["", told(f["explanation"])]
        else:
            say("note: no tick has looked at it yet")
        return "\n".join(lines)

    emit("issue", facts, as_json=as_json, text=text)

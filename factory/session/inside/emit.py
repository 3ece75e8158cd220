"""``emit KIND ...``: ask the factory for something. Says at once what is wrong, or what is left of the limits."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from factory.session.inside import layout, outbox


def main(arguments: Sequence[str]) -> int:
    """0: written and on disk. 2: nothing was written, the reason is on standard error."""
    moved = layout.path_map()
    try:
        line = _line(_parser().parse_args(arguments))
        with open(f"{layout.place(layout.IN, moved)}/grants.json", encoding="utf-8") as source:
            grants: dict[str, Any] = json.load(source)
        problems, counts = _append(f"{layout.place(layout.OUT, moved)}/outbox.jsonl", line, grants)
    except (OSError, ValueError) as error:
        problems, counts = [str(error)], {}
    if problems:
        for text in problems:
            sys.stderr.write(f"emit: {text}\n")
        sys.stderr.write("emit: nothing was recorded\n")
        return 2
    rest = ", ".join(f"{kind} {number}" for kind, number in outbox.left(grants, counts).items())
    sys.stdout.write(f"recorded: {line['kind']}. left: {rest or 'nothing'}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="emit", description="Ask the factory for something; it acts after the session."
    )
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    pull = kinds.add_parser("pull", help="open a pull request for the work branch")
    pull.add_argument("--title", required=True)
    comment = kinds.add_parser("comment", help="comment on the subject")
    label = kinds.add_parser("label", help="change labels of the subject")
    label.add_argument("--add", action="append", default=[], metavar="LABEL")
    label.add_argument("--remove", action="append", default=[], metavar="LABEL")
    issue = kinds.add_parser("issue", help="file an issue")
    issue.add_argument("--title", required=True)
    issue.add_argument("--label", action="append", default=[], metavar="LABEL", dest="labels")
    refuse = kinds.add_parser("refuse", help="say why this cannot be done now")
    refuse.add_argument("--reason", required=True, choices=outbox.REASONS)
    for one in (pull, comment, issue, refuse):
        one.add_argument("--body-file", required=True, metavar="FILE", help="text of the body; - is standard input")
    vault = kinds.add_parser("vault", help="request a vault action")
    vault.add_argument("formula")
    vault.add_argument("parameters", nargs="*", metavar="KEY=VALUE")
    return parser


def _line(given: argparse.Namespace) -> dict[str, Any]:
    line: dict[str, Any] = {"kind": given.kind}
    for name in ("title", "reason", "formula"):
        if hasattr(given, name):
            line[name] = outbox.clean(getattr(given, name))
    for name in ("add", "remove", "labels"):
        if hasattr(given, name):
            line[name] = [outbox.clean(item) for item in getattr(given, name)]
    if hasattr(given, "body_file"):
        line["body"] = _body(given.body_file)
    if given.kind == "vault":
        pairs = [item.partition("=") for item in given.parameters]
        wrong = [key for key, sign, _value in pairs if not sign or not key]
        if wrong:
            raise ValueError(f"parameters are KEY=VALUE, not {wrong[0]!r}")
        line["parameters"] = {outbox.clean(key): outbox.clean(value) for key, _sign, value in pairs}
    return line


def _body(path: str) -> str:
    # One byte more than allowed is enough to be told so, and a device or a huge file cannot fill memory.
    with open(0 if path == "-" else path, "rb", closefd=path != "-") as source:
        data = source.read(outbox.MAX_BODY + 1)
    if len(data) > outbox.MAX_BODY:
        raise ValueError(f"{path}: more than {outbox.MAX_BODY} bytes")
    return outbox.clean(data.decode("utf-8", "replace"))


def _append(path: str, line: dict[str, Any], grants: dict[str, Any]) -> tuple[list[str], dict[str, int]]:
    """Check against what was asked before and append, alone: two at once must not both take the last place."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        size = os.fstat(fd).st_size
        before = os.pread(fd, min(size, outbox.MAX_FILE + 1), 0)
        earlier, _problems = outbox.read(before, grants)
        counts: dict[str, int] = {}
        for one in earlier:
            outbox.count(one, counts)
        problems = outbox.check_line(line, grants, counts)
        if len(earlier) >= outbox.MAX_LINES:
            problems.append(f"the outbox has {len(earlier)} lines and takes no more")
        if problems:
            return problems, counts
        # A torn line from a killed emit would swallow ours: end it first.
        start = b"\n" if before and not before.endswith(b"\n") else b""
        os.write(fd, start + json.dumps(line).encode() + b"\n")
        os.fsync(fd)
        outbox.count(line, counts)
        return [], counts
    finally:
        os.close(fd)

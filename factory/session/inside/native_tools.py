"""The tools of the native loop: what a model may do in the sandbox, with bounded answers. Standard library only."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from factory.sandbox.inside import launch

Json = dict[str, Any]
OUTPUT = 30_000
"""Characters of one tool's answer."""
FILE_BYTES = 10_000_000
MATCHES = 200
COMMAND_S = 120
LONGEST_COMMAND_S = 900
TEXT: Json = {"type": "string"}
WHOLE: Json = {"type": "integer"}
TEXTS: Json = {"type": "array", "items": {"type": "string"}}
_KINDS = {"string": str, "integer": int, "boolean": bool, "object": dict, "array": list}


class ToolError(Exception):
    """What went wrong, as the model is told."""


@dataclass(frozen=True)
class Tool:
    """A tool as the model sees it, and the function behind it."""

    act: Callable[..., str]
    about: str
    properties: Mapping[str, Json]
    required: tuple[str, ...]

    @property
    def schema(self) -> Json:
        return {"type": "object", "properties": dict(self.properties), "required": list(self.required)}


class Tools:
    """The tools on ``root``. ``read_only``: a review; only reading and searching inside it, executing nothing."""

    def __init__(self, root: str, *, read_only: bool, env: Mapping[str, str]) -> None:
        self.root = os.path.realpath(root)
        self.read_only = read_only
        self._env = dict(env)
        self.known: dict[str, Tool] = {
            "read": Tool(
                self.read,
                "Read a text file (or list a folder), optionally `limit` lines from line `offset` on.",
                {"path": TEXT, "offset": WHOLE, "limit": WHOLE},
                ("path",),
            ),
            "search": Tool(
                self.search,
                "Find a regular expression in the files below a path; `glob` narrows the names.",
                {"pattern": TEXT, "path": TEXT, "glob": TEXT},
                ("pattern",),
            ),
        }
        if read_only:
            return
        self.known |= {
            "write": Tool(
                self.write, "Create or replace a file.", {"path": TEXT, "content": TEXT}, ("path", "content")
            ),
            "edit": Tool(
                self.edit,
                "Replace the one exact occurrence of `old` by `new`; every occurrence with `all`.",
                {"path": TEXT, "old": TEXT, "new": TEXT, "all": {"type": "boolean"}},
                ("path", "old", "new"),
            ),
            "run": Tool(
                self.run,
                f"Run a shell command in the working folder; stopped after `timeout_s` seconds ({COMMAND_S}).",
                {"command": TEXT, "timeout_s": WHOLE},
                ("command",),
            ),
            "emit": Tool(
                self.emit,
                "Ask the factory to act after the session: kind pull, comment, label, issue, refuse or vault.",
                {"kind": TEXT, "title": TEXT, "body": TEXT, "reason": TEXT, "add": TEXTS, "remove": TEXTS}
                | {"labels": TEXTS, "formula": TEXT, "parameters": {"type": "object"}},
                ("kind",),
            ),
        }

    def call(self, name: str, given: Any) -> str:
        """The tool's answer, clipped. Raises ``ToolError``."""
        tool = self.known.get(name)
        if tool is None:
            raise ToolError(f"there is no tool {name!r}; tools: {', '.join(self.known)}")
        if not isinstance(given, dict):
            raise ToolError("the input is not a JSON object")
        wrong = [k for k in tool.required if k not in given] + [k for k in given if k not in tool.properties]
        if wrong:
            raise ToolError(f"missing or unknown input: {', '.join(wrong)}; {name} takes {', '.join(tool.properties)}")
        kinds = {key: _KINDS[tool.properties[key]["type"]] for key in given}
        if bad := [k for k, v in given.items() if not isinstance(v, kinds[k]) or (kinds[k] is int and v is True)]:
            raise ToolError(f"input of a wrong type: {', '.join(bad)}")
        try:
            return clip(tool.act(**given))
        except (OSError, ValueError) as error:
            raise ToolError(str(error)) from error

    def read(self, path: str, offset: int = 1, limit: int = 2_000) -> str:
        lines = load(self._at(path)).splitlines(keepends=True)
        start = max(offset, 1) - 1
        part = lines[start : start + max(limit, 1)]
        rest = len(lines) - start - len(part)
        return "".join(part) + (f"\n[{rest} more lines]" if rest > 0 else "")

    def search(self, pattern: str, path: str = ".", glob: str = "*") -> str:
        """Lines that match a regular expression, in files whose name matches ``glob``; capped."""
        try:
            wanted = re.compile(pattern)
        except re.error as error:
            raise ToolError(f"not a regular expression: {error}") from error
        found: list[str] = []
        for place in files_below(self._at(path)):
            name = os.path.relpath(place, self.root)
            if not (fnmatch.fnmatch(os.path.basename(place), glob) or fnmatch.fnmatch(name, glob)):
                continue
            try:
                lines = load(self._at(place)).splitlines()
            except (ToolError, OSError):
                continue  # binary, too big, or a link leading out: nothing to search
            for number, line in enumerate(lines, 1):
                if wanted.search(line[:2_000]):
                    found.append(f"{name}:{number}: {line[:300]}")
                    if len(found) >= MATCHES:
                        return "\n".join([*found, "[there is more: narrow the search]"])
        return "\n".join(found) or "nothing found"

    def write(self, path: str, content: str) -> str:
        place = self._at(path)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            size = file.write(content)
        return f"wrote {size} characters to {path}"

    def edit(self, path: str, old: str, new: str, all: bool = False) -> str:
        text = load(self._at(path))
        times = text.count(old) if old else 0
        if times == 0:
            raise ToolError(f"`old` does not occur in {path}")
        if times > 1 and not all:
            raise ToolError(f"`old` occurs {times} times in {path}: give more of its surroundings, or all = true")
        self.write(path, text.replace(old, new))
        return f"replaced {times} in {path}"

    def run(self, command: str, timeout_s: int = COMMAND_S) -> str:
        bound = min(max(timeout_s, 1), LONGEST_COMMAND_S)
        argv = ["/bin/sh", "-c", 'exec 2>&1; cd "$0" && exec /bin/sh -c "$1"', self.root, command]
        code, text = execute(argv, self._env, bound)
        if code is None:
            raise ToolError(f"{text}\n[stopped after {bound} s]")
        if code != 0:
            raise ToolError(f"{text}\n[exit code {code}]")
        return text or "[no output]"

    def emit(self, kind: str, **fields: Any) -> str:
        """Ask for something through ``emit``, exactly as an agent with a shell would."""
        argv = ["/bin/sh", "-c", 'exec 2>&1; cd "$0" && exec emit "$@"', self.root, kind]
        argv += [f"--{name}={fields[name]}" for name in ("title", "reason") if name in fields]
        for name, option in (("add", "add"), ("remove", "remove"), ("labels", "label")):
            argv += [f"--{option}={item}" for item in fields.get(name, ())]
        if "body" in fields:
            argv.append("--body-file=-")
        argv += [fields["formula"]] if "formula" in fields else []
        argv += [f"{key}={value}" for key, value in fields.get("parameters", {}).items()]
        code, text = execute(argv, self._env, 30, given=str(fields.get("body", "")))
        if code != 0:
            raise ToolError(text or f"emit ended with code {code}")
        return text

    def _at(self, path: str) -> str:
        """The real place of ``path``. A reviewer stays in the working copy; elsewhere the sandbox is the wall."""
        place = os.path.realpath(os.path.join(self.root, path))
        if self.read_only and place != self.root and not place.startswith(self.root + os.sep):
            raise ToolError(f"{path} is outside {self.root}")
        return place


def load(place: str) -> str:
    """A text file, or the names in a folder. Raises ``ToolError``."""
    if os.path.isdir(place):
        names = sorted(os.listdir(place))
        return "\n".join(f"{name}/" if os.path.isdir(os.path.join(place, name)) else name for name in names)
    if not os.path.isfile(place):
        raise ToolError(f"{place} is not there, or not a regular file")
    with open(place, "rb") as file:
        raw = file.read(FILE_BYTES + 1)
    if len(raw) > FILE_BYTES or b"\0" in raw[:8_000]:
        raise ToolError(f"{place} is binary or larger than {FILE_BYTES} bytes")
    return raw.decode("utf-8", "surrogateescape")


def files_below(start: str) -> Iterator[str]:
    if os.path.isfile(start):
        yield start
    for folder, folders, names in os.walk(start):
        folders[:] = sorted(name for name in folders if name not in (".git", "node_modules", "__pycache__", ".venv"))
        yield from (os.path.join(folder, name) for name in sorted(names))


def clip(text: str) -> str:
    """Valid text of at most about ``OUTPUT`` characters: its beginning and its end."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if len(text) <= OUTPUT:
        return text
    half = OUTPUT // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half} characters left out …]\n{text[-half:]}"


def execute(argv: list[str], env: Mapping[str, str], timeout_s: float, given: str = "") -> tuple[int | None, str]:
    """Exit code (None: it was stopped) and output. Nothing of its process group is left behind."""
    source = os.memfd_create("given", os.MFD_CLOEXEC)
    sink = os.memfd_create("printed", os.MFD_CLOEXEC)
    try:
        os.write(source, given.encode("utf-8", "surrogateescape"))
        os.lseek(source, 0, os.SEEK_SET)
        pid = launch.start(argv, env, stdin=source, stdout=sink)
        code = launch.wait(pid, timeout_s)
        launch.end_group(pid)
        size = os.fstat(sink).st_size
        if size <= 4 * OUTPUT:
            raw = os.pread(sink, size, 0)
        else:
            raw = os.pread(sink, 2 * OUTPUT, 0) + b"\n" + os.pread(sink, 2 * OUTPUT, size - 2 * OUTPUT)
        return code, raw.decode("utf-8", "replace").rstrip("\n")
    finally:
        os.close(source)
        os.close(sink)

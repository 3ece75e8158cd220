"""Mermaid flowcharts as simple SVG pictures: layers of boxes and lines between them. Anything else (other diagrams,
words it does not know, too much of it) is left to be shown as source. Pure."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field

from markupsafe import Markup

MAX_NODES, MAX_EDGES, MAX_TEXT = 60, 150, 20_000
_LETTER, _LINE, _GAP, _FLOOR = 7.4, 18, 26, 56
"""Pixels: width of a letter, height of a line of text, between boxes of a layer, between layers."""

_HEAD = re.compile(r"(?:graph|flowchart)(?:\s+(TB|TD|BT|LR|RL))?\s*;?")
_IGNORED = re.compile(r"(?:classDef|class|style|linkStyle|click|subgraph|end|direction|accTitle|accDescr)\b")
_NODE = re.compile(
    r"\s*(?P<id>\w+(?:[-.]\w+)*)"
    r"(?P<open>\[\[|\[\(|\(\[|\(\(|\{\{|\[|\(|\{|>)?"
)
_CLOSE = {"[[": "]]", "[(": ")]", "([": "])", "((": "))", "{{": "}}", "[": "]", "(": ")", "{": "}", ">": "]"}
_ROUND = ("(", "([", "((", "[(")
_EDGE = re.compile(
    r"\s*<?(?:(?:--|==|-\.)\s+(?P<inner>[^|>\s][^|>]*?)\s+(?:--+|==+|\.+-)>?|(?:--+|==+|-\.+-)>?(?:\s*\|(?P<label>[^|]*)\|)?)"
)


@dataclass
class _Box:
    label: str
    shape: str = "["
    layer: int = 0
    x: float = 0.0
    y: float = 0.0

    @property
    def lines(self) -> list[str]:
        return textwrap.wrap(self.label, 24)[:4] or [""]

    @property
    def width(self) -> float:
        return max(44.0, max(len(line) for line in self.lines) * _LETTER + 24)

    @property
    def height(self) -> float:
        return len(self.lines) * _LINE + 18


@dataclass
class _Chart:
    across: bool
    boxes: dict[str, _Box] = field(default_factory=dict)
    edges: list[tuple[str, str, str]] = field(default_factory=list)


def picture(source: str) -> Markup | None:
    """The chart as SVG with its source below; None for what is no flowchart this module understands."""
    chart = _parse(source) if len(source) <= MAX_TEXT else None
    if chart is None or not chart.boxes or not _layered(chart):
        return None
    width, height = _placed(chart)
    parts = [_line(chart, a, b, label) for a, b, label in chart.edges if a != b]
    parts += [_drawn(box) for box in chart.boxes.values()]
    names = ", ".join(box.label for box in chart.boxes.values())[:300]
    return Markup(
        '<figure class="chart"><div class="table"><svg viewBox="0 0 {} {}" width="{}" height="{}" role="img"'
        ' aria-label="{}">{}</svg>'
        "</div><details><summary>Diagram source</summary><pre><code>{}</code></pre></details></figure>"
    ).format(*(round(n) for n in (width, height, width, height)), f"Diagram: {names}", Markup("").join(parts), source)


# ---------------------------------------------------------------- reading


def _parse(source: str) -> _Chart | None:
    statements = [part.strip() for part in re.split(r"[\n;]", re.sub(r"%%[^\n]*", "", source))]
    statements = [part for part in statements if part]
    head = _HEAD.fullmatch(statements[0]) if statements else None
    if head is None:
        return None
    chart = _Chart(across=head[1] in ("LR", "RL"))
    for statement in statements[1:]:
        if not _IGNORED.match(statement) and not _statement(chart, statement):
            return None
        if len(chart.boxes) > MAX_NODES or len(chart.edges) > MAX_EDGES:
            return None
    return chart


def _statement(chart: _Chart, text: str) -> bool:
    at, label = 0, ""
    before: list[str] = []
    while True:
        group: list[str] = []
        while True:
            found = _box(chart, text, at)
            if found is None:
                return False
            name, at = found
            group.append(name)
            more = re.compile(r"\s*&").match(text, at)
            if more is None:
                break
            at = more.end()
        chart.edges += [(a, b, label) for a in before for b in group]
        edge = _EDGE.match(text, at)
        if edge is None:
            return not text[at:].strip()
        label = _words(edge["label"] or edge["inner"] or "")
        before, at = group, edge.end()


def _box(chart: _Chart, text: str, at: int) -> tuple[str, int] | None:
    match = _NODE.match(text, at)
    if match is None:
        return None
    name, at = match["id"], match.end()
    box = chart.boxes.setdefault(name, _Box(name))
    if match["open"]:
        close = _CLOSE[match["open"]]
        quoted = re.compile(r'\s*"([^"]*)"\s*').match(text, at)
        end = text.find(close, quoted.end() if quoted else at)
        if end < 0:
            return None
        box.label, box.shape = _words(quoted[1] if quoted else text[at:end]), match["open"]
        at = end + len(close)
    styled = re.compile(r":::[\w-]+").match(text, at)
    return name, styled.end() if styled else at


def _words(text: str) -> str:
    return re.sub(r"<br\s*/?>", " ", text).strip().strip('"')[:120]


# ---------------------------------------------------------------- placing


def _layered(chart: _Chart) -> bool:
    """Each box below all that point to it; an edge that would close a circle counts for nothing here."""
    after: dict[str, list[str]] = {name: [] for name in chart.boxes}
    for a, b, _ in chart.edges:
        after[a].append(b)
    order: list[str] = []
    state: dict[str, int] = {}
    backward: set[tuple[str, str]] = set()
    for root in chart.boxes:
        stack: list[tuple[str, Iterator[str]]] = [(root, iter(after[root]))] if root not in state else []
        state.setdefault(root, 1)
        while stack:
            name, rest = stack[-1]
            child = next(rest, None)
            if child is None:
                state[name] = 2
                order.append(name)
                stack.pop()
            elif child not in state:
                state[child] = 1
                stack.append((child, iter(after[child])))
            elif state[child] == 1:
                backward.add((name, child))
    for name in reversed(order):
        for child in after[name]:
            if (name, child) not in backward:
                chart.boxes[child].layer = max(chart.boxes[child].layer, chart.boxes[name].layer + 1)
    return True


def _placed(chart: _Chart) -> tuple[float, float]:
    layers: dict[int, list[str]] = {}
    for name, box in chart.boxes.items():
        layers.setdefault(box.layer, []).append(name)
    rank: dict[str, float] = {}
    for number in sorted(layers):
        row = layers[number]
        for index, name in enumerate(row):
            above = [rank[a] for a, b, _ in chart.edges if b == name and a in rank and chart.boxes[a].layer < number]
            rank[name] = sum(above) / len(above) if above else float(index)
        row.sort(key=lambda name: rank[name])
        for index, name in enumerate(row):
            rank[name] = float(index)
    if chart.across:
        return _along(chart, [layers[n] for n in sorted(layers)], across=True)
    return _along(chart, [layers[n] for n in sorted(layers)], across=False)


def _along(chart: _Chart, rows: list[list[str]], *, across: bool) -> tuple[float, float]:
    def breadth(name: str) -> float:
        return chart.boxes[name].height if across else chart.boxes[name].width

    def depth(name: str) -> float:
        return chart.boxes[name].width if across else chart.boxes[name].height

    spans = [sum(breadth(name) for name in row) + _GAP * (len(row) - 1) for row in rows]
    widest, down = max(spans), 8.0
    for row, span in zip(rows, spans, strict=True):
        along = 8.0 + (widest - span) / 2
        thick = max(depth(name) for name in row)
        for name in row:
            box = chart.boxes[name]
            centre = (along + breadth(name) / 2, down + thick / 2)
            box.x, box.y = (centre[1], centre[0]) if across else centre
            along += breadth(name) + _GAP
        down += thick + _FLOOR
    total = (widest + 16, down - _FLOOR + 8)
    return (total[1], total[0]) if across else total


# ---------------------------------------------------------------- drawing


def _drawn(box: _Box) -> Markup:
    left, top = box.x - box.width / 2, box.y - box.height / 2
    round_by = min(box.height, box.width) / 2 if box.shape in _ROUND else 14 if box.shape.startswith("{") else 6
    lines = Markup("").join(
        Markup('<tspan x="{}" y="{}">{}</tspan>').format(round(box.x), round(top + 9 + _LINE * (index + 0.72)), text)
        for index, text in enumerate(box.lines)
    )
    shape = Markup('<rect class="node" x="{}" y="{}" width="{}" height="{}" rx="{}"/>')
    return shape.format(*map(round, (left, top, box.width, box.height, round_by))) + Markup("<text>{}</text>").format(
        lines
    )


def _line(chart: _Chart, start: str, end: str, label: str) -> Markup:
    a, b = chart.boxes[start], chart.boxes[end]
    if chart.across:
        forward = 1 if b.x >= a.x else -1
        x1, y1, x2, y2 = a.x + forward * a.width / 2, a.y, b.x - forward * b.width / 2, b.y
        bend = f"C {x1 + forward * 28:.0f} {y1:.0f} {x2 - forward * 28:.0f} {y2:.0f}"
        tip = f"M {x2 - forward * 7:.0f} {y2 - 4:.0f} L {x2:.0f} {y2:.0f} L {x2 - forward * 7:.0f} {y2 + 4:.0f}"
    else:
        forward = 1 if b.y >= a.y else -1
        x1, y1, x2, y2 = a.x, a.y + forward * a.height / 2, b.x, b.y - forward * b.height / 2
        bend = f"C {x1:.0f} {y1 + forward * 28:.0f} {x2:.0f} {y2 - forward * 28:.0f}"
        tip = f"M {x2 - 4:.0f} {y2 - forward * 7:.0f} L {x2:.0f} {y2:.0f} L {x2 + 4:.0f} {y2 - forward * 7:.0f}"
    drawn = Markup('<path class="edge" d="M {} {} {} {} {}"/><path class="edge" d="{}"/>').format(
        round(x1), round(y1), bend, round(x2), round(y2), tip
    )
    if label:
        drawn += Markup('<text class="note" x="{}" y="{}">{}</text>').format(
            round((x1 + x2) / 2), round((y1 + y2) / 2) + 4, label[:30]
        )
    return drawn

from __future__ import annotations

from factory.gateway.toml_lines import Lines

SOURCE = '''\
schema = 1
[[turn]]   # first
text = """
[[turn]]
text = "not a key"
"""
"quoted" = 'it''s' # """
[[turn.call]]
tool = "a"
[[turn.call]]
tool = "b"
[turn.usage]
input = 1
[[turn]]
s = "# \\" [[turn]] \\"\\"\\""
[[turn.call]]
tool = "c"
'''.replace("'it''s'", "'its'")


def test_finds_keys_tables_and_their_nearest_parent() -> None:
    lines = Lines(SOURCE)
    assert lines.of(("schema",)) == 1
    assert lines.of(("turn", 0)) == 2
    assert lines.of(("turn", 0, "text")) == 3
    assert lines.of(("turn", 0, "quoted")) == 7
    assert lines.of(("turn", 0, "call", 0, "tool")) == 9
    assert lines.of(("turn", 0, "call", 1, "tool")) == 11
    assert lines.of(("turn", 0, "usage", "input")) == 13
    assert lines.of(("turn", 1)) == 14
    assert lines.of(("turn", 1, "call", 0, "tool")) == 17
    assert lines.of(("turn", 1, "absent", "deep")) == 14
    assert lines.of(("nowhere",)) is None

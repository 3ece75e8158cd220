"""An attacker: run inside a sandbox, it tries every wall and prints what it got as one JSON object.

``python -I -S probe.pyz JSON``; the argument names the host's addresses to try (``walls.py`` packs the program and
writes it). Each answer is {"broken": bool, "detail": text}. Standard library only; the sandbox shows nothing of the
package but this program and what every one of them holds (``sandbox/pyz.py``).
"""

Answer = tuple[bool, str]
"""Whether the wall is broken, and what was seen."""

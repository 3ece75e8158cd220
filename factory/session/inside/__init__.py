"""The part of a session that runs inside the sandbox. Standard library only; shipped as one file, ``inside.pyz``.

Fixed places (``layout.py``): ``/work`` the clone, ``/run/factory/in`` (read-only: ``spec.json``, ``grants.json``,
``prompt.md``, ``inside.pyz``), ``/run/factory/out`` (read back by the host), ``/run/factory/bin/emit``, home
``/home/agent``.

``inside.pyz boot`` is the first process: bridges, the backend, checkpoints and the final pack. ``inside.pyz emit``
writes the outbox; ``outbox.py`` judges its lines, here and again on the host. ``inside.pyz native`` is the built-in
tool loop.

``spec.json``::

    {"run": "...", "argv": [...], "env": {...}, "cwd": "/work",
     "home_files": {"relative/path": "text"},
     "bridges": [{"port": 8790, "socket": "/run/factory/gateway.sock"}],
     "work": {"ref": "refs/heads/fix/issue-1", "base": "<sha>"} or null,
     "checkpoint_s": 60}

Left in ``out/``: ``outbox.jsonl``; ``head.json`` {"ref", "head", "base", "generation", "pack_bytes", "pack_sha256"}
beside ``work.pack`` (they belong together when size and digest agree; both absent or null until there is a commit); at
the end ``exit.json`` {"returncode", "signal", "error", "commits", "leftovers", "leftovers_more", "pack_error",
"stray_head",
"seconds"}.
"""

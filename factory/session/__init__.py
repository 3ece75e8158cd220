"""One sandboxed backend process: clone, prompt, argv, outbox, checkpoint, events. ``inside/`` is what runs in the sandbox."""

"""One sandboxed backend process: clone, prompt, argv, outbox, checkpoint, events. ``inside/`` runs in the sandbox."""

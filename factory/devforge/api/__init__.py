"""The HTTP API: one file per group of routes; each turns a request into calls of the store and its answer into JSON."""

"""The starter: a small process of its own between the session and bubblewrap. Standard library only.

As root it first takes a user id nobody else has, shows the bind sources to that user in a mount namespace of its own
(they may lie below folders of mode 0700), gives it the writable folders and becomes it for good: bubblewrap started as
uid 0 leaves core_pattern writable and process limits void (security-rules.md). Then, as that user, it starts bubblewrap
and stays: it passes SIGTERM on, bounds memory where no cgroup does, and stops the sandbox before the disk is full. When
it dies, by whatever signal, the kernel kills bubblewrap with it, and with bubblewrap's first process everything inside.
"""

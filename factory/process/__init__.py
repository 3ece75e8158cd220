"""Processes: spawn, supervise, limit and kill whole trees; locks that prove a process dead; background services."""

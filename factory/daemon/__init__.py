"""The process that turns: observe, decide, perform, record."""

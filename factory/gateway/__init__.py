"""The model gateway: the only holder of model keys. It meters, limits, records and replays (DESIGN section 11)."""

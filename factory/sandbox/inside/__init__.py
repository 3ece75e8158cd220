"""What every first process in a sandbox stands on. Standard library only; shipped in its .pyz (``sandbox/pyz.py``)."""

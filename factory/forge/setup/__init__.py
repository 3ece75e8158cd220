"""Bring a forge to what a factory wants: look, compare, do the difference. Running it again does nothing.

``observed`` looks, ``plan`` compares and gives ``steps`` (it is pure), ``apply`` does them and needs a site admin: a
token, or the embedded forge's socket. What the project has already, its own branch rules above all, is respected and
never changed.
"""
